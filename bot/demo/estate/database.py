"""The payments database: its roles, its schema, its rows.

Two roles are made, neither a superuser. `payments_app` is the service's and owns the database. `rollback_operator`
is who rolls back; what it needs for dump, restore beside and swap by rename, and why:

- CREATEDB: to create the database to restore into, and for ALTER DATABASE ... RENAME, which demands it;
- membership of payments_app: to create databases owned by it, to rename them (an owner's right), to read every
  table for pg_dump, to restore objects under their owner, and to see and end the service's own sessions;
- pg_read_all_stats and pg_signal_backend: only for sessions of *other* roles in the database. Without the first
  their state reads as null, so that a busy stranger would be counted as idle; without the second they cannot be
  ended. Sessions of superusers stay out of reach: nothing but a superuser ends those.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import psycopg
from psycopg import sql

from bot.demo.estate.facts import EstateError, Facts, Layout, PgServer, replace_file
from bot.demo.estate.releases import PAYMENTS

Connection = psycopg.AsyncConnection[Any]

MARK = "rollback demo estate"
TABLES = ("users", "transactions")
OPERATOR_GROUPS = ("pg_read_all_stats", "pg_signal_backend")
UNTOUCHED = "The server was left as it was."


@asynccontextmanager
async def connect_as_superuser(server: PgServer) -> AsyncIterator[Connection]:
    """Connect to the server's maintenance database, in autocommit.

    Raises:
        EstateError: the server does not answer or refuses.
    """
    try:
        connection = await psycopg.AsyncConnection.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            dbname="postgres",
            connect_timeout=5,
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        raise EstateError(
            f"PostgreSQL at {server.host}:{server.port} cannot be used: {error}",
            untouched="Nothing was built.",
            resolution="Check that the server runs and that the superuser's name and password are right.",
        ) from error
    async with connection:
        yield connection


@asynccontextmanager
async def connect(facts: Facts, *, role: str) -> AsyncIterator[Connection]:
    """Connect to the payments database as one of the estate's two roles; commits at the end.

    Raises:
        psycopg.OperationalError: the server or the database is away.
    """
    layout = Layout(root=facts.root)
    secret = {facts.app_role: layout.app_password, facts.operator_role: layout.operator_password}[role]
    connection = await psycopg.AsyncConnection.connect(
        host=facts.db_host,
        port=facts.db_port,
        dbname=facts.db_name,
        user=role,
        password=secret.read_text(encoding="utf-8"),
        connect_timeout=5,
        application_name="estate",
    )
    async with connection:
        yield connection


async def build(server: PgServer, facts: Facts, *, transactions: int, replace: bool) -> None:
    """Create roles and database, the old release's schema and its rows.

    Args:
        server: where.
        facts: names and the number of customers.
        transactions: how many transactions to seed.
        replace: drop an earlier estate on this server first.

    Raises:
        EstateError: the names are taken, by an earlier estate (and not `replace`) or by somebody else.
    """
    async with connect_as_superuser(server) as connection:
        await _make_room(connection, facts, replace=replace)
        await _create_roles(connection, facts)
        await connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(facts.db_name), sql.Identifier(facts.app_role)
            )
        )
    async with connect(facts, role=facts.app_role) as connection:
        migrations = PAYMENTS / "migrations"
        await connection.execute((migrations / "20240110120000_ledger.sql").read_bytes())
        cursor = psycopg.AsyncClientCursor(connection)
        await cursor.execute(
            (migrations / "seed.sql").read_bytes(),
            {"users": facts.users, "transactions": transactions},
        )
        await connection.commit()
        await connection.set_autocommit(True)
        # Index-only scans need the visibility map; without it the old release is as slow as the new one.
        await connection.execute("VACUUM ANALYZE")


async def demolish(server: PgServer, facts: Facts) -> None:
    """Drop the estate's databases (those set aside by rollbacks too) and its roles, if they bear our mark."""
    async with connect_as_superuser(server) as connection:
        if await _is_ours(connection, facts):
            await _drop(connection, facts)


async def migrate(facts: Facts, release: Path) -> list[str]:
    """Apply a release's migrations that the database has not seen, each in a transaction.

    Returns:
        The versions applied.
    """
    applied = []
    current = await schema_version(facts)
    async with connect(facts, role=facts.app_role) as connection:
        for path in sorted((release / "migrations").glob("*.sql")):
            version = path.name.partition("_")[0]
            if version > current:
                async with connection.transaction():
                    await connection.execute(path.read_bytes())
                applied.append(version)
    return applied


async def schema_version(facts: Facts) -> str:
    """Return the newest migration in the database."""
    async with connect(facts, role=facts.operator_role) as connection:
        return await read_schema_version(connection)


async def row_counts(facts: Facts) -> dict[str, int]:
    """Return the rows of each table now."""
    async with connect(facts, role=facts.operator_role) as connection:
        return await read_row_counts(connection)


async def read_schema_version(connection: Connection) -> str:
    """Return the newest migration, in the connection's transaction."""
    return str(await _value(connection, sql.SQL("SELECT max(version) FROM schema_migrations")))


async def read_row_counts(connection: Connection, tables: Sequence[str] = TABLES) -> dict[str, int]:
    """Return the rows of each table, in the connection's transaction."""
    return {
        table: int(await _value(connection, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))))
        for table in tables
    }


async def _make_room(connection: Connection, facts: Facts, *, replace: bool) -> None:
    taken = await _value(
        connection,
        sql.SQL(
            "SELECT string_agg(name, ', ') FROM ("
            " SELECT 'database ' || datname AS name FROM pg_database WHERE datname = {database}"
            " UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname IN ({app}, {operator})) AS taken"
        ).format(
            database=sql.Literal(facts.db_name),
            app=sql.Literal(facts.app_role),
            operator=sql.Literal(facts.operator_role),
        ),
    )
    if taken is None:
        return
    if not await _is_ours(connection, facts):
        raise EstateError(
            f"The server has {taken} already, and the estate did not make them.",
            untouched=UNTOUCHED,
            resolution="Use another server for the demo.",
        )
    if not replace:
        raise EstateError(
            f"The server carries an earlier estate ({taken}).",
            untouched=UNTOUCHED,
            resolution="Attach to it by its folder, or create with replace=True to drop it.",
        )
    await _drop(connection, facts)


async def _is_ours(connection: Connection, facts: Facts) -> bool:
    """Tell the estate's server by the comment on its role, which outlives renamed and restored databases."""
    mark = await _value(
        connection,
        sql.SQL("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = {}").format(
            sql.Literal(facts.app_role)
        ),
    )
    return bool(mark == MARK)


async def _drop(connection: Connection, facts: Facts) -> None:
    roles = (facts.operator_role, facts.app_role)
    cursor = await connection.execute(
        "SELECT datname FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba WHERE rolname = ANY(%s)",
        [list(roles)],
    )
    for (name,) in await cursor.fetchall():
        await connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    for role in roles:  # the marked role goes last, so that a killed clean-up can be repeated
        await connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


async def _create_roles(connection: Connection, facts: Facts) -> None:
    layout = Layout(root=facts.root)
    app, operator = sql.Identifier(facts.app_role), sql.Identifier(facts.operator_role)
    await _create_login(connection, facts.app_role, "", layout.app_password)
    await connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(app, sql.Literal(MARK)))
    await _create_login(connection, facts.operator_role, "CREATEDB", layout.operator_password)
    for group in (app, *map(sql.Identifier, OPERATOR_GROUPS)):
        await connection.execute(sql.SQL("GRANT {} TO {}").format(group, operator))


async def _create_login(connection: Connection, role: str, rights: str, secret: Path) -> None:
    """Create a role with a random password, kept in a file that only we may read."""
    password = token_urlsafe(24)
    secret.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_file(secret, password, mode=0o600)
    # Sent hashed: a server that logs its statements must not log the password.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    await connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
            sql.Identifier(role), sql.SQL(rights), sql.Literal(verifier)
        )
    )


async def _value(connection: Connection, query: sql.SQL | sql.Composed) -> Any:
    row = await (await connection.execute(query)).fetchone()
    return row[0] if row else None
