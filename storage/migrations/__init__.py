"""Brings the store's schema up to date, from code, safely when several processes start at once."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from procrastinate.schema import SchemaManager
from sqlalchemy import Connection, text
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from bot.domain.errors import RollbackError
from storage.database import connection_string, shown, unavailable

MINIMUM_SERVER = 14
"""The oldest major version of PostgreSQL that is supported."""

_ADVISORY_LOCK = 7_263_218_540_116
"""Whoever migrates holds this lock; the number means nothing, it only must be ours alone."""


class StoreSchemaError(RollbackError):
    """The store's schema and this program do not fit together."""


async def upgrade(url: str) -> None:
    """Create the store's tables or bring them up to date; harmless when they are.

    Several processes may call this at once: one works, the others wait for it.

    Raises:
        StoreUnavailableError: If the store cannot be reached.
        StoreSchemaError: If the server is too old, the schema is newer than this program, or a change failed.
    """
    where = shown(url)
    conninfo = connection_string(url, lock_timeout="60s")

    async def open_connection() -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(conninfo)

    engine = create_async_engine(
        "postgresql+psycopg://", async_creator=open_connection, poolclass=NullPool, hide_parameters=True
    )
    try:
        with unavailable(where):
            async with engine.connect() as connection:
                await connection.run_sync(_upgrade, where)
    except sa_exc.DBAPIError as error:
        raise StoreSchemaError(
            f"The schema of the store at {where} could not be brought up to date: {_first_line(error)}",
            untouched="The change that failed was taken back as a whole.",
            resolution="Give the bot a database of its own, which its user owns, and start it again.",
        ) from error
    finally:
        await engine.dispose()


def _first_line(error: sa_exc.DBAPIError) -> str:
    return next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)


def _upgrade(connection: Connection, where: str) -> None:
    _check_server(connection, where)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    if _up_to_date(connection, script, where):
        # Without the lock: a process that hangs in its start must not keep all others from starting.
        return
    # The lock belongs to the session and ends with it, however this process ends.
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
    connection.commit()
    if _current(connection, script, where) != set(script.get_heads()):
        command.upgrade(config, "head")
    _upgrade_carrier(connection, where)


def _up_to_date(connection: Connection, script: ScriptDirectory, where: str) -> bool:
    if _current(connection, script, where) != set(script.get_heads()):
        return False
    available, applied = _carrier(connection, where)
    return applied == set(available)


def _current(connection: Connection, script: ScriptDirectory, where: str) -> set[str]:
    known = {revision.revision for revision in script.walk_revisions()}
    current = set(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    if not current <= known:
        raise _newer(where, f"revision {', '.join(sorted(current - known))}")
    return current


def _check_server(connection: Connection, where: str) -> None:
    version = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    connection.rollback()
    if version < MINIMUM_SERVER:
        raise StoreSchemaError(
            f"The store at {where} is PostgreSQL {version}; at least {MINIMUM_SERVER} is needed.",
            untouched="Nothing was changed.",
            resolution="Give the bot a newer server, or no address at all: then it brings its own.",
        )


def _newer(where: str, what: str) -> StoreSchemaError:
    return StoreSchemaError(
        f"The schema of the store at {where} is newer than this program, which does not know {what}.",
        untouched="Nothing was changed.",
        resolution="Start the newer version of the bot, or one with a store of its own.",
    )


def _carrier(connection: Connection, where: str) -> tuple[list[str], set[str]]:
    """Return the names of procrastinate's own migrations, in order, and of those that have been applied."""
    folder = resources.files("procrastinate.sql") / "migrations"
    available = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    applied = set(connection.execute(text("SELECT name FROM carrier_schema")).scalars())
    connection.rollback()
    if not applied <= set(available):
        raise _newer(where, f"the carrier's {max(applied - set(available))}")
    return available, applied


def _upgrade_carrier(connection: Connection, where: str) -> None:
    """Create procrastinate's tables, or apply those of its own migrations that a newer procrastinate brings."""
    available, applied = _carrier(connection, where)
    if not applied:
        _apply(connection, SchemaManager.get_schema(), available)
    else:
        for name in available:
            if name not in applied:
                migration = resources.files("procrastinate.sql") / "migrations" / name
                _apply(connection, migration.read_text(encoding="utf-8"), [name])


def _apply(connection: Connection, script: str, names: list[str]) -> None:
    with connection.begin():
        connection.execution_options(no_parameters=True).exec_driver_sql(script)
        connection.execute(
            text("INSERT INTO carrier_schema (name) SELECT unnest(CAST(:names AS text[]))"), {"names": names}
        )
