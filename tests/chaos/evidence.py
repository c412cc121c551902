"""What a chaos run leaves, as values: journals, leases, locks, the witness's lines, and what was done to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.domain.events import AnyEvent
from bot.domain.run import Run


@dataclass(frozen=True)
class Entry:
    """One event of a journal. `at` is the database's time, like all times here in seconds of the epoch."""

    seq: int
    at: float
    fence: int | None
    event: AnyEvent


@dataclass(frozen=True)
class Lease:
    """A lease as it stood from `at` until the next one of its run."""

    run: str
    at: float
    fence: int
    owner: str | None
    until: float | None


@dataclass(frozen=True)
class Lock:
    """A target that a run had for itself; `ended` is None while it still has it."""

    run: str
    target: str
    taken: float
    ended: float | None


@dataclass(frozen=True)
class Word:
    """One message of an act. `sent` is when its sender was awake, `at` when it reached the target."""

    op: str
    at: float
    sent: float
    answer: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Act:
    """One call of an actuator's `apply`, as the target saw it."""

    number: int
    run: str
    step: str
    target: str
    worker: str
    reads_only: bool
    words: tuple[Word, ...]

    @property
    def token(self) -> str:
        """The name of what it creates."""
        return f"{self.run}-{self.step}"


@dataclass(frozen=True)
class Nap:
    """The time in which a process was frozen, until it `woke` or was killed."""

    pid: int
    since: float
    until: float
    woke: bool = True


@dataclass(frozen=True)
class Outage:
    """The time in which the store did not answer, and how it went away."""

    what: str
    since: float
    until: float


@dataclass(frozen=True)
class Life:
    """A worker process. `ready` is when it could be used, `told` when it was asked to end, `code` how it ended."""

    worker: str
    zone: str
    pid: int
    since: float
    ready: float | None = None
    until: float | None = None
    code: int | None = None
    told: float | None = None
    killed: float | None = None


@dataclass(frozen=True)
class Told:
    """What a person said, by its unique reason, and how each delivery of it was received."""

    why: str
    how: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """Everything that the judge looks at.

    Attributes:
        changes: The changes that were to be rolled back.
        runs: The rollbacks as they ended, by id, with an empty history.
        states: The state of each as the store has it.
        journals: The journal of each.
        leases: Every change of a lease, in order.
        locks: Every lock.
        acts: Every act, in the order of their beginning.
        naps: Every freeze of a worker.
        lives: Every worker process.
        told: What people said.
        outages: When the store was away.
        counts: What people counted.
    """

    changes: tuple[str, ...]
    runs: Mapping[str, Run]
    states: Mapping[str, str]
    journals: Mapping[str, tuple[Entry, ...]]
    leases: tuple[Lease, ...]
    locks: tuple[Lock, ...]
    acts: tuple[Act, ...]
    naps: tuple[Nap, ...] = ()
    lives: tuple[Life, ...] = ()
    told: tuple[Told, ...] = ()
    outages: tuple[Outage, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
