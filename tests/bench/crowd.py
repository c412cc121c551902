"""Bots and workers on one store, and a Slack that takes everything: what the benchmarks of many rollbacks share."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from aiohttp import web

from bot.demo import scenario
from bot.demo.scenario import SiteFiles
from bot.domain.actuation import Registered, Registry
from bot.domain.lifecycle import State
from bot.domain.ports import Clock
from bot.engine.service import Actor, Service
from bot.main.listening import listening
from storage.migrations import upgrade
from tests.bench.bench_bot import Noop, NoopActuator, NoProbe
from tests.bench.site import change_number, write_site
from tests.bench.stage import Calls, Workshop, appears, metrics_page
from tests.support.pgserver import free_port
from tests.support.reception import reception

_ROOT = Path(__file__).parents[2]
_STOP_SECONDS = 30.0
_POLL = 0.2
_PATIENCE = 300.0
_SESSIONS = """
SELECT split_part(application_name, '/', -1)::int, count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'rollback-bot/%' GROUP BY 1
"""
"""Our processes sign their sessions with their process id."""


@dataclass
class Slack:
    """Takes the calls of a bot to Slack's Web API, answers as if all were well, and keeps nothing.

    Attributes:
        url: Its address.
        calls: How often each method was called.
    """

    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a call."""
        await request.read()
        method = request.match_info["method"]
        self.calls[method] += 1
        ts = f"{1_700_000_000 + next(self._numbers)}.000100"
        known = {
            "ok": True,
            "channel": {"id": "D0000BENCH"},
            "messages": [],
            "team_id": "T0BENCH",
            "user_id": "U0BOT",
        }
        posted = {"ok": True, "channel": "C0000OPS", "ts": ts}
        return web.json_response(posted if method.startswith("chat.") else known)


@dataclass
class Crowd:
    """Bots and workers on one store.

    Attributes:
        service: The use cases, as people reach them.
        pids: The processes, by name.
        store: The address of the store.
        calls: What the actuators noted.
        slack: What the bots told people.
        clock: The time.
    """

    service: Service
    pids: dict[str, int]
    store: str = field(repr=False)
    calls: Calls
    slack: Slack
    clock: Clock

    async def ask_for(self, indexes: range) -> list[str]:
        """Ask for the rollbacks of these changes, and return their ids when all of them wait for approval."""
        found = []
        for index in indexes:
            run = await self.service.request(change_number(index), Actor(scenario.OPERATOR), reason="benchmark")
            found.append(run.id)
        await self.until({State.AWAITING_AUTHORITY.value}, found)
        return found

    async def until(self, states: set[str], rollbacks: list[str]) -> None:
        """Wait until all of these rollbacks are in one of the states.

        Raises:
            TimeoutError: They were not within five minutes.
        """
        deadline = self.clock.monotonic() + _PATIENCE
        query = "SELECT count(*) FROM rollback WHERE id = ANY(%s) AND state::text = ANY(%s)"
        while self.clock.monotonic() < deadline:
            if await self.count(query, rollbacks, sorted(states)) == len(rollbacks):
                return
            await self.clock.sleep(_POLL)
        raise TimeoutError(f"not all of {len(rollbacks)} rollbacks were {' or '.join(states)} in time")

    async def count(self, query: str, *values: object) -> int:
        """Return the one number that a query of the store yields."""
        async with await psycopg.AsyncConnection.connect(self.store, autocommit=True) as connection:
            row = await (await connection.execute(query.encode(), values)).fetchone()
        return int(row[0]) if row else 0

    async def sessions(self) -> dict[str, int]:
        """Return the sessions on the server of each process, by its name."""
        async with await psycopg.AsyncConnection.connect(self.store, autocommit=True) as connection:
            rows = await (await connection.execute(_SESSIONS.encode())).fetchall()
        counts: dict[int, int] = dict(rows)
        return {name: counts.get(pid, 0) for name, pid in self.pids.items()}

    def memory(self) -> dict[str, float]:
        """Return the memory of each process in MB: its own pages, and its part of those that it shares (PSS).

        Raises:
            OSError: If the system does not tell.
        """
        return {name: _pss(pid) for name, pid in self.pids.items()}


@asynccontextmanager
async def crowd(
    shop: Workshop, name: str, *, roles: tuple[str, ...], changes: int, steps: int
) -> AsyncIterator[Crowd]:
    """Yield processes of these roles on a store of their own; they are stopped at the end.

    Args:
        shop: What all benchmarks share.
        name: Of the benchmark.
        roles: The role of each process.
        changes: Changes that can be rolled back, each on a target of its own.
        steps: Steps of each plan, one after the other.
    """
    folder = shop.folder / name
    folder.mkdir()
    store = await shop.database(f"bot_{name}")
    await upgrade(store)
    async with AsyncExitStack() as stack:
        metrics_url = await stack.enter_async_context(metrics_page())
        slack = await stack.enter_async_context(_slack())
        files = write_site(
            folder / "site", changes=changes, steps=steps, metrics_url=metrics_url, now=shop.clock.now()
        )
        service = await stack.enter_async_context(reception(store, files, registry=_registry(), clock=shop.clock))
        pids = {}
        for number, role in enumerate(roles, start=1):
            process = _running(folder, role, _environment(store, files, slack), shop.clock)
            pids[f"{role} {number}"] = await stack.enter_async_context(process)
        calls = Calls(folder / "calls.log", clock=shop.clock)
        yield Crowd(service, pids, store=store, calls=calls, slack=slack, clock=shop.clock)


def _registry() -> Registry:
    actuator = NoopActuator(-1)  # people do not act
    return Registry(Registered(Noop, actuator), Registered(NoProbe, actuator))


def _environment(store: str, files: SiteFiles, slack: Slack) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("ROLLBACK_", "SLACK_"))},
        "ROLLBACK_DATABASE_URL": store,
        "ROLLBACK_INVENTORY": str(files.inventory),
        "ROLLBACK_POLICY": str(files.policy),
        "ROLLBACK_PLANS": str(files.plans),
        "ROLLBACK_OPS_CHANNEL": "C0000OPS",
        "ROLLBACK_SLACK_API_URL": slack.url,
        "ROLLBACK_HTTP_PORT": str(free_port()),
        "SLACK_BOT_TOKEN": "xoxb-benchmark",
        "SLACK_SIGNING_SECRET": "benchmark",
    }


@asynccontextmanager
async def _running(folder: Path, role: str, environment: dict[str, str], clock: Clock) -> AsyncIterator[int]:
    """Yield the id of a process that is ready."""
    with (folder / "processes.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.crowd_process", str(folder), role),
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=_ROOT,
        )  # fmt: skip
    try:
        try:
            await appears(folder / f"ready-{process.pid}", clock)
        except TimeoutError as error:
            words = await asyncio.to_thread((folder / "processes.log").read_text, encoding="utf-8")
            raise RuntimeError(f"the {role} is not ready: {words[-2000:]}") from error
        yield process.pid
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _slack() -> AsyncIterator[Slack]:
    slack, port = Slack(), free_port()
    slack.url = f"http://127.0.0.1:{port}/api/"
    app = web.Application()
    app.add_routes([web.post("/api/{method}", slack.answer)])
    async with listening(app, "127.0.0.1", port):
        yield slack


def _pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))
