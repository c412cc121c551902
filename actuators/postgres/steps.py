"""The steps of a plan that are done to a PostgreSQL database."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from bot.domain.inventory import Name
from bot.domain.plan import Step
from bot.domain.times import Duration, parse_duration


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


class Swap(Step):
    """The restored database has taken the live one's name; the failed one is kept under a dated name."""

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
