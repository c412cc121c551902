from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from storage.migrations import upgrade
from tests.support.engine import Lab, laboratory
from tests.support.pgserver import PgServer, running_server

_STORE = "store"


def _url(server: PgServer) -> str:
    return f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{_STORE}"


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PgServer]:
    """A PostgreSQL server for all tests of the engine."""
    with running_server() as started:
        started.execute(f"CREATE DATABASE {_STORE}")
        asyncio.run(upgrade(_url(started)))
        yield started


@pytest.fixture(scope="session")
def empty_store(pg_server: PgServer) -> Callable[[], str]:
    """Empties the store and returns its address. Deleting few rows takes a tenth of the time of truncating."""
    tables = pg_server.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
        "AND relname NOT IN ('alembic_version', 'carrier_schema') AND relname NOT LIKE 'procrastinate%'",
        dbname=_STORE,
    )

    def empty() -> str:
        pg_server.execute(
            "SET session_replication_role = replica",  # else the triggers rightly refuse
            *(f"DELETE FROM {name}" for (name,) in tables),  # noqa: S608 - names from the catalogue
            "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relname ~ '_number$'",
            dbname=_STORE,
        )
        return _url(pg_server)

    return empty


@pytest.fixture
async def lab(empty_store: Callable[[], str]) -> AsyncIterator[Lab]:
    """A laboratory with an empty store."""
    async with laboratory(empty_store()) as opened:
        yield opened
