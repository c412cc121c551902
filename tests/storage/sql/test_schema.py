from __future__ import annotations

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy import exc as sa_exc

from bot.domain import events
from bot.domain.errors import StoreUnavailableError
from bot.domain.lifecycle import LOCKING, State, permitted
from bot.domain.ports import AuditEntry
from bot.domain.run import Run
from storage.audit import SqlAudit
from storage.database import Database
from storage.migrations import StoreSchemaError, upgrade
from storage.runs import SqlRuns
from storage.tables import ENDED, metadata
from tests.storage.sql import samples
from tests.storage.sql.conftest import Backstage, newest
from tests.support.pgserver import PgServer

REFUSED = (sa_exc.IntegrityError, sa_exc.ProgrammingError, sa_exc.InternalError)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET body = body",
        "DELETE FROM journal",
        "TRUNCATE journal",
        "UPDATE audit SET why = 'other'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DELETE FROM rollback",
        "TRUNCATE rollback CASCADE",
        "UPDATE rollback SET plan = '{}'",
        "UPDATE rollback SET plan_digest = repeat('0', 64)",
        "UPDATE rollback SET requester = 'U0OTHER'",
        "UPDATE rollback SET created_at = now()",
    ],
)
async def test_the_past_cannot_be_changed(
    database: Database, run: Run, backstage: Backstage, statement: str
) -> None:
    """Journal, audit and a rollback's snapshots refuse every change, whoever asks."""
    await SqlAudit(database).write(AuditEntry(at=samples.NOW, who="U0ADA", what="refused", why="no plan"))
    with pytest.raises(REFUSED, match="append only"):
        await backstage(statement)
    assert await backstage("SELECT count(*) FROM journal") == [(1,)]
    assert await backstage("SELECT why FROM audit") == [("no plan",)]
    assert run.seq == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rollback SET state = 'executing', seq = 2, state_seq = 2",
        "UPDATE rollback SET state = 'checking'",
        "UPDATE rollback SET state = 'checking', seq = 2",
        "UPDATE rollback SET state_seq = 2, seq = 2",
        "UPDATE rollback SET seq = 3",
        "UPDATE rollback SET seq = 0",
        "UPDATE rollback SET seq = 2",
        "UPDATE rollback SET state = 'checking', seq = 2, state_seq = 2",
        "UPDATE rollback SET fence = -1",
        "UPDATE rollback SET fence = 7",
        "UPDATE rollback SET lease_owner = 'somebody'",
        "UPDATE rollback SET state = 'nonsense'",
        "UPDATE rollback_lock SET live = false, ended_at = now()",
        "UPDATE rollback_lock SET live = false",
        "UPDATE rollback_lock SET target = 'other'",
        "DELETE FROM rollback_lock",
        "INSERT INTO rollback_lock (rollback_id, target) VALUES ('rb-9999', 'x')",
        """INSERT INTO journal (rollback_id, seq, body)
        VALUES ('rb-0001', 2, '{"kind": "held", "who": "x", "why": "y"}')""",
        "INSERT INTO journal (rollback_id, seq, body) VALUES ('rb-0001', 1, '{}')",
        """INSERT INTO record (number, kind, rollback_id, change, fields)
        VALUES ('INC1', 'change', 'rb-0001', 'CHG0012345', '{}')""",
    ],
)
async def test_the_schema_refuses_what_the_lifecycle_forbids(
    run: Run, runs: SqlRuns, backstage: Backstage, statement: str
) -> None:
    """An impossible state, an event without its place, a lost lock: the database refuses them by itself."""
    with pytest.raises((*REFUSED, sa_exc.DataError)):
        await backstage(statement)
    assert await runs.load(run.id) == run
    assert await backstage("SELECT live FROM rollback_lock") == [(True,)]


async def test_transitions_are_the_lifecycles(backstage: Backstage) -> None:
    """The database permits exactly the transitions of the lifecycle, and locks in exactly its locking states."""
    rows = await backstage(
        "SELECT b::text, a::text, rollback_permitted(b, a) FROM unnest(enum_range(NULL::rollback_state)) b, "
        "unnest(enum_range(NULL::rollback_state)) a"
    )
    assert len(rows) == len(State) ** 2
    assert {(before, after) for before, after, yes in rows if yes} == {
        (before.value, after.value) for before in State for after in State if permitted(before, after)
    }
    locking = await backstage(
        "SELECT s::text FROM unnest(enum_range(NULL::rollback_state)) s WHERE rollback_locking(s)"
    )
    assert {row[0] for row in locking} == {state.value for state in LOCKING}
    index = await backstage("SELECT indexdef FROM pg_indexes WHERE indexname = 'rollback_active'")
    assert all(f"'{state.value}'" in str(index[0][0]) for state in State if f"'{state.value}'" in ENDED)


async def test_lock_ends_in_the_same_transaction(runs: SqlRuns, run: Run, backstage: Backstage) -> None:
    """The row that ends a rollback and the row that frees its target become visible together, never one alone."""
    await runs.append(run, samples.happened(events.Rejected, name="Ada"), lease=None)
    rows = await backstage(
        "SELECT r.xmin::text = l.xmin::text, l.live FROM rollback r JOIN rollback_lock l ON l.rollback_id = r.id"
    )
    assert rows == [(True, False)]
    with pytest.raises(REFUSED):
        await backstage("UPDATE rollback_lock SET live = true, ended_at = NULL")


async def test_tables_and_migrations_agree(database: Database) -> None:
    """The models and the migrations describe the same tables."""

    def compare(connection: Connection) -> list[Any]:
        def ours(_object: object, name: str | None, kind: str, *_: object) -> bool:
            return not (kind == "table" and name is not None and name.startswith(("procrastinate", "alembic")))

        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False, "include_object": ours}
        )
        differences: list[Any] = compare_metadata(context, metadata)
        return differences

    async with database.transaction() as connection:
        assert await connection.run_sync(compare) == []


async def test_upgrade_twice_and_at_once(empty_url: str) -> None:
    """Processes that start at the same moment bring the schema up to date once; a later start changes nothing."""
    await asyncio.gather(*(upgrade(empty_url) for _ in range(3)))
    await upgrade(empty_url)
    database = Database(empty_url)
    try:
        rows = await database.rows(text("SELECT version_num FROM alembic_version"))
        assert [row["version_num"] for row in rows] == newest()
        jobs = await database.rows(text("SELECT count(*) AS jobs FROM procrastinate_jobs"))
        assert jobs[0]["jobs"] == 0
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("change", "unknown"),
    [
        ("UPDATE alembic_version SET version_num = '0999'", "0999"),
        ("INSERT INTO carrier_schema (name) VALUES ('99.00.00_01_later.sql')", "99.00.00_01_later.sql"),
    ],
)
async def test_a_newer_schema_is_left_alone(empty_url: str, pg_server: PgServer, change: str, unknown: str) -> None:
    """A program that is older than the schema says so, names what it does not know, and changes nothing."""
    await upgrade(empty_url)
    name = empty_url.rpartition("/")[2]
    pg_server.execute(change, dbname=name)
    with pytest.raises(StoreSchemaError, match=f"newer than this program.*{unknown}") as refused:
        await upgrade(empty_url)
    assert refused.value.untouched == "Nothing was changed."
    assert pg_server.password not in str(refused.value)


async def test_a_newer_carrier_brings_its_own_changes(empty_url: str, pg_server: PgServer) -> None:
    """Migrations of procrastinate that are not applied yet are applied in their order at the next start."""
    await upgrade(empty_url)
    name = empty_url.rpartition("/")[2]
    last = pg_server.execute(
        "DELETE FROM carrier_schema WHERE name = (SELECT max(name) FROM carrier_schema) RETURNING name",
        dbname=name,
    )
    await upgrade(empty_url)
    assert pg_server.execute("SELECT max(name) FROM carrier_schema", dbname=name) == last


async def test_a_foreign_schema_is_not_touched(empty_url: str, pg_server: PgServer) -> None:
    """A database that already has a table of ours by chance is refused in words, and nothing stays half done."""
    name = empty_url.rpartition("/")[2]
    pg_server.execute("CREATE TABLE journal (mine text)", dbname=name)
    with pytest.raises(StoreSchemaError, match=r"could not be brought up to date.*journal"):
        await upgrade(empty_url)
    tables = pg_server.execute("SELECT relname FROM pg_class WHERE relname IN ('rollback', 'journal')", dbname=name)
    assert tables == [("journal",)]


async def test_an_unreachable_store_is_told_without_its_password(pg_server: PgServer) -> None:
    """A wrong password is told with the place and without the password."""
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1") as failed:
        await upgrade(f"postgresql://admin:wr0ng-secret@127.0.0.1:{pg_server.port}/postgres")
    assert "wr0ng-secret" not in str(failed.value)
