"""The steps of a plan that are done to a PostgreSQL database."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from actuators.remedies import Diagnosis
from bot.domain.inventory import Name
from bot.domain.plan import Step
from bot.domain.times import Duration, Moment, parse_duration, utc_second


class Drain(Step):
    """No connection to the database is left; what does not go by itself is ended, and its source is named.

    Attributes:
        grace: How long clients may take to leave by themselves.
    """

    kind: Literal["postgres.drain"] = "postgres.drain"
    grace: Duration = parse_duration("2s")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"End the connections to database {self.target}"


class Terminate(Step):
    """Every session in the database, and in this run's copy of it, is ended at once, and its source is named."""

    kind: Literal["postgres.terminate"] = "postgres.terminate"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Terminate every connection to database {self.target}"


class SafetyBackup(Step):
    """A dump of the failed state lies in the database's folder of backups."""

    kind: Literal["postgres.safety_backup"] = "postgres.safety_backup"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Back up the failed state of database {self.target}"


class Restore(Step):
    """The backup is restored into a database of its own beside the live one, and verified there.

    Attributes:
        backup: The backup of the plan.
        analyze: Whether the planner's statistics are gathered, so that the service does not start with bad plans.
    """

    kind: Literal["postgres.restore"] = "postgres.restore"
    backup: Name
    analyze: bool = True

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Restore backup {self.backup} beside database {self.target}"


class RestoreFrom(Step):
    """Another backup than the plan's is restored beside the live database, for the plan's own step.

    The file is pinned, so that exactly what a person chose is restored. One that was taken after the deployment is
    refused.

    Attributes:
        restores: The plan's step of kind ``postgres.restore`` that this one takes the place of.
        location: The file, on the machine of the worker.
        taken_at: When it was taken.
        size: Its length in bytes.
        sha256: Its digest in hex, where there was time to compute it; compared before anything is restored.
        analyze: Whether the planner's statistics are gathered.
    """

    kind: Literal["postgres.restore_from"] = "postgres.restore_from"
    restores: Name
    location: str = Field(min_length=1)
    taken_at: Moment
    size: int = Field(gt=0)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    analyze: bool = True

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Restore {self.location} beside database {self.target}"


class Pitr(Step):
    """The database as it was at a moment is there beside the live one: a base backup, and the WAL until then.

    Attributes:
        backup: The backup of the plan: the folder of a base backup, and the digest of its ``backup_manifest``.
        target_time: The moment, before the deployment; it comes back, and nothing that was committed after it.
        tolerance: Share of the baseline by which a row count may differ at that moment, 0..1.
        analyze: Whether the planner's statistics are gathered.
    """

    kind: Literal["postgres.pitr"] = "postgres.pitr"
    backup: Name
    target_time: Moment
    tolerance: float = Field(default=0.0, ge=0, le=1)
    analyze: bool = True

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Recover database {self.target} as of {utc_second(self.target_time)} beside it"


class ClearPitr(Step):
    """No recovered server of this run is left, and none of its files.

    Attributes:
        recovers: The plan's step of kind ``postgres.pitr`` that left them.
    """

    kind: Literal["postgres.pitr_clear"] = "postgres.pitr_clear"
    recovers: Name

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Stop and remove the recovered server of database {self.target}"


class Swap(Step):
    """The restored database has taken the live one's name; the failed one is kept under a dated name."""

    destroys: ClassVar[bool] = True

    kind: Literal["postgres.swap"] = "postgres.swap"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Put the restored database in the place of {self.target}"


class Verify(Step):
    """Schema version and row counts of the live database are those of the plan's baseline.

    Attributes:
        tolerance: Share of the baseline by which a row count may differ, 0..1; more than 0 only where the service
            already writes again.
    """

    reads_only: ClassVar[bool] = True

    kind: Literal["postgres.verify"] = "postgres.verify"
    tolerance: float = Field(default=0.0, ge=0, le=1)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Compare database {self.target} with the baseline"


class ListBackups(Diagnosis):
    """Shows which backups of the database there are beside the plan's one, and which of them could be restored.

    Attributes:
        backup: The backup of the plan.
    """

    kind: Literal["postgres.catalogue"] = "postgres.catalogue"
    backup: Name

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Which other backups of database {self.target} there are"


class ListConnections(Diagnosis):
    """Shows who is connected to the database and to this run's copy of it."""

    kind: Literal["postgres.connections"] = "postgres.connections"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Who is connected to database {self.target}"
