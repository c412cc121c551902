"""When the plan's backup is no good, the others are found, and the one that a person chooses takes its place."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from actuators import postgres
from actuators.postgres import dumps, tools
from actuators.postgres.archive import BackupUnusableError
from actuators.postgres.steps import ListBackups, Restore, RestoreFrom, SafetyBackup, Swap, Verify
from bot.domain.actuation import Context, Presence, Registry, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.support.actuation import fails
from tests.support.helping import loss_of, remedies_of

RESTORE = Restore(id="restore", target="payments-db", backup="db-before")
SWAP = Swap(id="swap", target="payments-db")
VERIFY = Verify(id="verify", target="payments-db")
LISTED = ListBackups(id="catalogue", target="payments-db", backup="db-before")
SAFETY = SafetyBackup(id="safety", target="payments-db")
REGISTRY = Registry(*postgres.register())


class Shelf:
    """Folders of backups as the specification has them: one a purpose, below one folder.

    Args:
        payments: The estate.
    """

    def __init__(self, payments: Any) -> None:
        self.payments = payments
        self.root = payments.folder / "backups"
        for name in ("pre-deploy", "nightly", "emergency"):
            (self.root / name).mkdir(parents=True)
        payments.dump = self.root / "pre-deploy" / "payments-20240115-1430.dump"
        payments.overrides = {"backups": str(self.root / "emergency")}
        payments.backup = {"taken_at": "2024-01-15 14:30"}
        self.deployed_at = datetime.fromtimestamp((payments.folder).stat().st_mtime, tz=UTC) + timedelta(hours=1)

    def context(self, *steps: Any, **kwargs: Any) -> Context:
        """Return the context of a run whose deployment was after the dumps were taken."""
        context: Context = self.payments.context(*(steps or (RESTORE, SWAP)), **kwargs)
        return dataclasses.replace(context, plan=context.plan.model_copy(update={"deployed_at": self.deployed_at}))

    def dump(self, name: str, *statements: str, kind: str = "custom") -> Path:
        """Dump the state before the deployment, after these statements, as a dump of the database `payments`."""
        path: Path = self.root / name
        server = self.payments.server
        server.execute(
            "ALTER DATABASE payments RENAME TO payments_aside",
            "CREATE DATABASE payments OWNER payments_owner TEMPLATE template0",
        )
        try:
            conninfo = server.conninfo("payments")
            subprocess.run(
                [str(server.bin_dir / "pg_restore"), "-d", conninfo, str(self.original)], check=True, timeout=30
            )
            server.execute("SELECT 1", *statements, dbname="payments")
            argv = [str(server.bin_dir / "pg_dump"), f"--format={kind}", "-f", str(path), conninfo]
            subprocess.run(argv, check=True, timeout=30)
        finally:
            server.execute(
                "DROP DATABASE payments WITH (FORCE)", "ALTER DATABASE payments_aside RENAME TO payments"
            )
        return path

    @property
    def original(self) -> Path:
        """The dump that all of them come from."""
        return Path(next(self.payments.original.iterdir()))


@pytest.fixture
def shelf(payments: Any) -> Shelf:
    """Folders of backups, without the plan's own file."""
    payments.original = payments.dump.parent
    return Shelf(payments)


def age(path: Path, **ago: float) -> None:
    """Let a file be so old."""
    moment = path.stat().st_mtime - timedelta(**ago).total_seconds()
    os.utime(path, (moment, moment))


async def remedies(context: Context, *, brief: str | None = None) -> tuple[Remedy, ...]:
    """Return what is offered after the restore has failed, by itself or with these words."""
    if brief is None:
        with pytest.raises(ActuatorError) as caught:
            await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
        brief = caught.value.brief
    return await remedies_of(REGISTRY, RESTORE, context, brief)


async def test_the_catalogue_says_of_each_backup_what_speaks_against_it(shelf: Shelf) -> None:
    """Siblings of the folder are searched as the specification does; each file has time, size and a verdict."""
    good = shelf.dump("nightly/payments-20240114.dump")
    age(good, days=1)
    late = Path(shutil.copy(good, shelf.root / "nightly/payments-late.dump"))
    age(late, hours=-2)
    shutil.copy2(shelf.original, shelf.root / "nightly/payments-staging.dump")
    shutil.copy2(good, shelf.root / "emergency/payments-pre-rollback-rb-0003-safety.dump")
    (shelf.root / "nightly/payments-broken.dump").write_bytes(b"PGDMP" + b"\xff" * 500)
    (shelf.root / "nightly/payments.sql").write_text("--\n-- PostgreSQL database dump\n--\n\nSELECT 1;\n")
    (shelf.root / "nightly/payments-empty.dump").touch()
    (shelf.root / "nightly/orders.dump").write_bytes(good.read_bytes())
    shelf.dump("pre-deploy/payments-folder", kind="directory")
    outcome = await REGISTRY.actuator(LISTED).apply(LISTED, shelf.context())
    lines = {
        line.removeprefix("usable: ").split(" (")[0].rsplit("/", 1)[1]: line for line in outcome.output.splitlines()
    }
    assert set(lines) == {
        "payments-20240114.dump", "payments-late.dump", "payments-staging.dump", "payments-broken.dump",
        "payments.sql", "payments-empty.dump", "payments-folder", "payments-pre-rollback-rb-0003-safety.dump",
    }  # fmt: skip
    taken = datetime.fromtimestamp(good.stat().st_mtime, tz=UTC)
    assert lines["payments-20240114.dump"].startswith(f"usable: {good} ({taken:%Y-%m-%d %H:%M} UTC, ")
    assert "database payments, pg_dump 18" in lines["payments-20240114.dump"]
    assert "cannot be told whether it holds the failed state" in lines["payments-late.dump"]
    assert "of database tmpl_payments" in lines["payments-staging.dump"]
    assert "pg_restore cannot read it" in lines["payments-broken.dump"]
    assert "plain SQL" in lines["payments.sql"]
    assert "empty" in lines["payments-empty.dump"]
    assert "cannot be pinned" in lines["payments-folder"]
    assert "it holds a failed state" in lines["payments-pre-rollback-rb-0003-safety.dump"]
    assert outcome.facts == {"found": 8, "usable": [str(good)]}
    assert outcome.words.startswith(
        f"8 backups in {shelf.root}/*/payments*, 1 of them usable in place of db-before"
    )


async def test_a_missing_backup_is_refused_with_the_others_that_there_are(shelf: Shelf) -> None:
    """Before anybody approves, the check says which other backups could be restored, and that none is the end."""
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, shelf.context()))
    assert "is missing" in said
    assert f"No other usable backup was found ({shelf.root}/*/payments*): rollback is not possible." in said
    good = shelf.dump("nightly/payments-20240114.dump")
    shelf.payments.dump.write_bytes(b"PGDMP" + b"\xff" * 500)
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, shelf.context()))
    assert "is corrupt" in said
    assert f"Other usable backups: {good} (" in said


async def test_another_backup_takes_the_place_of_the_plans(shelf: Shelf) -> None:
    """The chosen file is restored into the run's copy; the plan's step then is done, and the swap finds it."""
    good = shelf.dump("nightly/payments-20240114.dump", "DELETE FROM transactions WHERE id > 1900")
    age(good, days=1)
    context = shelf.context()
    listed, offered = await remedies(context)
    assert (listed.id, listed.step.reads_only) == ("catalogue", True)
    assert (offered.settles, offered.title) == (True, "Restore payments-20240114.dump instead")
    assert (await remedies(context))[1].id == offered.id
    step = REGISTRY.read({**offered.step.model_dump(mode="json"), "id": "remedy.restore-from.7.1"})
    assert isinstance(step, RestoreFrom)
    assert step.sha256 is not None
    actuator = REGISTRY.actuator(step)
    assert (await actuator.observe(step, context)).presence is Presence.ABSENT
    assert fails(await actuator.check(step, context)) == ""
    outcome = await actuator.apply(step, context)
    assert outcome.facts["row_counts"]["transactions"] == 1900
    both: tuple[Step, ...] = (step, RESTORE)
    for each in both:
        seen = await REGISTRY.actuator(each).observe(each, context)
        assert (seen.presence, seen.facts) == (Presence.PRESENT, {"database": "payments_rb_0004"})
        assert f"{good} of " in seen.words
        again = await REGISTRY.actuator(each).apply(each, context)
        assert "is restored from" in again.words
    loss = await loss_of(REGISTRY, SWAP, context)
    assert loss is not None
    assert (loss.rows, loss.since) == (150, step.taken_at)
    await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert shelf.payments.schema_version() == "20240110120000"
    for each in (*both, SWAP):
        assert (await REGISTRY.actuator(each).observe(each, context)).presence is Presence.PRESENT
    assert await loss_of(REGISTRY, SWAP, context) is None
    with pytest.raises(ActuatorError, match="transactions has 1,900 rows, not 2,000") as caught:
        await REGISTRY.actuator(VERIFY).apply(VERIFY, context)
    assert f"It was restored from {good} of " in caught.value.resolution


async def test_a_copy_that_was_half_restored_from_the_plans_backup_is_replaced(shelf: Shelf) -> None:
    """A backup that misses the baseline leaves a copy; choosing another file makes the copy anew."""
    wrong = shelf.dump(
        "pre-deploy/payments-20240115-1430.dump",
        "DELETE FROM users WHERE id NOT IN (SELECT user_id FROM transactions)",
        "DELETE FROM transactions",
    )
    assert wrong == shelf.payments.dump
    shelf.dump("nightly/payments-20240114.dump")
    context = shelf.context()
    _, offered = await remedies(context)
    assert shelf.payments.databases() == ["payments", "payments_rb_0004"]
    await REGISTRY.actuator(offered.step).apply(offered.step, context)
    assert (await REGISTRY.actuator(RESTORE).observe(RESTORE, context)).presence is Presence.PRESENT
    assert "no older than the plan's backup" in offered.words


async def test_a_finished_copy_of_another_file_is_never_dropped(shelf: Shelf) -> None:
    """Two people choose two files: the first one that is restored stays, and the second is told so."""
    first = shelf.dump("nightly/payments-20240114.dump")
    second = Path(shutil.copy2(first, shelf.root / "nightly/payments-20240113.dump"))
    age(second, days=2)
    context = shelf.context()
    _, newer, older = await remedies(context)
    await REGISTRY.actuator(newer.step).apply(newer.step, context)
    seen = await REGISTRY.actuator(older.step).observe(older.step, context)
    assert seen.presence is Presence.UNKNOWN
    assert seen.words.endswith(f"and not from {second}")
    with pytest.raises(ActuatorError, match="and not from"):
        await REGISTRY.actuator(older.step).apply(older.step, context)
    assert (await REGISTRY.actuator(newer.step).observe(newer.step, context)).presence is Presence.PRESENT


async def test_a_backup_from_after_the_deployment_is_neither_offered_nor_restored(shelf: Shelf) -> None:
    """It holds the failed state: there is no button for it, and a step that names it is refused."""
    late = shelf.dump("nightly/payments-20240115.dump")
    shelf.deployed_at -= timedelta(days=1)
    context = shelf.context()
    (listed,) = await remedies(context)
    assert listed.id == "catalogue"
    taken = datetime.fromtimestamp(int(late.stat().st_mtime), tz=UTC)
    step = RestoreFrom(
        id="x",
        target="payments-db",
        restores="restore",
        location=str(late),
        taken_at=taken,
        size=late.stat().st_size,
    )
    with pytest.raises(ActuatorError, match="younger than the deployment"):
        await REGISTRY.actuator(step).apply(step, context)
    assert "younger than the deployment" in fails(await REGISTRY.actuator(step).check(step, context))
    assert shelf.payments.databases() == ["payments"]


async def test_a_file_that_changed_after_it_was_chosen_is_refused(shelf: Shelf) -> None:
    """What a person chose is pinned by time, size and digest: another content of that name is not restored."""
    good = shelf.dump("nightly/payments-20240114.dump")
    context = shelf.context()
    _, offered = await remedies(context)
    state = good.stat()
    content = bytearray(good.read_bytes())
    content[-200] ^= 1
    good.write_bytes(content)
    os.utime(good, ns=(state.st_mtime_ns, state.st_mtime_ns))
    with pytest.raises(ActuatorError, match="is not the file that the plan means"):
        await REGISTRY.actuator(offered.step).apply(offered.step, context)
    good.write_bytes(content + b"more")
    with pytest.raises(ActuatorError, match="is not the file that was chosen"):
        await REGISTRY.actuator(offered.step).apply(offered.step, context)
    assert "is not the file that was chosen" in fails(
        await REGISTRY.actuator(offered.step).check(offered.step, context)
    )
    good.unlink()
    with pytest.raises(ActuatorError, match="is missing"):
        await REGISTRY.actuator(offered.step).apply(offered.step, context)
    assert shelf.payments.databases() == ["payments"]


async def test_a_backup_without_the_baselines_schema_or_rows_is_refused(shelf: Shelf) -> None:
    """Another backup may have other counts, but not another schema, and no table that is empty."""
    shelf.dump("nightly/payments-1.dump", "DELETE FROM transactions", "DELETE FROM schema_migrations")
    context = shelf.context()
    _, offered = await remedies(context)
    with pytest.raises(ActuatorError, match="schema version is none, not 20240110120000; transactions is empty"):
        await REGISTRY.actuator(offered.step).apply(offered.step, context)
    assert (await REGISTRY.actuator(offered.step).observe(offered.step, context)).presence is Presence.ABSENT


async def test_other_backups_are_offered_only_when_the_backup_was_at_fault(shelf: Shelf) -> None:
    """A server that does not answer is no reason for another file; a dump that breaks off in the middle is."""
    shelf.dump("nightly/payments-20240114.dump")
    context = shelf.context()
    assert await remedies(context, brief="The database server at db:5432 does not answer: no route.") == ()
    found = await remedies(
        context, brief="pg_restore into payments_rb_0004 failed: could not read from input file."
    )
    assert [remedy.id.split("-")[0] for remedy in found] == ["catalogue", "restore"]


async def test_a_large_file_is_pinned_without_a_digest(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no time to read it all, size and time pin the file, and it can be restored all the same."""
    shelf.dump("nightly/payments-20240114.dump")
    monkeypatch.setattr(dumps, "DIGESTS", 0.0)
    context = shelf.context()
    _, offered = await remedies(context)
    assert isinstance(offered.step, RestoreFrom)
    assert offered.step.sha256 is None
    await REGISTRY.actuator(offered.step).apply(offered.step, context)
    assert (await REGISTRY.actuator(offered.step).observe(offered.step, context)).presence is Presence.PRESENT


async def test_a_search_that_takes_too_long_is_given_up(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk keeps nobody waiting: the diagnosis is still offered, and the check says how to look by hand."""
    monkeypatch.setattr(dumps, "SEARCH", 0.0)
    (listed,) = await remedies(shelf.context())
    assert listed.id == "catalogue"
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, shelf.context()))
    assert f"List them by hand: ls -la {shelf.root}/pre-deploy" in said


async def test_the_catalogue_needs_a_backup_of_the_plan(shelf: Shelf) -> None:
    """A step that names an unknown backup, or one whose folder is gone, says so; remedies leave it out."""
    step = LISTED.model_copy(update={"backup": "other"})
    assert "which the plan does not list" in fails(await REGISTRY.actuator(step).check(step, shelf.context()))
    (check,) = await REGISTRY.actuator(LISTED).check(LISTED, shelf.context())
    assert check.verdict is Verdict.OK
    (shelf.root / "pre-deploy").rmdir()
    (check,) = await REGISTRY.actuator(LISTED).check(LISTED, shelf.context())
    assert check.verdict is Verdict.WARN
    outcome = await REGISTRY.actuator(LISTED).apply(LISTED, shelf.context())
    assert outcome.words.startswith("0 backups in ")
    broken = RESTORE.model_copy(update={"backup": "other"})
    assert await remedies_of(REGISTRY, broken, shelf.context(), "is missing: there is no x") == ()


async def test_a_replacement_belongs_to_a_step_of_the_plan(shelf: Shelf) -> None:
    """A file is restored in the place of a step that restores the same database, and of no other."""
    step = RestoreFrom(
        id="x", target="payments-db", restores="swap", location="/x", taken_at="2024-01-15 14:00", size=1
    )
    with pytest.raises(ActuatorError, match="The plan has no step swap that restores"):
        await REGISTRY.actuator(step).apply(step, shelf.context())


async def test_a_safety_backup_that_cannot_be_judged_is_unknown(shelf: Shelf) -> None:
    """Without a pg_restore nobody can tell whether the dump is one: that is not the same as absent."""
    context = shelf.context(SAFETY)
    await REGISTRY.actuator(SAFETY).apply(SAFETY, context)
    shelf.payments.overrides["bin_dir"] = "/nowhere"
    with pytest.raises(ActuatorError, match="pg_restore is not there"):
        await REGISTRY.actuator(SAFETY).observe(SAFETY, shelf.context(SAFETY))


async def test_backups_directly_below_the_root_have_no_siblings(shelf: Shelf) -> None:
    """The root folder's own folders are not searched: they are no backups'."""
    shelf.payments.dump = Path("/payments-nowhere.dump")
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, shelf.context()))
    assert f"No other usable backup was found (/payments*, {shelf.root}/emergency/payments*)" in said


async def test_a_folder_without_contents_is_no_dump(shelf: Shelf) -> None:
    """A pinned file that has become another thing is refused."""
    (shelf.root / "nightly/payments-x").mkdir()
    (shelf.root / "nightly/payments-x/file").write_text("x")
    step = RestoreFrom(
        id="x", target="payments-db", restores="restore", location=str(shelf.root / "nightly/payments-x"),
        taken_at="2024-01-15 14:00", size=1,
    )  # fmt: skip
    with pytest.raises(ActuatorError, match=r"is corrupt|is no dump"):
        await REGISTRY.actuator(step).apply(step, shelf.context())


def test_a_dump_that_may_not_be_read_is_not_called_corrupt() -> None:
    """Another user's file may be a good backup."""
    error = tools._damaged(
        "/b/x.dump", 'pg_restore: error: could not open input file "/b/x.dump": Permission denied'
    )
    assert "permission denied" in error.brief
    assert not isinstance(error, BackupUnusableError)
