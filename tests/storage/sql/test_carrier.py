from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import procrastinate
import pytest

from bot.domain.errors import StoreUnavailableError
from storage.carrier import ProcrastinateCarrier, make_app, run_worker
from storage.migrations import upgrade
from tests.storage.sql import samples
from tests.storage.sql.conftest import Backstage, server, url_of

CLOCK = samples.SystemClock()


@dataclass
class Handler:
    """Counts what it is given, and holds on to it while `gate` is closed."""

    begun: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    ended: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    async def __call__(self, rollback_id: str) -> None:
        """Take a rollback on."""
        self.begun.put_nowait(rollback_id)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(rollback_id)
            raise
        if rollback_id == "rb-bad":
            raise RuntimeError("the handler's fault")
        self.ended.append(rollback_id)

    async def next(self) -> str:
        """Return the next rollback that was taken on, which must be soon."""
        async with asyncio.timeout(20):
            return await self.begun.get()


@contextlib.asynccontextmanager
async def working(
    app: procrastinate.App,
    handler: Handler,
    *,
    zone: str = "default",
    concurrency: int = 4,
    grace: timedelta = timedelta(seconds=5),
) -> AsyncIterator[asyncio.Event]:
    """Run a worker, and stop it in the end."""
    stop = asyncio.Event()
    async with asyncio.timeout(40), asyncio.TaskGroup() as group:
        group.create_task(
            run_worker(
                app, zone=zone, concurrency=concurrency, handler=handler, stop=stop, clock=CLOCK, grace=grace
            )
        )
        try:
            yield stop
        finally:
            stop.set()


@pytest.fixture
async def app(store_url: str) -> AsyncIterator[procrastinate.App]:
    """The app, open."""
    app = make_app(store_url, clock=CLOCK)
    async with app.open_async():
        yield app


@pytest.fixture
def carrier(app: procrastinate.App) -> ProcrastinateCarrier:
    """The carrier under test."""
    return ProcrastinateCarrier(app)


@pytest.fixture
def handler() -> Handler:
    """A handler whose gate is closed."""
    return Handler()


async def gone(backstage: Backstage) -> None:
    """Return when no job is left in the table."""
    async with asyncio.timeout(10):
        while await backstage("SELECT id FROM procrastinate_jobs"):
            await CLOCK.sleep(0.005)


async def test_what_is_deferred_is_handled_and_leaves_nothing(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler, backstage: Backstage
) -> None:
    """A job is gone as soon as its rollback was taken on, long before the rollback ends."""
    await carrier.defer("rb-0001", "default")
    async with working(app, handler):
        assert await handler.next() == "rb-0001"
        await carrier.defer("rb-0001", "default")
        assert await handler.next() == "rb-0001"
        await gone(backstage)
        assert handler.ended == []
        handler.gate.set()
    assert handler.ended == ["rb-0001", "rb-0001"]
    assert await backstage("SELECT count(*) FROM procrastinate_events") == [(0,)]


async def test_the_start_is_fast(app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler) -> None:
    """A worker that listens takes a rollback on within a fraction of the polling interval."""
    handler.gate.set()
    async with working(app, handler):
        await carrier.defer("rb-0000", "default")
        await handler.next()
        took = []
        for number in range(1, 21):
            began = time.perf_counter()
            await carrier.defer(f"rb-{number:04d}", "default")
            assert await handler.next() == f"rb-{number:04d}"
            took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < 0.25


async def test_each_zone_has_its_workers(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler, backstage: Backstage
) -> None:
    """A worker takes what is meant for its zone and leaves the rest to the others."""
    handler.gate.set()
    await carrier.defer("rb-0001", "dmz")
    await carrier.defer("rb-0002", "default")
    async with working(app, handler):
        assert await handler.next() == "rb-0002"
    rows = await backstage("SELECT queue_name, status::text FROM procrastinate_jobs")
    assert rows == [("zone:dmz", "todo")]
    async with working(app, handler, zone="dmz"):
        assert await handler.next() == "rb-0001"


async def test_no_more_at_once_than_agreed(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler
) -> None:
    """A worker takes on so many rollbacks at once; the next one comes when one has ended."""
    for number in range(4):
        await carrier.defer(f"rb-{number}", "default")
    async with working(app, handler, concurrency=2):
        assert {await handler.next(), await handler.next()} == {"rb-0", "rb-1"}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await handler.begun.get()
        handler.gate.set()
        assert {await handler.next(), await handler.next()} == {"rb-2", "rb-3"}


async def test_a_faulty_handler_stops_nobody_else(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of one rollback is logged with its id, and the others go on."""
    handler.gate.set()
    async with working(app, handler):
        await carrier.defer("rb-bad", "default")
        assert await handler.next() == "rb-bad"
        await carrier.defer("rb-0001", "default")
        assert await handler.next() == "rb-0001"
    assert handler.ended == ["rb-0001"]
    assert "Advancing rb-bad failed" in caplog.text


async def test_stop_lets_what_runs_come_to_its_end(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler
) -> None:
    """A stopping worker takes nothing on any more and waits for what runs."""
    await carrier.defer("rb-0001", "default")
    async with working(app, handler) as stop:
        assert await handler.next() == "rb-0001"
        stop.set()
        await carrier.defer("rb-0002", "default")
        handler.gate.set()
    assert handler.ended == ["rb-0001"]
    assert handler.begun.empty()


async def test_stop_does_not_wait_for_ever(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler
) -> None:
    """What does not end in time is cancelled: the rollback's lease hands it on."""
    await carrier.defer("rb-0001", "default")
    async with working(app, handler, grace=timedelta(milliseconds=50)):
        assert await handler.next() == "rb-0001"
    assert handler.cancelled == ["rb-0001"]


async def test_a_full_worker_can_be_stopped(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler, backstage: Backstage
) -> None:
    """A job that waits for a free place does not keep a worker from stopping, nor stay in the table."""
    await carrier.defer("rb-0001", "default")
    await carrier.defer("rb-0002", "default")
    async with working(app, handler, concurrency=1, grace=timedelta(milliseconds=50)):
        assert await handler.next() == "rb-0001"
        async with asyncio.timeout(10):
            while await backstage("SELECT id FROM procrastinate_jobs WHERE status = 'todo'"):
                await CLOCK.sleep(0.005)
    assert handler.cancelled == ["rb-0001"]
    assert await backstage("SELECT id FROM procrastinate_jobs") == []


async def test_what_dead_workers_left_is_swept(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler, backstage: Backstage
) -> None:
    """Jobs that a killed worker had in hand are removed at the next start instead of piling up."""
    await backstage(
        """WITH dead AS (
            INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 day') RETURNING id
        )
        INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id)
        SELECT 'zone:default', 'advance', '{"rollback_id": "rb-0009"}', 'doing', id FROM dead"""
    )
    handler.gate.set()
    async with working(app, handler):
        await carrier.defer("rb-0001", "default")
        assert await handler.next() == "rb-0001"
        await gone(backstage)


async def test_a_listener_that_is_cut_off_listens_again(
    app: procrastinate.App, carrier: ProcrastinateCarrier, handler: Handler, backstage: Backstage
) -> None:
    """After the worker's listening connection was ended, a new one listens, and nothing is lost between."""
    handler.gate.set()
    listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%procrastinate%' AND state = 'idle'"
    async with working(app, handler):
        await carrier.defer("rb-0001", "default")
        assert await handler.next() == "rb-0001"
        async with asyncio.timeout(10):
            while not (before := await backstage(listening)):
                await CLOCK.sleep(0.005)
        await backstage("SELECT pg_terminate_backend(:pid)", pid=before[0][0])
        await carrier.defer("rb-0002", "default")
        assert await handler.next() == "rb-0002"
        async with asyncio.timeout(10):
            while not set(await backstage(listening)) - set(before):
                await CLOCK.sleep(0.005)


async def test_an_outage_of_the_store_is_survived(handler: Handler) -> None:
    """While the store is away what runs goes on, and the worker serves again after the store's return."""
    with server() as own:
        url = url_of(own, "postgres")
        await upgrade(url)
        app = make_app(url, clock=CLOCK)
        carrier = ProcrastinateCarrier(app)
        async with app.open_async(), working(app, handler):
            await carrier.defer("rb-0001", "default")
            assert await handler.next() == "rb-0001"
            own.stop()
            with pytest.raises(StoreUnavailableError, match="rb-0002 could not be asked for"):
                await carrier.defer("rb-0002", "default")
            handler.gate.set()
            own.start()
            await carrier.defer("rb-0003", "default")
            assert await handler.next() == "rb-0003"
        assert sorted(handler.ended) == ["rb-0001", "rb-0003"]
        assert handler.cancelled == []


async def test_a_worker_can_be_stopped_in_an_outage(handler: Handler) -> None:
    """A worker whose store is away stops when it is told to."""
    with server() as own:
        url = url_of(own, "postgres")
        await upgrade(url)
        app = make_app(url, clock=CLOCK)
        handler.gate.set()
        async with app.open_async(), working(app, handler):
            await ProcrastinateCarrier(app).defer("rb-0001", "default")
            assert await handler.next() == "rb-0001"
            own.stop()
