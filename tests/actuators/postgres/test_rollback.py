"""The whole database rollback with the role that the docs describe, each step twice."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from actuators import postgres
from actuators.postgres.steps import Drain, Restore, SafetyBackup, Swap, Verify
from bot.domain.actuation import Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import Reports

DRAIN = Drain(id="drain", target="payments-db", grace="0s")
BACKUP = SafetyBackup(id="safety", target="payments-db")
RESTORE = Restore(id="restore", target="payments-db", backup="db-before")
SWAP = Swap(id="swap", target="payments-db")
VERIFY = Verify(id="verify", target="payments-db")
ALL = (DRAIN, BACKUP, RESTORE, SWAP, VERIFY)
REGISTRY = Registry(*postgres.register())


async def test_every_step_passes_its_check_before_anything_was_done(payments: Any) -> None:
    """With the documented grants and a sound backup no check fails, and each says what it found."""
    context = payments.context(*ALL)
    for step in ALL:
        checks = await REGISTRY.actuator(step).check(step, context)
        assert checks
        assert [check for check in checks if check.verdict is Verdict.FAIL] == []


async def test_the_whole_rollback_and_every_step_twice(payments: Any) -> None:
    """Each step ends PRESENT, is harmless when applied again, and the service gets its old data and rights back."""
    reports = Reports()
    context = payments.context(*ALL, reports=reports)
    for step in ALL[:-1]:
        actuator = REGISTRY.actuator(step)
        outcome = await actuator.apply(step, context)
        assert outcome.words
        assert (await actuator.observe(step, context)).presence is Presence.PRESENT
        before = payments.databases()
        await actuator.apply(step, context)
        assert payments.databases() == before
    outcome = await REGISTRY.actuator(VERIFY).apply(VERIFY, context)
    assert outcome.facts == {
        "schema_version": "20240110120000",
        "row_counts": {"users": 300, "transactions": 2000},
    }
    assert payments.databases() == ["payments", "payments_failed_20240115_1547_0004"]
    assert payments.schema_version() == "20240110120000"
    assert payments.schema_version("payments_failed_20240115_1547_0004") == "20240115120000"
    with payments.server.connect("payments", user="payments_app", password="app-secret") as connection:
        connection.execute("INSERT INTO transactions (user_id, amount) VALUES (1, 5)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM transactions")
    assert [path.name for path in payments.folder.iterdir()] == ["payments-pre-rollback-rb-0004-safety.dump"]
    assert {progress.unit for progress in reports.seen} == {"bytes"}


async def test_owners_of_everything_are_kept(payments: Any) -> None:
    """Nothing in the restored database belongs to the bot, extensions included."""
    context = payments.context(RESTORE)
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    rows = payments.server.execute(
        "SELECT DISTINCT pg_get_userbyid(owner) FROM (SELECT relowner AS owner FROM pg_class WHERE oid >= 16384"
        " UNION SELECT extowner FROM pg_extension WHERE extname = 'hstore'"
        " UNION SELECT datdba FROM pg_database WHERE datname = current_database()) AS owners",
        dbname="payments_rb_0004",
    )
    assert rows == [("payments_owner",)]


async def test_restore_reports_bytes_and_objects(payments: Any) -> None:
    """Progress of a restore ends at all bytes, and its words count the objects."""
    reports = Reports()
    await REGISTRY.actuator(RESTORE).apply(RESTORE, payments.context(RESTORE, reports=reports))
    assert reports.seen[-1].unit == "bytes"
    counts = [int(progress.words.split(" ")[0]) for progress in reports.seen]
    assert counts == sorted(counts)
    total = int(reports.seen[-1].words.split(" ")[2])
    assert counts[-1] == total


def write_again(payments: Any, *, kind: str, to: Path) -> None:
    """Write the backup in another format."""
    pg_restore, pg_dump = (str(payments.server.bin_dir / name) for name in ("pg_restore", "pg_dump"))
    payments.server.execute("CREATE DATABASE payments_old OWNER payments_owner TEMPLATE template0")
    old = payments.server.conninfo("payments_old")
    subprocess.run([pg_restore, "-d", old, str(payments.dump)], check=True, timeout=30)
    subprocess.run([pg_dump, f"--format={kind}", "-f", str(to), old], check=True, timeout=30)


@pytest.mark.parametrize(("kind", "jobs"), [("custom", 1), ("directory", 2), ("tar", 2)])
async def test_every_format_of_a_backup_is_restored(payments: Any, kind: str, jobs: int) -> None:
    """Custom, directory and tar format are restored alike, with one job where the format allows no more."""
    dump = payments.folder / f"before.{kind}"
    write_again(payments, kind=kind, to=dump)
    payments.dump, payments.overrides = dump, {"jobs": jobs}
    reports = Reports()
    context = payments.context(RESTORE, reports=reports)
    assert [c for c in await REGISTRY.actuator(RESTORE).check(RESTORE, context) if c.verdict is Verdict.FAIL] == []
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    assert payments.schema_version("payments_rb_0004") == "20240110120000"
    assert any("users" in progress.words for progress in reports.seen)
    if kind == "directory":
        payments.backup = {"sha256": "0" * 64}
        checks = await REGISTRY.actuator(RESTORE).check(RESTORE, payments.context(RESTORE))
        assert any("a folder has no digest to compare" in check.words for check in checks)


async def test_a_safety_backup_that_cannot_be_read_is_made_again(payments: Any) -> None:
    """A file of the right name that is no dump does not count as the safety backup."""
    path = payments.folder / "payments-pre-rollback-rb-0004-safety.dump"
    path.write_bytes(b"no dump")
    context = payments.context(BACKUP)
    actuator = REGISTRY.actuator(BACKUP)
    assert (await actuator.observe(BACKUP, context)).presence is Presence.ABSENT
    await actuator.apply(BACKUP, context)
    assert (await actuator.observe(BACKUP, context)).presence is Presence.PRESENT


async def test_a_restored_database_is_closed_until_it_is_swapped_in(payments: Any) -> None:
    """Only its owner's members can connect to the copy while it is unverified."""
    await REGISTRY.actuator(RESTORE).apply(RESTORE, payments.context(RESTORE))
    with (
        pytest.raises(psycopg.OperationalError, match="permission denied for database"),
        payments.server.connect("payments_rb_0004", user="payments_app", password="app-secret"),
    ):
        pass


async def test_restore_refuses_a_backup_that_misses_the_baseline(payments: Any) -> None:
    """A backup whose rows are not those of the baseline never becomes ready."""
    payments.baseline = payments.baseline.model_copy(update={"row_counts": {"users": 301}})
    context = payments.context(RESTORE, SWAP)
    with pytest.raises(ActuatorError, match="users has 300 rows, not 301") as caught:
        await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    assert "was not touched" in caught.value.untouched
    assert (await REGISTRY.actuator(RESTORE).observe(RESTORE, context)).presence is Presence.ABSENT
    with pytest.raises(ActuatorError, match="only half restored"):
        await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert payments.schema_version() == "20240115120000"


async def test_restore_refuses_a_foreign_database_of_its_name(payments: Any) -> None:
    """A database that does not bear our mark and holds something is never dropped."""
    payments.server.execute("CREATE DATABASE payments_rb_0004")
    payments.server.execute("CREATE TABLE precious (id int)", dbname="payments_rb_0004")
    context = payments.context(RESTORE)
    actuator = REGISTRY.actuator(RESTORE)
    assert (await actuator.observe(RESTORE, context)).presence is Presence.UNKNOWN
    assert any("not the bot's" in check.words for check in await actuator.check(RESTORE, context))
    with pytest.raises(ActuatorError, match="bears no mark"):
        await actuator.apply(RESTORE, context)
    assert payments.server.execute("SELECT count(*) FROM precious", dbname="payments_rb_0004") == [(0,)]


async def test_restore_refuses_the_copy_of_another_run(payments: Any) -> None:
    """A copy that another rollback made is not taken for our own."""
    await REGISTRY.actuator(RESTORE).apply(RESTORE, payments.context(RESTORE, rollback_id="rb_0004"))
    other = payments.context(RESTORE, rollback_id="rb-0004")
    assert (await REGISTRY.actuator(RESTORE).observe(RESTORE, other)).presence is Presence.UNKNOWN


async def test_properties_of_the_database_come_along(payments: Any) -> None:
    """Settings, privileges, limit and the people's comment of the live database are those of the restored one."""
    payments.server.execute(
        'ALTER DATABASE payments SET search_path TO "$user", public',
        "ALTER DATABASE payments SET work_mem TO '8MB'",
        "ALTER ROLE payments_owner IN DATABASE payments SET statement_timeout TO '90s'",
        "ALTER ROLE reporting IN DATABASE payments SET work_mem TO '16MB'",
        "ALTER DATABASE payments CONNECTION LIMIT 40",
        "REVOKE ALL ON DATABASE payments FROM PUBLIC",
        "GRANT CONNECT ON DATABASE payments TO payments_app",
        "GRANT CONNECT, CREATE ON DATABASE payments TO reporting WITH GRANT OPTION",
        "COMMENT ON DATABASE payments IS 'card payments'",
    )
    privileges = "SELECT datconnlimit, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) AS a)"
    properties = f"{privileges} FROM pg_database WHERE datname = 'payments'"
    before = payments.server.execute(properties)
    context = payments.context(RESTORE, SWAP)
    checks = await REGISTRY.actuator(SWAP).check(SWAP, context)
    warning = next(check for check in checks if check.verdict is Verdict.WARN)
    assert "reporting" in warning.words
    assert "GRANT reporting TO rollback_bot;" in warning.resolution
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    outcome = await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert outcome.facts["settings_left_out"] == ["work_mem of reporting"]
    assert payments.server.execute(properties) == before
    settings = payments.server.execute(
        "SELECT coalesce(rolname, ''), setconfig FROM pg_db_role_setting AS s JOIN pg_database AS d"
        " ON d.oid = setdatabase LEFT JOIN pg_roles AS r ON r.oid = setrole WHERE datname = 'payments' ORDER BY 1"
    )
    assert settings == [
        ("", ['search_path="$user", public', "work_mem=8MB"]),
        ("payments_owner", ["statement_timeout=90s"]),
    ]
    assert json.loads(payments.comment("payments"))["comment"] == "card payments"


async def test_a_second_rollback_starts_from_the_first_ones_database(payments: Any) -> None:
    """The mark of an earlier rollback on the live database is not taken for this one's."""
    payments.server.execute("COMMENT ON DATABASE payments IS 'card payments'")
    for number in ("rb-0004", "rb-0005"):
        context = payments.context(RESTORE, SWAP, rollback_id=number)
        assert (await REGISTRY.actuator(RESTORE).observe(RESTORE, context)).presence is Presence.ABSENT
        await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
        assert (await REGISTRY.actuator(SWAP).observe(SWAP, context)).presence is Presence.ABSENT
        await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert len(payments.databases()) == 3
    assert json.loads(payments.comment("payments"))["comment"] == "card payments"


async def test_verify_names_every_difference(payments: Any) -> None:
    """The failed state is not taken for the baseline, and each difference is named with both values."""
    context = payments.context(VERIFY)
    with pytest.raises(ActuatorError) as caught:
        await REGISTRY.actuator(VERIFY).apply(VERIFY, context)
    assert "schema version is 20240115120000, not 20240110120000" in caught.value.brief
    assert "transactions has 2,050 rows, not 2,000" in caught.value.brief


async def test_verify_takes_a_tolerance_for_rows_only(payments: Any) -> None:
    """A tolerance lets counts differ by that share of the baseline, and no more."""
    payments.server.execute("DELETE FROM schema_migrations WHERE version > '20240110120000'", dbname="payments")
    context = payments.context(VERIFY)
    actuator = REGISTRY.actuator(VERIFY)
    outcome = await actuator.apply(VERIFY.model_copy(update={"tolerance": 0.025}), context)
    assert outcome.facts["row_counts"]["transactions"] == 2050
    with pytest.raises(ActuatorError, match="transactions"):
        await actuator.apply(VERIFY.model_copy(update={"tolerance": 0.024}), context)
