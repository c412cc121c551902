"""How things stand, in words: states, checks, sizes."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from bot.domain import times
from bot.domain.actuation import Progress
from bot.domain.lifecycle import State

_WORDS: Final = {
    State.REQUESTED: ("🕒", "requested"),
    State.CHECKING: ("🔎", "being checked"),
    State.AWAITING_AUTHORITY: ("🟠", "waiting for authority"),
    State.AUTHORISED: ("🟢", "authorised"),
    State.EXECUTING: ("⏪", "in progress"),
    State.HELD: ("✋", "held, a person must decide"),
    State.VERIFYING: ("🔬", "being verified"),
    State.COMPLETE: ("✅", "complete"),
    State.CLOSED: ("✅", "complete, records closed"),
    State.REFUSED: ("⛔", "refused"),
    State.EXPIRED: ("⌛", "expired"),
    State.STOOD_DOWN: ("🚫", "stood down"),
    State.ABORTED: ("🛑", "aborted, forward-fix"),
}
_BYTES: Final = ("B", "kB", "MB", "GB", "TB")
_THOUSAND: Final = 1000


def emoji(state: State) -> str:
    """Return the sign of a state."""
    return _WORDS[state][0]


def in_words(state: State, *, aborted: bool = False) -> str:
    """Return a state in words; `aborted` tells which end a closed rollback came to."""
    if state is State.CLOSED and aborted:
        return "aborted, records closed"
    return _WORDS[state][1]


def span(value: timedelta) -> str:
    """Return how far apart two moments are: ``38 minutes``, ``5 hours``, ``3 days``."""
    for unit, name in ((timedelta(days=1), "days"), (timedelta(hours=1), "hours")):
        if value >= 2 * unit:
            return f"{value // unit} {name}"
    return times.in_words(value)


def amount(progress: Progress) -> str:
    """Return how far a step has come: ``65%, 130 MB of 200 MB, restoring transactions``."""
    share = progress.share()
    counted = _quantity(progress.done, progress.unit)
    if progress.total is not None:
        counted = f"{_number(progress.done, progress.unit)} of {_quantity(progress.total, progress.unit)}"
    parts = ("" if share is None else f"{share * 100:.0f}%", counted, progress.words)
    return ", ".join(part for part in parts if part)


def _quantity(value: float, unit: str) -> str:
    return _number(value, unit) if unit == "bytes" else f"{value:g} {unit}".strip()


def _number(value: float, unit: str) -> str:
    if unit != "bytes":
        return f"{value:g}"
    for size in _BYTES:
        if value < _THOUSAND or size == _BYTES[-1]:
            break
        value /= _THOUSAND
    return f"{value:.3g} {size}"
