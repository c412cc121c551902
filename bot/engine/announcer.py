"""Brings the chat in line with the journals: what is missing is posted once, by one process at a time."""

from __future__ import annotations

import asyncio
import logging

from bot.domain import ports
from bot.domain.announcements import CARD
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.engine import outside
from bot.engine.journal import ended
from bot.engine.podium import Podium, take
from bot.engine.posting import RETRY
from bot.engine.scene import Means
from bot.engine.speaking import Speech
from bot.engine.wanted import COUNTDOWN

__all__ = ["Announcer", "Means"]

_log = logging.getLogger(__name__)
_EVERYTHING = "*"
_LONGEST_RETRY = 30.0
_DOUBLINGS = 4
_COUNTDOWNS = 20
"""The most countdowns that are brought up to date in a minute because of the time alone: Slack allows 50 edits in
one, and what happens to the rollbacks comes first."""


class Announcer:
    """Posts and edits what the journals call for, whoever wrote them.

    Every process may run one. One of them has the floor and speaks; the others hear of the same changes and ask for
    the floor. A message is claimed in the ledger before it is posted, and a claim without a message, left by a
    process that died, is looked up in the chat before anybody posts again.

    Args:
        means: What it works with.
        floor: Who may speak.
    """

    def __init__(self, means: Means, *, floor: ports.Floor) -> None:
        self._means = means
        self._floor = floor
        self._round: _Round | None = None

    async def run(self) -> None:
        """Keep the chat in line until cancelled; then the floor is given back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            while True:
                await self._speak(await self._wait_for_the_floor())
                _heed_cancellation()

    async def refresh(self, rollback_id: str) -> None:
        """Have the card shown again as the journal has it, by whichever process speaks.

        Raises:
            StoreUnavailableError: If the store cannot be reached.
        """
        await self._means.ledger.refresh(rollback_id, CARD.key)

    async def _listen(self) -> None:
        while True:
            try:
                async for rollback_id in self._means.runs.changed():
                    self._touch(rollback_id)
            except StoreUnavailableError as error:
                _log.warning("the announcer cannot hear of changes: %s", error)
            await self._means.clock.sleep(RETRY)
            self._touch(_EVERYTHING)

    def _touch(self, rollback_id: str) -> None:
        # Whoever takes the floor looks at everything first: without it nothing need be remembered.
        if self._round is not None:
            self._round.touch(rollback_id)

    async def _wait_for_the_floor(self) -> Podium:
        clock, settings = self._means.clock, self._means.settings
        while True:
            pause = settings.floor_poll.total_seconds()
            try:
                podium = await take(self._floor, clock=clock, settings=settings)
            except StoreUnavailableError as error:
                _log.warning("the floor cannot be asked for: %s", error)
                podium, pause = None, RETRY
            if podium is not None:
                _log.info("this process speaks in the chat from now on, turn %d", podium.turn.fence)
                return podium
            await clock.sleep(pause)

    async def _speak(self, podium: Podium) -> None:
        speech = Speech(self._means, podium)
        self._round = _Round(speech, self._means)
        try:
            await self._until_lost(podium, self._round)
        finally:
            self._round = None
            await ended(asyncio.ensure_future(_leave(speech, podium)))  # noqa: TID251 - awaited right here

    async def _until_lost(self, podium: Podium, round_: _Round) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(podium.keep())
                await round_.run(group)
        except* LeaseLostError as lost:
            _log.warning("this process speaks in the chat no more: %s", outside.leaves(lost)[0])


async def _leave(speech: Speech, podium: Podium) -> None:
    await speech.leave()
    await podium.give_back()


def _heed_cancellation() -> None:
    """Raise the cancellation that a task group swallows when one of its tasks fails at the same moment."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Round:
    """What is to be looked at while this process has the floor; forgotten as a whole when it is lost."""

    def __init__(self, speech: Speech, means: Means) -> None:
        self._speech = speech
        self._means = means
        self._dirty: set[str] = {_EVERYTHING}
        self._news = asyncio.Event()
        self._busy: set[str] = set()
        self._timers: dict[str, tuple[float, asyncio.Task[None]]] = {}
        self._failures: dict[str, tuple[int, int]] = {}

    def touch(self, rollback_id: str) -> None:
        """Look at a rollback, or at all, as soon as possible."""
        self._dirty.add(rollback_id)
        self._news.set()

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Look at what changes until cancelled."""
        group.create_task(self._count_down())
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            await self._dispatch(group)

    async def _count_down(self) -> None:
        """Come back to the countdowns every minute: one timer for all of them, however many rollbacks wait."""
        look = self._means.settings.countdown_look
        while True:
            await self._means.clock.sleep(look.total_seconds())
            try:
                outdated = await self._means.ledger.outdated(COUNTDOWN, age=look, limit=_COUNTDOWNS)
            except StoreUnavailableError as error:
                _log.warning("the countdowns stand still, the store cannot be reached: %s", error)
            else:
                for rollback_id in outdated:
                    self.touch(rollback_id)

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        """Give each changed rollback a task of its own, so that a slow one holds up nobody else's messages."""
        dirty, self._dirty = self._dirty, set()
        if _EVERYTHING in dirty:
            dirty.discard(_EVERYTHING)
            try:
                dirty |= set(await self._speech.unsaid())
            except StoreUnavailableError as error:
                _log.warning("the announcer cannot reach the store: %s", error)
                self._later(group, _EVERYTHING, RETRY)
        for rollback_id in dirty:
            if rollback_id in self._busy:
                self._dirty.add(rollback_id)
            else:
                self._busy.add(rollback_id)
                group.create_task(self._serve(group, rollback_id))

    async def _serve(self, group: asyncio.TaskGroup, rollback_id: str) -> None:
        pause: float | None = RETRY
        try:
            pause = await self._speech.sync(rollback_id)
            if pause is None:
                self._failures.pop(rollback_id, None)
        except LeaseLostError:
            raise  # the round is over
        except StoreUnavailableError as error:
            _log.warning("%s: the store cannot be reached, announcing later: %s", rollback_id, error)
        except Exception:  # noqa: BLE001 - a message that fails is tried again; the rollback goes on regardless
            pause = self._backoff(rollback_id)
            _log.exception("%s: announcing failed, trying again in %g s", rollback_id, pause)
        finally:
            self._busy.discard(rollback_id)
        if pause is not None:
            self._later(group, rollback_id, pause)
        if rollback_id in self._dirty:
            self._news.set()

    def _backoff(self, rollback_id: str) -> float:
        """Return how long to leave the chat alone: the longer the more often it failed and took nothing else."""
        posted, failures = self._failures.get(rollback_id, (0, 0))
        if posted != self._speech.posted:
            failures = 0
        self._failures[rollback_id] = (self._speech.posted, failures + 1)
        return min(RETRY * 2.0 ** min(failures, _DOUBLINGS), _LONGEST_RETRY)

    def _later(self, group: asyncio.TaskGroup, rollback_id: str, pause: float) -> None:
        """Come back after the pause; of several timers of a rollback the earliest is enough."""
        at = self._means.clock.monotonic() + pause
        known = self._timers.get(rollback_id)
        if known is not None and known[0] <= at:
            return
        if known is not None:
            known[1].cancel()
        self._timers[rollback_id] = (at, group.create_task(self._after(rollback_id, pause)))

    async def _after(self, rollback_id: str, pause: float) -> None:
        await self._means.clock.sleep(pause)
        del self._timers[rollback_id]
        self.touch(rollback_id)
