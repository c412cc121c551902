"""A database goes back to a moment: a base backup and archived WAL, recovered beside the live server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actuators import postgres
from actuators.postgres import live_server, pitr, recovery_host
from actuators.postgres.pitr import PitrActuator
from actuators.postgres.recovered import RecoveredServer
from actuators.postgres.steps import ClearPitr, SafetyBackup, Swap
from bot.domain.actuation import Fault, Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.actuators.postgres.archiving import (
    ROWS,
    SWITCH,
    Archived,
    archived,
    base_backup,
    digest,
    owned,
    recovering,
    refused,
    server,
)
from tests.actuators.postgres.conftest import BASELINE
from tests.support import sshd
from tests.support.actuation import RealClock, Reports, fails

__all__ = ["archived", "server"]

REGISTRY = Registry(*postgres.register())
SWAP = Swap(id="swap", target="payments-db")
SAFETY = SafetyBackup(id="safety", target="payments-db")


def running() -> set[int]:
    """Return the processes that run; one that has ended and was not asked for its exit code does not."""
    return {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cwd") if path.exists()}


def first_segment(archived: Archived) -> str:
    """Return the segment that recovery begins with."""
    text = (archived.base / "backup_label").read_text()
    return text.split("(file ")[1].split(")")[0]


@contextmanager
def away(path: Path) -> Iterator[None]:
    """Let a file not be there for a while."""
    hidden = path.rename(path.with_name(f".{path.name}"))
    try:
        yield
    finally:
        hidden.rename(path)


async def test_rows_after_the_moment_are_gone_and_the_swap_works_unchanged(archived: Archived) -> None:
    """Recovered and swapped in by the existing step, with every row from before; twice is harmless."""
    reports = Reports()
    step = recovering(archived)
    context = archived.context(step, SWAP, SAFETY, reports=reports)
    actuator = REGISTRY.actuator(step)
    checks = await actuator.check(step, context)
    assert [check for check in checks if check.verdict is not Verdict.OK] == []
    assert (await actuator.observe(step, context)).presence is Presence.ABSENT
    outcome = await actuator.apply(step, context)
    assert "recovery stopping before commit" in outcome.facts["recovered_to"]
    assert outcome.facts["row_counts"] == {"users": 300, "transactions": 2007}
    assert (await actuator.observe(step, context)).presence is Presence.PRESENT
    assert archived.left() == []
    assert "as of" in (await actuator.apply(step, context)).words
    await REGISTRY.actuator(SAFETY).apply(SAFETY, context)
    await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert archived.databases() == ["payments", "payments_failed_20240115_1547_0004"]
    assert archived.counts("payments") == (2007, "20240110120000")
    assert archived.counts("payments_failed_20240115_1547_0004") == (2057, "20240115120000")
    words = " ".join(progress.words for progress in reports.seen)
    assert "copying the base backup" in words
    assert "recovered to" in words
    assert reports.seen[-1].share() is not None


async def test_a_tar_backup_and_a_restore_command(archived: Archived) -> None:
    """A base backup in the tar form, and WAL fetched by a command of one's own, are recovered alike."""
    tar = archived.base.with_name("tar")
    archived.backup = {"location": str(tar), "sha256": digest(tar)}
    archived.overrides = {"archive": None, "restore_command": f"cp '{archived.archive}/%f' \"%p\""}
    step = recovering(archived, analyze=False)
    context = archived.context(step)
    checks = await REGISTRY.actuator(step).check(step, context)
    assert [check.words for check in checks if check.verdict is Verdict.WARN] == [
        "It cannot be listed, so a gap would only show during the recovery"
    ]
    assert fails(checks) == ""
    await REGISTRY.actuator(step).apply(step, context)
    assert archived.counts("payments_rb_0004") == (2007, "20240110120000")
    assert archived.left() == []


async def test_a_missing_segment_is_named(archived: Archived) -> None:
    """A gap in the archive is found by the check, and named by the recovery; nothing is left of it."""
    names = sorted(path.name for path in archived.archive.iterdir() if len(path.name) == 24)
    gone = names[names.index(first_segment(archived)) + 1]
    step = recovering(archived)
    with away(archived.archive / gone):
        said = fails(await REGISTRY.actuator(step).check(step, archived.context(step)))
        assert f"Segments are missing: {gone}" in said
        await refused(archived, step, f"The archive has a gap: without WAL segment {gone}")


async def test_an_archive_that_ends_too_early(archived: Archived) -> None:
    """Without the right to have the newest WAL archived the check warns, and the recovery says what lacks."""
    archived.server.execute(SWITCH.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
    archived.server.execute("CREATE TABLE IF NOT EXISTS noted (n int)", "INSERT INTO noted VALUES (1)")
    (now,) = archived.server.execute("SELECT clock_timestamp()")[0]
    step = recovering(archived, target_time=now, tolerance=1)
    try:
        checks = await REGISTRY.actuator(step).check(step, archived.context(step))
        assert any("may not have the newest WAL archived" in check.words for check in checks)
        error = await refused(archived, step, "The archived WAL ends before")
    finally:
        archived.server.execute(SWITCH)
    assert "pg_switch_wal" in error.resolution


async def test_an_archiver_that_does_not_go_on(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server cannot archive is waited for in vain, and named as what it is, a fault that may pass."""
    monkeypatch.setattr(live_server, "_PATIENCE", 1.5)
    archived.server.execute("ALTER SYSTEM SET archive_command = 'false'", "SELECT pg_reload_conf()")
    step = recovering(archived)
    try:
        error = await refused(archived, step, "its archive_command fails for")
        checks = await REGISTRY.actuator(step).check(step, archived.context(step))
    finally:
        archived.server.execute(archived.archiving, "SELECT pg_reload_conf()")
    assert error.transient
    assert any("cannot archive" in check.words for check in checks if check.verdict is Verdict.WARN)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target_time": "2024-01-15 15:00"}, "and recovery to 2024-01-15 15:00:00 UTC must begin before"),
        ({"target_time": "2998-01-01 00:00"}, "lies in the future by the server's clock"),
        ({"target_time": "2999-01-01 00:01"}, "is after the deployment, so it would bring back the failed state"),
    ],
)
async def test_moments_that_are_no_way_back(archived: Archived, fields: dict[str, Any], words: str) -> None:
    """A moment before the backup's end, in the future or after the deployment is refused, checked and applied."""
    step = recovering(archived, **fields)
    assert words in fails(await REGISTRY.actuator(step).check(step, archived.context(step)))
    await refused(archived, step, words)


async def test_a_moment_within_the_backup(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should such a moment slip through the check, recovery itself finds out, and says so."""
    monkeypatch.setattr(pitr, "refuse_moment", lambda *_args: None)
    slow, server = archived.base.with_name("slow"), archived.server
    phase = "SELECT phase FROM pg_stat_progress_basebackup WHERE phase LIKE 'streaming%'"
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(base_backup, server, slow, "--max-rate=20M"))
        while not server.execute(phase):
            await RealClock().sleep(0.02)
        (within,) = server.execute("SELECT clock_timestamp()")[0]
        server.execute(ROWS.format(1), dbname="payments")
        assert server.execute(phase), "the backup ended too early for this test"
    archived.backup = {"location": str(slow), "sha256": digest(slow)}
    archived.begin_anew()
    await refused(archived, recovering(archived, target_time=within), "recovery cannot stop within a backup")


@pytest.mark.parametrize(
    ("backup", "words"),
    [
        ({"sha256": "0" * 64}, "is not the one that the plan means"),
        ({"location": "/elsewhere/base"}, "does not lie in the folder of base backups"),
        ({"location": "{}/none"}, "is missing: there is no"),
        ({"location": "{}/plain/base"}, "has no backup_manifest"),
        ({"location": "{}/plain/PG_VERSION"}, "is no folder"),
    ],
)
async def test_backups_that_are_not_meant(archived: Archived, backup: dict[str, str], words: str) -> None:
    """A base backup that is missing, elsewhere, none or another one is refused by check and apply."""
    archived.backup = {key: value.format(archived.base.parent) for key, value in backup.items()}
    step = recovering(archived)
    assert words in fails(await REGISTRY.actuator(step).check(step, archived.context(step)))
    await refused(archived, step, words)


async def test_a_damaged_backup(archived: Archived) -> None:
    """A file of another length is found by the check, a changed byte by the recovery before anything is started."""
    file = archived.base / "global" / "pg_control"
    whole = file.read_bytes()
    step = recovering(archived)
    try:
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert fails(await REGISTRY.actuator(step).check(step, archived.context(step))) == ""
        await refused(archived, step, "the base backup is damaged, or was changed meanwhile")
        file.write_bytes(whole[:-1])
        said = fails(await REGISTRY.actuator(step).check(step, archived.context(step)))
        assert "is damaged: " in said
    finally:
        file.write_bytes(whole)


async def test_a_machine_that_cannot_do_it(archived: Archived) -> None:
    """Missing programs, folders and archives are found beforehand, each in words of its own."""
    step = recovering(archived)
    archived.overrides = {"bin_dir": "/nowhere", "scratch": "/nowhere/s", "archive": "/nowhere/a"}
    said = fails(await REGISTRY.actuator(step).check(step, archived.context(step)))
    assert "PostgreSQL's programs are not there: postgres, pg_ctl" in said
    assert "There is no folder /nowhere/s" in said
    assert "There is no archive /nowhere/a" in said
    archived.target = {"pitr": None}
    said = fails(await REGISTRY.actuator(step).check(step, archived.context(step)))
    assert "has no section `pitr`" in said


async def test_tablespaces_are_refused(archived: Archived) -> None:
    """Replayed WAL would write into the live server's tablespaces, so that a recovery beside it is refused."""
    place = owned(archived.server.folder / "space")
    archived.server.execute(f"CREATE TABLESPACE fast LOCATION '{place}'")
    step = recovering(archived)
    try:
        assert "replayed WAL would write there" in fails(
            await REGISTRY.actuator(step).check(step, archived.context(step))
        )
        await refused(archived, step, "The server has tablespaces of its own: fast")
    finally:
        archived.server.execute("DROP TABLESPACE fast")


async def test_the_baseline_must_hold_at_the_moment(archived: Archived) -> None:
    """Rows that differ from the baseline end the recovery before a copy is made; a tolerance lets them differ."""
    archived.baseline = BASELINE
    error = await refused(archived, recovering(archived), "transactions has 2,007 rows, not 2,000")
    assert "tolerance" in error.resolution
    step = recovering(archived, tolerance=0.01)
    await REGISTRY.actuator(step).apply(step, archived.context(step))
    assert archived.counts("payments_rb_0004")[0] == 2007


async def test_a_role_that_is_gone_is_named(archived: Archived) -> None:
    """Whoever was granted something then must be a role now; else the statement that makes it so is shown."""
    archived.server.execute("DROP OWNED BY payments_app", dbname="payments")
    archived.server.execute("DROP OWNED BY payments_app", dbname="tmpl_payments")
    archived.server.execute("DROP ROLE payments_app")
    step = recovering(archived)
    try:
        with pytest.raises(
            ActuatorError, match="roles that the live server has not any more: payments_app"
        ) as caught:
            await REGISTRY.actuator(step).apply(step, archived.context(step))
    finally:
        archived.server.execute("CREATE ROLE payments_app LOGIN PASSWORD 'app-secret'")
    assert "CREATE ROLE payments_app;" in caught.value.resolution
    assert archived.left() == []


class KilledError(BaseException):
    """Stands for kill -9: nothing is cleared away after it."""


@pytest.mark.parametrize("point", ["fill", "finish"])
async def test_killed_in_the_middle_and_repeated(
    archived: Archived, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """What a killed bot has left is gone on with: its server is adopted, and all is cleared in the end."""

    async def killed(*_args: object, **_kwargs: object) -> None:
        raise KilledError

    async def nothing(_server: RecoveredServer) -> None:
        """Leave everything, as a killed process does."""

    step = recovering(archived)
    context = archived.context(step)
    actuator = REGISTRY.actuator(step)
    with monkeypatch.context() as patch:
        patch.setattr(pitr, point, killed)
        patch.setattr(RecoveredServer, "remove", nothing)
        with pytest.raises(KilledError):
            await actuator.apply(step, context)
    assert len(archived.left()) == 1
    assert (await actuator.observe(step, context)).presence is Presence.ABSENT
    assert len(archived.server.execute("SELECT 1")) == 1
    copies: list[object] = []
    monkeypatch.setattr(RecoveredServer, "_copy", lambda *args: copies.append(args))
    await actuator.apply(step, context)
    assert copies == []
    assert archived.left() == []
    assert archived.counts("payments_rb_0004") == (2007, "20240110120000")


async def test_cancelled_in_the_middle_nothing_is_left(archived: Archived) -> None:
    """A cancelled recovery stops its server and removes its folder."""
    reports = Reports(on_report=lambda progress: cancel() if "dumping" in progress.words else None)
    step = recovering(archived)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(REGISTRY.actuator(step).apply(step, archived.context(step, reports=reports)))

        def cancel() -> None:
            task.cancel()

    assert task.cancelled()
    assert archived.left() == []


async def test_what_is_left_can_be_cleared(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remedy stops the server that was left and removes its folder; it is offered only while there is one."""

    async def killed(*_args: object, **_kwargs: object) -> None:
        raise KilledError

    async def nothing(_server: RecoveredServer) -> None:
        """Leave everything."""

    step = recovering(archived)
    context = archived.context(step)
    assert await PitrActuator().remedies(step, Fault("It failed."), context) == ()
    with monkeypatch.context() as patch:
        patch.setattr(pitr, "dump", killed)
        patch.setattr(RecoveredServer, "remove", nothing)
        with pytest.raises(KilledError):
            await REGISTRY.actuator(step).apply(step, context)
    (folder,) = archived.scratch.iterdir()
    pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    (remedy,) = await PitrActuator().remedies(step, Fault("It failed."), context)
    clear = REGISTRY.actuator(remedy.step)
    assert (await clear.observe(remedy.step, context)).presence is Presence.ABSENT
    await clear.apply(remedy.step, context)
    assert (await clear.observe(remedy.step, context)).presence is Presence.PRESENT
    assert pid not in running()
    assert archived.left() == []


async def test_foreign_folders_and_servers_are_never_touched(archived: Archived) -> None:
    """A folder without our mark is left alone, and so is a process that an old pid file happens to name."""
    step = recovering(archived)
    context = archived.context(step)
    async with recovery_host.recovery_host(step, context.inventory.databases["payments-db"], context) as host:
        folder = owned(Path(host.run_folder))
    (folder / "theirs").write_text("x")
    with pytest.raises(ActuatorError, match="is not the bot's: it bears no mark"):
        await REGISTRY.actuator(step).apply(step, context)
    clear = ClearPitr(id="clear", target="payments-db", recovers="recover")
    with pytest.raises(ActuatorError, match="is not of this rollback"):
        await REGISTRY.actuator(clear).apply(clear, context)
    assert (folder / "theirs").exists()
    (folder / "theirs").unlink()
    (folder / "mark").write_text(f"{context.rollback_id} recover")
    data = owned(folder / "data")
    live = (archived.server.folder / "data" / "postmaster.pid").read_text()
    (data / "postmaster.pid").write_text(live)
    await REGISTRY.actuator(clear).apply(clear, context)
    assert archived.left() == []
    assert archived.server.execute("SELECT 1") == [(1,)]


@pytest.mark.real
@pytest.mark.skipif(not sshd.PROGRAM.exists(), reason="no /usr/sbin/sshd here; install openssh-server")
async def test_on_a_machine_behind_ssh(archived: Archived, tmp_path: Path) -> None:
    """Everything on the server's machine goes by SSH as well, a cancellation in the middle included."""
    with sshd.sshd_estate(tmp_path) as estate:
        # The estate's own sudo becomes root whoever is asked for.
        (estate.only.root / "bin" / "sudo").unlink()
        archived.overrides = {"host": estate.group["hosts"][0], "ssh": estate.group["ssh"]}
        step = recovering(archived)
        checks = await REGISTRY.actuator(step).check(step, archived.context(step))
        assert fails(checks) == ""
        reports = Reports(on_report=lambda progress: cancel() if "dumping" in progress.words else None)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(REGISTRY.actuator(step).apply(step, archived.context(step, reports=reports)))

            def cancel() -> None:
                task.cancel()

        assert task.cancelled()
        assert archived.left() == []
        await REGISTRY.actuator(step).apply(step, archived.context(step))
    assert archived.counts("payments_rb_0004") == (2007, "20240110120000")
    assert archived.left() == []
