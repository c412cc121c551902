"""A snapshot as RDS describes it, and whether it can bring an instance back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actuators.rds.instance import Instance
from actuators.rds.names import Mark, from_list, read_mark
from bot.domain.times import utc_second


@dataclass(frozen=True)
class Snapshot:
    """A snapshot.

    Attributes:
        raw: What DescribeDBSnapshots tells.
    """

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its identifier."""
        return str(self.raw["DBSnapshotIdentifier"])

    @property
    def status(self) -> str:
        """The status in AWS's word."""
        return str(self.raw.get("Status", "unknown"))

    @property
    def taken(self) -> datetime | None:
        """When the data was as it holds it: a copied snapshot has the time of the first one. None: not yet."""
        found: datetime | None = self.raw.get("OriginalSnapshotCreateTime") or self.raw.get("SnapshotCreateTime")
        return found

    @property
    def percent(self) -> float:
        """How far it has come, 0..100."""
        return float(self.raw.get("PercentProgress") or 0)

    @property
    def resource(self) -> str:
        """The id of the instance that it was taken of."""
        return str(self.raw.get("DbiResourceId", ""))

    @property
    def mark(self) -> Mark | None:
        """Who made it, if it was a rollback."""
        return read_mark(from_list(self.raw.get("TagList", [])))

    def objections(self, source: Instance, *, deployed_at: datetime) -> list[str]:
        """Return what speaks against restoring it, for people; nothing, if it can bring the instance back.

        Args:
            source: The instance.
            deployed_at: When the change went live that is reverted.
        """
        found = []
        if self.status != "available":
            found.append(f"it is {self.status}")
        if self.resource != source.resource and self.raw.get("DBInstanceIdentifier") != source.name:
            found.append(f"it was taken of {self.raw.get('DBInstanceIdentifier')}")
        if self.raw.get("Engine") != source.raw.get("Engine"):
            found.append(f"it holds {self.raw.get('Engine')}, not {source.raw.get('Engine')}")
        if self.taken is None:
            found.append("AWS does not tell when it was taken")
        elif self.taken > deployed_at:
            found.append(
                f"it was taken after the deployment, {utc_second(self.taken)}, so it holds the failed state"
            )
        return found
