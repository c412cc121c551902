"""Socket Mode, against a server on loopback that speaks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.engine.service import Actor
from handlers.slack import SlackSettings, Underway, build, socket
from tests.support import rollbacks
from tests.support.console import BOT_TOKEN, SystemClock, serve
from tests.support.rollbacks import ONCALL, POLICY
from tests.support.slack import Board

Json = dict[str, Any]
SETTINGS = SlackSettings(bot_token=BOT_TOKEN, signing_secret="", ops_channel="C0OPS", app_token="xapp-good")
HELLO = {"type": "hello", "num_connections": 1}


@dataclass
class Slack:
    """Slack's end: opens sockets, and keeps what comes over them."""

    url: str = ""
    opened: int = 0
    connections: asyncio.Queue[web.WebSocketResponse] = field(default_factory=asyncio.Queue)
    received: asyncio.Queue[Json] = field(default_factory=asyncio.Queue)
    answers: asyncio.Queue[Json] = field(default_factory=asyncio.Queue)

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application()
        app.router.add_post("/api/apps.connections.open", self._open)
        app.router.add_post("/api/auth.test", self._who)
        app.router.add_post("/respond", self._respond)
        app.router.add_get("/link", self._link)
        return app

    async def _open(self, request: web.Request) -> web.Response:
        if request.headers["Authorization"] != "Bearer xapp-good":
            return web.json_response({"ok": False, "error": "invalid_auth"})
        self.opened += 1
        return web.json_response({"ok": True, "url": f"{self.url.replace('http', 'ws')}/link?n={self.opened}"})

    async def _who(self, _request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "team_id": "T0LOCAL", "user_id": "U0BOT", "bot_id": "B0BOT"})

    async def _respond(self, request: web.Request) -> web.Response:
        await self.answers.put(await request.json())
        return web.Response(text="ok")

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        link = web.WebSocketResponse()
        await link.prepare(request)
        await link.send_json(HELLO)
        await self.connections.put(link)
        async for message in link:
            if message.type is WSMsgType.TEXT:
                await self.received.put(json.loads(message.data))
        return link

    def command(self, text: str, *, envelope: str) -> Json:
        """Return the envelope of a slash command."""
        payload = {"command": "/rollback", "text": text, "user_id": ONCALL, "team_id": "T0LOCAL"}
        more = {"trigger_id": f"t-{envelope}", "response_url": f"{self.url}/respond", "channel_id": "C0OPS"}
        return {
            "type": "slash_commands",
            "envelope_id": envelope,
            "accepts_response_payload": True,
            "payload": {**payload, **more},
        }


class Requests:
    """Takes the requests for rollbacks; stands where the service stands."""

    policy = POLICY

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str]] = []

    async def request(self, change: str, actor: Actor, *, reason: str) -> Any:
        """Note the request."""
        self.asked.append((change, reason, actor.user, actor.delivery))
        of = rollbacks.plan(change=change)
        return rollbacks.run(of, rollbacks.histories(of)["requested"])


@asynccontextmanager
async def joined(
    settings: SlackSettings = SETTINGS,
) -> AsyncIterator[tuple[Slack, Requests, web.WebSocketResponse]]:
    """Yield Slack's end, the requests that arrive, and the first connection."""
    slack, requests, underway = Slack(), Requests(), Underway()
    service: Any = requests

    async def refresh(_rollback_id: str) -> None:
        raise AssertionError("no click was refused")

    async with serve(slack.app()) as slack.url:
        client = AsyncWebClient(token=BOT_TOKEN, base_url=f"{slack.url}/api/")
        app = build(
            service=service, settings=settings, client=client, board=Board(), clock=SystemClock(),
            refresh=refresh, underway=underway,
        )  # fmt: skip
        async with socket.connected(app, settings, ping_seconds=0.1):
            yield slack, requests, await slack.connections.get()
        await underway.idle()


async def test_command_over_a_socket_is_acknowledged_and_carried_out() -> None:
    """A command's envelope is acknowledged within three seconds, obeyed, and answered by its response URL."""
    async with joined() as (slack, requests, link):
        await link.send_json(slack.command("CHG0012345 errors", envelope="e-1"))
        async with asyncio.timeout(3):
            assert await slack.received.get() == {"envelope_id": "e-1"}
        answer = await slack.answers.get()
    assert requests.asked == [("CHG0012345", "errors", ONCALL, f"command:T0LOCAL:{ONCALL}:t-e-1")]
    assert answer["response_type"] == "ephemeral"
    assert "rb-0001" in answer["text"]


async def test_refreshed_connection_goes_on_serving() -> None:
    """When Slack asks for a fresh connection one is opened, and commands arrive over it."""
    async with joined() as (slack, requests, link):
        await link.send_json({"type": "disconnect", "reason": "refresh_requested"})
        async with asyncio.timeout(5):
            second = await slack.connections.get()
            await second.send_json(slack.command("CHG0012345", envelope="e-2"))
            assert await slack.received.get() == {"envelope_id": "e-2"}
            await slack.answers.get()
    assert slack.opened == 2
    assert len(requests.asked) == 1


async def test_broken_connection_is_opened_again() -> None:
    """A connection that Slack closes is replaced without anybody asking."""
    async with joined() as (slack, _, link):
        await link.close()
        async with asyncio.timeout(5):
            await slack.connections.get()
    assert slack.opened >= 2


async def test_wrong_token_is_reported_at_the_start() -> None:
    """A token that Slack does not take is an error at the start, not an endless attempt."""
    with pytest.raises(SlackApiError, match="invalid_auth"):
        async with joined(
            SlackSettings(bot_token="", signing_secret="", ops_channel="C0OPS", app_token="xapp-bad")
        ):
            pass


async def test_missing_token_is_reported_at_the_start() -> None:
    """Without an app-level token the start says what is missing."""
    with pytest.raises(ValueError, match="app-level token"):
        async with joined(SlackSettings(bot_token="", signing_secret="", ops_channel="C0OPS")):
            pass
