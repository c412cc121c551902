"""The messages of a rollback as values: what is said and where; how it looks is the chat's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """Where a message goes."""

    CHANNEL = "channel"
    THREAD = "thread"
    DIRECT = "direct"


@dataclass(frozen=True)
class Card:
    """The one message of a rollback that is edited in place."""


@dataclass(frozen=True)
class Standard:
    """A message with exactly these lines: the standard messages, the authorisation, the records.

    Attributes:
        title: The first line, e.g. ``ROLLBACK IN PROGRESS``.
        lines: The others, e.g. ``Change: CHG0012345 - ...``.
        tone: How it is set off.
    """

    title: str
    lines: tuple[str, ...]
    tone: str = "info"

    def text(self) -> str:
        """Return the whole message as plain text."""
        return "\n".join((self.title, *self.lines))


@dataclass(frozen=True)
class Note:
    """A line in the thread.

    Attributes:
        text: The line.
        output: The last lines of a tool's output, folded below it.
        tone: ``info``, ``good``, ``warn`` or ``bad``.
        detail: What somebody may want to read from its beginning, folded below it.
    """

    text: str
    output: str = ""
    tone: str = "info"
    detail: str = ""


@dataclass(frozen=True)
class HeldQuestion:
    """A step waits for a person's decision; carries the buttons."""

    step: str


class Asks(StrEnum):
    """What a question in the thread is about; its buttons follow from it."""

    PAUSE = "pause"
    REMEDIES = "remedies"
    EXTENSION = "extension"
    WINDOW = "window"
    LOSS = "loss"
    DEPLOYMENTS = "deployments"
    MANUAL = "manual"


@dataclass(frozen=True)
class Question:
    """A message with buttons for people.

    Attributes:
        about: What it asks.
        seq: Number of the event that it follows from; its buttons carry it.
        step: The step that it is about, if any: one that is held, or one that a person is to do.
    """

    about: Asks
    seq: int
    step: str = ""


Content = Card | Standard | Note | HeldQuestion | Question


@dataclass(frozen=True)
class Announcement:
    """One message that must exist.

    Attributes:
        key: Its name within the rollback; never changes.
        place: Where.
        content: What.
        user: User id for a direct message.
    """

    key: str
    place: Place
    content: Content
    user: str = ""


CARD = Announcement("card", Place.CHANNEL, Card())
