"""What belongs to a database and is in no dump of it: privileges, settings, the connection limit."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg
from psycopg import sql

from actuators.postgres.catalog import DatabaseState, quoted
from actuators.postgres.connection import Connection

_PRIVILEGES = """
SELECT coalesce(r.rolname::text, ''), a.privilege_type, a.is_grantable
FROM pg_database AS d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE d.datname = %s AND (a.grantee = 0 OR r.oid IS NOT NULL)
ORDER BY 1, 2
"""

_SETTINGS = """
SELECT r.rolname::text, setting
FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
LEFT JOIN pg_roles AS r ON r.oid = s.setrole, unnest(s.setconfig) AS setting
WHERE d.datname = %s ORDER BY 1 NULLS FIRST, 2
"""

# These hold lists of names, which SET takes one by one (GUC_LIST_QUOTE in the server's sources, the list that
# pg_dump knows by heart as well); any other value is taken as it is stored.
_LISTS = frozenset(
    {
        *("local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries"),
        *("temp_tablespaces", "unix_socket_directories"),
    }
)


@dataclass(frozen=True)
class Privilege:
    """A privilege on a database. An empty grantee is PUBLIC."""

    grantee: str
    kind: str
    grantable: bool


@dataclass(frozen=True)
class Setting:
    """A setting of a database, for everybody (no role) or for one role in it."""

    role: str | None
    name: str
    value: str

    @property
    def words(self) -> str:
        """The setting in words."""
        return f"{self.name} of {quoted(self.role)}" if self.role else self.name

    def statement(self, dbname: str) -> sql.Composed:
        """Return the statement that makes the setting on a database."""
        values = split_names(self.value) if self.name in _LISTS else [self.value]
        subject = sql.SQL("ALTER DATABASE {}").format(sql.Identifier(dbname))
        if self.role:
            subject = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(
                sql.Identifier(self.role), sql.Identifier(dbname)
            )
        return sql.SQL("{} SET {} TO {}").format(
            subject,
            sql.SQL(".").join(sql.Identifier(part) for part in self.name.split(".")),
            sql.SQL(", ").join(sql.Literal(value) for value in values or [""]),
        )


@dataclass(frozen=True)
class Properties:
    """What is carried over from one database to another.

    Attributes:
        limit: The connection limit, -1 for none.
        privileges: Who may do what with the database.
        settings: Its settings.
    """

    limit: int
    privileges: tuple[Privilege, ...]
    settings: tuple[Setting, ...]


def split_names(value: str) -> list[str]:
    """Split a stored list of names, as ``"$user", public``."""
    found = re.findall(r'\s*(?:"((?:[^"]|"")*)"|([^,"\s]+))\s*(?:,|$)', value)
    return [quoted_part.replace('""', '"') or plain for quoted_part, plain in found]


async def read_properties(connection: Connection, state: DatabaseState) -> Properties:
    """Return the properties of a database."""
    privileges = await (await connection.execute(_PRIVILEGES, [state.name])).fetchall()
    settings = await (await connection.execute(_SETTINGS, [state.name])).fetchall()
    return Properties(
        limit=max(-1, state.columns["datconnlimit"]),
        privileges=tuple(Privilege(*row) for row in privileges),
        settings=tuple(Setting(role, *text.split("=", 1)) for role, text in settings),
    )


async def carry_over(connection: Connection, properties: Properties, *, to: str) -> tuple[str, ...]:
    """Give a database exactly these properties, inside the caller's transaction.

    Returns:
        The settings that the bot's role may not make, in words; they are left out.
    """
    database = sql.Identifier(to)
    await _grant(connection, properties.privileges, to=to)
    await connection.execute(
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, sql.Literal(properties.limit))
    )
    lost = []
    for setting in properties.settings:
        try:
            async with connection.transaction():
                if setting.role:
                    # A role may change its own settings; those of another one take CREATEROLE and ADMIN.
                    await connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(setting.role)))
                await connection.execute(setting.statement(to))
                await connection.execute("RESET ROLE")
        except psycopg.errors.InsufficientPrivilege:
            lost.append(setting.words)
    return tuple(lost)


async def _grant(connection: Connection, privileges: tuple[Privilege, ...], *, to: str) -> None:
    rows = await (await connection.execute(_PRIVILEGES, [to])).fetchall()
    database = sql.Identifier(to)
    for grantee in sorted({row[0] for row in rows}):
        await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, _grantee(grantee)))
    for privilege in privileges:
        await connection.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(privilege.kind),  # the server's own word: CONNECT, CREATE or TEMPORARY
                database,
                _grantee(privilege.grantee),
                sql.SQL(" WITH GRANT OPTION" if privilege.grantable else ""),
            )
        )


def _grantee(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("PUBLIC")
