"""Speaking in the chat with one voice: who has the floor, and what has been said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from bot.domain.errors import RollbackError


@dataclass(frozen=True)
class MessageRef:
    """A message in the chat: channel id and timestamp."""

    channel: str
    ts: str


class ChatRefusedError(RollbackError):
    """The chat does not take this message as it is, or knows no such person. Nothing was posted.

    Other messages may well be taken. A chat that cannot be reached, or that lets nobody in, is no refusal.
    """


@dataclass(frozen=True)
class Turn:
    """The right to speak in the chat.

    Attributes:
        owner: The process that has it.
        fence: Number of the turn; every claim carries it, and a newer turn makes it void.
        valid_for: How long it lasts from each renewal, by the database's clock.
        silence: How long before it the turn of the process before had ended: whatever that one sent is older.
    """

    owner: str
    fence: int
    valid_for: timedelta
    silence: timedelta


class Floor(Protocol):
    """Who may speak in the chat: one process at a time. Every method may raise StoreUnavailableError."""

    async def take(self, owner: str) -> Turn | None:
        """Take the floor if nobody has it; None while somebody has. `owner` must not have it already."""
        ...

    async def keep(self, turn: Turn) -> None:
        """Prolong the turn.

        Raises:
            LeaseLostError: If it lapsed or another process took the floor.
        """
        ...

    async def give_back(self, turn: Turn) -> None:
        """End the turn, so that another process can take the floor at once; harmless if it has ended."""
        ...


@dataclass(frozen=True)
class Claim:
    """The answer to the intention to post a message.

    Attributes:
        first: Whether nobody can have posted it: the caller posts without looking for it.
        ref: Where it is, if it has been posted.
        age: How long ago the last attempt began or failed, by the database's clock.
    """

    first: bool
    ref: MessageRef | None
    age: timedelta


@dataclass(frozen=True)
class Entry:
    """What is known of a message.

    Attributes:
        ref: Where it is; None: claimed, not known to be posted.
        tries: How often the chat refused it.
        given_up: Whether nobody tries any more.
        shown: Names what an edited message shows; empty: unknown, or it is to be shown again.
        refreshed: How often somebody wanted it to be shown again.
    """

    ref: MessageRef | None = None
    tries: int = 0
    given_up: bool = False
    shown: str = ""
    refreshed: int = 0


class Miss(StrEnum):
    """How an attempt to post came to nothing."""

    UNSURE = "unsure"
    """Nobody knows whether the message is there: the connection broke, or the chat failed."""
    BUSY = "busy"
    """The chat asked for patience; the message is not there."""
    REFUSED = "refused"
    """The chat did not take it; it is not there. This is counted."""
    UNREACHABLE = "unreachable"
    """It could not even be looked for, since the chat knows no such person. This is counted."""


class Ledger(Protocol):
    """Which messages have been posted, and what they show. Every method may raise StoreUnavailableError."""

    async def claim(self, rollback_id: str, key: str, *, turn: Turn) -> Claim:
        """Note the intention to post.

        Raises:
            LeaseLostError: If another process may speak by now; nothing was noted.
        """
        ...

    async def posted(self, rollback_id: str, key: str, ref: MessageRef, *, shown: str = "") -> MessageRef:
        """Note where the message is, and return where the one is that counts: the first that was noted."""
        ...

    async def missed(self, rollback_id: str, key: str, miss: Miss, *, turn: Turn, most: int | None = None) -> bool:
        """Note that an attempt came to nothing, unless another process speaks by now.

        Args:
            rollback_id: The rollback.
            key: The message.
            miss: How.
            turn: The right to speak.
            most: After so many refusals it is given up; None: never.

        Returns:
            Whether it is given up.
        """
        ...

    async def edited(self, rollback_id: str, key: str, shown: str, *, refreshed: int, turn: Turn) -> bool:
        """Note what a message shows now.

        Args:
            rollback_id: The rollback.
            key: The message.
            shown: Names what it shows.
            refreshed: `Entry.refreshed` as it was before the edit.
            turn: The right to speak.

        Returns:
            False, and nothing is noted, if somebody wanted it to be shown again meanwhile, or if another process
            speaks.
        """
        ...

    async def refresh(self, rollback_id: str, key: str) -> None:
        """Have a posted message shown again by whoever speaks, on whatever machine."""
        ...

    async def said(self, rollback_id: str, *, seq: int, audience: str) -> None:
        """Note that all is said up to that event of the journal, to people as the policy of that digest has them.

        Nothing is noted if the card is to be shown again.
        """
        ...

    async def unsaid(self, *, audience: str) -> tuple[str, ...]:
        """Return the rollbacks about which something may have to be said, the newest first.

        Those are the ones under way, and of the others those that are not noted as `said` to the audience.
        """
        ...

    async def outdated(self, key: str, *, age: timedelta, limit: int) -> tuple[str, ...]:
        """Return rollbacks that have not ended and whose message of that key was not edited for so long.

        Args:
            key: The message.
            age: How long ago it was posted or edited.
            limit: The most that are returned, the oldest first.
        """
        ...

    async def all(self, rollback_id: str) -> dict[str, Entry]:
        """Return every claimed message by key."""
        ...
