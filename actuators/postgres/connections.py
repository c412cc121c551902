"""postgres.connections and postgres.terminate: who is connected to a database, and putting them out at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from actuators.postgres import catalog
from actuators.postgres.catalog import Session
from actuators.postgres.checks import examine
from actuators.postgres.connection import Connection, connected, database_of
from actuators.postgres.drain import EndsSessions
from actuators.postgres.steps import ListConnections, Terminate
from actuators.probes import LeavesNothing
from actuators.remedies import shown
from bot.domain.actuation import Check, Context, Outcome
from bot.domain.inventory import Database
from bot.domain.times import in_words

_DETAILS = """
SELECT datname::text, coalesce(usename::text, '?'), coalesce(nullif(application_name, ''), 'unnamed'),
       coalesce(host(client_addr), CASE WHEN backend_type IS NULL THEN 'an address this role may not see'
                                        ELSE 'the server''s own machine' END),
       coalesce(state, 'state not to be seen'), pid,
       coalesce(extract(epoch FROM clock_timestamp() - backend_start), 0)::float8,
       coalesce(extract(epoch FROM clock_timestamp() - state_change), 0)::float8
FROM pg_stat_activity
WHERE datname = ANY(%(dbnames)s::name[]) AND pid <> pg_backend_pid()
ORDER BY 1, 2, 3, 4, 5, 7 DESC
LIMIT 500
"""

_PREPARED = """
SELECT database::text, gid, owner::text, extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts WHERE database = ANY(%(dbnames)s::name[]) ORDER BY 4 DESC LIMIT 20
"""

_PIDS = 8
"""Processes that are named one by one in a line."""


@dataclass(frozen=True)
class _Row:
    """A session as pg_stat_activity tells it; times in seconds."""

    dbname: str
    user: str
    application: str
    address: str
    state: str
    pid: int
    connected: float
    unchanged: float

    @property
    def source(self) -> tuple[str, ...]:
        return (self.dbname, self.user, self.application, self.address, self.state)


class ConnectionsActuator(LeavesNothing):
    """A diagnosis: lists sessions, those from one source together."""

    async def check(self, step: ListConnections, context: Context) -> tuple[Check, ...]:
        """Look whether the server answers."""
        return await examine(step, context)

    async def apply(self, step: ListConnections, context: Context) -> Outcome:
        """List them."""
        target = database_of(step, context)
        names = catalog.run_databases(target.dbname, context)
        async with connected(target, context, looking=True) as connection:
            rows = [_Row(*row) for row in await _fetch(connection, _DETAILS, names)]
            prepared = await _fetch(connection, _PREPARED, names)
        lines = [_line(list(group)) for _, group in groupby(rows, key=lambda row: row.source)]
        lines += [
            f'{dbname}: two-phase transaction "{gid}" of {owner}, for {_ago(seconds)}; it holds the database'
            for dbname, gid, owner, seconds in prepared
        ]
        words = f"{len(rows)} connection{'s' if len(rows) != 1 else ''} to {target.dbname}"
        if rows:
            words += f": {_sources(rows)}"
        if prepared:
            words += f"; {len(prepared)} two-phase transactions wait in it"
        return Outcome(words, {"connections": len(rows), "prepared": len(prepared)}, shown(lines))


class TerminateActuator(EndsSessions[Terminate]):
    """Ends every session in the database and in this run's copy at once."""

    def grace(self, step: Terminate) -> timedelta:
        """Return none."""
        del step
        return timedelta(0)

    def databases(self, target: Database, context: Context) -> tuple[str, ...]:
        """Return the live database and the copy, which a half-done restore may have left."""
        return catalog.run_databases(target.dbname, context)


async def _fetch(connection: Connection, query: str, names: Iterable[str]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode(), {"dbnames": list(names)})).fetchall()


def _line(rows: list[_Row]) -> str:
    first = rows[0]
    pids = ", ".join(str(row.pid) for row in rows[:_PIDS]) + (", ..." if len(rows) > _PIDS else "")
    longest = max(row.connected for row in rows)
    unchanged = max(row.unchanged for row in rows)
    return (
        f'{first.dbname}: {len(rows)} of {first.user} "{first.application}" from {first.address}, {first.state} '
        f"for {_ago(unchanged)}, connected for {_ago(longest)}; pid {pids}"
    )


def _sources(rows: list[_Row]) -> str:
    return catalog.sources(Session(row.pid, row.user, row.application, row.address) for row in rows)


def _ago(seconds: object) -> str:
    return in_words(timedelta(seconds=seconds if isinstance(seconds, float) else 0.0))
