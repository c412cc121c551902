"""One worker's hold on one rollback: its lease, its view of the journal, and its writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from bot.domain import ports
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.domain.events import AnyEvent
from bot.domain.ports import Clock, ConflictError, Lease
from bot.domain.run import Run
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Hold:
    """A lease in use: writes are fenced, survive an outage of the store, and are refused once the lease is lost.

    Args:
        runs: The journal.
        lease: The lease.
        run: The rollback as it was when the lease was taken.
        clock: The time.
        settings: Intervals.
    """

    def __init__(self, runs: ports.Runs, lease: Lease, run: Run, *, clock: Clock, settings: EngineSettings) -> None:
        self.run = run
        self.news = asyncio.Event()
        self._runs = runs
        self._lease = lease
        self._clock = clock
        self._settings = settings
        self._writing = asyncio.Lock()
        self._valid_until = clock.monotonic() + lease.valid_for.total_seconds()

    async def keep(self) -> None:
        """Renew the lease until cancelled, and notice what others wrote.

        Raises:
            LeaseLostError: If it was taken, or if it lapsed because the store could not be reached.
        """
        while True:
            await self._clock.sleep(self._settings.renew.total_seconds())
            begun = self._clock.monotonic()
            newest = await self._insist(lambda: self._runs.renew(self._lease))
            # The lease counts from before the call: the database's clock can only have started later.
            self._valid_until = begun + self._lease.valid_for.total_seconds()
            if newest > self.run.seq:
                await self.reload()

    async def reload(self) -> None:
        """Read what others wrote."""
        async with self._writing:
            self.run = await self._insist(lambda: self._runs.load(self.run.id))
        self.news.set()

    async def write(self, event: AnyEvent, *, insist: bool = False) -> bool:
        """Write an event; when the caller is cancelled meanwhile, the write is still brought to its end.

        Args:
            event: What became true, or what was decided upon the journal as this worker knows it.
            insist: Whether it is true whatever others wrote meanwhile (the outcome of a step). Otherwise it is not
                written when the journal moved on, and the caller decides anew.

        Returns:
            Whether it was written.

        Raises:
            LeaseLostError: If the lease is no longer ours; nothing was written.
            ValueError: If the lifecycle does not permit the event.
        """
        writing = asyncio.ensure_future(self._write(event, insist=insist))  # noqa: TID251 - awaited right here
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            if not writing.cancelled() and writing.exception():
                _log.warning("%s: %s could not be written before the end", self.run.id, event.kind)
            raise

    async def give_back(self, *, wake_at: datetime | None) -> bool:
        """Give the lease back if nothing came in since; else read the news and keep it."""
        given = await self._insist(lambda: self._runs.release(self._lease, seen=self.run.seq, wake_at=wake_at))
        if not given:
            await self.reload()
        return given

    async def _write(self, event: AnyEvent, *, insist: bool) -> bool:
        async with self._writing:
            written = False
            while not written:
                before = self.run
                try:
                    self.run = await self._insist(partial(self._runs.append, before, event, lease=self._lease))
                    written = True
                except ConflictError:
                    self.run = await self._insist(partial(self._runs.load, before.id))
                    # An earlier try may have been committed, and only its answer lost with the connection.
                    written = event in self.run.history[before.seq :]
                    if not written and not insist:
                        break
        self.news.set()
        return written

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except StoreUnavailableError as error:
                if self._clock.monotonic() >= self._valid_until:
                    raise LeaseLostError(f"{self.run.id}: the store was away for longer than the lease") from error
                _log.warning("%s: the store cannot be reached; waiting (%s)", self.run.id, error)
                await self._clock.sleep(self._settings.retry_store.total_seconds())
