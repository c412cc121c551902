"""An announcer that speaks when a test says so, and what it needs where there is no store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from bot.domain.pace import Pace
from bot.domain.plan import Plan
from bot.domain.ports import MessageRef
from bot.domain.speech import Claim, Entry, Floor, Miss, Turn
from bot.engine.announcer import Announcer, Means
from bot.engine.podium import Podium, take
from bot.engine.speaking import Speech


class Voice(Announcer):
    """An announcer that can also be made to speak about one rollback at once.

    Args:
        means: What it works with.
        floor: Who may speak.
    """

    def __init__(self, means: Means, *, floor: Floor) -> None:
        super().__init__(means, floor=floor)
        self.podium: Podium | None = None
        self._speech: Speech | None = None

    async def sync(self, rollback_id: str) -> float | None:
        """Say what is missing of a rollback, with the floor, which must be free the first time."""
        if self._speech is None:
            self.podium = await take(self._floor, clock=self._means.clock, settings=self._means.settings)
            assert self.podium is not None, "another process has the floor"
            self._speech = Speech(self._means, self.podium)
        return await self._speech.sync(rollback_id)

    async def leave(self) -> None:
        """Let another one have the floor."""
        if self._speech is not None and self.podium is not None:
            await self._speech.leave()
            await self.podium.give_back()
        self._speech = self.podium = None


class OpenFloor:
    """A floor for a process that is alone."""

    async def take(self, owner: str) -> Turn | None:
        """Let it speak."""
        return Turn(owner, fence=1, valid_for=timedelta(days=1), silence=timedelta.max)

    async def keep(self, turn: Turn) -> None:
        """Let it speak on."""

    async def give_back(self, turn: Turn) -> None:
        """End the turn."""


class NoHistory:
    """Nothing is known of earlier rollbacks."""

    async def paces(self, plan: Plan) -> Mapping[str, Pace]:
        """Return nothing."""
        del plan
        return {}


class MemoryLedger:
    """Which messages exist, in memory, for a process that is alone."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}

    async def claim(self, rollback_id: str, key: str, *, turn: Turn) -> Claim:
        """Note the intention to post."""
        del turn
        first = (rollback_id, key) not in self.entries
        entry = self.entries.setdefault((rollback_id, key), Entry())
        return Claim(first=first, ref=entry.ref, age=timedelta.max)

    async def posted(self, rollback_id: str, key: str, ref: MessageRef, *, shown: str = "") -> MessageRef:
        """Note where the message is."""
        self.entries[rollback_id, key] = Entry(ref=ref, shown=shown)
        return ref

    async def missed(self, rollback_id: str, key: str, miss: Miss, *, turn: Turn, most: int | None = None) -> bool:
        """Let it be tried again."""
        del rollback_id, key, miss, turn, most
        return False

    async def edited(self, rollback_id: str, key: str, shown: str, *, refreshed: int, turn: Turn) -> bool:
        """Note what a message shows."""
        del turn
        entry = self.entries[rollback_id, key]
        if entry.refreshed == refreshed:
            self.entries[rollback_id, key] = Entry(ref=entry.ref, shown=shown, refreshed=refreshed)
        return entry.refreshed == refreshed

    async def refresh(self, rollback_id: str, key: str) -> None:
        """Have a message shown again."""
        entry = self.entries.get((rollback_id, key))
        if entry is not None:
            self.entries[rollback_id, key] = Entry(ref=entry.ref, refreshed=entry.refreshed + 1)

    async def said(self, rollback_id: str, *, seq: int, audience: str) -> None:
        """Forget it: everything is looked at in any case."""

    async def unsaid(self, *, audience: str) -> tuple[str, ...]:
        """Return every rollback that was ever spoken about."""
        del audience
        return tuple({rollback_id for rollback_id, _ in self.entries})

    async def outdated(self, key: str, *, age: timedelta, limit: int) -> tuple[str, ...]:
        """Return nothing: nobody waits for a minute."""
        del key, age, limit
        return ()

    async def all(self, rollback_id: str) -> dict[str, Entry]:
        """Return every claim of a rollback."""
        return {key: entry for (run, key), entry in self.entries.items() if run == rollback_id}
