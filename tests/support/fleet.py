"""Bots and workers as processes of their own on one store, with a console standing in for Slack."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from bot.main.clock import SystemClock
from handlers.console import Console, ConsoleChannel, ConsoleClient, ConsoleUser
from handlers.slack import http as slack_http
from tests.support.console import MemoryStore, serve
from tests.support.pgserver import free_port
from tests.support.production import MANAGER, OPERATOR, PEOPLE, environment
from tests.support.serving import CHANNEL, Person, Store, eventually
from tests.support.shops import Face, Shop, Site

CLOCK = SystemClock()
Json = dict[str, Any]
BOT_TOKEN = "xoxb-fleet"
SECRET = "0123456789abcdef0123456789abcdef"


class Member:
    """A process of the product: `rollback serve` with a role.

    Args:
        name: For its log.
        folder: Where it is started; holds the site's files and its log.
        arguments: What follows `rollback serve`.
        settings: Its environment variables.
        session: For its probes.
    """

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        arguments: Sequence[str],
        settings: Mapping[str, str],
        session: aiohttp.ClientSession,
    ) -> None:
        self.name = name
        self.health_port = free_port()
        self.http_port = free_port()
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._arguments = arguments
        self._settings = settings
        self._session = session
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """The process id of the process that was started last, 0 without one."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process."""
        own = {"ROLLBACK_HEALTH_PORT": str(self.health_port), "ROLLBACK_HTTP_PORT": str(self.http_port)}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bot", "serve", *self._arguments),
                cwd=self._folder,
                env=environment(**self._settings, **own),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def probe(self, path: str) -> tuple[int, Json]:
        """Return what a probe answers; 0 if nobody answers."""
        try:
            url, limit = f"http://127.0.0.1:{self.health_port}{path}", aiohttp.ClientTimeout(total=2)
            async with self._session.get(url, timeout=limit) as answer:
                return answer.status, await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return 0, {}

    async def ready(self) -> float:
        """Return the monotonic time at which it first said that it is ready."""

        async def look() -> float | None:
            assert self.alive, self.log.read_text()
            status, _ = await self.probe("/ready")
            return CLOCK.monotonic() if status == web.HTTPOk.status_code else None

        return await eventually(look, seconds=90, what=f"readiness of {self.name}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self, seconds: float) -> int:
        """Return the exit code, which must come in that time."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def end(self) -> None:
        """End it, whatever it does."""
        if self.alive:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            self.send(signal.SIGKILL)
            await self.ended(10)


@dataclass
class Balancer:
    """Stands before the bots, as a load balancer does, and delivers to the one that a test wants.

    Attributes:
        to: The address that comes next.
    """

    session: aiohttp.ClientSession
    to: str = ""

    def app(self) -> web.Application:
        """Return its application."""
        app = web.Application()
        app.router.add_post(slack_http.PATH, self._pass_on)
        return app

    async def _pass_on(self, request: web.Request) -> web.Response:
        names = ("Content-Type", "X-Slack-Request-Timestamp", "X-Slack-Signature")
        headers = {name: request.headers[name] for name in names}
        try:
            async with self.session.post(
                self.to + slack_http.PATH, data=await request.read(), headers=headers
            ) as answer:
                body = await answer.read()
                return web.Response(status=answer.status, body=body, content_type=answer.content_type)
        except aiohttp.ClientConnectionError:
            return web.Response(status=web.HTTPBadGateway.status_code)


@dataclass(frozen=True)
class Fleet:
    """The processes, and the people who use them.

    Attributes:
        members: The processes by name.
        people: Who is signed in at the console, by user id.
        balancer: Decides which bot hears the people.
        store: The store as an auditor reads it.
        shops: The services, by name.
    """

    members: Mapping[str, Member]
    people: Mapping[str, Person]
    balancer: Balancer
    store: Store
    shops: Mapping[str, Shop]

    @property
    def operator(self) -> Person:
        """Who asks."""
        return self.people[OPERATOR]

    @property
    def manager(self) -> Person:
        """Who approves."""
        return self.people[MANAGER]

    def hears(self, bot: str) -> None:
        """Let the next deliveries reach this bot."""
        self.balancer.to = f"http://127.0.0.1:{self.members[bot].http_port}"

    def change(self, shop: Shop) -> str:
        """Return the change whose plan is about a service."""
        return f"CHG{1000 + list(self.shops).index(shop.name)}"

    async def complete(self, *, without: str) -> None:
        """Start whoever does not run, and return when all are ready; one is left as it is."""
        members = [member for name, member in self.members.items() if name != without]
        for member in members:
            if not member.alive:
                await member.start()
        await asyncio.gather(*(member.ready() for member in members))

    async def actor(self, rollback_id: str, step: str) -> Member:
        """Return the process that started the newest attempt of a step, by its name in the journal."""
        rows = await self.store.rows(
            "SELECT body ->> 'who' FROM journal WHERE rollback_id = %s AND kind = 'step_started' "
            "AND body ->> 'step' = %s ORDER BY seq DESC LIMIT 1",
            *(rollback_id, step),
        )
        pid = int(rows[0][0].split(":")[2])
        return next(each for each in self.members.values() if each.pid == pid)


def lives(pid: int) -> bool:
    """Return whether a process runs; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _answers(pid) and not Path("/proc/self/stat").exists()
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


@asynccontextmanager
async def fleet(
    folder: Path, *, store_url: str, shops: Mapping[str, str], members: Mapping[str, Sequence[str]], **settings: str
) -> AsyncIterator[Fleet]:
    """Run a fleet; whatever happens, every process is ended.

    Args:
        folder: An empty folder.
        store_url: An empty database.
        shops: The zone of each service by name.
        members: The arguments of `rollback serve` by name; those of role bot get Slack's tokens.
        settings: More environment variables of every process.
    """
    async with aiohttp.ClientSession() as session, serve(Face().app()) as face:
        site = Site(folder, face)
        made = {name: site.shop(name, zone=zone) for name, zone in shops.items()}
        site.write(list(made.values()))
        balancer = Balancer(session)
        async with serve(balancer.app()) as door, _console(door, session) as (url, people):
            common = {"ROLLBACK_DATABASE_URL": store_url, "ROLLBACK_DATA_DIR": str(folder / "data"), **settings}
            slack = {
                "SLACK_BOT_TOKEN": BOT_TOKEN,
                "SLACK_SIGNING_SECRET": SECRET,
                "ROLLBACK_SLACK_API_URL": f"{url}/slack-api",
                "ROLLBACK_OPS_CHANNEL": CHANNEL,
            }
            processes = {
                name: Member(
                    name,
                    folder=folder,
                    arguments=arguments,
                    settings={**common, **(slack if "bot" in arguments else {})},
                    session=session,
                )
                for name, arguments in members.items()
            }
            try:
                yield Fleet(processes, people, balancer, Store(store_url), made)
            finally:
                for process in processes.values():
                    await process.end()


@asynccontextmanager
async def _console(door: str, session: aiohttp.ClientSession) -> AsyncIterator[tuple[str, dict[str, Person]]]:
    """Serve the console that stands in for Slack; yields its address and the people."""
    users = [
        ConsoleUser(str(person["id"]), str(person["name"]), "", SecretStr(f"token-of-{person['id']}"))
        for person in PEOPLE
    ]
    console = Console(
        team_id="T0FLEET",
        bot_user_id="U0FLEET",
        users=users,
        channels=[ConsoleChannel(CHANNEL, "ops")],
        signing_secret=SECRET,
        bot_token=BOT_TOKEN,
        events_url=door + slack_http.PATH,
        store=MemoryStore(),
        clock=CLOCK,
    )
    await console.start()
    try:
        async with serve(console.app()) as url:
            yield url, dict(_signed_in(url, users, session))
    finally:
        await console.close()


def _signed_in(
    url: str, users: Sequence[ConsoleUser], session: aiohttp.ClientSession
) -> Iterator[tuple[str, Person]]:
    for user in users:
        yield user.id, Person(user.id, ConsoleClient(url, user.token.get_secret_value(), session))
