"""Names of WAL segments, and which of them are missing. Pure.

https://www.postgresql.org/docs/current/wal-internals.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SEGMENT = 16 * 1024 * 1024
"""Bytes of a segment where nobody chose otherwise with ``initdb --wal-segsize``."""

_NAME = re.compile(r"^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$")
_NAMED = 3
"""Missing segments that are named one by one."""


@dataclass(frozen=True)
class Segment:
    """One file of WAL.

    Attributes:
        timeline: The timeline that it was written on.
        number: Its place in the WAL, counted from the very first one.
    """

    timeline: int
    number: int

    def name(self, size: int = SEGMENT) -> str:
        """Return its file's name."""
        log, part = divmod(self.number, 0x1_0000_0000 // size)
        return f"{self.timeline:08X}{log:08X}{part:08X}"


def read_name(name: str, size: int = SEGMENT) -> Segment | None:
    """Return the segment that a file's name means, None for a history file, a partial one or another one."""
    match = _NAME.match(name)
    if match is None:
        return None
    timeline, log, part = (int(text, 16) for text in match.groups())
    return Segment(timeline, log * (0x1_0000_0000 // size) + part)


def holding(lsn: str, timeline: int, size: int = SEGMENT) -> Segment:
    """Return the segment that holds a position like ``0/2000028``."""
    high, low = (int(text, 16) for text in lsn.split("/"))
    return Segment(timeline, ((high << 32) + low) // size)


def missing(first: Segment, there: Mapping[int, float], *, until: float) -> tuple[int, ...]:
    """Return the numbers of the segments that lack between the first one and the last one that is needed.

    Args:
        first: Where recovery begins.
        there: When each segment that is there was last written to, in seconds of Unix time, by number.
        until: The target. A segment that was written to later holds it, so no further one is needed.
    """
    later = sorted(number for number in there if number >= first.number)
    enough = next((number for number in later if there[number] > until), None)
    last = enough if enough is not None else (later[-1] if later else first.number)
    return tuple(number for number in range(first.number, last + 1) if number not in there)


def named(numbers: Sequence[int], timeline: int, size: int = SEGMENT) -> str:
    """Name segments for people: the first ones, and how many there are."""
    shown = ", ".join(Segment(timeline, number).name(size) for number in numbers[:_NAMED])
    more = len(numbers) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown
