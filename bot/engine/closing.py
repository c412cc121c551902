"""The records of one rollback under one lease: the incident beside the first steps, the rest at the end."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from bot.domain import events, ports, records
from bot.domain.errors import LeaseLostError
from bot.domain.run import Run
from bot.engine import outside
from bot.engine.books import Books
from bot.engine.journal import Hold, always, unchanged
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
_RETRY = timedelta(seconds=5)


class Closing:
    """Brings the records and what the journal knows of them in line.

    No fault of a record system stops a step or ends the rollback: what could not be written is written later.

    Args:
        hold: The lease and the journal.
        books: The records.
        clock: The time.
        settings: Timeouts.
    """

    def __init__(self, hold: Hold, *, books: Books, clock: ports.Clock, settings: EngineSettings) -> None:
        self._hold = hold
        self._books = books
        self._clock = clock
        self._settings = settings
        self._incident = asyncio.Lock()
        self.opening = False

    def open_beside(self, group: asyncio.TaskGroup) -> None:
        """Open the incident beside the steps; `opening` says how long that needs the lease."""
        self.opening = True
        group.create_task(self._try_to_open())

    async def close(self, run: Run) -> bool:
        """Write the next of what is missing; when that cannot be done now, come back later.

        Returns:
            Whether the lease was given back.
        """
        try:
            await self._next(run)
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a record system raises, it is asked again
            self._tell(error)
            return await self._hold.give_back(seen=run.seq, wake_at=self._clock.now() + _RETRY)
        return False

    async def _next(self, run: Run) -> None:
        if reported := run.unfiled_cause:
            call = self._books.file_cause(run, reported)
            number = await outside.call(call, limit=self._settings.records_timeout)
            filed = events.CauseFiled(
                at=self._clock.now(), who=self._settings.owner, why=reported.why, incident=number
            )
            await self._hold.write(filed, still=always)
        elif run.last(events.IncidentOpened) is None:
            await self._open()
        elif run.last(events.ReviewScheduled) is None:
            end = run.completed_at or run.history[-1].at
            review = records.review_time(end, working_days=run.plan.review_after_days)
            why = f"{run.plan.review_after_days} working days after the rollback"
            scheduled = events.ReviewScheduled(
                at=self._clock.now(), who=self._settings.owner, why=why, review_at=review
            )
            await self._hold.write(scheduled, still=unchanged(run))
        else:
            numbers = await outside.call(self._books.close(run), limit=self._settings.records_timeout)
            closed = events.Closed(
                at=self._clock.now(),
                who=self._settings.owner,
                why="the records are written and linked",
                incident=numbers.incident,
                problem=numbers.problem,
            )
            await self._hold.write(closed, still=unchanged(run))

    async def _try_to_open(self) -> None:
        try:
            await self._open()
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - made good when the records are closed
            self._tell(error)
        finally:
            self.opening = False
            self._hold.news.set()

    async def _open(self) -> None:
        async with self._incident:
            run = self._hold.run
            if run.last(events.IncidentOpened):
                return
            number = await outside.call(self._books.open(run), limit=self._settings.records_timeout)
            why = f"the deployment of {run.plan.change} degraded {run.plan.service}"
            opened = events.IncidentOpened(at=self._clock.now(), who=self._settings.owner, why=why, incident=number)
            await self._hold.write(opened, still=always)

    def _tell(self, error: Exception) -> None:
        words = str(error) or type(error).__name__
        _log.warning("%s: the records could not be written, trying again: %s", self._hold.run.id, words)
