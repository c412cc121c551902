"""Carries «advance rollback R» to a worker of the right zone, by procrastinate.

A job only hands the rollback over: it ends as soon as the worker has taken it on, and what follows is governed by
the rollback's own lease and journal. So neither an outage of the store nor the end of procrastinate's worker stops
a rollback that runs, and procrastinate's lock, queueing lock, retry and stalled-job recipe are not used: a frozen
worker that wakes would free a lock that another one relies on. A job that is lost is replaced, because a rollback
that wants a worker and has none is found by `bot.domain.ports.Runs.due`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import procrastinate
from procrastinate import connector, exceptions, manager
from procrastinate.jobs import DeleteJobCondition, Job, Status

from bot.domain.clock import Clock
from bot.domain.errors import StoreUnavailableError
from storage.database import connection_string, shown

Handler = Callable[[str], Awaitable[None]]
"""Advances the rollback of that id as far as it goes, or leaves it if another worker has it."""

TASK = "advance"
_POOL_SIZE = 4
_PATIENCE_SECONDS = 3.0
"""How long a caller waits for a connection."""
_POLL_SECONDS = 2.0
"""How long a job can wait that nobody was notified of, e.g. because the listener was reconnecting."""
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 3.0
_HANDOVER_SECONDS = 1.0
"""How long a stopping worker waits for jobs that are being handed over."""

_LOG = logging.getLogger(__name__)

# What workers that died left behind. Their rollbacks are found by their leases; these rows are only litter.
_SWEEP = """
DELETE FROM procrastinate_jobs
WHERE task_name = %(task)s AND status = 'doing' AND (
    worker_id IS NULL
    OR worker_id IN (SELECT id FROM procrastinate_workers WHERE last_heartbeat < now() - interval '1 minute')
)
"""


class _Connector(procrastinate.PsycopgConnector):
    """Listens again for as long as it takes: procrastinate's worker does not notice when its listener has ended."""

    clock: Clock

    async def listen_notify(self, on_notification: connector.Notify, channels: Iterable[str]) -> None:
        names = list(channels)
        while True:
            try:
                await super().listen_notify(on_notification, names)
            except exceptions.ConnectorException as error:
                _LOG.warning("The carrier cannot listen for jobs and tries again: %s", error.__cause__ or error)
            await self.clock.sleep(_FIRST_PAUSE)


class _Jobs(manager.JobManager):
    """Bears that the end of a job cannot be written: the row is swept later, and no rollback depends on it.

    Otherwise the worker's task ends with an exception that nobody retrieves.
    """

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001 - procrastinate's
        try:
            await super().finish_job(job, status, delete_job)
        except exceptions.ConnectorException as error:
            _LOG.warning("The end of %s could not be noted: %s", job.call_string, error.__cause__ or error)


def make_app(url: str, *, clock: Clock) -> procrastinate.App:
    """Return the procrastinate app on the store; open it by ``async with app.open_async():`` before use."""
    database = _Connector(
        conninfo=connection_string(url, statement_timeout="15s", lock_timeout="5s"),
        name=f"carrier of {shown(url)}",
        min_size=1,
        max_size=_POOL_SIZE,
        timeout=_PATIENCE_SECONDS,
        # Past this the pool tries again whenever somebody asks, and not after pauses that double up to minutes.
        reconnect_timeout=1.0,
    )
    database.clock = clock
    app = procrastinate.App(connector=database)
    app.job_manager = _Jobs(database)

    @app.task(name=TASK, pass_context=True)
    async def advance(context: procrastinate.JobContext, rollback_id: str) -> None:
        await context.additional_context["worker"].take(rollback_id)

    return app


def queue_of(zone: str) -> str:
    """Return the name of a zone's queue."""
    return f"zone:{zone}"


class ProcrastinateCarrier:
    """Implements `bot.domain.ports.Carrier`."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app

    async def defer(self, rollback_id: str, zone: str) -> None:
        """Ask for a worker of the zone.

        Raises:
            StoreUnavailableError: If the store cannot be reached.
        """
        try:
            await self._app.configure_task(TASK, queue=queue_of(zone)).defer_async(rollback_id=rollback_id)
        except exceptions.ConnectorException as error:
            words = f"A worker for {rollback_id} could not be asked for: {error.__cause__ or error}"
            raise StoreUnavailableError(words) from error


@dataclass
class _Worker:
    """Takes rollbacks on, up to so many at once."""

    handler: Handler
    group: asyncio.TaskGroup
    slots: asyncio.Semaphore
    running: set[asyncio.Task[None]] = field(default_factory=set)

    async def take(self, rollback_id: str) -> None:
        await self.slots.acquire()
        task = self.group.create_task(self._handle(rollback_id), name=f"advance {rollback_id}")
        self.running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        self.slots.release()

    async def _handle(self, rollback_id: str) -> None:
        try:
            await self.handler(rollback_id)
        except Exception:  # noqa: BLE001 - one rollback's fault must not stop the others
            _LOG.exception("Advancing %s failed; it is taken up again while it wants a worker", rollback_id)


async def run_worker(
    app: procrastinate.App,
    *,
    zone: str,
    concurrency: int,
    handler: Handler,
    stop: asyncio.Event,
    clock: Clock,
    grace: timedelta = timedelta(seconds=10),
) -> None:
    """Serve a zone's queue until `stop` is set, through outages of the store.

    Args:
        app: The opened app.
        zone: The zone that this machine can reach.
        concurrency: The most rollbacks that are advanced at once.
        handler: Advances one; what it raises is logged.
        stop: Ends the service.
        clock: Paces restarts.
        grace: How long the handlers that run may take to end after `stop`, before they are cancelled.
    """
    async with asyncio.TaskGroup() as group:
        worker = _Worker(handler=handler, group=group, slots=asyncio.Semaphore(concurrency))
        await _supervise(app, zone=zone, worker=worker, stop=stop, clock=clock)
        await _wind_up(worker, clock=clock, grace=grace)


async def _supervise(
    app: procrastinate.App, *, zone: str, worker: _Worker, stop: asyncio.Event, clock: Clock
) -> None:
    pause = _FIRST_PAUSE
    while not stop.is_set():
        began = clock.monotonic()
        try:
            await _until(stop, partial(_serve, app, zone, worker))
        except exceptions.ConnectorException as error:
            _LOG.warning("The worker of zone %s lost the store: %s", zone, error.__cause__ or error)
        if clock.monotonic() - began > _LONGEST_PAUSE:
            pause = _FIRST_PAUSE
        if not stop.is_set():
            await _until(stop, partial(clock.sleep, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)


async def _serve(app: procrastinate.App, zone: str, worker: _Worker) -> None:
    await app.connector.execute_query_async(_SWEEP, task=TASK)
    await app.run_worker_async(
        queues=[queue_of(zone)],
        name=zone,
        concurrency=1,  # jobs only hand over; `worker` counts the rollbacks
        fetch_job_polling_interval=_POLL_SECONDS,
        shutdown_graceful_timeout=_HANDOVER_SECONDS,
        delete_jobs=DeleteJobCondition.ALWAYS,
        install_signal_handlers=False,
        additional_context={"worker": worker},
    )


async def _until(stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it ends or `stop` is set, then cancelling it and waiting for its end."""
    failure: list[Exception] = []

    async def run() -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the group
            failure.append(error)
        finally:
            waiter.cancel()

    async def wait() -> None:
        await stop.wait()
        runner.cancel()

    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(wait())
        runner = group.create_task(run())
    if failure:
        raise failure[0]


async def _wind_up(worker: _Worker, *, clock: Clock, grace: timedelta) -> None:
    """Let the handlers end, and cancel those that take too long; their leases hand the rollbacks on."""
    over = asyncio.Event()

    async def all_ended() -> None:
        if worker.running:
            await asyncio.wait(set(worker.running))
        over.set()

    async def time_up() -> None:
        await clock.sleep(grace.total_seconds())
        for task in set(worker.running):
            task.cancel()

    async with asyncio.TaskGroup() as group:
        group.create_task(all_ended())
        group.create_task(_until(over, time_up))
