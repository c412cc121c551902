"""One worker's hold on one rollback: its lease, its view of the journal, and its writes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from bot.domain import ports
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.domain.events import AnyEvent
from bot.domain.ports import Clock, ConflictError, Lease
from bot.domain.run import Run
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
T = TypeVar("T")

Still = Callable[[Run], bool]
"""Whether an event is still to be written, asked of the journal that it would follow."""


def always(_run: Run) -> bool:
    """The event is true whatever others wrote meanwhile: the outcome of a step."""
    return True


def unchanged(since: Run) -> Still:
    """The event was decided upon exactly this journal."""
    return lambda run: run.seq == since.seq


class Hold:
    """A lease in use: writes are fenced, survive an outage of the store, and are refused once the lease is lost.

    Args:
        runs: The journal.
        lease: The lease.
        run: The rollback as it was when the lease was taken.
        asked_at: Monotonic time before the lease was asked for: the database's clock can only have started later.
        clock: The time.
        settings: Intervals.
    """

    def __init__(
        self,
        runs: ports.Runs,
        lease: Lease,
        run: Run,
        *,
        asked_at: float,
        clock: Clock,
        settings: EngineSettings,
    ) -> None:
        self.run = run
        self.news = asyncio.Event()
        self._runs = runs
        self._lease = lease
        self._clock = clock
        self._settings = settings
        self._writing = asyncio.Lock()
        self._leasing = asyncio.Lock()
        self._returned = False
        self._valid_until = asked_at + lease.valid_for.total_seconds()

    def ensure(self) -> None:
        """Make sure that the lease cannot have lapsed yet; asked before anything outside is touched.

        Raises:
            LeaseLostError: If it may have: this process was frozen, or the store was away for too long.
        """
        if self._clock.monotonic() >= self._valid_until:
            raise LeaseLostError(f"{self.run.id}: the lease could not be renewed in time")

    async def keep(self) -> None:
        """Renew the lease until cancelled, and notice what others wrote.

        Raises:
            ExceptionGroup: Of a LeaseLostError, if it was taken, or if it lapsed because the store could not be
                reached or did not answer.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._renew())

    async def _watch(self) -> None:
        """Notice that the lease ran out even while a call to the store hangs."""
        while True:
            self.ensure()
            await self._clock.sleep(self._valid_until - self._clock.monotonic())

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(self._settings.renew.total_seconds())
            async with self._leasing:
                if self._returned:
                    return
                newest = await self._insist(self._renewed)
            if newest > self.run.seq:
                await self.reload()

    async def _renewed(self) -> int:
        asked_at = self._clock.monotonic()
        newest = await self._runs.renew(self._lease)
        self._valid_until = asked_at + self._lease.valid_for.total_seconds()
        return newest

    async def reload(self) -> None:
        """Read what others wrote."""
        async with self._writing:
            self.run = await self._insist(partial(self._runs.load, self.run.id))
        self.news.set()

    async def write(self, event: AnyEvent, *, still: Still) -> bool:
        """Write an event; when the caller is cancelled meanwhile, the write is still brought to its end.

        Args:
            event: What became true, or what was decided.
            still: Whether it still is to be written, upon the journal as it stands when its turn has come.

        Returns:
            Whether it was written. If not, the caller decides anew.

        Raises:
            LeaseLostError: If the lease is no longer ours; nothing was written.
            ValueError: If the lifecycle does not permit the event.
        """
        writing = asyncio.ensure_future(self._write(event, still))  # noqa: TID251 - awaited right here
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await ended(writing)
            if writing.exception():
                _log.warning("%s: %s could not be written before the end", self.run.id, event.kind)
            raise

    async def give_back(self, *, seen: int, wake_at: datetime | None, zone: str | None = None) -> bool:
        """Give the lease back if nothing came in since; else read the news and keep it.

        Args:
            seen: Number of the newest event that was acted upon.
            wake_at: When a worker must look again; None: when somebody acts.
            zone: The network zone whose worker is to go on; None: as it was.
        """
        async with self._leasing:
            self._returned = await self._insist(
                partial(self._runs.release, self._lease, seen=seen, wake_at=wake_at, zone=zone)
            )
        if not self._returned:
            await self.reload()
        return self._returned

    async def abandon(self) -> None:
        """Give the lease back on the way out, whatever is left to do, so that another worker goes on at once."""
        if self._returned:
            return
        try:
            await self._runs.release(self._lease, seen=sys.maxsize, wake_at=self._clock.now())
        except (StoreUnavailableError, LeaseLostError) as error:
            _log.warning("%s: the lease could not be given back, it lapses by itself: %s", self.run.id, error)

    async def _write(self, event: AnyEvent, still: Still) -> bool:
        written = False
        async with self._writing:
            while not written and still(self.run):
                written = await self._append(event)
        self.news.set()
        return written

    async def _append(self, event: AnyEvent) -> bool:
        before = self.run
        try:
            self.run = await self._insist(partial(self._runs.append, before, event, lease=self._lease))
        except ConflictError:
            self.run = await self._insist(partial(self._runs.load, before.id))
            # An earlier try may have been committed, and only its answer lost with the connection.
            return event in self.run.history[before.seq :]
        return True

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except StoreUnavailableError as error:
                _log.warning("%s: the store cannot be reached; waiting (%s)", self.run.id, error)
                self.ensure()
                await self._clock.sleep(self._settings.retry_store.total_seconds())


async def ended(task: asyncio.Future[Any]) -> None:
    """Wait for a task's end, however often the waiting is cancelled."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
