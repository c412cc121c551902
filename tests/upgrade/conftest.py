from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from storage.migrations import upgrade
from tests.support.engine import Lab, laboratory
from tests.support.pgserver import PgServer, running_server
from tests.upgrade.release import RELEASED
from tests.upgrade.snapshot import Snapshot

_RELEASED, _UPGRADED = "released", "upgraded"


def url_of(server: PgServer, dbname: str) -> str:
    """Return the address of a database, as the superuser."""
    return f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{dbname}"


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PgServer]:
    """A server with a store as the release left it, and one that today's program brought up to date."""
    with running_server() as started:
        started.execute(f"CREATE DATABASE {_RELEASED}")
        RELEASED.create(url_of(started, _RELEASED))
        started.execute(f"CREATE DATABASE {_UPGRADED} TEMPLATE {_RELEASED}")
        asyncio.run(upgrade(url_of(started, _UPGRADED)))
        yield started


@pytest.fixture(scope="session")
def fresh(pg_server: PgServer) -> Snapshot:
    """The upgraded store before anybody worked on it."""
    with pg_server.connect(_UPGRADED) as connection:
        return Snapshot.of(connection)


@pytest.fixture
def upgraded_url(pg_server: PgServer, fresh: Snapshot) -> str:
    """The address of a store that the release left and today's program brought up to date."""
    with pg_server.connect(_UPGRADED) as connection:
        fresh.restore(connection)
    return url_of(pg_server, _UPGRADED)


@pytest.fixture
async def lab(upgraded_url: str) -> AsyncIterator[Lab]:
    """A laboratory of today on that store."""
    async with laboratory(upgraded_url) as opened:
        yield opened
