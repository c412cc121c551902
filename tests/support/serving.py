"""The whole bot as its command composes it, in a thread of the tests, and people who use it at the console."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import psycopg

from bot.domain.ports import Clock
from bot.main import compose
from bot.main.chat import ConsoleSeat
from bot.main.clock import SystemClock
from bot.main.settings import Settings
from handlers.console import ConsoleClient
from handlers.console.delivery import BotEndpoint
from handlers.slack import ids
from storage.embedded.postmaster import USER
from tests.support.production import Production

CHANNEL = "C0000OPS"
Json = dict[str, Any]
T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], *, seconds: float = 20.0, what: str) -> T:
    """Look again and again until there is something to see.

    Raises:
        AssertionError: If there is nothing in that time.
    """
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    while clock.monotonic() < deadline:
        found = await look()
        if found:
            return found
        await clock.sleep(0.05)
    raise AssertionError(f"{what}: not seen within {seconds:g} s")


class Serving:
    """A bot that runs in a thread, with a loop of its own as in a process of its own.

    Args:
        settings: Its settings.
        clock: The time.
    """

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._ready: Future[compose.Bot] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="bot")

    def start(self) -> compose.Bot:
        """Start the bot and return it when it can be used."""
        self._thread.start()
        return self._ready.result(timeout=60)

    def stop(self) -> None:
        """Stop it in good order."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the bot does not stop"

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await compose.serve(self._settings, clock=self._clock, stop=self._stop, ready=self._ready.set_result)


@dataclass(frozen=True)
class Store:
    """The bot's store as an auditor reads it.

    Attributes:
        url: Its address.
    """

    url: str

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        async with await psycopg.AsyncConnection.connect(self.url, connect_timeout=5) as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()

    async def journal(self, rollback_id: str) -> list[str]:
        """Return the kinds of a rollback's events, in order."""
        query = "SELECT kind FROM journal WHERE rollback_id = %s ORDER BY seq"
        return [kind for (kind,) in await self.rows(query, rollback_id)]

    async def rollbacks(self) -> list[str]:
        """Return the ids of all rollbacks."""
        return [name for (name,) in await self.rows("SELECT id FROM rollback ORDER BY number")]

    async def audit(self, what: str) -> list[str]:
        """Return what the audit says about one kind of fact."""
        query = "SELECT why FROM audit WHERE what = %s ORDER BY number"
        return [why for (why,) in await self.rows(query, what)]


@dataclass(frozen=True)
class Served:
    """A bot that is ready, and its people.

    Attributes:
        bot: The bot.
        store: Its store.
        people: Who is signed in, by user id.
        slack: Delivers signed requests to the bot, as the chat does.
    """

    bot: compose.Bot
    store: Store
    people: Mapping[str, Person]
    slack: BotEndpoint

    def sign_in(self, user: str) -> str:
        """Return the link by which a person signs in."""
        return self.seat.sign_in(user)

    @property
    def seat(self) -> ConsoleSeat:
        """The console's seat."""
        assert self.bot.seat is not None
        return self.bot.seat


@dataclass(frozen=True)
class Person:
    """Somebody at the console.

    Attributes:
        id: User id.
        console: The console's client.
    """

    id: str
    console: ConsoleClient

    async def types(self, command: str) -> str:
        """Type a command and return what the bot answers for this person's eyes only."""
        return await self.hears(lambda: self.console.command(CHANNEL, command))

    async def clicks(self, card: Mapping[str, Any], action: str) -> str:
        """Click a button and return what the bot answers for this person's eyes only."""
        return await self.hears(lambda: self.console.click(CHANNEL, card, action))

    async def hears(self, act: Callable[[], Awaitable[Any]]) -> str:
        """Do something and return the first answer that only this person sees."""
        before = {answer["ts"] for answer in await self._answers()}
        await act()

        async def fresh() -> str | None:
            found = [answer for answer in await self._answers() if answer["ts"] not in before]
            return words_of(found[0]) if found else None

        return await eventually(fresh, what=f"an answer to {self.id}")

    async def card(self, rollback_id: str, *, says: str, seconds: float = 20.0) -> Json:
        """Return the card of a rollback as soon as it says something."""

        async def look() -> Json | None:
            for message in await self.console.messages(CHANNEL):
                if f"({rollback_id})" in message.get("text", "") and says in words_of(message):
                    return message
            return None

        return await eventually(look, seconds=seconds, what=f"{says!r} on the card of {rollback_id}")

    async def thread(self, card: Mapping[str, Any]) -> str:
        """Return all that is said in the thread of a card."""
        messages = await self.console.messages(CHANNEL)
        return "\n".join(words_of(each) for each in messages if each.get("thread_ts") == card["ts"])

    async def direct(self, *, says: str) -> str:
        """Return the direct message to this person that says something, as soon as it is there."""
        channels = (await self.console.me())["channels"]
        own = next(channel["id"] for channel in channels if channel["kind"] == "dm")

        async def look() -> str | None:
            found = [words_of(message) for message in await self.console.messages(own)]
            return next((each for each in found if says in each), None)

        return await eventually(look, what=f"{says!r} in a direct message to {self.id}")

    async def _answers(self) -> list[Json]:
        found: list[Json] = (await self.console.state(CHANNEL))["ephemerals"]
        return found


def words_of(message: Mapping[str, Any]) -> str:
    """Return every word of a message: its blocks' texts as they are read on the page, else its text."""
    blocks = message.get("blocks")
    return "\n".join("".join(line) for line in _lines(blocks)) if blocks else str(message.get("text", ""))


def _lines(node: Any) -> Iterator[list[str]]:
    """Yield the lines of blocks: each holder of texts is one."""
    if isinstance(node, list):
        if node and all(isinstance(each, dict) and "elements" not in each and _word(each) for each in node):
            yield [_word(each) for each in node]
            return
        for each in node:
            yield from _lines(each)
    elif isinstance(node, dict):
        if isinstance(node.get("text"), str):
            yield [node["text"]]
        for name, each in node.items():
            if isinstance(each, dict | list) and name != "metadata":
                yield from _lines(each)
            elif name == "title" and isinstance(each, str):
                yield [each]


def _word(element: Mapping[str, Any]) -> str:
    if element.get("type") == "user":
        return f"<@{element['user_id']}>"
    if element.get("type") == "channel":
        return f"<#{element['channel_id']}>"
    found = element.get("text") or element.get("url") or ""
    return found if isinstance(found, str) else ""


@asynccontextmanager
async def served(
    production: Production, *, name: str = "bot", clock: Clock, **settings: Any
) -> AsyncIterator[Served]:
    """Run a bot on a production and sign everybody in."""
    data = production.folder / name
    chosen = Settings(
        data_dir=data,
        inventory=production.files.inventory,
        policy=production.files.policy,
        plans=production.files.plans,
        console_port=0,
        **settings,
    )
    serving = Serving(chosen, clock=clock)
    bot = await asyncio.to_thread(serving.start)
    try:
        seat = bot.seat
        assert seat is not None
        slack = BotEndpoint(f"{seat.url}/slack/events", signing_secret=seat.settings.signing_secret, clock=clock)
        await slack.start()
        try:
            async with aiohttp.ClientSession() as session:
                people = {
                    user: Person(user, ConsoleClient(seat.url, token, session))
                    for user, token in seat.tokens.items()
                }
                yield Served(bot, Store(_store_url(chosen, data)), people, slack)
        finally:
            await slack.close()
    finally:
        await asyncio.to_thread(serving.stop)


def _store_url(settings: Settings, data: Path) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    password = (data / "postgres" / "password").read_text(encoding="utf-8").strip()
    port = (data / "postgres" / "port").read_text(encoding="utf-8").strip()
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/rollback"


def button(message: Mapping[str, Any], action: str) -> Json | None:
    """Return a button of a message."""
    elements = [each for block in message.get("blocks", []) for each in block.get("elements", [])]
    return next((each for each in elements if each.get("action_id") == action), None)


def may_be_approved(message: Mapping[str, Any]) -> bool:
    """Return whether a card offers to approve."""
    return button(message, ids.APPROVE) is not None
