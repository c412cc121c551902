"""This process's hold on the floor: at most one process speaks in the chat at a time."""

from __future__ import annotations

import asyncio
import logging

from bot.domain.clock import Clock
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.domain.speech import Floor, Turn
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)


class Podium:
    """The floor in the hands of this process, from taking it until it is lost or given back.

    Args:
        floor: Who may speak.
        turn: The right to speak.
        asked_at: Monotonic time before the floor was asked for: the database's clock can only have started later.
        taken_at: Monotonic time when the answer had come.
        clock: The time.
        settings: Intervals.
    """

    def __init__(
        self,
        floor: Floor,
        turn: Turn,
        *,
        asked_at: float,
        taken_at: float,
        clock: Clock,
        settings: EngineSettings,
    ) -> None:
        self.turn = turn
        self._floor = floor
        self._taken_at = taken_at
        self._valid_until = asked_at + turn.valid_for.total_seconds()
        self._clock = clock
        self._settings = settings

    def ensure(self) -> None:
        """Make sure that nobody else can speak yet; asked before each call to the chat.

        Raises:
            LeaseLostError: If somebody may: this process was frozen, or the store was away for too long.
        """
        if self._clock.monotonic() >= self._valid_until:
            raise LeaseLostError(f"turn {self.turn.fence} to speak in the chat could not be kept in time")

    def silence(self) -> float:
        """Return for how many seconds at least nobody but this process has spoken."""
        return self.turn.silence.total_seconds() + self._clock.monotonic() - self._taken_at

    async def keep(self) -> None:
        """Keep the floor until cancelled.

        Raises:
            ExceptionGroup: Of a LeaseLostError, if another process took the floor, or if the turn lapsed because
                the store could not be reached or did not answer.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._renew())

    async def _watch(self) -> None:
        """Notice that the turn ran out even while a call to the store hangs."""
        while True:
            self.ensure()
            await self._clock.sleep(self._valid_until - self._clock.monotonic())

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(self._settings.floor_keep.total_seconds())
            asked_at = self._clock.monotonic()
            try:
                await self._floor.keep(self.turn)
            except StoreUnavailableError as error:
                _log.warning("the floor cannot be kept at the moment: %s", error)
            else:
                self._valid_until = asked_at + self.turn.valid_for.total_seconds()

    async def give_back(self) -> None:
        """End the turn, so that another process speaks at once; if the store is away it lapses by itself."""
        try:
            await self._floor.give_back(self.turn)
        except StoreUnavailableError as error:
            _log.warning("the floor could not be given back, it lapses by itself: %s", error)


async def take(floor: Floor, *, clock: Clock, settings: EngineSettings) -> Podium | None:
    """Take the floor if nobody has it; None while somebody has.

    Raises:
        StoreUnavailableError: If the store cannot be reached. The floor may be taken all the same; then it lapses.
    """
    asked_at = clock.monotonic()
    turn = await floor.take(settings.owner)
    if turn is None:
        return None
    return Podium(floor, turn, asked_at=asked_at, taken_at=clock.monotonic(), clock=clock, settings=settings)
