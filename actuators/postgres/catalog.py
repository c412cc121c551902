"""What the server says of databases, sessions and roles; read only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from actuators.postgres.connection import Connection, application_name
from actuators.postgres.marker import Marker, beside_name, read_marker
from bot.domain.actuation import Context

_DATABASE = """
SELECT d.datname, d.oid::int8, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), t.spcname,
       shobj_description(d.oid, 'pg_database'), to_jsonb(d)
FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace
WHERE d.datname = %s
"""

# Background workers that PostgreSQL ends by itself are no clients. A role without pg_read_all_stats sees neither
# the type nor the address of other roles' sessions: NULL counts as a client.
_SESSIONS = """
SELECT pid, usename::text, application_name, host(client_addr), backend_type
FROM pg_stat_activity
WHERE datname = ANY(%(dbnames)s::name[]) AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
  AND coalesce(backend_type, 'client backend') NOT IN ('autovacuum worker', 'parallel worker')
  AND NOT (application_name = %(own)s AND usename = current_user)
ORDER BY pid
"""

_ROLE = """
SELECT r.rolname::text, r.rolsuper, r.rolcreatedb,
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE')
FROM pg_roles AS r WHERE r.rolname = current_user
"""

_MAY_ACT_AS = """
SELECT pg_has_role(current_user, %(role)s::name, 'USAGE') AND pg_has_role(current_user, %(role)s::name, %(granted)s)
"""

_HAS_SET = 160000
"""The version from which on a membership may be without the right to SET ROLE."""


@dataclass(frozen=True)
class DatabaseState:
    """A database as the server's catalogue describes it.

    Attributes:
        name: Its name.
        oid: Its number, which a rename does not change.
        owner: The role that owns it.
        encoding: As CREATE DATABASE takes it.
        tablespace: Where it lies.
        comment: Its comment.
        columns: Its row of pg_database; which columns there are depends on the server's version.
    """

    name: str
    oid: int
    owner: str
    encoding: str
    tablespace: str
    comment: str | None
    columns: dict[str, Any]

    @property
    def marker(self) -> Marker | None:
        """The mark of the rollback that restored it, None if it is no restored one."""
        return read_marker(self.comment)


@dataclass(frozen=True)
class Session:
    """Somebody's connection.

    Attributes:
        pid: The server process.
        user: The role.
        application: The client's name for itself.
        address: Where it comes from.
    """

    pid: int
    user: str
    application: str
    address: str

    @property
    def source(self) -> str:
        """Who it is, in words."""
        return f'{self.user} "{self.application or "unnamed"}" from {self.address}'


@dataclass(frozen=True)
class Role:
    """The bot's own role."""

    name: str
    superuser: bool
    createdb: bool
    signal: bool


async def find_database(connection: Connection, name: str) -> DatabaseState | None:
    """Return the database of that name, None if there is none."""
    row = await (await connection.execute(_DATABASE, [name])).fetchone()
    return DatabaseState(*row) if row else None


async def sessions(connection: Connection, *dbnames: str, own: str = "") -> tuple[Session, ...]:
    """Return the sessions in a database, or in several, without this one.

    Args:
        connection: Where to ask.
        dbnames: The databases.
        own: The application name of the bot's sessions, which are left out; empty: none is left out.
    """
    rows = await (await connection.execute(_SESSIONS, {"dbnames": list(dbnames), "own": own or "\x01"})).fetchall()
    return tuple(
        Session(
            pid=pid,
            user=user,
            application=application or "",
            address=address or ("the server's own machine" if kind else "an address this role may not see"),
        )
        for pid, user, application, address, kind in rows
    )


def run_databases(dbname: str, context: Context) -> tuple[str, str]:
    """Return the live database and this run's copy of it, which a half-done restore may have left."""
    return dbname, beside_name(dbname, context.rollback_id)


async def lingering(connection: Connection, dbname: str, context: Context) -> tuple[Session, ...]:
    """Return who is connected to the live database or this run's copy of it, without the bot itself."""
    return await sessions(connection, *run_databases(dbname, context), own=application_name(context))


def sources(found: Iterable[Session]) -> str:
    """Name where sessions come from, with their number: ``shop "web" from 10.0.0.7 (3)``."""
    counted = Counter(session.source for session in found)
    return ", ".join(f"{source} ({count})" for source, count in counted.most_common())


async def prepared_transactions(connection: Connection, dbname: str) -> tuple[str, ...]:
    """Return the names of two-phase transactions that wait in a database; they hold it like a connection does."""
    rows = await connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY gid", [dbname])
    return tuple(gid for (gid,) in await rows.fetchall())


async def own_role(connection: Connection) -> Role:
    """Return what the bot's role may do."""
    row = await (await connection.execute(_ROLE)).fetchone()
    assert row is not None, "every session has a role"  # noqa: S101 - true by the server's own rules
    return Role(*row)


async def may_act_as(connection: Connection, role: str) -> bool:
    """Return whether the bot's role has the rights of another role and may become it."""
    granted = "SET" if connection.info.server_version >= _HAS_SET else "MEMBER"
    row = await (await connection.execute(_MAY_ACT_AS, {"role": role, "granted": granted})).fetchone()
    return bool(row and row[0])


async def roles(connection: Connection) -> frozenset[str]:
    """Return the names of all roles."""
    rows = await (await connection.execute("SELECT rolname::text FROM pg_roles")).fetchall()
    return frozenset(name for (name,) in rows)


async def superusers(connection: Connection) -> frozenset[str]:
    """Return the names of the roles that only a superuser may end the sessions of."""
    rows = await (await connection.execute("SELECT rolname::text FROM pg_roles WHERE rolsuper")).fetchall()
    return frozenset(name for (name,) in rows)


async def size(connection: Connection, dbname: str) -> int:
    """Return the size of a database in bytes, everything included."""
    row = await (await connection.execute("SELECT pg_database_size(%s::name)", [dbname])).fetchone()
    return int(row[0]) if row else 0


def bytes_in_words(count: float) -> str:
    """Write a number of bytes for a person: ``512 B``, ``8.1 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - SI units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def quoted(name: str) -> str:
    """Write a name as SQL takes it, for statements that a person is asked to run."""
    if name.isidentifier() and name.islower() and name.isascii():
        return name
    return '"{}"'.format(name.replace('"', '""'))
