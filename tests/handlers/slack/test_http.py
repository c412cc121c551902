"""What is not signed by Slack, in time, is refused before anything looks at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from slack_bolt.async_app import AsyncApp

from handlers.slack import SlackSettings, http
from tests.support.console import BOT_TOKEN
from tests.support.slack import World, signed, world


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[World]:
    """A workspace with the bot in it."""
    async with world() as found:
        yield found


@pytest.mark.parametrize(
    "how",
    [
        {"secret": "another secret"},
        {"age": timedelta(minutes=6)},
        {"age": timedelta(minutes=-10)},
        {"drop": "X-Slack-Signature"},
        {"drop": "X-Slack-Request-Timestamp"},
    ],
    ids=["wrong secret", "replayed", "from the future", "no signature", "no time"],
)
async def test_unproven_request_is_refused(slack: World, how: dict[str, Any]) -> None:
    """A wrong or missing signature, or one older than five minutes, is answered 401 and starts nothing."""
    assert (await slack.send(slack.command("CHG0012345"), **how))[0] == 401
    await slack.settle()
    assert slack.runs.runs == {}
    assert slack.audit.deliveries == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Slack-Request-Timestamp": "soon"},
        {"X-Slack-Request-Timestamp": "9" * 5_000},
        {"X-Slack-Signature": "v0=\u00e9"},
        {"X-Slack-Request-Timestamp": ""},
    ],
)
async def test_malformed_signature_is_refused(
    slack: World, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Headers that no signature can have are answered 401 like a wrong one, and are no failure of ours."""
    body = slack.command("CHG0012345")
    url = f"{slack.bot_url}/slack/events"
    async with slack.lab.http.post(url, data=body, headers={**signed(body), **headers}) as answer:
        assert answer.status == 401
    assert "Traceback" not in caplog.text


async def test_changed_body_is_refused(slack: World) -> None:
    """A signature holds for the body that it was made for and no other."""
    body = slack.command("help")
    assert (await slack.send(body, sign=slack.command("CHG0012345")))[0] == 401


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("{", "application/json"),
        ("payload=%7B", "application/x-www-form-urlencoded"),
        ("[" * 200_000, "application/json"),
    ],
)
async def test_unreadable_body_is_refused(slack: World, body: str, kind: str) -> None:
    """A body that cannot be read is answered 400, never with a failure of ours."""
    assert (await slack.send(body, kind=kind))[0] == 400


async def test_body_that_is_no_payload_starts_nothing(slack: World) -> None:
    """A signed body of another shape is answered and starts nothing."""
    for body in ('{"type": "unheard_of"}', '"text"', "[]", "7", "null"):
        status, _ = await slack.send(body, kind="application/json")
        assert status in {400, 404, 200}
    await slack.settle()
    assert slack.runs.runs == {}


async def test_slack_may_check_the_address(slack: World) -> None:
    """The check that Slack makes when the address is entered is answered with its challenge."""
    body = '{"type": "url_verification", "challenge": "c-1"}'
    status, answer = await slack.send(body, kind="application/json")
    assert status == 200
    assert "c-1" in answer


def test_no_address_without_a_signing_secret() -> None:
    """Without a signing secret anybody could sign: there is no address then."""
    app = AsyncApp(token=BOT_TOKEN, signing_secret="")
    with pytest.raises(ValueError, match="signing secret"):
        http.routes(app, SlackSettings(bot_token=BOT_TOKEN, signing_secret="", ops_channel="C0OPS"))


def test_secrets_are_in_no_repr() -> None:
    """Settings can be logged without their secrets."""
    shown = repr(SlackSettings(bot_token="xoxb-s", signing_secret="hush", ops_channel="C0OPS", app_token="xapp-s"))
    assert "C0OPS" in shown
    assert not any(secret in shown for secret in ("xoxb-s", "hush", "xapp-s"))
