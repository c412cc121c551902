"""What travels to Slack in a button or a modal and comes back with the click. Pure.

Nothing in here is trusted to be current: the service compares the version with the journal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bot.domain.events import Choice

Body = Mapping[str, Any]
"""A payload as Slack sent it, its signature checked."""


@dataclass(frozen=True)
class ButtonValue:
    """What a button carries.

    Attributes:
        id: The rollback.
        v: Number of the event that brought the rollback into the state that the button was made for.
        step: The held step, for the buttons that decide about one.
        about: What the question is about that the button belongs to; its version is then the number of its event.
        remedy: The remedy that the button runs.
    """

    id: str
    v: int
    step: str = ""
    about: str = ""
    remedy: str = ""

    def text(self) -> str:
        """Return the button's value; at most some 150 of the 2,000 characters that Slack allows."""
        kept = {key: value for key, value in asdict(self).items() if value != ""}
        return json.dumps(kept, separators=(",", ":"))


def read_button(value: Any) -> ButtonValue | None:
    """Read a button's value; None if it is not one of ours."""
    found = _object(value)
    if found is None:
        return None
    known, version, step = found.get("id"), found.get("v"), found.get("step", "")
    if isinstance(known, str) and known and type(version) is int and isinstance(step, str):
        about, remedy = _string(found, "about"), _string(found, "remedy")
        return ButtonValue(id=known, v=version, step=step, about=about, remedy=remedy)
    return None


@dataclass(frozen=True)
class Ticket:
    """What a modal carries in its private metadata.

    Attributes:
        id: The rollback; empty while there is none.
        v: Its version when the button was made.
        step: The held step.
        choice: What the person chose about it.
        url: The response URL of the click or command that opened the modal; the answer goes there.
        channel: Where the message with the button is; empty if it was in no message.
        ts: The message's timestamp.
        verb: What is said to a rollback that runs.
        about: The question that it answers.
        remedy: The remedy that is wanted.
        warned: Whether the modal showed what giving up means beyond the point of no return.
    """

    id: str = ""
    v: int = 0
    step: str = ""
    choice: Choice | None = None
    url: str = ""
    channel: str = ""
    ts: str = ""
    verb: str = ""
    about: str = ""
    remedy: str = ""
    warned: bool = False

    def text(self) -> str:
        """Return the private metadata; Slack allows 3,000 characters."""
        kept = {key: value for key, value in asdict(self).items() if value}
        return json.dumps(kept, separators=(",", ":"))


def read_ticket(value: Any) -> Ticket:
    """Read a modal's private metadata; what is missing or malformed stays empty and is refused by the service."""
    found = _object(value) or {}
    version, choice = found.get("v"), _string(found, "choice")
    return Ticket(
        id=_string(found, "id"),
        v=version if type(version) is int else 0,
        step=_string(found, "step"),
        choice=Choice(choice) if choice in set(Choice) else None,
        url=_string(found, "url"),
        channel=_string(found, "channel"),
        ts=_string(found, "ts"),
        verb=_string(found, "verb"),
        about=_string(found, "about"),
        remedy=_string(found, "remedy"),
        warned=found.get("warned") is True,
    )


def _object(value: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _string(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
