from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from bot.domain import events
from bot.domain.actuation import Progress
from bot.domain.errors import StoreUnavailableError
from bot.domain.ports import ConflictError
from bot.domain.run import Run
from storage.database import APPLICATION_NAME, Database, StoreUrlError, connection_string, parse_url, shown
from storage.migrations import upgrade
from storage.progress import SqlProgressBoard
from storage.runs import SqlRuns
from tests.storage.sql import samples
from tests.storage.sql.conftest import Backstage, server, url_of
from tests.support.pgserver import PgServer


@pytest.fixture
async def changed(runs: SqlRuns) -> AsyncIterator[AsyncIterator[str]]:
    """The stream of changes, listening."""
    stream = runs.changed()
    async with asyncio.timeout(10):
        assert await anext(stream) == "*"
    yield stream
    await stream.aclose()  # type: ignore[attr-defined] # it is a generator, which the port does not promise


@pytest.fixture
def own_server() -> Iterator[PgServer]:
    """A server that a test may stop and start."""
    with server() as started:
        yield started


async def following(stream: AsyncIterator[str]) -> str:
    """Return the next change, which must come soon."""
    async with asyncio.timeout(10):
        return await anext(stream)


async def test_every_change_is_heard(
    database: Database, runs: SqlRuns, run: Run, changed: AsyncIterator[str]
) -> None:
    """Whoever listens hears of each new rollback, each event and each progress, from any connection."""
    await runs.append(run, samples.happened(events.CheckingBegan), lease=None)
    assert await following(changed) == run.id
    await SqlProgressBoard(database).write(run.id, "restore", Progress(done=1, total=2, unit="hosts"))
    assert await following(changed) == run.id
    second = await runs.create(run.plan, run.inventory, samples.requested(), locks=())
    assert await following(changed) == second.id


async def test_a_refused_write_is_not_heard(runs: SqlRuns, run: Run, changed: AsyncIterator[str]) -> None:
    """What was not written changes nothing, so nobody hears of it."""
    stale = run
    await runs.append(run, samples.happened(events.CheckingBegan), lease=None)
    with pytest.raises(ConflictError):
        await runs.append(stale, samples.happened(events.CheckingBegan), lease=None)
    second = await runs.create(run.plan, run.inventory, samples.requested(), locks=())
    assert [await following(changed), await following(changed)] == [run.id, second.id]


async def test_a_listener_that_is_cut_off_comes_back(
    runs: SqlRuns, run: Run, changed: AsyncIterator[str], backstage: Backstage
) -> None:
    """After its connection was ended the listener connects again by itself, and says that some may be missing."""
    ended = await backstage(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    )
    assert ended == [(True,)]
    assert await following(changed) == "*"
    await runs.append(run, samples.happened(events.CheckingBegan), lease=None)
    assert await following(changed) == run.id


async def test_ended_sessions_are_replaced(runs: SqlRuns, run: Run, backstage: Backstage) -> None:
    """Connections that the administrator ended while they were idle are replaced without anybody noticing."""
    await asyncio.gather(*(runs.load(run.id) for _ in range(4)))
    await backstage(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = :name AND pid <> pg_backend_pid()",
        name=APPLICATION_NAME,
    )
    loaded = await asyncio.gather(*(runs.load(run.id) for _ in range(4)))
    assert loaded == [run] * 4


async def test_a_restart_of_the_server_is_survived(own_server: PgServer) -> None:
    """While the server is down everything says so, with the place and without the password; then it works again."""
    url = url_of(own_server, "postgres")
    await upgrade(url)
    database = Database(url)
    runs = SqlRuns(database, plan_model=samples.MODEL, clock=samples.SystemClock())
    stream = runs.changed()
    assert await following(stream) == "*"
    run = await runs.create(samples.plan(), samples.inventory(), samples.requested(), locks=("payments-db",))
    assert await following(stream) == run.id
    own_server.stop()
    event = samples.happened(events.CheckingBegan)
    for attempt in (runs.append(run, event, lease=None), runs.due(), runs.acquire(run.id, "worker-1")):
        with pytest.raises(StoreUnavailableError, match=f":{own_server.port}/postgres") as failed:
            await attempt
        assert own_server.password not in str(failed.value)
    own_server.start()
    assert await runs.load(run.id) == run
    after = await runs.append(run, event, lease=None)
    assert after.seq == 2
    assert await following(stream) in ("*", run.id)
    await stream.aclose()  # type: ignore[attr-defined] # it is a generator, which the port does not promise
    await database.close()


async def test_a_held_row_is_waited_for_only_so_long(store_url: str, pg_server: PgServer) -> None:
    """A row that somebody else holds for too long is a store that cannot be used at the moment, not a hang."""
    database = Database(store_url + "?options=-c%20lock_timeout%3D50ms")
    runs = SqlRuns(database, plan_model=samples.MODEL, clock=samples.SystemClock())
    run = await runs.create(samples.plan(), samples.inventory(), samples.requested(), locks=())
    with pg_server.connect("store") as other:
        other.execute("BEGIN")
        other.execute("SELECT FROM rollback FOR UPDATE")
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            await runs.append(run, samples.happened(events.CheckingBegan), lease=None)
    await runs.append(run, samples.happened(events.CheckingBegan), lease=None)
    await database.close()


async def test_a_full_pool_is_told(store_url: str) -> None:
    """When no connection is free in time, the caller is told to wait and try again."""
    database = Database(store_url, pool_size=1, patience=timedelta(milliseconds=20))
    async with database.transaction():
        with pytest.raises(StoreUnavailableError, match="busy"):
            await SqlRuns(database, plan_model=samples.MODEL, clock=samples.SystemClock()).due()
    await database.close()


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h/d", "not a url hunter2", "sqlite:///hunter2.db", "postgresql://u:hunter2@h:port/d"]
)
def test_a_wrong_address_is_told_without_the_password(url: str) -> None:
    """An address that cannot be used is refused in words that do not repeat it."""
    with pytest.raises(StoreUrlError) as refused:
        parse_url(url)
    assert "hunter2" not in str(refused.value)
    assert "postgresql://" in refused.value.resolution


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgres://u:secret@db.example.net:6432/bot", "db.example.net:6432/bot"),
        ("postgresql+psycopg://u:p%40ss@h/bot?sslmode=require", "h/bot"),
        ("postgresql://u@/bot?host=/run/pg", "/run/pg/bot"),
    ],
)
def test_every_form_of_address_is_read(url: str, place: str) -> None:
    """The usual forms of address are understood, and shown without user and password."""
    assert shown(url) == place
    conninfo = connection_string(url, statement_timeout="15s")
    assert "statement_timeout=15s" in conninfo
    assert "dbname=bot" in conninfo


def test_the_address_has_the_last_word() -> None:
    """What the operator writes into the address goes before our own settings; all else of ours is kept."""
    conninfo = connection_string(
        "postgresql://u@h/bot?connect_timeout=30&application_name=mine&options=-c%20statement_timeout%3D1s",
        statement_timeout="15s",
    )
    assert "connect_timeout=30" in conninfo
    assert "application_name=mine" in conninfo
    assert conninfo.index("statement_timeout=15s") < conninfo.index("statement_timeout=1s")
