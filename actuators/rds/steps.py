"""The steps on an instance of Amazon RDS."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from actuators.remedies import Diagnosis
from bot.domain.plan import Step
from bot.domain.times import Duration, Moment, parse_duration, utc_second

SnapshotId = Annotated[str, Field(pattern=r"^([a-z]+:)?[A-Za-z][A-Za-z0-9-]{0,254}$")]
"""The identifier of a snapshot: one's own, or an automated one (``rds:payments-2024-01-15-04-10``)."""

InstanceClass = Annotated[str, Field(pattern=r"^db\.[a-z0-9-]{2,20}\.[a-z0-9]{2,20}$", examples=["db.m6g.large"])]
"""The class of an instance."""

ResourceId = Annotated[str, Field(pattern=r"^db-[A-Z0-9]{6,64}$")]
"""What AWS calls DbiResourceId: of one instance for ever, whatever its name."""

_LOOKING = timedelta(seconds=60)
"""One look is up to six calls of AWS, each of which may be tried three times."""


class RdsStep(Step):
    """A step on the instance, of which each look asks AWS several times."""

    looking: ClassVar[timedelta | None] = _LOOKING


class RdsSnapshot(RdsStep):
    """Take a snapshot of the failed instance, before anything else, and keep it."""

    kind: Literal["rds.snapshot"] = "rds.snapshot"
    expected: Duration = parse_duration("5m")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Take a safety snapshot of {self.target}"


class RdsRestore(RdsStep):
    """Restore the instance's data of before the deployment into a new instance beside it.

    Attributes:
        at: The moment whose data comes back; exactly this or `snapshot`.
        snapshot: The snapshot that comes back.
        instance_class: The class of the new instance; without it, that of the live one.
    """

    kind: Literal["rds.restore"] = "rds.restore"
    at: Moment | None = None
    snapshot: SnapshotId | None = None
    instance_class: InstanceClass | None = None
    expected: Duration = parse_duration("20m")

    @model_validator(mode="after")
    def _one(self) -> RdsRestore:
        if (self.at is None) == (self.snapshot is None):
            raise ValueError("name exactly one thing to restore: `at` (a moment) or `snapshot`")
        return self

    def source(self) -> str:
        """Return what is restored, for people."""
        return utc_second(self.at) if self.at is not None else f"snapshot {self.snapshot}"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Restore {self.target} to {self.source()}, beside it"


class RdsSwap(RdsStep):
    """Give the restored instance the failed one's name, and with it its endpoint. The failed one is kept."""

    destroys: ClassVar[bool] = True

    kind: Literal["rds.swap"] = "rds.swap"
    expected: Duration = parse_duration("5m")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Swap the restored instance of {self.target} in"


class RdsSwapBack(RdsStep):
    """Give the failed instance its name back. The restored one is kept under the name that it had before.

    Attributes:
        resource: The failed instance, by the id that never changes.
    """

    kind: Literal["rds.swap_back"] = "rds.swap_back"
    resource: ResourceId
    expected: Duration = parse_duration("5m")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Give the failed instance of {self.target} its name back"


class RdsVerify(RdsStep):
    """The service's instance is the one that this rollback restored, available, with its settings in force."""

    reads_only: ClassVar[bool] = True

    kind: Literal["rds.verify"] = "rds.verify"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"The restored instance of {self.target} is in service"


class RdsPoints(RdsStep, Diagnosis):
    """Show to which moments and snapshots an instance can be brought back."""

    kind: Literal["rds.points"] = "rds.points"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"What {self.target} can be restored to"


class RdsEvents(RdsStep, Diagnosis):
    """Show what RDS itself tells about the instance and this run's copy.

    Attributes:
        hours: How far back; RDS keeps 14 days.
    """

    kind: Literal["rds.events"] = "rds.events"
    hours: int = Field(default=24, ge=1, le=336)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Events of {self.target}"
