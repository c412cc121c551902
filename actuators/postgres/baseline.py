"""Schema version and row counts: what a database holds, and whether it is what the plan's baseline says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from actuators.postgres.connection import Connection
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Baseline

NOT_BASELINE = "is not what the baseline says"
"""How a failure is known again in which the restored data were the wrong ones."""


@dataclass(frozen=True)
class Measured:
    """What was read from a database.

    Attributes:
        schema_version: The answer of the target's statement; None if the baseline names none.
        row_counts: Rows by table.
    """

    schema_version: str | None
    row_counts: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """Return the values under their shared names."""
        return {"schema_version": self.schema_version, "row_counts": self.row_counts}

    def words(self) -> str:
        """Return the values for people."""
        counts = ", ".join(f"{table} {count:,} rows" for table, count in self.row_counts.items())
        version = f"schema {self.schema_version}" if self.schema_version is not None else ""
        return ", ".join(part for part in (version, counts) if part) or "nothing to compare"


async def measure(connection: Connection, target: Database, baseline: Baseline) -> Measured:
    """Read the schema version and count rows, in one snapshot.

    Raises:
        ActuatorError: If a table or the statement's table is not there.
    """
    tables = [*baseline.row_counts, *(table for table in target.count_tables if table not in baseline.row_counts)]
    counts: dict[str, int] = {}
    version: str | None = None
    try:
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if baseline.schema_version is not None:
                # The inventory's own statement; whoever may write the inventory may run it.
                row = await (await connection.execute(target.migrations.encode())).fetchone()
                version = None if row is None or row[0] is None else str(row[0])
            for table in tables:
                name = sql.Identifier(*table.split("."))
                row = await (await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name))).fetchone()
                counts[table] = int(row[0]) if row else 0
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise ActuatorError(
            f"The database does not hold what the baseline names: {error.diag.message_primary}.",
            resolution="Compare the plan's baseline and the inventory's `migrations` with the backup.",
        ) from None
    return Measured(schema_version=version, row_counts=counts)


def differences(measured: Measured, baseline: Baseline, *, tolerance: float = 0.0) -> tuple[str, ...]:
    """Return in words where the measured values miss the baseline.

    Args:
        measured: What was read.
        baseline: What must be there.
        tolerance: Share of the baseline by which a row count may differ.
    """
    found = []
    if baseline.schema_version is not None and measured.schema_version != baseline.schema_version:
        found.append(f"schema version is {measured.schema_version or 'none'}, not {baseline.schema_version}")
    for table, expected in baseline.row_counts.items():
        count = measured.row_counts[table]
        if abs(count - expected) > tolerance * expected:
            found.append(f"{table} has {count:,} rows, not {expected:,}")
    return tuple(found)


def gaps(measured: Measured, baseline: Baseline) -> tuple[str, ...]:
    """Return in words what a backup of another moment lacks: the baseline's schema, or all rows of a table."""
    found = list(differences(measured, baseline.model_copy(update={"row_counts": {}})))
    for table, expected in baseline.row_counts.items():
        if expected and not measured.row_counts[table]:
            found.append(f"{table} is empty, and had {expected:,} rows")
    return tuple(found)
