"""Says what one rollback's journal calls for, while this process has the floor."""

from __future__ import annotations

import asyncio
import logging

from bot.domain.announcements import CARD, Announcement, Place
from bot.domain.errors import RollbackError
from bot.domain.forecast import UNDER_WAY, countdown
from bot.domain.lifecycle import FINAL, State
from bot.domain.speech import Entry
from bot.engine import wanted
from bot.engine.editing import Editor
from bot.engine.podium import Podium
from bot.engine.posting import Poster
from bot.engine.scene import Means, Scene
from bot.engine.wanted import COUNTDOWN

_log = logging.getLogger(__name__)

_READERS = 8
"""Rollbacks that are read at once: a thousand that changed together must not all stand in memory together."""
_COUNTED = UNDER_WAY | {State.AWAITING_AUTHORITY, State.AUTHORISED}
_QUIET = FINAL | {State.AWAITING_AUTHORITY}


class Speech:
    """One process's words, from taking the floor to losing it.

    Args:
        means: What it works with.
        podium: The floor.
    """

    def __init__(self, means: Means, podium: Podium) -> None:
        self._means = means
        self._audience = wanted.audience(means.policy)
        self._editor = Editor(means, podium)
        self._poster = Poster(means, podium, self._editor)
        self._reading = asyncio.Semaphore(_READERS)

    @property
    def posted(self) -> int:
        """How many messages the chat has taken."""
        return self._poster.posted

    async def unsaid(self) -> tuple[str, ...]:
        """Return the rollbacks about which something may have to be said."""
        return await self._means.ledger.unsaid(audience=self._audience)

    async def leave(self) -> None:
        """Have shown again what was being edited when the floor was lost: by now it may show the past."""
        await self._editor.leave()

    async def sync(self, rollback_id: str) -> float | None:
        """Post what is missing, and bring the card and the countdown up to date.

        Returns:
            Seconds after which to come back, None if all is said.

        Raises:
            LeaseLostError: If somebody else may speak; nothing more was said.
            StoreUnavailableError: If the store cannot be reached.
            Exception: If the chat failed; what comes after the failed message was not said.
        """
        scene = await self._read(rollback_id)
        if scene is None:
            return None
        pause, blocked = await self._say(scene)
        card = scene.ref(CARD.key)
        if card is not None:
            interval = self._means.settings.card_interval.total_seconds()
            pause = _sooner(pause, await self._editor.edit(scene, CARD, card, interval))
        if not blocked:
            pause = _sooner(pause, await self._count(scene))
        if pause is None and scene.run.state in _QUIET:
            await self._means.ledger.said(rollback_id, seq=scene.run.seq, audience=self._audience)
        return pause

    async def _read(self, rollback_id: str) -> Scene | None:
        async with self._reading:
            try:
                run = await self._means.runs.load(rollback_id)
            except (KeyError, RollbackError) as error:
                _log.warning("%s cannot be announced, it cannot be read: %s", rollback_id, error)
                return None
            progress = await self._means.board.read(rollback_id)
            return Scene(run, progress, await self._means.ledger.all(rollback_id))

    async def _say(self, scene: Scene) -> tuple[float | None, bool]:
        """Post what is missing, in order; return when to come back, and whether something holds up what follows.

        A direct message holds up only what its person is told directly after it.
        """
        pause: float | None = None
        waiting: set[str] = set()
        for announcement in wanted.wanted(scene.run, self._means.policy, scene.entries):
            if announcement.user in waiting:
                continue
            wait = await self._poster.ensure(scene, announcement)
            pause = _sooner(pause, wait)
            if wait is None:
                continue
            if announcement.place is not Place.DIRECT:
                return pause, True
            waiting.add(announcement.user)
        return pause, False

    async def _count(self, scene: Scene) -> float | None:
        """Post the countdown, or bring it up to date; return when to come back."""
        run, entry = scene.run, scene.entries.get(COUNTDOWN, Entry())
        # One that may have been sent must be found and brought to its end; else nothing is counted down afterwards.
        if entry.given_up or (COUNTDOWN not in scene.entries and run.state not in _COUNTED):
            return None
        interval = self._means.settings.countdown_interval.total_seconds()
        under_way = run.state in UNDER_WAY
        wait = self._editor.wait(run.id, COUNTDOWN, interval) if under_way and entry.ref else 0.0
        if wait > 0:
            return wait  # earlier rollbacks need not be asked for what cannot be shown yet
        paces = await self._means.history.paces(run.plan) if under_way else {}
        content = countdown(run, now=self._means.clock.now(), paces=paces, progress=scene.progress)
        if content is None:
            return None
        announcement = Announcement(COUNTDOWN, Place.THREAD, content)
        missing = await self._poster.ensure(scene, announcement)
        ref = scene.ref(COUNTDOWN)
        if missing is not None or ref is None:
            return missing
        return await self._editor.edit(scene, announcement, ref, interval)


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
