"""What speaking works with, and a rollback as it stands when it is spoken about."""

from __future__ import annotations

from dataclasses import dataclass

from bot.domain import ports
from bot.domain.actuation import Progress
from bot.domain.announcements import CARD, Announcement
from bot.domain.authority import Policy
from bot.domain.ports import MessageRef
from bot.domain.run import Run
from bot.domain.speech import Entry
from bot.engine import wanted
from bot.engine.settings import EngineSettings
from bot.engine.wanted import COUNTDOWN


@dataclass(frozen=True)
class Means:
    """What an announcer works with.

    Attributes:
        runs: The rollbacks.
        chat: The chat.
        ledger: Which messages exist.
        board: How far running steps have come.
        history: How long steps took in earlier rollbacks.
        policy: Names the approvers.
        clock: The time.
        settings: Intervals.
    """

    runs: ports.Runs
    chat: ports.Chat
    ledger: ports.Ledger
    board: ports.ProgressBoard
    history: ports.History
    policy: Policy
    clock: ports.Clock
    settings: EngineSettings


@dataclass(frozen=True)
class Scene:
    """A rollback as it stands.

    Attributes:
        run: The rollback.
        progress: The newest progress by step.
        entries: The ledger by key; grows with what is said.
    """

    run: Run
    progress: dict[str, Progress]
    entries: dict[str, Entry]

    def ref(self, key: str) -> MessageRef | None:
        """Return where a message is, None if it is not known to be posted."""
        return self.entries.get(key, Entry()).ref

    def shown_by(self, announcement: Announcement) -> str:
        """Return what names what the message shows, if it is one that is edited; else nothing."""
        if announcement == CARD:
            return wanted.shown_on_card(self.run, self.progress)
        return wanted.digest(repr(announcement.content)) if announcement.key == COUNTDOWN else ""
