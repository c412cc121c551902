"""The payloads that Slack sends to an app, as values. Pure.

Shapes: https://docs.slack.dev/interactivity/implementing-slash-commands and .../reference/interaction-payloads.
"""

from typing import Final

from handlers.console.model import APP_ID, BOT_ID, ConsoleChannel, ConsoleUser, Identity, Json

TEAM_DOMAIN: Final = "console"
# The verification token is deprecated by Slack in favour of the signature; apps must not rely on it.
VERIFICATION_TOKEN: Final = "deprecated"  # noqa: S105 - opens nothing


def command(
    identity: Identity,
    *,
    user: ConsoleUser,
    channel: ConsoleChannel,
    name: str,
    text: str,
    trigger_id: str,
    response_url: str,
) -> dict[str, str]:
    """Return the form fields of a slash command."""
    return {
        "token": VERIFICATION_TOKEN,
        "team_id": identity.team_id,
        "team_domain": TEAM_DOMAIN,
        "channel_id": channel.id,
        "channel_name": channel.name,
        "user_id": user.id,
        "user_name": user.name,
        "command": name,
        "text": text,
        "api_app_id": APP_ID,
        "is_enterprise_install": "false",
        "response_url": response_url,
        "trigger_id": trigger_id,
    }


def _interaction(identity: Identity, user: ConsoleUser, kind: str) -> Json:
    return {
        "type": kind,
        "team": {"id": identity.team_id, "domain": TEAM_DOMAIN},
        "enterprise": None,
        "is_enterprise_install": False,
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": identity.team_id},
        "api_app_id": APP_ID,
        "token": VERIFICATION_TOKEN,
    }


def click_in_message(
    identity: Identity,
    *,
    user: ConsoleUser,
    channel: ConsoleChannel,
    message: Json,
    action: Json,
    state: Json,
    trigger_id: str,
    response_url: str,
) -> Json:
    """Return `block_actions` for an element of a message; an ephemeral message itself is not part of it."""
    ephemeral = bool(message.get("is_ephemeral"))
    container = {
        "type": "message",
        "message_ts": message["ts"],
        "channel_id": channel.id,
        "is_ephemeral": ephemeral,
        **({"thread_ts": message["thread_ts"]} if "thread_ts" in message else {}),
    }
    payload = {
        **_interaction(identity, user, "block_actions"),
        "container": container,
        "trigger_id": trigger_id,
        "channel": {"id": channel.id, "name": channel.name},
        "state": {"values": state},
        "response_url": response_url,
        "actions": [action],
    }
    return payload if ephemeral else {**payload, "message": message}


def click_in_view(
    identity: Identity, *, user: ConsoleUser, view: Json, action: Json, state: Json, trigger_id: str
) -> Json:
    """Return `block_actions` for an element of a modal or of the App Home."""
    return {
        **_interaction(identity, user, "block_actions"),
        "container": {"type": "view", "view_id": view["id"]},
        "trigger_id": trigger_id,
        "view": with_state(view, state),
        "actions": [action],
    }


def submission(identity: Identity, *, user: ConsoleUser, view: Json, state: Json, trigger_id: str) -> Json:
    """Return `view_submission`."""
    return {
        **_interaction(identity, user, "view_submission"),
        "trigger_id": trigger_id,
        "view": with_state(view, state),
        "response_urls": [],
    }


def closed(identity: Identity, *, user: ConsoleUser, view: Json, cleared: bool) -> Json:
    """Return `view_closed`; `cleared` tells that the whole stack was closed."""
    return {**_interaction(identity, user, "view_closed"), "view": with_state(view, {}), "is_cleared": cleared}


def home_opened(
    identity: Identity, *, user: ConsoleUser, channel: ConsoleChannel, view: Json | None, ts: str, event_id: str
) -> Json:
    """Return the envelope of `app_home_opened`."""
    event = {"type": "app_home_opened", "user": user.id, "channel": channel.id, "tab": "home", "event_ts": ts}
    authorization = {
        "enterprise_id": None,
        "team_id": identity.team_id,
        "user_id": identity.bot_user_id,
        "is_bot": True,
        "is_enterprise_install": False,
    }
    return {
        "token": VERIFICATION_TOKEN,
        "team_id": identity.team_id,
        "api_app_id": APP_ID,
        "event": event if view is None else {**event, "view": view},
        "type": "event_callback",
        "event_id": event_id,
        "event_time": int(ts.partition(".")[0]),
        "authorizations": [authorization],
        "is_ext_shared_channel": False,
    }


def with_state(view: Json, state: Json) -> Json:
    """Return a view with the values entered in it, without the console's own bookkeeping."""
    shown = {key: value for key, value in view.items() if key != "depth"}
    return {**shown, "state": {"values": state}, "bot_id": BOT_ID}
