from __future__ import annotations

import asyncio
import contextlib
import itertools
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from bot.domain.ports import Lease
from bot.domain.run import Run
from storage import migrations
from storage.database import Database
from storage.migrations import upgrade
from storage.runs import SqlRuns
from tests.storage.sql import samples
from tests.support.pgserver import PgServer, running_server

_NUMBERS = itertools.count(1)


def url_of(server: PgServer, dbname: str) -> str:
    """Return the address of a database, as the superuser."""
    return f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{dbname}"


def newest() -> list[str]:
    """Return the newest revisions of the schema that this program knows; a test must not name them."""
    return ScriptDirectory(str(Path(migrations.__file__).parent)).get_heads()


@contextlib.contextmanager
def server() -> Iterator[PgServer]:
    """Run a server; its helper leaves closing the log to the garbage collector, which warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        running = running_server()
        started = running.__enter__()
    try:
        yield started
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PgServer]:
    """A server for all tests of the store."""
    with server() as started:
        yield started


@pytest.fixture(scope="session")
def migrated(pg_server: PgServer) -> str:
    """The name of a database with the store's schema."""
    pg_server.execute("CREATE DATABASE store")
    asyncio.run(upgrade(url_of(pg_server, "store")))
    return "store"


@pytest.fixture
def store_url(pg_server: PgServer, migrated: str) -> str:
    """The address of an empty store. Emptying takes a tenth of the time of a new database."""
    tables = pg_server.execute(
        "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'public'::regnamespace AND relname NOT IN ('alembic_version', 'carrier_schema')",
        dbname=migrated,
    )[0][0]
    pg_server.execute(
        "SET session_replication_role = replica",  # else the triggers rightly refuse
        f"TRUNCATE {tables} RESTART IDENTITY",
        "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relname ~ '_number$'",
        dbname=migrated,
    )
    return url_of(pg_server, migrated)


@pytest.fixture
def empty_url(pg_server: PgServer) -> Iterator[str]:
    """The address of a database without any schema."""
    name = f"empty_{next(_NUMBERS)}"
    pg_server.execute(f"CREATE DATABASE {name}")
    yield url_of(pg_server, name)
    pg_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    """The store, empty."""
    database = Database(store_url)
    yield database
    await database.close()


@pytest.fixture
def runs(database: Database) -> SqlRuns:
    """The rollbacks of the store."""
    return SqlRuns(database, plan_model=samples.MODEL, clock=samples.SystemClock())


@pytest.fixture
async def run(runs: SqlRuns) -> Run:
    """A rollback that was just requested, its database locked."""
    plan = samples.plan()
    return await runs.create(plan, samples.inventory(), samples.requested(), locks=plan.targets())


class Backstage:
    """Statements that go around the store's own code."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """Run a statement and return its rows."""
        return [tuple(row.values()) for row in await self._database.rows(text(statement), **values)]

    async def lapse(self, lease: Lease) -> None:
        """Let a lease run out, as if its time had passed."""
        await self(
            "UPDATE rollback SET lease_until = clock_timestamp() - interval '1 ms' WHERE id = :id",
            id=lease.rollback_id,
        )


@pytest.fixture
def backstage(database: Database) -> Backstage:
    """The way around the store's own code."""
    return Backstage(database)
