"""What the benchmarks start, and end again: PostgreSQL, the bot, the plain tools, all on loopback."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psycopg
from aiohttp import web
from psycopg import sql
from rich.console import Console

from bot.demo.bot_process import BotProcess
from bot.domain.ports import Clock
from bot.main.chat import free_port
from bot.main.listening import listening
from handlers.console import ConsoleClient
from storage.embedded import EmbeddedPostgres, Server
from tests.bench.site import write_site

_BOT = Path(__file__).with_name("bench_bot.py")
_PLAIN = Path(__file__).with_name("plain_server.py")
_START_SECONDS = 20.0
_POLL = 0.02
_PAGE = """# TYPE http_requests_total counter
http_requests_total{status="200"} 1000
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.1"} 1000
http_request_duration_seconds_bucket{le="+Inf"} 1000
"""


@dataclass(frozen=True)
class Workshop:
    """What all benchmarks share.

    Attributes:
        folder: For everything that is written; removed at the end.
        server: The PostgreSQL that holds the bot's store, set up as the bot sets up its own.
        clock: The time.
        out: Takes the progress.
    """

    folder: Path
    server: Server
    clock: Clock
    out: Console

    def say(self, words: str) -> None:
        """Print a line of progress."""
        self.out.print(f"  [dim]{words}[/]", highlight=False)

    async def database(self, name: str) -> str:
        """Create a database and return its address, password included."""
        async with await psycopg.AsyncConnection.connect(
            self.server.url("postgres"), autocommit=True
        ) as connection:
            await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.server.url(name)


@dataclass(frozen=True)
class BenchBot:
    """The bot as a process of its own, and who speaks to it.

    Attributes:
        url: Where it listens.
        signing_secret: What requests to it are signed with.
        people: The console's clients by user id.
        session: An HTTP session without a limit of connections.
        calls: What its actuators noted.
        store: The address of its store.
        process: The process.
    """

    url: str
    signing_secret: str = field(repr=False)
    people: dict[str, ConsoleClient]
    session: aiohttp.ClientSession
    calls: Calls
    store: str = field(repr=False)
    process: BotProcess


class Calls:
    """Reads a growing ``calls.log``.

    Args:
        path: The file.
        clock: The time.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._read = 0
        self._seen: dict[tuple[str, str, str], float] = {}

    def at(self, word: str, rollback: str, step: str) -> float | None:
        """Return when a call began or ended, in seconds of the monotonic clock; None if it has not yet."""
        self._follow()
        return self._seen.get((word, rollback, step))

    async def wait(self, word: str, rollback: str, step: str, *, seconds: float = 20.0) -> float:
        """Return when a call began or ended, as soon as it has.

        Raises:
            TimeoutError: It did not in time.
        """
        deadline = self._clock.monotonic() + seconds
        while self._clock.monotonic() < deadline:
            found = self.at(word, rollback, step)
            if found is not None:
                return found
            await self._clock.sleep(_POLL)
        raise TimeoutError(f"{rollback} {step} did not {word} within {seconds:g} s")

    def _follow(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._read)
            fresh = stream.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode().splitlines():
            stamp, word, rollback, step = line.split()
            self._seen[word, rollback, step] = int(stamp) / 1e9


@asynccontextmanager
async def workshop(clock: Clock, out: Console) -> AsyncIterator[Workshop]:
    """Yield the workshop; everything is stopped and removed at the end."""
    folder = _folder_for_all()
    try:
        async with EmbeddedPostgres(folder / "store", clock=clock) as server:
            yield Workshop(folder=folder, server=server, clock=clock, out=out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def bench_bot(shop: Workshop, name: str, *, changes: int, steps: int) -> AsyncIterator[BenchBot]:
    """Yield a running bot with that many changes of that many steps; it is stopped at the end."""
    folder = _new_folder(shop, name)
    store = await shop.database(f"bot_{name}")
    _secret_file(folder / "store-url", store)
    async with metrics_page() as metrics_url, _session() as session:
        files = write_site(
            folder / "site", changes=changes, steps=steps, metrics_url=metrics_url, now=shop.clock.now()
        )
        process = BotProcess(
            folder,
            files,
            port=free_port("127.0.0.1", 0),
            clock=shop.clock,
            on_death=lambda _code: None,
            command=(sys.executable, str(_BOT), str(folder)),
        )
        await process.start()
        try:
            tokens = await process.ready(session)
            await appears(folder / "door.json", shop.clock)
            door = json.loads((folder / "door.json").read_text(encoding="utf-8"))
            yield BenchBot(
                url=door["url"],
                signing_secret=door["signing_secret"],
                people={user: ConsoleClient(door["url"], token, session) for user, token in tokens.items()},
                session=session,
                calls=Calls(folder / "calls.log", clock=shop.clock),
                store=store,
                process=process,
            )
        finally:
            await process.stop()


@asynccontextmanager
async def plain_server(shop: Workshop, name: str, *, secret: str) -> AsyncIterator[tuple[str, Calls]]:
    """Yield the address of the plain tools and what their listener noted."""
    folder = _new_folder(shop, f"plain-{name}")
    _secret_file(folder / "store-url", await shop.database(f"plain_{name}"))
    _secret_file(folder / "secret", secret)
    port = free_port("127.0.0.1", 0)
    process = await asyncio.create_subprocess_exec(sys.executable, str(_PLAIN), str(folder), str(port))
    try:
        await _listens(port, shop.clock)
        yield f"http://127.0.0.1:{port}", Calls(folder / "calls.log", clock=shop.clock)
    finally:
        process.terminate()
        await process.wait()


def _folder_for_all() -> Path:
    # Not below a home folder: PostgreSQL runs as an unprivileged user if the benchmarks run as root. And not in
    # /tmp, which may be memory, where nothing is really written.
    folder = Path(tempfile.mkdtemp(prefix="rollback-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    return folder


def _new_folder(shop: Workshop, name: str) -> Path:
    folder = shop.folder / name
    folder.mkdir()
    return folder


def _secret_file(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session that opens a connection for each request under way, as Slack does."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@asynccontextmanager
async def metrics_page() -> AsyncIterator[str]:
    """Yield the address of a page of metrics on which all is well."""

    async def show(_request: web.Request) -> web.Response:
        return web.Response(text=_PAGE)

    app = web.Application()
    app.add_routes([web.get("/metrics", show)])
    port = free_port("127.0.0.1", 0)
    async with listening(app, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}/metrics"


async def appears(path: Path, clock: Clock) -> None:
    """Return when a file is there.

    Raises:
        TimeoutError: It does not appear within 20 s.
    """
    deadline = clock.monotonic() + _START_SECONDS
    while not await asyncio.to_thread(path.exists):
        if clock.monotonic() > deadline:
            raise TimeoutError(f"{path} did not appear within {_START_SECONDS:g} s")
        await clock.sleep(_POLL)


async def _listens(port: int, clock: Clock) -> None:
    deadline = clock.monotonic() + _START_SECONDS
    while clock.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await clock.sleep(_POLL)
        else:
            writer.close()
            await writer.wait_closed()
            return
    raise TimeoutError(f"nobody listens on port {port} after {_START_SECONDS:g} s")
