"""What a swap would take away is counted, and compared with the limits that the plan names."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from actuators import postgres
from actuators.postgres import loss
from actuators.postgres.steps import Restore, Swap
from bot.domain.actuation import Context, Loss, Registry
from bot.domain.errors import ActuatorError
from tests.support.helping import loss_of

RESTORE = Restore(id="restore", target="payments-db", backup="db-before")
SWAP = Swap(id="swap", target="payments-db")
REGISTRY = Registry(*postgres.register())


def limited(context: Context, **limits: Any) -> Context:
    """Return the context with limits at the plan's point of no return."""
    named = {key: {"target": "payments-db", **limit} for key, limit in limits.items()}
    document = context.plan.model_dump(mode="json", exclude={"phases", "verification"})
    point = {**document["point_of_no_return"], **named}
    plan = context.plan.model_copy(
        update={"point_of_no_return": type(context.plan.point_of_no_return).model_validate(point)}
    )
    return dataclasses.replace(context, plan=plan)


async def measured(context: Context) -> Loss:
    """Return the swap's loss."""
    found = await loss_of(REGISTRY, SWAP, context)
    assert found is not None
    return found


def test_the_swap_is_what_destroys() -> None:
    """The step that takes the live data away is known by its model."""
    assert Swap.destroys
    assert not Restore.destroys


async def test_rows_and_minutes_since_the_backup(payments: Any) -> None:
    """Rows are counted against the baseline, minutes from the backup to now; nothing is said to be beyond."""
    found = await measured(payments.context(RESTORE, SWAP))
    assert found == Loss(
        words="50 rows of transactions; all writes of 77 minutes. "
        "They stay in the failed database, and do not come along",
        since=datetime(2024, 1, 15, 14, 30, tzinfo=UTC),
        rows=50,
    )


async def test_the_copys_own_counts_are_better_than_the_baseline(payments: Any) -> None:
    """Once the backup is restored, it is what comes back; a table without a baseline is counted as well."""
    payments.overrides = {"count_tables": ["schema_migrations", "users"]}
    before = await measured(payments.context(RESTORE, SWAP))
    assert "rows of schema_migrations not known (the baseline does not say how many rows it had)" in before.words
    await REGISTRY.actuator(RESTORE).apply(RESTORE, payments.context(RESTORE, SWAP))
    payments.server.execute("INSERT INTO users (email) VALUES ('a'), ('b')", dbname="payments")
    after = await measured(payments.context(RESTORE, SWAP))
    assert after.words.startswith("2 rows of users, 50 of transactions, 1 of schema_migrations; all writes of")
    assert after.rows == 53
    await REGISTRY.actuator(SWAP).apply(SWAP, payments.context(RESTORE, SWAP))
    assert await loss_of(REGISTRY, SWAP, payments.context(RESTORE, SWAP)) is None


async def test_rows_that_were_deleted_are_no_loss(payments: Any) -> None:
    """They come back; with nothing new, the words still say that writes are lost."""
    payments.server.execute("DELETE FROM transactions WHERE id > 1000", dbname="payments")
    found = await measured(payments.context(RESTORE, SWAP))
    assert found.words.startswith("no further rows in users, transactions; all writes of 77 minutes")
    assert found.rows == 0


@pytest.mark.parametrize(
    ("limit", "beyond"),
    [
        ({"above": 50}, ""),
        ({"above": 49}, "50 rows were written since the backup (users, transactions; limit: 49)"),
        ({"tables": ["users"]}, ""),
        ({"tables": ["transactions"]}, "50 rows were written since the backup (transactions; limit: 0)"),
        (
            {"tables": ["users", "orders"]},
            'counts as too many: orders (relation "orders" does not exist)',
        ),
        (
            {"target": "elsewhere"},
            "how many rows were written cannot be told: elsewhere is no database of the inventory",
        ),
    ],
)
async def test_the_plans_limit_on_rows(payments: Any, limit: dict[str, Any], beyond: str) -> None:
    """More rows than the plan lets go are beyond return, and so is a number that nobody can tell."""
    found = await measured(limited(payments.context(RESTORE, SWAP), rows=limit))
    assert found.beyond.endswith(beyond)
    assert bool(found.beyond) is bool(beyond)


@pytest.mark.parametrize(
    ("sql", "beyond"),
    [
        ("SELECT count(*) FROM transactions WHERE currency IS NOT NULL", "yields 50 (limit: 12.5)"),
        ("SELECT 12.5::numeric", ""),
        ("SELECT 3::float8 + 10 % 7", ""),
        ("SELECT NULL::int", "must yield one number, and yields something else"),
        ("SELECT 'NaN'::numeric", "must yield one number, and yields something else"),
        ("SELECT true", "must yield one number, and yields something else"),
        ("SELECT 1, 2", "it must yield one number, and yields 1 row"),
        ("SELECT 1 WHERE false", "it must yield one number, and yields no rows"),
        ("SELECT generate_series(1, 9)", "it must yield one number, and yields 2 rows"),
        ("SELECT count(*) FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELEKT", "syntax error"),
        ("SELECT pg_sleep(60)", "no answer within 0.3 s"),
        ("DELETE FROM transactions", "cannot execute DELETE in a read-only transaction"),
        ("SELECT 1; COMMIT; DELETE FROM transactions", "cannot insert multiple commands into a prepared statement"),
        ("COMMIT", "it must yield one number, and yields no rows"),
        (
            "DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); DELETE FROM users; END $$",
            "transaction read-write mode must be set before any query",
        ),
    ],
)
async def test_the_plans_own_query(payments: Any, monkeypatch: pytest.MonkeyPatch, sql: str, beyond: str) -> None:
    """One number, read only and in time; whatever else comes of it counts as passed and says why."""
    monkeypatch.setattr(loss, "STATEMENT", 0.3)
    found = await measured(limited(payments.context(RESTORE, SWAP), query={"sql": sql, "above": 12.5}))
    if beyond:
        assert beyond in found.beyond
        assert found.beyond.startswith("the plan's query on payments-db ")
    else:
        assert found.beyond == ""
    assert payments.server.execute("SELECT count(*) FROM transactions", dbname="payments") == [(2050,)]


async def test_a_query_on_another_database_is_measured_by_the_plans_swap(payments: Any) -> None:
    """A limit may be on a database that nothing is done to; if that one cannot be asked, it counts as passed."""
    context = limited(
        payments.context(RESTORE, SWAP), query={"target": "ledger", "sql": "SELECT 7"}, rows={"target": "ledger"}
    )
    databases = dict(context.inventory.databases)
    for port, beyond in (
        (databases["payments-db"].port, ["the plan's query on ledger yields 7", "50 rows were written"]),
        (1, ["the plan's query on ledger cannot be answered", "how many rows were written cannot be told"]),
    ):
        ledger = databases["payments-db"].model_copy(update={"port": port})
        inventory = context.inventory.model_copy(update={"databases": {**databases, "ledger": ledger}})
        found = await measured(dataclasses.replace(context, inventory=inventory))
        assert all(words in found.beyond for words in beyond)
        assert found.rows == 50


async def test_each_limit_is_measured_by_one_swap(payments: Any) -> None:
    """With two swaps, the limit on the one's database is not told of the other."""
    other = SWAP.model_copy(update={"id": "swap-2", "target": "ledger"})
    context = limited(payments.context(RESTORE, other, SWAP), rows={}, query={"sql": "SELECT 1"})
    assert "yields 1" in (await measured(context)).beyond
    assert "50 rows" in (await measured(context)).beyond
    ledger = context.inventory.databases["payments-db"]
    databases = {**context.inventory.databases, "ledger": ledger}
    context = dataclasses.replace(context, inventory=context.inventory.model_copy(update={"databases": databases}))
    found = await loss_of(REGISTRY, other, context)
    assert found is not None
    assert found.beyond == ""


async def test_a_count_that_takes_too_long_is_not_zero(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked table keeps nobody waiting: its rows are not known, and a limit on them counts as passed."""
    monkeypatch.setattr(loss, "STATEMENT", 0.3)
    with payments.server.connect("payments") as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE transactions")
        found = await measured(limited(payments.context(RESTORE, SWAP), rows={}))
    assert found.words.startswith(
        "no further rows in users, rows of transactions not known (not counted within 0.3 s)"
    )
    assert "counts as too many: transactions (not counted within 0.3 s)" in found.beyond
    assert found.rows == 0


async def test_a_server_that_is_away_tells_no_loss(payments: Any) -> None:
    """Nobody can say what would be lost, and that is said instead of a number."""
    payments.overrides = {"port": 1}
    with pytest.raises(ActuatorError, match="does not answer"):
        await loss_of(REGISTRY, SWAP, payments.context(SWAP))


async def test_a_database_that_takes_too_long_as_a_whole(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All counts and the query together are given up in time; nothing of it is taken for zero."""
    monkeypatch.setattr(loss, "_COUNTING", 0.0)
    found = await measured(limited(payments.context(RESTORE, SWAP), rows={}, query={"sql": "SELECT 0"}))
    assert "rows of users not known (not counted within 0 s)" in found.words
    assert "no answer within 0 s" in found.beyond
    assert found.rows is None


async def test_nothing_to_count(payments: Any) -> None:
    """Without a table to count, minutes are all that can be told, and an unknown database cannot be asked."""
    payments.baseline = payments.baseline.model_copy(update={"row_counts": {}})
    context = limited(payments.context(SWAP), query={"target": "elsewhere", "sql": "SELECT 1"})
    found = await measured(context)
    assert found.words.startswith(
        "rows not known: neither the plan nor the inventory names a table to count; all writes"
    )
    assert found.beyond.endswith(
        "elsewhere cannot be answered, which counts as passed: it is no database of the inventory"
    )
    one = await measured(limited(payments.context(SWAP), rows={}))
    assert one.beyond.endswith("which counts as too many: no table is named")


async def test_one_row(payments: Any) -> None:
    """A single row is told as one."""
    payments.server.execute("DELETE FROM transactions WHERE id > 2001", dbname="payments")
    assert (await measured(payments.context(RESTORE, SWAP))).words.startswith("1 row of transactions; ")
