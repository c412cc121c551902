"""What stands between bots and the chat: it can be slow, refuse, and lose requests and answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

from tests.support.console import serve

_KEPT = ("Content-Type", "Authorization")


class Fate(Enum):
    """What becomes of a call."""

    PASS = auto()
    BUSY = auto()
    """It is refused with 429."""
    CUT = auto()
    """It never arrives."""
    LOST = auto()
    """It arrives, and its answer does not."""


@dataclass(frozen=True)
class Call:
    """One call of a bot.

    Attributes:
        bot: Which bot.
        method: The method of the Web API.
        values: Its arguments.
    """

    bot: str
    method: str
    values: dict[str, Any]

    @property
    def key(self) -> str:
        """The key of the announcement that is posted or edited, if any."""
        payload = (self.values.get("metadata") or {}).get("event_payload") or {}
        return str(payload.get("key", ""))

    @property
    def rollback(self) -> str:
        """The rollback that the message is about, if any."""
        payload = (self.values.get("metadata") or {}).get("event_payload") or {}
        return str(payload.get("rollback", ""))


async def _pass(_call: Call) -> Fate:
    return Fate.PASS


async def _answer(_call: Call) -> None:
    return


@dataclass
class Relay:
    """Carries the bots' calls to the chat.

    Attributes:
        target: Where the chat is.
        rule: Says what becomes of a call; may take its time.
        answering: Called when a call has arrived, before its answer goes back; may take its time.
        calls: Every call, in the order of arrival here.
        url: Where the bots call; each has its own path.
    """

    target: str
    rule: Callable[[Call], Awaitable[Fate]] = _pass
    answering: Callable[[Call], Awaitable[None]] = _answer
    calls: list[Call] = field(default_factory=list)
    url: str = ""

    def of(self, bot: str) -> str:
        """Return the base URL of a bot."""
        return f"{self.url}/{bot}/slack-api/"

    async def carry(self, request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
        """Carry one call."""
        body = await request.read()
        call = Call(request.match_info["bot"], request.match_info["method"], _values(request, body))
        self.calls.append(call)
        fate = await self.rule(call)
        if fate is Fate.BUSY:
            answer = {"ok": False, "error": "ratelimited"}
            return web.json_response(answer, status=429, headers={"Retry-After": "1"})
        if fate is Fate.CUT:
            return _cut(request)
        headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
        where = f"{self.target}/slack-api/{call.method}"
        async with session.request(
            request.method, where, params=request.query, data=body or None, headers=headers
        ) as answered:
            text, status = await answered.text(), answered.status
        await self.answering(call)
        if fate is Fate.LOST:
            return _cut(request)
        return web.Response(text=text, status=status, content_type="application/json")


def _values(request: web.Request, body: bytes) -> dict[str, Any]:
    if request.content_type == "application/json":
        found: dict[str, Any] = json.loads(body)
        return found
    return {**request.query, **dict(parse_qsl(body.decode()))}


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def relay(target: str) -> AsyncIterator[Relay]:
    """Serve a relay to the chat."""
    made = Relay(target)
    async with aiohttp.ClientSession() as session:
        app = web.Application(client_max_size=2**24)

        async def carry(request: web.Request) -> web.StreamResponse:
            return await made.carry(request, session)

        app.router.add_route("*", "/{bot}/slack-api/{method}", carry)
        async with serve(app) as made.url:
            yield made
