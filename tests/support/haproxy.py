"""Real HAProxy between real clients and two sides, blue and green, that say who they are."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web

from tests.support.pgserver import free_port

T = TypeVar("T", bound=Callable[..., Any])
PROGRAM = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_REQUIRED = os.environ.get("ROLLBACK_REAL_PARTS") == "require" or "CI" in os.environ
real_haproxy = [
    pytest.mark.real,
    pytest.mark.skipif(
        PROGRAM is None and not _REQUIRED,
        reason="no haproxy here; install it, or set ROLLBACK_REAL_PARTS=require to fail instead",
    ),
]
"""Marks of a test module that needs HAProxy."""


def needs_haproxy(test: T) -> T:
    """Mark one test that needs HAProxy."""
    for mark in real_haproxy:
        test = mark(test)
    return test


COOKIE = "cookie SIDE insert indirect nocache"
_CONFIGURATION = """
global
  stats socket {socket} mode 600 level admin
  stats socket {folder}/user.sock mode 600 level user
  stats socket ipv4@127.0.0.1:{tcp} level admin
  server-state-file {state}
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  timeout check 5s
  load-server-state-from-file {load}
frontend front
  bind 127.0.0.1:{port}
  default_backend payments
backend payments
  balance {balance}
  {persistence}
  option httpchk GET /health
  default-server check inter 100 fall 1 rise 1
{servers}
"""


@dataclass
class Side:
    """One side of a blue-green service.

    Attributes:
        name: ``blue`` or ``green``.
        port: Where it listens.
        healthy: What its health page says.
        failing: Whether it answers everything else with 500.
        served: Requests that it answered, health checks aside.
        arrived: Whether a request is held.
        over: Ends the requests that are held.
    """

    name: str
    port: int
    healthy: bool = True
    failing: bool = False
    served: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def health(self, _request: web.Request) -> web.Response:
        """Answer a health check."""
        status = "healthy" if self.healthy else "degraded"
        return web.json_response({"status": status}, status=200 if self.healthy else 503)

    async def handle(self, _request: web.Request) -> web.Response:
        """Answer a client."""
        self.served += 1
        return web.Response(text=self.name, status=500 if self.failing else 200)

    async def hold(self, _request: web.Request) -> web.Response:
        """Answer when the test is over."""
        self.arrived.set()
        await self.over.wait()
        return web.Response(text=self.name)


@asynccontextmanager
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    """Give blue and green on free ports."""
    both = (Side("blue", free_port()), Side("green", free_port()))
    runners = []
    for side in both:
        app = web.Application()
        app.router.add_get("/health", side.health)
        app.router.add_get("/", side.handle)
        app.router.add_get("/hold", side.hold)
        runners.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", side.port).start()
    try:
        yield both
    finally:
        for side in both:
            side.over.set()
        for runner in runners:
            await runner.cleanup()


@dataclass
class Haproxy:
    """A running HAProxy in front of blue and green, as systemd runs it: a master and its worker.

    Attributes:
        folder: Its own.
        sides: Blue and green.
        weights: In the configuration.
        load: From where a reload takes the servers' state: ``global`` or ``none``.
        balance: The algorithm.
        persistence: Lines that make clients stick.
        port: Where clients connect.
        tcp: The port of the runtime API.
    """

    folder: Path
    sides: Sequence[Side]
    weights: dict[str, int] = field(default_factory=lambda: {"blue": 100, "green": 0})
    load: str = "global"
    balance: str = "roundrobin"
    persistence: str = ""
    port: int = field(default_factory=free_port)
    tcp: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The runtime socket of level admin."""
        return self.folder / "admin.sock"

    @property
    def state(self) -> Path:
        """The state file."""
        return self.folder / "state" / "global"

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "haproxy.cfg"

    def write(self) -> None:
        """Write the configuration."""
        self.state.parent.mkdir(parents=True, exist_ok=True)
        servers = "\n".join(
            f"  server {s.name} 127.0.0.1:{s.port} weight {self.weights[s.name]} cookie {s.name}"
            for s in self.sides
        )
        values = {"socket": self.socket, "state": self.state, "servers": servers}
        text = _CONFIGURATION.format(**{**vars(self), **values})
        self.config.write_text(text, encoding="utf-8")

    async def start(self) -> None:
        """Start it and wait until the sides have been looked at."""
        assert PROGRAM is not None, "haproxy is required here, and there is none"
        self.write()
        self._spawn(PROGRAM)
        await self.until(lambda text: "L7OK" in text, "show stat payments 4 -1")

    def _spawn(self, program: str) -> None:
        argv = [program, "-W", "-db", "-f", str(self.config)]
        with (self.folder / "haproxy.log").open("wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def reload(self) -> None:
        """Reload the configuration, as ``systemctl reload haproxy`` does."""
        assert self.process is not None
        before = await self.pid()
        for _ in range(20):
            # A master that is still starting drops the signal.
            self.process.send_signal(signal.SIGUSR2)
            for _ in range(50):
                await asyncio.sleep(0.01)  # noqa: TID251 - HAProxy tells nobody when it is ready
                with suppress(OSError, StopIteration):
                    if await self.pid() != before:
                        return
        pytest.fail("HAProxy was not reloaded")

    async def pid(self) -> int:
        """Return the id of the worker that answers."""
        lines = (await self.ask("show info")).splitlines()
        return int(next(line.partition(":")[2] for line in lines if line.startswith("Pid:")))

    def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=10)

    async def ask(self, line: str) -> str:
        """Speak to the runtime API without the code under test."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        writer.write(f"{line}\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return answer

    async def until(self, true: Any, line: str) -> None:
        """Wait until an answer of the runtime API is as wanted, which must be soon."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            assert self.process is None or self.process.poll() is None, (self.folder / "haproxy.log").read_text()
            with suppress(OSError):
                if true(await self.ask(line)):
                    return
            await asyncio.sleep(0.01)  # noqa: TID251 - HAProxy tells nobody when it is ready
        pytest.fail(f"HAProxy did not become ready: {(self.folder / 'haproxy.log').read_text()}")

    async def weight(self, side: str) -> int:
        """Return the weight that is set."""
        return int((await self.ask(f"get weight payments/{side}")).split()[0])

    async def requests(self, count: int, *, cookies: dict[str, str] | None = None) -> Counter[str]:
        """Send requests as new clients do, and return who answered how often; an error by its status."""
        found: Counter[str] = Counter()
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, cookies=cookies) as session:
            for _ in range(count):
                async with session.get(f"http://127.0.0.1:{self.port}/") as answer:
                    found[await answer.text() if answer.status == 200 else str(answer.status)] += 1
        return found

    @asynccontextmanager
    async def held(self, side: Side) -> AsyncIterator[asyncio.Task[str]]:
        """Keep a request open at a side while the block runs; it ends with the answer, or with the error's name."""
        url = f"http://127.0.0.1:{self.port}/hold"

        async def ask() -> str:
            try:
                async with aiohttp.ClientSession() as session, session.get(url) as answer:
                    return await answer.text() if answer.status == 200 else str(answer.status)
            except aiohttp.ClientError as error:
                return type(error).__name__

        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask())
            await side.arrived.wait()
            yield asking

    def target(self, **more: Any) -> dict[str, Any]:
        """Return the balancer as the inventory names it, by its socket on this machine."""
        own = {"socket": str(self.socket), "state_file": str(self.state), "config": str(self.config)}
        return {"service": "payments", "flavour": "haproxy", **own, **more}


@asynccontextmanager
async def balancer(folder: Path, pair: Sequence[Side], **how: Any) -> AsyncIterator[Haproxy]:
    """Give a running HAProxy in front of the sides."""
    running = Haproxy(folder, pair, **how)
    try:
        await running.start()
        yield running
    finally:
        running.stop()
