"""The copy beside the live database while it is being filled: made, watched, given statistics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from actuators.postgres import beside, catalog
from actuators.postgres.beside import Origin
from actuators.postgres.catalog import DatabaseState
from actuators.postgres.checks import live_database
from actuators.postgres.connection import Connection, connected
from actuators.postgres.marker import Marker, beside_name
from actuators.together import together
from bot.domain.actuation import Context, Progress
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database

# A partitioned table's statistics are gathered together with those of its partitions.
_TABLES = """
SELECT n.nspname::text, c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.oid >= 16384
ORDER BY c.relkind = 'p' DESC, c.relpages DESC
"""

_POLL = 0.5
"""Seconds between two looks at the size of the database."""


@dataclass(frozen=True)
class Copy:
    """A database of the run's own that is being filled.

    Attributes:
        target: The database target.
        context: The run.
        live: The live database.
        created: The copy.
        marker: The copy's mark.
        known: The server's roles.
    """

    target: Database
    context: Context
    live: DatabaseState
    created: DatabaseState
    marker: Marker
    known: frozenset[str]


async def begin(
    connection: Connection, origin: Origin, target: Database, context: Context, *, sha256: str | None
) -> Copy:
    """Create an empty copy with this run's mark; a half-filled forerunner is dropped.

    Raises:
        ActuatorError: If somebody keeps it from being made.
    """
    live, name = await live_database(connection, target), beside_name(target.dbname, context.rollback_id)
    try:
        await beside.drop(connection, name)
        created, marker = await beside.create(origin, context, connection, live, sha256=sha256)
    except psycopg.errors.ObjectInUse as error:
        raise await _in_use(error, connection, name) from None
    return Copy(target, context, live, created, marker, await catalog.roles(connection))


async def finish(copy: Copy) -> None:
    """Mark the copy as restored."""
    async with connected(copy.target, copy.context) as connection:
        await beside.finish(connection, copy.created, copy.marker)


@dataclass
class Filling:
    """Bytes from the size of the database, words from pg_restore's messages where they can be followed."""

    context: Context
    entries: int = 0
    serial: bool = False
    dbname: str = ""
    size: int = 0
    total: int | None = None
    last: str = ""
    finished: set[str] = field(default_factory=set)

    def follow(self, line: str) -> None:
        """Take a message of pg_restore."""
        if self.serial:
            match = re.search(r"((?:creating|processing data for table) .*)$", line)
            number = line
        else:
            match = re.search(r"(?:processing|finished) item (\d+) (.*)$", line)
            number = match[1] if match else ""
        if match:
            self.finished.add(number)
            self.last = match[match.lastindex or 0]
            self.report()

    def complete(self) -> None:
        """Take the last word: all of it is there."""
        if self.total is not None:
            self.size = self.total
        self.report()

    def report(self) -> None:
        """Tell how far the restore is."""
        share = min(len(self.finished), self.entries)
        words = f"{share} of {self.entries} objects" if self.entries else f"filling the copy of {self.dbname}"
        words += f", last {self.last}" if self.last else ""
        self.context.report(Progress(self.size, self.total, "bytes", words))


async def watch(copy: Copy, progress: Filling) -> None:
    """Follow the size until the caller ends it. It is a convenience: its own faults end nothing."""
    try:
        async with connected(copy.target, copy.context, looking=True) as connection:
            empty = await catalog.size(connection, copy.created.name)
            progress.total = max(1, await catalog.size(connection, copy.live.name) - empty)
            while True:
                await copy.context.clock.sleep(_POLL)
                progress.size = max(0, await catalog.size(connection, copy.created.name) - empty)
                progress.report()
    except ActuatorError:
        return


async def analyze(copy: Copy) -> None:
    """Gather statistics with as many connections as the restore has jobs, the largest tables first."""
    async with connected(copy.target, copy.context, dbname=copy.created.name, looking=True) as connection:
        rows = await (await connection.execute(_TABLES)).fetchall()
    waiting = iter([sql.Identifier(schema, table) for schema, table in rows])
    await together(_analyze(copy, waiting) for _ in range(max(1, min(copy.target.jobs, len(rows)))))


async def _analyze(copy: Copy, waiting: Iterator[sql.Identifier]) -> None:
    """Take one table after the other. Those of other owners are skipped by the server with a warning: no fault."""
    async with connected(copy.target, copy.context, dbname=copy.created.name) as connection:
        for table in waiting:
            try:
                await connection.execute(sql.SQL("ANALYZE {}").format(table))
            except psycopg.errors.QueryCanceled:
                # A statement_timeout of the server: statistics can be gathered later, by autovacuum at the latest.
                continue


def foreign(words: str) -> ActuatorError:
    """Return the error of a copy that is somebody else's."""
    return ActuatorError(
        f"The backup cannot be restored: {words}.",
        untouched="Neither that database nor the live one was touched.",
        resolution="Find out whose it is; rename or drop it by hand if nobody needs it, then retry.",
    )


async def _in_use(error: psycopg.Error, connection: Connection, name: str) -> ActuatorError:
    """Say who keeps the copy from being made: those in its half-restored forerunner, or in the template."""
    found = catalog.sources(await catalog.sessions(connection, name, "template0"))
    waiting = ", ".join(await catalog.prepared_transactions(connection, name))
    return ActuatorError(
        f"{error.diag.message_primary}: {found or waiting or error.diag.message_detail}.",
        untouched="The live database was not touched.",
        resolution="Stop the named client, or terminate its connections; then retry.",
        transient=True,
    )
