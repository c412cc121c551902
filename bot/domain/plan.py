"""The rollback plan: a value, its digest, and the order of its steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, SerializeAsAny, create_model

from bot.domain.inventory import Model, Name
from bot.domain.times import Duration, Moment, parse_duration

ChangeId = Annotated[str, Field(pattern=r"^CHG\d{4,12}$", examples=["CHG0012345"])]
"""The number of a change record."""


class Criticality(StrEnum):
    """How much the business depends on the service."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


def _absent(value: object) -> bool:
    """Leave a field that was added later out of the canonical plan where it is not used: digests stay the same."""
    return value is None


def _empty(value: object) -> bool:
    """Do the same for a field that holds several values."""
    return not value


class Step(Model):
    """One pinned, repeatable act of a plan. Actuators define their own steps as subclasses with a literal `kind`.

    Attributes:
        id: The step's name, unique within the plan.
        kind: What is done, as ``actuator.verb``.
        target: The inventory target it is done to.
        needs: Steps of the same phase that must have ended well before.
        expected: How long it normally takes.
        timeout: How long it may take before it is stopped and looked at; default 4 x `expected`, at least 1 m.
        attempts: How often it is tried while the fault is a passing one.
        title: Words for the progress card; the actuator has its own if empty.
        point_of_no_return: Why giving up is hard once the step has begun, and what a forward-fix needs then. After
            it, an abort asks for a second confirmation and shows these words.
    """

    reads_only: ClassVar[bool] = False
    """Whether the step only looks: then it may be repeated without observing first."""

    destroys: ClassVar[bool] = False
    """Whether the step takes away what came in after the backup, as far as the service sees it."""

    diagnoses: ClassVar[bool] = False
    """Whether the step only shows what it finds, and never fails for it: then it verifies nothing."""

    looking: ClassVar[timedelta | None] = None
    """How long one look at the target may take, where it takes longer than most; None: as the engine allows."""

    id: Name
    kind: str
    target: Name
    needs: tuple[Name, ...] = ()
    expected: Duration = parse_duration("30s")
    timeout: Duration | None = None
    attempts: int = Field(default=3, ge=1, le=10)
    title: str = Field(default="", max_length=120)
    point_of_no_return: str | None = Field(default=None, min_length=1, max_length=600, exclude_if=_absent)

    def deadline(self) -> timedelta:
        """Return how long one attempt may take."""
        return self.timeout or max(4 * self.expected, timedelta(minutes=1))

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"{self.kind} on {self.target}"

    def backup_ids(self) -> tuple[str, ...]:
        """Return the backups of the plan that the step needs."""
        backup = getattr(self, "backup", None)
        return (backup,) if isinstance(backup, str) else ()


class BackupKind(StrEnum):
    """What a backup holds."""

    DATABASE = "database"
    ARTIFACT = "artifact"
    CONFIGURATION = "configuration"


class Backup(Model):
    """A pre-deployment backup.

    Attributes:
        id: Its name within the plan.
        kind: What it holds.
        target: The inventory target it was taken from, and on whose machines it lies.
        location: The file or folder.
        taken_at: When it was taken.
        sha256: The file's digest in hex; checked if given.
    """

    id: Name
    kind: BackupKind
    target: Name
    location: str = Field(min_length=1)
    taken_at: Moment
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class Phase(Model):
    """Steps that belong together. Phases run in turn; within one, steps run in parallel as far as `needs` allows.

    Attributes:
        name: For people.
        expected: How long the phase normally takes.
        steps: At least one.
    """

    name: str = Field(min_length=1, max_length=80)
    expected: Duration
    steps: tuple[SerializeAsAny[Step], ...] = Field(min_length=1)


class Versions(Model):
    """The version that was deployed, and the one that comes back."""

    deployed: str = Field(min_length=1)
    restored: str = Field(min_length=1)


class RowsWritten(Model):
    """A limit on the rows that were written since the backup.

    Attributes:
        target: The database.
        tables: Which tables count; none: those that the inventory counts.
        above: The most rows that may be lost without a second person's word.
    """

    target: Name
    tables: tuple[str, ...] = ()
    above: int = Field(default=0, ge=0)


class LossQuery(Model):
    """A query of one's own that tells whether a database can still go back.

    Attributes:
        target: The database.
        sql: A statement that yields one number; it runs in a read-only transaction.
        above: The point of no return is passed when the number is above this.
    """

    target: Name
    sql: str = Field(min_length=1, max_length=4000)
    above: float = 0


class PointOfNoReturn(Model):
    """The moment after which a rollback loses data or cannot be done: whichever of the conditions comes first.

    Attributes:
        after: Time since the deployment.
        reason: Why.
        rows: A limit on the rows written since the backup.
        query: A query of one's own.
    """

    after: Duration
    reason: str = Field(min_length=1)
    rows: RowsWritten | None = Field(default=None, exclude_if=_absent)
    query: LossQuery | None = Field(default=None, exclude_if=_absent)


class Baseline(Model):
    """What was measured before the deployment; a rollback is complete when it is reached again.

    Attributes:
        error_rate: Share of failed transactions, 0..1.
        p95: 95th percentile of the response time.
        schema_version: Version of the database schema, if there is one.
        row_counts: Rows of the critical tables.
    """

    error_rate: float = Field(ge=0, le=1)
    p95: Duration
    schema_version: str | None = None
    row_counts: dict[str, int] = Field(default_factory=dict)


class Verification(Model):
    """What must hold before the rollback counts as complete.

    Attributes:
        expected: How long it normally takes.
        steps: Probes; all of them read only.
    """

    expected: Duration
    steps: tuple[SerializeAsAny[Step], ...] = Field(min_length=1)


class Contact(Model):
    """A person on the escalation path.

    Attributes:
        role: What the person answers for.
        user: Slack user id.
    """

    role: str = Field(min_length=1)
    user: str = Field(pattern=r"^[UW][A-Z0-9]{2,}$")


class Bridge(Model):
    """The incident bridge."""

    url: str = Field(pattern=r"^https://\S+$")
    dial: str | None = None
    conference_id: str | None = None


class Communication(Model):
    """Who must hear of the rollback, and where.

    Attributes:
        channel: The operations channel, by id; without it the bot's own.
        escalation: Who is told directly, in this order.
    """

    channel: str | None = Field(default=None, pattern=r"^[CG][A-Z0-9]{2,}$")
    escalation: tuple[Contact, ...] = Field(min_length=1)


class Plan(Model):
    """A documented rollback plan, one a change.

    It holds the five things that the specification demands: `backups`, the `phases` with their exact steps, the
    expected duration of each phase, the `verification` and the `communication`.

    Attributes:
        api: The form of the document.
        change: The change that is reverted.
        title: The change in words.
        service: The service that was changed.
        criticality: How much depends on the service.
        versions: What was deployed and what comes back.
        deployed_at: When the change went live.
        window: The time permitted for the rollback.
        point_of_no_return: After which forward-fix is the only way.
        bridge: Where people meet.
        metrics: The inventory target whose metrics show the impact.
        dependencies: What the service needs beside itself, to be looked at when errors persist after the rollback:
            endpoints of other services, and caches.
        review_after_days: Working days until the post-incident review.
    """

    api: Literal["rollback/v1"]
    change: ChangeId
    title: str = Field(min_length=1, max_length=120)
    service: str = Field(min_length=1, max_length=80)
    criticality: Criticality
    versions: Versions
    deployed_at: Moment
    window: Duration
    point_of_no_return: PointOfNoReturn
    bridge: Bridge
    metrics: Name
    dependencies: tuple[Name, ...] = Field(default=(), exclude_if=_empty)
    baseline: Baseline
    backups: tuple[Backup, ...] = Field(min_length=1)
    phases: tuple[Phase, ...] = Field(min_length=1)
    verification: Verification
    communication: Communication
    review_after_days: int = Field(default=2, ge=1, le=30)

    def steps(self) -> Iterator[Step]:
        """Yield every step of every phase, in the order of the document, then the verification's."""
        for phase in self.phases:
            yield from phase.steps
        yield from self.verification.steps

    def step(self, step_id: str) -> Step:
        """Return the step of that id.

        Raises:
            KeyError: If there is none.
        """
        for step in self.steps():
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def backup(self, backup_id: str) -> Backup:
        """Return the backup of that id.

        Raises:
            KeyError: If there is none.
        """
        for backup in self.backups:
            if backup.id == backup_id:
                return backup
        raise KeyError(backup_id)

    def targets(self) -> tuple[str, ...]:
        """Return the names of all targets that the plan acts on, sorted; these are locked during a rollback."""
        return tuple(sorted({step.target for step in self.steps() if not step.reads_only}))

    def all_targets(self) -> tuple[str, ...]:
        """Return the names of all targets that the plan reads or acts on, sorted."""
        point = self.point_of_no_return
        measured = {limit.target for limit in (point.rows, point.query) if limit}
        steps = {step.target for step in self.steps()}
        backups = {backup.target for backup in self.backups}
        return tuple(sorted(steps | {self.metrics, *self.dependencies} | backups | measured))

    def no_return_at(self) -> datetime:
        """Return the moment from which a rollback is past its point of no return, by the time alone."""
        return self.deployed_at + self.point_of_no_return.after

    def expected(self) -> timedelta:
        """Return how long the whole rollback normally takes."""
        return sum((phase.expected for phase in self.phases), self.verification.expected)

    def canonical(self) -> str:
        """Return the plan as canonical JSON: sorted keys, no white space, defaults written out."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def digest(self) -> str:
        """Return the SHA-256 of the canonical plan, in hex. An approval binds to it."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def title_line(self) -> str:
        """Return the change as the standard messages name it."""
        return f"{self.change} - {self.title}"


StepCatalogue = Mapping[str, type[Step]]
"""The steps that the registered actuators know, by kind."""


def plan_model(catalogue: StepCatalogue) -> type[Plan]:
    """Build the plan's model for the given actuators, so that each step is checked by its own model.

    The result validates plans and publishes the JSON Schema for editors.
    """
    kinds = tuple(catalogue[kind] for kind in sorted(catalogue))
    union: Any = reduce(or_, kinds)
    step: Any = Annotated[union, Field(discriminator="kind")] if len(kinds) > 1 else union
    steps: Any = (tuple[step, ...], Field(min_length=1))
    phase: type[BaseModel] = create_model("Phase", __base__=Phase, __doc__=Phase.__doc__, steps=steps)
    verification: type[BaseModel] = create_model(
        "Verification", __base__=Verification, __doc__=Verification.__doc__, steps=steps
    )
    return create_model(
        "RollbackPlan",
        __base__=Plan,
        __doc__=Plan.__doc__,
        phases=(tuple[phase, ...], Field(min_length=1)),
        verification=(verification, ...),
    )
