"""A console on a free port, with a bot that records what it is sent."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web
from pydantic import SecretStr
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain import ports
from handlers.console import Console, ConsoleChannel, ConsoleClient, ConsoleUser
from handlers.console.core import RateLimit

OPS = ConsoleChannel("C0OPS", "ops-payments")
RELEASES = ConsoleChannel("C0RELEASES", "releases")
ALICE = ConsoleUser("U0ALICE", "a.okafor", "On-call engineer", SecretStr("token-of-alice"))
BORIS = ConsoleUser("U0BORIS", "j.smith", "Change Manager", SecretStr("token-of-boris"))
BOT_TOKEN = "xoxb-test"
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class MemoryStore:
    """A document store that outlives the console, as the database does."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], str] = {}
        self.broken = False

    async def load(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return every document."""
        return [(bucket, key, json.loads(text)) for (bucket, key), text in self.documents.items()]

    async def put(self, bucket: str, key: str, document: dict[str, Any] | None) -> None:
        """Write a document; None removes it."""
        if self.broken:
            raise ConnectionError("the database is gone")
        if document is None:
            self.documents.pop((bucket, key), None)
        else:
            self.documents[bucket, key] = json.dumps(document)


class ManualClock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self._start = datetime(2024, 1, 15, 15, 47, tzinfo=UTC)
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        """Return the time of day."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return seconds since the start."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Return once `advance` has passed the moment."""
        event = asyncio.Event()
        self._sleepers.append((self._elapsed + seconds, event))
        await event.wait()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed += seconds
        for until, event in self._sleepers:
            if until <= self._elapsed:
                event.set()


class SystemClock:
    """The machine's time, for tests against parts that read it themselves (Bolt's signature check)."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the clock


@dataclass(frozen=True)
class Delivery:
    """One request that the bot received."""

    headers: dict[str, str]
    body: str

    @property
    def fields(self) -> dict[str, str]:
        """The form's fields."""
        return dict(parse_qsl(self.body, keep_blank_values=True))

    @property
    def payload(self) -> dict[str, Any]:
        """The interaction's payload."""
        found: dict[str, Any] = json.loads(self.fields["payload"])
        return found


Answer = Callable[[Delivery], Awaitable[web.Response]]


async def _acknowledge(_delivery: Delivery) -> web.Response:
    return web.Response()


@dataclass
class Bot:
    """The bot's end: records deliveries, answers as the test wants."""

    answer: Answer = _acknowledge
    received: list[Delivery] = field(default_factory=list)

    def app(self) -> web.Application:
        """Return its application."""
        app = web.Application()
        app.router.add_post("/slack/events", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        delivery = Delivery(dict(request.headers), await request.text())
        self.received.append(delivery)
        return await self.answer(delivery)


@asynccontextmanager
async def serve(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on a free loopback port; yields its address."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@dataclass
class Lab:
    """A running console."""

    url: str
    console: Console
    bot: Bot
    store: MemoryStore
    http: aiohttp.ClientSession

    @property
    def slack(self) -> AsyncWebClient:
        """The bot's unmodified Slack client."""
        return AsyncWebClient(token=BOT_TOKEN, base_url=f"{self.url}/slack-api/")

    def client(self, user: ConsoleUser) -> ConsoleClient:
        """A client that acts as a user."""
        return ConsoleClient(self.url, user.token.get_secret_value(), self.http)


@asynccontextmanager
async def lab(
    *,
    clock: ports.Clock,
    store: MemoryStore | None = None,
    bot_app: web.Application | None = None,
    rate_limit: RateLimit | None = None,
    users: Sequence[ConsoleUser] = (ALICE, BORIS),
) -> AsyncIterator[Lab]:
    """Run a console, and a bot behind it."""
    store = store or MemoryStore()
    bot = Bot()
    async with serve(bot_app or bot.app()) as bot_url, aiohttp.ClientSession() as http:
        console = Console(
            team_id="T0LOCAL",
            bot_user_id="U0BOT",
            users=users,
            channels=[OPS, RELEASES],
            signing_secret=SECRET,
            bot_token=BOT_TOKEN,
            events_url=f"{bot_url}/slack/events",
            store=store,
            clock=clock,
            rate_limit=rate_limit,
        )
        await console.start()
        try:
            async with serve(console.app()) as url:
                yield Lab(url, console, bot, store, http)
        finally:
            await console.close()
