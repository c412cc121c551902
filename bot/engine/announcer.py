"""Brings the chat in line with the journals: what is missing is posted once, the card is edited in place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.domain import ports
from bot.domain.actuation import Progress
from bot.domain.announcements import CARD, Announcement, Place, announcements
from bot.domain.authority import Policy
from bot.domain.errors import RollbackError, StoreUnavailableError
from bot.domain.ports import ChatBusyError, MessageRef
from bot.domain.run import Run
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
_EVERYTHING = "*"
_RETRY = 2.0
_DIRECT_TRIES = 5


@dataclass
class _Memory:
    """What this process knows of a rollback's messages; all of it can be lost."""

    shown: object = None
    refreshed: int = 0
    edited_at: float = float("-inf")
    doubted: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)


class Announcer:
    """Posts and edits what the journals call for, whoever wrote them.

    Any number of processes may run one: a message is claimed in the ledger before it is posted, and a claim
    without a message, left by a process that died, is looked up in the chat before anybody posts again.

    Args:
        runs: The rollbacks.
        chat: The chat.
        ledger: Which messages exist.
        board: How far running steps have come.
        policy: Names the approvers.
        clock: The time.
        settings: Intervals.
    """

    def __init__(
        self,
        *,
        runs: ports.Runs,
        chat: ports.Chat,
        ledger: ports.Ledger,
        board: ports.ProgressBoard,
        policy: Policy,
        clock: ports.Clock,
        settings: EngineSettings,
    ) -> None:
        self._runs = runs
        self._chat = chat
        self._ledger = ledger
        self._board = board
        self._policy = policy
        self._clock = clock
        self._settings = settings
        self._memory: dict[str, _Memory] = {}
        self._dirty: set[str] = {_EVERYTHING}
        self._news = asyncio.Event()
        self._busy: set[str] = set()
        self._timers: dict[str, float] = {}

    async def run(self) -> None:
        """Keep the chat in line until cancelled."""
        self._news.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            while True:
                await self._news.wait()
                self._news.clear()
                await self._dispatch(group)

    async def refresh(self, rollback_id: str) -> None:
        """Show the card again as the journal has it, whatever was done to it."""
        memory = self._memory.setdefault(rollback_id, _Memory())
        memory.shown, memory.refreshed = None, memory.refreshed + 1
        self._touch(rollback_id)

    async def _listen(self) -> None:
        while True:
            try:
                async for rollback_id in self._runs.changed():
                    self._touch(rollback_id)
            except StoreUnavailableError as error:
                _log.warning("the announcer cannot hear of changes: %s", error)
            await self._clock.sleep(_RETRY)
            self._touch(_EVERYTHING)

    def _touch(self, rollback_id: str) -> None:
        self._dirty.add(rollback_id)
        self._news.set()

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        """Give each changed rollback a task of its own, so that a slow one holds up nobody else's messages."""
        dirty, self._dirty = self._dirty, set()
        if _EVERYTHING in dirty:
            dirty.discard(_EVERYTHING)
            try:
                dirty |= {run.id for run in (*await self._runs.active(), *await self._runs.recent(50))}
            except StoreUnavailableError as error:
                _log.warning("the announcer cannot reach the store: %s", error)
                self._later(group, _EVERYTHING, _RETRY)
        for rollback_id in dirty:
            if rollback_id in self._busy:
                self._dirty.add(rollback_id)
            else:
                self._busy.add(rollback_id)
                group.create_task(self._serve(group, rollback_id))

    async def _serve(self, group: asyncio.TaskGroup, rollback_id: str) -> None:
        pause: float | None = _RETRY
        try:
            pause = await self.sync(rollback_id)
        except StoreUnavailableError as error:
            _log.warning("%s: the store cannot be reached, announcing later: %s", rollback_id, error)
        except Exception:  # noqa: BLE001 - a message that fails is tried again; the rollback goes on regardless
            _log.exception("%s: announcing failed, trying again", rollback_id)
        finally:
            self._busy.discard(rollback_id)
        if pause is not None:
            self._later(group, rollback_id, pause)
        if rollback_id in self._dirty:
            self._news.set()

    def _later(self, group: asyncio.TaskGroup, rollback_id: str, pause: float) -> None:
        """Come back after the pause; of several timers of a rollback the earliest is enough."""
        at = self._clock.monotonic() + pause
        if self._timers.get(rollback_id, float("inf")) > at:
            self._timers[rollback_id] = at
            group.create_task(self._after(rollback_id, at, pause))

    async def _after(self, rollback_id: str, at: float, pause: float) -> None:
        await self._clock.sleep(pause)
        if self._timers.get(rollback_id) == at:
            del self._timers[rollback_id]
            self._touch(rollback_id)

    async def sync(self, rollback_id: str) -> float | None:
        """Post what is missing and bring the card up to date.

        Returns:
            Seconds after which to come back, None if all is said.
        """
        try:
            run = await self._runs.load(rollback_id)
        except (KeyError, RollbackError) as error:
            _log.warning("%s cannot be announced, it cannot be read: %s", rollback_id, error)
            return None
        progress = await self._board.read(rollback_id)
        posted = await self._ledger.all(rollback_id)
        memory = self._memory.setdefault(rollback_id, _Memory())
        pause: float | None = None
        card = posted.get(CARD.key)
        for wanted in announcements(run, self._policy):
            ref = posted.get(wanted.key)
            if ref is None:
                ref, wait = await self._post(run, wanted, card, progress, memory)
                pause = _sooner(pause, wait)
                if wait is not None and wanted.place is not Place.DIRECT:
                    break  # what comes later must not overtake it
            if wanted == CARD:
                card = ref
        if card is not None:
            pause = _sooner(pause, await self._edit(run, card, progress, memory))
        return pause

    async def _post(
        self,
        run: Run,
        wanted: Announcement,
        card: MessageRef | None,
        progress: dict[str, Progress],
        memory: _Memory,
    ) -> tuple[MessageRef | None, float | None]:
        if memory.failures.get(wanted.key, 0) >= _DIRECT_TRIES:
            return None, None
        first, ref = await self._ledger.claim(run.id, wanted.key)
        if ref is not None:
            return ref, None
        if not first and self._may_be_on_its_way(wanted, memory):
            return None, self._settings.doubt.total_seconds()
        thread = card if wanted.place is Place.THREAD else None
        try:
            if not first:
                ref = await self._chat.find(run, wanted, thread=thread)
            if ref is None:
                ref = await self._chat.post(run, wanted, thread=thread, progress=progress)
                if wanted == CARD:
                    memory.shown, memory.edited_at = _appearance(run, progress), self._clock.monotonic()
        except Exception:
            if wanted.place is not Place.DIRECT:
                raise
            # Somebody who cannot be reached directly must not keep the others from being told.
            memory.failures[wanted.key] = memory.failures.get(wanted.key, 0) + 1
            _log.exception("%s: %s could not be told", run.id, wanted.user)
            return None, _RETRY
        await self._ledger.posted(run.id, wanted.key, ref)
        return ref, None

    def _may_be_on_its_way(self, wanted: Announcement, memory: _Memory) -> bool:
        """Return whether somebody who claimed the message, maybe we ourselves, may still be about to post it."""
        now = self._clock.monotonic()
        return now - memory.doubted.setdefault(wanted.key, now) < self._settings.doubt.total_seconds()

    async def _edit(
        self, run: Run, card: MessageRef, progress: dict[str, Progress], memory: _Memory
    ) -> float | None:
        appearance = _appearance(run, progress)
        if memory.shown == appearance:
            return None
        wait = memory.edited_at + self._settings.card_interval.total_seconds() - self._clock.monotonic()
        if wait > 0:
            return wait
        memory.edited_at = self._clock.monotonic()
        refreshed = memory.refreshed
        try:
            await self._chat.edit(run, CARD, card, progress=progress)
        except ChatBusyError as busy:
            return busy.retry_after
        except RollbackError as error:
            # Trying again does not help: somebody deleted the card. The next change is tried all the same.
            _log.warning("%s: %s", run.id, error)
        if memory.refreshed == refreshed:
            memory.shown = appearance
            return None
        # Somebody changed the card while it was being edited: it is edited once more.
        return self._settings.card_interval.total_seconds()


def _appearance(run: Run, progress: Mapping[str, Progress]) -> object:
    return run.seq, tuple(sorted(progress.items(), key=lambda item: item[0]))


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
