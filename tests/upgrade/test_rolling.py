from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from bot.domain import events
from bot.domain.errors import LeaseLostError
from bot.domain.events import AnyEvent
from bot.domain.ports import AuditEntry, ConflictError
from storage import journal, migrations
from storage.audit import SqlAudit
from storage.database import Database
from storage.messages import SqlLedger
from storage.migrations import StoreSchemaError, upgrade
from storage.runs import SqlRuns
from tests.support import plans
from tests.support.fakes import ManualClock
from tests.support.pgserver import PgServer
from tests.upgrade.release import RELEASED
from tests.upgrade.speaking import LEASE, Released

_OLD, _NEW = "released-worker", "todays-worker"


@pytest.fixture
async def database(upgraded_url: str) -> AsyncIterator[Database]:
    """The upgraded store."""
    opened = Database(upgraded_url)
    yield opened
    await opened.close()


@pytest.fixture
def released(database: Database) -> Released:
    """A process of the release that is still at work."""
    return Released(database)


@pytest.fixture
def runs(database: Database) -> SqlRuns:
    """The rollbacks as today's program has them."""
    return SqlRuns(database, plan_model=plans.MODEL, clock=ManualClock())


async def bodies(database: Database, name: str) -> list[tuple[AnyEvent, bool]]:
    """Return a rollback's events as the release wrote them, and whether a worker wrote them."""
    rows = await database.rows(
        text("SELECT body::text, fence FROM journal WHERE rollback_id = :id ORDER BY seq"),
        id=RELEASED.points[name].rollback,
    )
    read = journal.read(row["body"] for row in rows)
    return [(event, row["fence"] is not None) for event, row in zip(read, rows, strict=True)]


@pytest.mark.parametrize("name", ["closed", "closed_by_decision", "closed_aborted", "stood_down", "expired"])
async def test_a_released_program_goes_on(released: Released, runs: SqlRuns, database: Database, name: str) -> None:
    """A rollback that programs of the release carry through on today's schema reads the same to today's."""
    model = await runs.load(RELEASED.points[name].rollback)
    (first, _), *others = await bodies(database, name)
    run = await released.create(model, first, locks=["a-db", "b-servers"])
    fence: int | None = None
    for event, fenced in others:
        if fenced and fence is None:
            fence = await released.acquire(run, _OLD)
            assert await released("statements.RENEW", id=run.id, fence=fence, lease=LEASE)
        elif not fenced and fence is not None:
            assert await released("statements.RELEASE", id=run.id, fence=fence, seen=run.seq, wake_at=None)
            fence = None
        moved = await released.append(run, event, fence=fence)
        assert moved is not None
        run = moved
        assert await runs.load(run.id) == run
    assert (run.history, run.state) == (model.history, model.state)
    assert await released("statements.HOLDERS", locks=["a-db", "b-servers"]) == []


async def test_one_lease_for_old_and_new(released: Released, runs: SqlRuns, database: Database) -> None:
    """Of a released and today's worker only one has a rollback: the lease and its fence hold between them."""
    run = await runs.load(RELEASED.points["acted"].rollback)
    outcome = events.StepSucceeded(
        at=plans.at("15:48"), who=_OLD, why="found", step="restore", attempt=1, words="it is there", found=True
    )
    old = await released.acquire(run, _OLD)
    assert old is not None
    assert await runs.acquire(run.id, _NEW) is None
    await runs.bury([_OLD])
    taken = await runs.acquire(run.id, _NEW)
    assert taken is not None
    lease, run = taken
    assert await released.append(run, outcome, fence=old) is None
    assert await released("statements.RENEW", id=run.id, fence=old, lease=LEASE) == []
    assert await released.acquire(run, _OLD) is None
    run = await runs.append(run, outcome, lease=lease)
    await released("statements.END_LEASES", owners=[_NEW])
    with pytest.raises(LeaseLostError):
        await runs.renew(lease)
    assert await released.acquire(run, _OLD) == lease.fence + 1
    assert (await database.rows(text("SELECT lease_owner FROM rollback WHERE id = :id"), id=run.id))[0][
        "lease_owner"
    ] == _OLD


async def test_one_journal_for_old_and_new(released: Released, runs: SqlRuns) -> None:
    """Of two decisions about a rollback, one by a released and one by today's program, the first one counts."""
    run = await runs.load(RELEASED.points["failed"].rollback)
    retry, skip = (
        events.Decided(at=plans.at("15:48"), who=who, why="I looked", choice=choice, step="restore", name=who)
        for who, choice in ((plans.ON_CALL, events.Choice.RETRY), (plans.MANAGER, events.Choice.SKIP))
    )
    assert await released.append(run, retry, fence=None)
    with pytest.raises(ConflictError):
        await runs.append(run, skip, lease=None)
    run = await runs.load(run.id)
    run = await runs.append(
        run, events.Held(at=plans.at("15:49"), who=_NEW, why="again", steps=("restore",)), lease=None
    )
    assert await released.append(await runs.load(run.id), skip, fence=None)
    assert (await runs.load(run.id)).history[-2:] == (run.history[-1], skip)


async def test_work_is_found_by_both(released: Released, runs: SqlRuns) -> None:
    """The rollbacks that want a worker are the same ones to a released and to today's sweep."""
    old = [(row["id"], row["zone"]) for row in await released("statements.DUE")]
    assert old
    assert tuple(old) == await runs.due()


async def test_a_released_sweep_buries_only_the_dead(released: Released, runs: SqlRuns) -> None:
    """A released sweep sees the leases of today's workers and ends just those that it names."""
    for name in ("started", "acted"):
        assert await runs.acquire(RELEASED.points[name].rollback, f"{_NEW}-{name}")
    owners = [row["lease_owner"] for row in await released("statements.OWNERS")]
    assert owners == [f"{_NEW}-acted", f"{_NEW}-started"]
    await released("statements.END_LEASES", owners=[f"{_NEW}-acted"])
    assert [row["lease_owner"] for row in await released("statements.OWNERS")] == [f"{_NEW}-started"]


async def test_no_message_twice_between_both(released: Released, database: Database) -> None:
    """A message that a released program claimed and posted is posted to today's program as well."""
    rollback = RELEASED.points["started"].rollback
    (claimed,) = await released("messages._CLAIM", rollback_id=rollback, key="said-by-the-old")
    assert claimed["first"]
    await released("messages._POSTED", rollback_id=rollback, key="said-by-the-old", channel="C0OPS", ts="1.2")
    (again,) = await released("messages._CLAIM", rollback_id=rollback, key="said-by-the-old")
    assert (again["first"], again["channel"], again["ts"]) == (False, "C0OPS", "1.2")
    assert "said-by-the-old" in await SqlLedger(database).all(rollback)
    rows = await released("messages._ALL", rollback_id=rollback)
    assert ("said-by-the-old", "C0OPS", "1.2") in [tuple(row.values()) for row in rows]


async def test_one_audit_for_old_and_new(released: Released, database: Database) -> None:
    """A delivery is obeyed by one program only, whichever it is, and both write to the same audit."""
    audit = SqlAudit(database)
    assert await released("audit._FIRST_DELIVERY", id="delivery-x")
    assert not await audit.first_delivery("delivery-x")
    assert await audit.first_delivery("delivery-y")
    assert not await released("audit._FIRST_DELIVERY", id="delivery-y")
    at = plans.at("15:48")
    await released("audit._WRITE", at=at, who="U0OLD", what="refused", why="no plan", detail="{}")
    await audit.write(AuditEntry(at=at, who="U0NEW", what="refused", why="no plan"))
    rows = await database.rows(text("SELECT who FROM audit ORDER BY number DESC LIMIT 2"))
    assert [row["who"] for row in rows] == ["U0NEW", "U0OLD"]


@pytest.mark.parametrize("name", sorted(RELEASED.statements))
async def test_every_released_statement_is_understood(database: Database, name: str) -> None:
    """Today's schema can carry out every statement that the release speaks."""
    numbers: dict[str, str] = {}
    numbered = re.sub(
        r"(?<![:\w]):(\w+)",
        lambda found: numbers.setdefault(found[1], f"${len(numbers) + 1}"),
        RELEASED.statements[name],
    )
    async with database.transaction() as connection:
        raw = await connection.execution_options(no_parameters=True)
        assert (await raw.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {numbered}")).fetchall()


async def test_what_the_release_knows_is_still_there(pg_server: PgServer, database: Database) -> None:
    """No column of the release is gone or of another type, and what is new in its tables needs no word of it."""
    columns = (
        "SELECT table_name, column_name, udt_name, is_nullable = 'YES' OR column_default IS NOT NULL "
        "OR is_generated = 'ALWAYS' OR is_identity = 'YES' AS optional FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name NOT LIKE 'procrastinate%'"
    )
    before = {(table, name): kind for table, name, kind, _ in pg_server.execute(columns, dbname="released")}
    after = {(row["table_name"], row["column_name"]): row for row in await database.rows(text(columns))}
    assert {key: after[key]["udt_name"] for key in before} == before
    tables = {table for table, _ in before}
    added = [row for key, row in after.items() if key not in before and key[0] in tables]
    assert all(row["optional"] for row in added), added


@pytest.mark.parametrize("table", ["journal", "audit", "record", "record_link", "delivery", "rollback_lock"])
async def test_an_upgrade_changes_no_row(pg_server: PgServer, database: Database, table: str) -> None:
    """What is on record stays on record as it was written, to the byte."""
    names = pg_server.execute(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "  # noqa: S608 - our own
        f"WHERE attrelid = '{table}'::regclass AND attnum > 0",
        dbname="released",
    )[0][0]
    rows = f"SELECT ROW({names})::text FROM {table} ORDER BY 1"  # noqa: S608 - our own names
    before = [row for (row,) in pg_server.execute(rows, dbname="released")]
    assert before
    assert [next(iter(row.values())) for row in await database.rows(text(rows))] == before


async def test_a_snapshot_stays_as_it_was_approved(pg_server: PgServer, database: Database) -> None:
    """Plan, targets and digests of a rollback stand in the store as the release wrote them, to the byte."""
    rows = (
        "SELECT id, plan::text, plan_digest, inventory::text, targets_digest, requester FROM rollback ORDER BY id"
    )
    before = pg_server.execute(rows, dbname="released")
    assert [tuple(row.values()) for row in await database.rows(text(rows))] == before


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A folder with the migrations that the release knows, and no later ones."""
    folder = Path(migrations.__file__).parent
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text((folder / "env.py").read_text())
    for revision in ScriptDirectory(str(folder)).walk_revisions("base", RELEASED.revision):
        file = Path(revision.path)
        (tmp_path / "versions" / file.name).write_text(file.read_text())
    return tmp_path


async def test_the_release_refuses_todays_schema(
    upgraded_url: str, database: Database, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that knows the migrations of the release only does not start on today's store, and says why."""
    heads = await database.rows(text("SELECT version_num FROM alembic_version"))
    monkeypatch.setattr(migrations, "__file__", str(known / "__init__.py"))
    with pytest.raises(StoreSchemaError, match="newer than this program") as refused:
        await upgrade(upgraded_url)
    assert str(heads[0]["version_num"]) in str(refused.value)
    assert refused.value.untouched == "Nothing was changed."
    assert await database.rows(text("SELECT version_num FROM alembic_version")) == heads


def test_the_release_is_an_earlier_one() -> None:
    """The release that is upgraded from does not know today's newest migration."""
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    script = ScriptDirectory.from_config(config)
    assert RELEASED.revision in {revision.revision for revision in script.walk_revisions()}
    assert RELEASED.revision not in script.get_heads()
