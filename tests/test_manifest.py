"""The manifest is complete, within Slack's limits, and asks for the scopes that are used and no others."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import yaml
from slack_sdk.web.async_client import AsyncWebClient

from handlers.console.webapi import METHODS
from handlers.slack import SlackSettings, app, http

ROOT = Path(__file__).parent.parent
MANIFEST: dict[str, Any] = yaml.safe_load((ROOT / "manifest.yml").read_text())

# https://docs.slack.dev/reference/methods: what each method demands of a bot's token. Several scopes in one entry
# are one for each kind of conversation. None: the method takes any token, or an app-level one.
SCOPES: dict[str, frozenset[str]] = {
    "apps.connections.open": frozenset(),
    "auth.test": frozenset(),
    "chat.delete": frozenset({"chat:write"}),
    "chat.postMessage": frozenset({"chat:write"}),
    "chat.update": frozenset({"chat:write"}),
    "conversations.history": frozenset({"channels:history", "groups:history", "im:history"}),
    "conversations.join": frozenset({"channels:join"}),
    "conversations.open": frozenset({"im:write"}),
    "conversations.replies": frozenset({"channels:history", "groups:history", "im:history"}),
    "views.open": frozenset(),
    "views.publish": frozenset(),
    "views.update": frozenset(),
}
LIBRARIES_CALL = {"auth.test", "apps.connections.open"}
"""What Bolt and the Socket Mode client call by themselves."""


def called() -> set[str]:
    """Return the Web API methods that the code calls, read from its source by the client's own method names."""
    names = {
        name: re.search(r'api_call\(\s*"([\w.]+)"', inspect.getsource(method))
        for name, method in inspect.getmembers(AsyncWebClient, inspect.isfunction)
        if not name.startswith("_")
    }
    methods = {name: found[1] for name, found in names.items() if found}
    source = "\n".join(path.read_text() for path in (ROOT / "handlers" / "slack").rglob("*.py"))
    assert "api_call(" not in source, "call methods by their names, so that their scopes can be checked"
    return {methods[name] for name in re.findall(r"\.(\w+)\(", source) if name in methods} | LIBRARIES_CALL


def test_scopes_are_those_of_the_methods_called() -> None:
    """Every method that the code calls is covered by a scope, and no scope is asked for that nothing needs."""
    assert called() == set(SCOPES)
    wanted = frozenset[str]().union(*SCOPES.values()) | {"commands"}
    scopes: list[str] = MANIFEST["oauth_config"]["scopes"]["bot"]
    assert scopes == sorted(wanted)
    assert "user" not in MANIFEST["oauth_config"]["scopes"]


def test_console_knows_every_method() -> None:
    """What the bot calls the console answers; joining and connecting are things of Slack's alone."""
    assert called() - set(METHODS) == {"apps.connections.open", "conversations.join"}


def test_texts_are_within_the_limits() -> None:
    """Names, descriptions and hints have the lengths that Slack takes."""
    shown, features = MANIFEST["display_information"], MANIFEST["features"]
    assert 0 < len(shown["name"]) <= 35
    assert 0 < len(shown["description"]) <= 140
    assert 175 <= len(shown["long_description"]) <= 4_000
    assert re.fullmatch(r"#[0-9a-f]{6}", shown["background_color"])
    assert 0 < len(features["bot_user"]["display_name"]) <= 80
    for command in features["slash_commands"]:
        assert re.fullmatch(r"/[a-z0-9_-]{1,31}", command["command"])
        assert 0 < len(command["description"]) <= 2_000
        assert len(command["usage_hint"]) <= 1_000


def test_manifest_offers_what_the_app_listens_to() -> None:
    """Command, buttons, App Home and Socket Mode are switched on, and the command is the one listened to."""
    features, settings = MANIFEST["features"], MANIFEST["settings"]
    commands = [each["command"] for each in features["slash_commands"]]
    assert commands == [SlackSettings(bot_token="", signing_secret="", ops_channel="").command]
    assert features["slash_commands"][0]["should_escape"] is True
    assert features["app_home"]["home_tab_enabled"] is True
    assert settings["interactivity"]["is_enabled"] is True
    assert settings["socket_mode_enabled"] is True
    listened = re.findall(r'app\.event\("(\w+)"\)', inspect.getsource(app))
    assert settings["event_subscriptions"]["bot_events"] == listened
    assert MANIFEST["_metadata"] == {"major_version": 2, "minor_version": 1}


def test_comment_names_the_address_that_is_served() -> None:
    """Who turns to HTTP finds the right path in the manifest's comment."""
    assert http.PATH in (ROOT / "manifest.yml").read_text()
