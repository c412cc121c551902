"""Keeps posted messages up to date: not more often than the chat bears, and never with what is past."""

from __future__ import annotations

import logging

from bot.domain.announcements import Announcement
from bot.domain.errors import RollbackError, StoreUnavailableError
from bot.domain.ports import ChatBusyError, MessageRef
from bot.domain.speech import Entry
from bot.engine.podium import Podium
from bot.engine.scene import Means, Scene

_log = logging.getLogger(__name__)


class Editor:
    """Edits messages in place; what each shows is known from the ledger, by whichever process it was edited.

    Nothing is remembered of a message but when it was edited in the last half minute.

    Args:
        means: What it works with.
        podium: The floor.
    """

    def __init__(self, means: Means, podium: Podium) -> None:
        self._means = means
        self._podium = podium
        self._edited: dict[tuple[str, str], float] = {}
        self._cut: set[tuple[str, str]] = set()

    async def leave(self) -> None:
        """Have shown again what was being edited when the floor was lost: by now it may show the past."""
        for rollback_id, key in self._cut:
            try:
                await self._means.ledger.refresh(rollback_id, key)
            except StoreUnavailableError as error:
                _log.warning("%s: message %s may show what was true before: %s", rollback_id, key, error)

    async def edit(
        self, scene: Scene, announcement: Announcement, ref: MessageRef, interval: float
    ) -> float | None:
        """Edit a message, if it does not show what it should.

        Args:
            scene: The rollback.
            announcement: The message as it should be.
            ref: Where it is.
            interval: Seconds between two edits of it.

        Returns:
            Seconds after which to come back; None if nothing is left to do.

        Raises:
            LeaseLostError: If somebody else may speak.
            StoreUnavailableError: If the store cannot be reached.
            Exception: If the chat failed.
        """
        run, key, shown = scene.run, announcement.key, scene.shown_by(announcement)
        entry = scene.entries.get(key, Entry())
        if entry.shown == shown:
            return None
        wait = self.wait(run.id, key, interval)
        if wait > 0:
            return wait
        self._podium.ensure()
        self.note(run.id, key)
        self._cut.add((run.id, key))
        try:
            await self._means.chat.edit(run, announcement, ref, progress=scene.progress)
        except ChatBusyError as busy:
            self._cut.discard((run.id, key))
            return busy.retry_after
        except RollbackError as error:
            # Trying again does not help: somebody deleted it. The next change is tried all the same.
            _log.warning("%s: %s", run.id, error)
        turn = self._podium.turn
        if await self._means.ledger.edited(run.id, key, shown, refreshed=entry.refreshed, turn=turn):
            self._cut.discard((run.id, key))
            return None
        # Somebody changed the message while it was being edited: it is edited once more.
        return interval

    def wait(self, rollback_id: str, key: str, interval: float) -> float:
        """Return for how many seconds the message may not be edited; negative if it may."""
        edited_at = self._edited.get((rollback_id, key), float("-inf"))
        return edited_at + interval - self._means.clock.monotonic()

    def note(self, rollback_id: str, key: str) -> None:
        """Note that the message was posted or edited just now."""
        now, settings = self._means.clock.monotonic(), self._means.settings
        self._edited.pop((rollback_id, key), None)
        self._edited[rollback_id, key] = now
        longest = max(settings.card_interval, settings.countdown_interval).total_seconds()
        while now - self._edited[oldest := next(iter(self._edited))] > longest:
            del self._edited[oldest]
