"""What passes between the engine and an actuator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from bot.domain.clock import Clock
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, Step

S = TypeVar("S", bound=Step)
S_contra = TypeVar("S_contra", bound=Step, contravariant=True)
Facts = Mapping[str, Any]
"""Measured values by name, JSON only. Shared names: ``error_rate`` (0..1), ``p95_seconds``, ``version``,
``schema_version``, ``row_counts`` (table -> rows), ``availability`` (0..1)."""


class Presence(StrEnum):
    """Whether the effect of a step is there, read from the real target."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Observation:
    """What was found when looking.

    Attributes:
        presence: Whether the step's effect is there.
        words: The finding for people, e.g. ``3 of 5 hosts on v2.3.1, 1 on v2.4.0, 1 unreachable``.
        facts: Measured values.
    """

    presence: Presence
    words: str
    facts: Facts = field(default_factory=dict)


class Verdict(StrEnum):
    """How a check came out. WARN is shown to the approver, FAIL stops the rollback before it acts."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One precondition that was looked at, read only.

    Attributes:
        subject: What was looked at, e.g. ``Backup db-before``.
        verdict: How it came out.
        words: What was found; for a FAIL: what happened and what was left untouched.
        resolution: What to do next; empty when all is well.
        detail: What an approver may want to read before the click, line by line and already redacted: the
            difference that a file would make, the resources that a plan would change.
        seal: A digest of exactly what the step would do, where the plan alone does not tell. The approval binds to
            it: the actuator finds it again as `Context.approved`, and does nothing else.
    """

    subject: str
    verdict: Verdict
    words: str
    resolution: str = ""
    detail: str = ""
    seal: str = ""


@dataclass(frozen=True)
class Outcome:
    """What an actuator reports when it has acted.

    Attributes:
        words: What was done, for people.
        facts: Measured values.
        output: The last lines of the tool's output, already redacted.
    """

    words: str
    facts: Facts = field(default_factory=dict)
    output: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a running step has come.

    Attributes:
        done: Units done.
        total: Units in all, None if it is not known.
        unit: ``bytes``, ``hosts``, ``seconds``, ``files``, ...
        words: What is going on right now.
    """

    done: float
    total: float | None
    unit: str
    words: str = ""

    def share(self) -> float | None:
        """Return the part that is done, 0..1, None if it is not known."""
        return min(1.0, self.done / self.total) if self.total else None


@dataclass(frozen=True)
class Fault:
    """How the latest attempt of a step ended badly.

    Attributes:
        brief: What happened.
        output: The last lines of the tool's output, redacted.
        presence: Whether the step's effect was there afterwards.
    """

    brief: str
    output: str = ""
    presence: Presence = Presence.UNKNOWN


@dataclass(frozen=True)
class Remedy:
    """Something that may help after a step failed: a step of its own, run when a person says so.

    A remedy whose step `reads_only` is a diagnosis: it shows what a person would look at next. Any other one acts,
    and needs somebody who may authorise the rollback. Its step is as pinned and repeatable as those of a plan.

    Attributes:
        id: Its name, unique among the remedies of the failed step; the same remedy always has the same.
        title: What its button says, at most 60 characters.
        words: What it does and, if it acts, what it changes; one sentence or two.
        step: What is run, of a registered kind.
        settles: Whether the failed step counts as done when this one is: it brings the same effect about in another
            way.
    """

    id: str
    title: str
    words: str
    step: Step
    settles: bool = False


@dataclass(frozen=True)
class Loss:
    """What a step would destroy that came in after the backup.

    Attributes:
        words: What would be lost, for people: ``412 rows of transactions, 3 of users; all writes of 31 minutes``.
        since: Moment of the backup that comes back.
        rows: Rows written since, as far as they can be counted; None: not known.
        beyond: Why the plan's point of no return has been passed by what was written, whatever the time; empty if
            it has not, or if the plan names no such limit.
    """

    words: str
    since: datetime
    rows: int | None = None
    beyond: str = ""


@dataclass(frozen=True)
class Context:
    """The world of one step of one rollback, as an actuator sees it.

    Attributes:
        rollback_id: The run, e.g. ``rb-0004``; unique, safe in names of databases and files.
        plan: The approved plan.
        inventory: The targets as they were approved.
        clock: The only source of time.
        report: Takes progress; cheap, may be called often.
        facts: What the steps of this rollback have measured so far, by step.
        why: The reason of the rollback, for application names and audit fields on the target.
        approved: The seals that were shown to whoever authorised the rollback, by step; empty before that.
    """

    rollback_id: str
    plan: Plan
    inventory: Inventory
    clock: Clock
    report: Callable[[Progress], None]
    facts: Mapping[str, Facts] = field(default_factory=dict)
    why: str = ""
    approved: Mapping[str, str] = field(default_factory=dict)

    def token(self, step: Step) -> str:
        """Return a name that is unique to this step of this run, for what the step creates on the target."""
        return f"{self.rollback_id}-{step.id}"


class Actuator(Protocol[S_contra]):
    """One kind of step: checks, observes and applies it.

    `check` and `observe` change nothing. `apply` returns when the effect is there, and raises
    `bot.domain.errors.ActuatorError` otherwise; when it is cancelled it stops what it started (child processes
    included) and re-raises. Applying twice is harmless: everything is pinned. After `apply` the engine observes
    again, and only PRESENT counts as done. A step whose model `reads_only` is a probe: its `apply` looks until the
    expectation holds or the deadline passes, and `observe` answers ABSENT without looking.
    """

    async def check(self, step: S_contra, context: Context) -> tuple[Check, ...]:
        """Verify access, privileges and preconditions, read only. Never raises for a finding: it is a FAIL."""
        ...

    async def observe(self, step: S_contra, context: Context) -> Observation:
        """Look whether the step's effect is there, read only."""
        ...

    async def apply(self, step: S_contra, context: Context) -> Outcome:
        """Bring the effect about."""
        ...


@runtime_checkable
class KnowsRemedies(Protocol[S_contra]):
    """An actuator that knows what may help when its step failed."""

    async def remedies(self, step: S_contra, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what may help, diagnoses first. Read only; what cannot be found out is left out."""
        ...


@runtime_checkable
class KnowsLoss(Protocol[S_contra]):
    """An actuator whose step destroys what came in after a backup."""

    async def loss(self, step: S_contra, context: Context) -> Loss | None:
        """Measure what the step would destroy now, read only; None: nothing."""
        ...


@dataclass(frozen=True)
class Registered(Generic[S]):
    """A step's model with the actuator that carries it out."""

    model: type[S]
    actuator: Actuator[S]


class Registry:
    """The actuators by kind of step; a value, built once in the composition root."""

    def __init__(self, *entries: Registered[Any]) -> None:
        self._entries = {entry.model.model_fields["kind"].default: entry for entry in entries}

    def catalogue(self) -> dict[str, type[Step]]:
        """Return the models of the steps by kind."""
        return {kind: entry.model for kind, entry in self._entries.items()}

    def wrapped(self, wrap: Callable[[Actuator[Any]], Actuator[Any]]) -> Registry:
        """Return the same steps with each actuator wrapped: to watch, limit or disturb what they do."""
        entries = self._entries.values()
        return Registry(*(Registered(entry.model, wrap(entry.actuator)) for entry in entries))

    def read(self, document: Mapping[str, Any]) -> Step:
        """Return the step that a journal holds as JSON.

        Raises:
            KeyError: If no actuator of that kind is registered.
            pydantic.ValidationError: If it is no step of that kind.
        """
        step: Step = self._entries[document["kind"]].model.model_validate(document)
        return step

    def actuator(self, step: Step) -> Actuator[Any]:
        """Return the actuator of a step.

        Raises:
            KeyError: If no actuator of that kind is registered.
        """
        return self._entries[step.kind].actuator
