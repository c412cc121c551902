"""What `rollback doctor` reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a part is found."""

    GOOD = "ok"
    DEFAULT = "default"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One part of the configuration.

    Attributes:
        part: What was looked at.
        state: How it is.
        words: What would be used, or what is wrong.
        resolution: What to do; empty if nothing.
    """

    part: str
    state: State
    words: str
    resolution: str = ""
