"""Bad backups and weak roles are found before anybody is asked to approve, each in words of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actuators import postgres
from actuators.postgres import backup, dump_checks
from actuators.postgres.steps import Drain, Restore, SafetyBackup, Swap, Verify
from bot.domain.actuation import Registry, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Baseline
from tests.actuators.postgres.conftest import GRANTS
from tests.support.actuation import fails

DRAIN = Drain(id="drain", target="payments-db", grace="0s")
BACKUP = SafetyBackup(id="safety", target="payments-db")
RESTORE = Restore(id="restore", target="payments-db", backup="db-before")
SWAP = Swap(id="swap", target="payments-db")
VERIFY = Verify(id="verify", target="payments-db")
REGISTRY = Registry(*postgres.register())
DOCS = Path(__file__).parents[3] / "docs" / "actuators" / "postgres.md"


async def found_by_check_and_apply(payments: Any, words: str) -> str:
    """Assert that check fails with these words and that apply changes nothing; return what check said."""
    context = payments.context(RESTORE)
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, context))
    assert words in said
    assert "Nothing was touched" in said
    with pytest.raises(ActuatorError) as caught:
        await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    assert words in caught.value.brief
    assert payments.databases() == ["payments"]
    return said


async def test_missing_backup(payments: Any) -> None:
    """A backup that is not there is called missing, with its path."""
    payments.dump = payments.folder / "gone.dump"
    said = await found_by_check_and_apply(payments, "is missing: there is no")
    assert "gone.dump" in said


async def test_empty_backup(payments: Any) -> None:
    """A backup without content is called empty."""
    payments.dump = payments.folder / "empty.dump"
    payments.dump.touch()
    await found_by_check_and_apply(payments, "is empty")


async def test_corrupt_backup(payments: Any) -> None:
    """A file that pg_restore --list cannot read is called corrupt, with what pg_restore said."""
    whole = payments.dump.read_bytes()
    payments.dump = payments.folder / "corrupt.dump"
    for content in (whole[:500], b"PGDMP" + b"\xff" * 4096, b"SELECT 1;\n"):
        payments.dump.write_bytes(content)
        await found_by_check_and_apply(payments, "is corrupt")


async def test_backup_of_a_newer_format(payments: Any) -> None:
    """A dump that only a newer pg_restore can read is not called corrupt."""
    whole = payments.dump.read_bytes()
    payments.dump = payments.folder / "newer.dump"
    payments.dump.write_bytes(whole[:6] + b"\x63" + whole[7:])
    await found_by_check_and_apply(payments, "written by a pg_dump newer than the pg_restore at hand")


async def test_truncated_backup_whose_contents_can_be_listed(payments: Any) -> None:
    """A dump that lost its end passes pg_restore --list; it is read to its end and found out."""
    whole = payments.dump.read_bytes()
    payments.dump = payments.folder / "short.dump"
    payments.dump.write_bytes(whole[:-40])
    context = payments.context(RESTORE)
    assert "is corrupt" in fails(await REGISTRY.actuator(RESTORE).check(RESTORE, context))
    with pytest.raises(ActuatorError, match="pg_restore into payments_rb_0004 failed"):
        await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    assert payments.schema_version() == "20240115120000"


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Give up root's right to read everything, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_unreadable_backup(payments: Any, as_nobody: None) -> None:
    """A backup that the bot's user may not read is no missing one: the message says permission denied."""
    del as_nobody
    uid = os.geteuid()
    os.seteuid(os.getuid())
    payments.dump = Path(shutil.copy(payments.dump, payments.folder / "closed.dump"))
    payments.dump.chmod(0o000)
    os.seteuid(uid)
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, payments.context(RESTORE)))
    assert "permission denied" in said
    assert "chmod" in said


async def test_backup_with_another_digest(payments: Any) -> None:
    """A file that is not the one the plan means is refused; the right digest is named as compared."""
    payments.backup = {"sha256": "0" * 64}
    await found_by_check_and_apply(payments, "is not the file that the plan means")
    payments.backup = {"sha256": hashlib.sha256(payments.dump.read_bytes()).hexdigest()}
    checks = await REGISTRY.actuator(RESTORE).check(RESTORE, payments.context(RESTORE))
    assert any("digest as in the plan" in check.words for check in checks)
    assert fails(checks) == ""


async def test_backup_that_the_plan_does_not_list(payments: Any) -> None:
    """A step that names an unknown backup says so."""
    step = RESTORE.model_copy(update={"backup": "other"})
    said = fails(await REGISTRY.actuator(step).check(step, payments.context(step)))
    assert "names backup other, which the plan does not list" in said


def programs_of_version(payments: Any, version: str) -> None:
    """Give the target programs that call themselves another version and are otherwise the real ones."""
    folder = payments.folder / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("pg_dump", "pg_restore"):
        real = payments.server.bin_dir / name
        answer = f"{name} (PostgreSQL) {version}"
        script = f'#!/bin/sh\n[ "$1" = --version ] && echo "{answer}" && exit\nexec "{real}" "$@"\n'
        (folder / name).write_text(script)
        (folder / name).chmod(stat.S_IRWXU)
    payments.overrides = {"bin_dir": str(folder)}


async def test_programs_of_another_version(payments: Any) -> None:
    """Programs too old for the dump or the server, or too new for the server, are found out."""
    programs_of_version(payments, "14.2")
    context = payments.context(RESTORE, BACKUP)
    assert "older than the pg_dump that wrote it" not in fails(
        await REGISTRY.actuator(RESTORE).check(RESTORE, context)
    )
    assert "pg_restore 14.2 is older" in fails(await REGISTRY.actuator(RESTORE).check(RESTORE, context))
    assert "pg_dump 14.2 is older than the server" in fails(await REGISTRY.actuator(BACKUP).check(BACKUP, context))
    programs_of_version(payments, "99.0")
    assert "and newer" in fails(await REGISTRY.actuator(RESTORE).check(RESTORE, context))


async def test_missing_programs(payments: Any) -> None:
    """A bin_dir without programs is told with the program's path."""
    payments.overrides = {"bin_dir": str(payments.folder)}
    context = payments.context(RESTORE, BACKUP)
    for step in (RESTORE, BACKUP):
        assert f"{payments.folder}/pg_" in fails(await REGISTRY.actuator(step).check(step, context))


@pytest.fixture
def weak(payments: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The estate with a role that may do nothing."""
    payments.server.execute("CREATE ROLE weak LOGIN PASSWORD 'weak-secret'")
    monkeypatch.setenv("PAYMENTS_DB_PASSWORD", "weak-secret")
    payments.overrides = {"user": "weak"}
    yield payments
    payments.server.execute("DROP OWNED BY weak", "DROP ROLE weak")


async def test_each_missing_privilege_is_named_with_the_grant_that_gives_it(weak: Any) -> None:
    """A role gets from the checks alone every statement it needs, and with these the rollback works."""
    steps = (DRAIN, BACKUP, RESTORE, SWAP, VERIFY)
    with weak.server.connect("payments", user="payments_app", password="app-secret"):
        said = "\n".join([fails(await REGISTRY.actuator(step).check(step, weak.context(*steps))) for step in steps])
    statements = {
        line.split("Run as an administrator: ")[1]
        for line in said.splitlines()
        if "Run as an administrator: " in line
    }
    assert statements == {
        "ALTER ROLE weak CREATEDB;",
        "GRANT payments_owner TO weak;",
        "GRANT pg_signal_backend TO weak;",
        "GRANT pg_read_all_data TO weak;",
    }
    weak.server.execute(*statements)
    for step in steps:
        assert fails(await REGISTRY.actuator(step).check(step, weak.context(*steps))) == ""
        await REGISTRY.actuator(step).apply(step, weak.context(*steps))
    assert weak.schema_version() == "20240110120000"


async def test_weak_role_touches_nothing(weak: Any) -> None:
    """Whatever a role too weak for it is told to do fails with those words and leaves the databases alone."""
    before = weak.databases()
    for step in (RESTORE, SWAP):
        with pytest.raises(ActuatorError):
            await REGISTRY.actuator(step).apply(step, weak.context(RESTORE, SWAP))
    with pytest.raises(ActuatorError, match="too weak"):
        await REGISTRY.actuator(RESTORE).apply(RESTORE, weak.context(RESTORE))
    assert weak.databases() == before


async def test_owners_that_the_role_may_not_act_for_are_named(payments: Any) -> None:
    """Objects of a role that the bot is no member of cannot be restored, and the check names the grant."""
    dump = payments.folder / "owners.dump"
    payments.server.execute(
        "CREATE TABLE reports (id int)", "ALTER TABLE reports OWNER TO reporting", dbname="payments"
    )
    dump_live(payments, dump)
    payments.dump = dump
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, payments.context(RESTORE)))
    assert "may not give objects to reporting" in said
    assert "GRANT reporting TO rollback_bot;" in said


def dump_live(payments: Any, path: Path) -> None:
    """Dump the live database as the superuser."""
    import subprocess  # noqa: PLC0415 - only here

    argv = [str(payments.server.bin_dir / "pg_dump"), "-Fc", "-f", str(path), payments.server.conninfo("payments")]
    subprocess.run(argv, check=True, timeout=30)


async def test_roles_and_extensions_that_the_server_lacks_are_named(payments: Any) -> None:
    """A backup of another server may need roles and rights that this one has not; the check names them."""
    payments.server.execute("CREATE ROLE passing")
    payments.server.execute(
        "CREATE TABLE reports (id int)",
        "ALTER TABLE reports OWNER TO passing",
        "CREATE EXTENSION pageinspect",
        dbname="payments",
    )
    payments.dump = payments.folder / "foreign.dump"
    dump_live(payments, payments.dump)
    payments.server.execute("DROP TABLE reports", dbname="payments")
    payments.server.execute("DROP ROLE passing")
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, payments.context(RESTORE)))
    assert "are no roles of the server: passing" in said
    assert "CREATE ROLE passing;" in said
    assert "only a superuser can restore extension pageinspect" in said


async def test_folder_for_safety_backups(payments: Any) -> None:
    """A folder that is not there fails the check and the step, each with its path."""
    payments.overrides = {"backups": str(payments.folder / "nowhere")}
    context = payments.context(BACKUP)
    said = fails(await REGISTRY.actuator(BACKUP).check(BACKUP, context))
    assert f"install -d -m 700 {payments.folder / 'nowhere'}" in said
    with pytest.raises(ActuatorError, match="cannot be written"):
        await REGISTRY.actuator(BACKUP).apply(BACKUP, context)


async def test_room_for_safety_backups(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room for a dump fails the check, little room warns."""
    context = payments.context(BACKUP)
    for free, verdict, words in (
        (1000, Verdict.FAIL, "Too little room: 1.0 kB free"),
        (5_000_000, Verdict.WARN, "only if it compresses well"),
    ):
        monkeypatch.setattr(backup, "_free", lambda _folder, free=free: free)
        checks = await REGISTRY.actuator(BACKUP).check(BACKUP, context)
        assert [check.verdict for check in checks if words in check.words] == [verdict]


async def test_backup_too_large_to_be_read_in_the_check(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large backup only the contents are listed, which the approver is told together with the cure."""
    monkeypatch.setattr(dump_checks, "READ_THROUGH", 1000)
    checks = await REGISTRY.actuator(RESTORE).check(RESTORE, payments.context(RESTORE))
    (found,) = [check for check in checks if check.subject == "Backup db-before"]
    assert found.verdict is Verdict.WARN
    assert "sha256" in found.resolution


async def test_tables_that_the_dump_could_not_read_are_named(payments: Any) -> None:
    """A table of another owner would end the safety backup in the middle; the check finds it before."""
    payments.server.execute("CREATE TABLE audit (id int)", dbname="payments")
    said = fails(await REGISTRY.actuator(BACKUP).check(BACKUP, payments.context(BACKUP)))
    assert "may not read public.audit (of admin)" in said


async def test_verify_needs_a_baseline(payments: Any) -> None:
    """A verification that has nothing to compare with is refused beforehand, for it would always pass."""
    payments.baseline = Baseline(error_rate=0.002, p95="175ms")
    said = fails(await REGISTRY.actuator(VERIFY).check(VERIFY, payments.context(VERIFY)))
    assert "nothing could be verified" in said


async def test_drain_check_names_who_is_connected(payments: Any) -> None:
    """The approver sees how many connections there are and whose they are."""
    with payments.server.connect("payments", user="payments_app", password="app-secret"):
        checks = await REGISTRY.actuator(DRAIN).check(DRAIN, payments.context(DRAIN))
    (found,) = [check for check in checks if check.subject == "Connections to payments"]
    assert found.verdict is Verdict.OK
    assert found.words == '1 now: payments_app "unnamed" from 127.0.0.1 (1)'


def test_documented_grants_are_the_tested_ones() -> None:
    """The role of these tests is made by the statements that the documentation gives, and by no others."""
    text = DOCS.read_text(encoding="utf-8").replace("PASSWORD '...'", "PASSWORD 'bot-secret'")
    block = text.split("```sql\n")[1].split("```")[0]
    statements = [line.split(";")[0] for line in block.splitlines() if line and not line.startswith("--")]
    assert tuple(statements) == GRANTS


async def test_roles_that_are_only_granted_something(payments: Any) -> None:
    """A role that a dump grants rights to and the server lacks ends a restore as well, so the check names it."""
    payments.server.execute("ALTER ROLE payments_app RENAME TO gone_app")
    try:
        said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, payments.context(RESTORE)))
    finally:
        # The rename takes the password away where it is kept as MD5; scram ones stay.
        payments.server.execute("ALTER ROLE gone_app RENAME TO payments_app")
    assert "The backup grants rights to roles that the server lacks: payments_app" in said
    assert "CREATE ROLE payments_app;" in said


async def test_tablespaces_that_only_the_dump_names(payments: Any) -> None:
    """A dump's own tablespaces must be there, and the role may create in them."""
    server, place = payments.server, payments.server.folder / "place"
    place.mkdir()
    shutil.chown(place, (server.folder / "data").owner(), (server.folder / "data").group())
    server.execute(f"CREATE TABLESPACE \"the fast\" LOCATION '{place}'")
    try:
        server.execute('CREATE TABLE placed (n int) TABLESPACE "the fast"', dbname="payments")
        dump = [str(server.bin_dir / "pg_dump"), "-Fc", "-f", str(payments.folder / "placed.dump")]
        await asyncio.to_thread(subprocess.run, [*dump, server.conninfo("payments")], check=True, timeout=30)
        payments.dump = payments.folder / "placed.dump"
        context = payments.context(RESTORE)
        said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, context))
        assert 'GRANT CREATE ON TABLESPACE "the fast" TO rollback_bot;' in said
        server.execute("DROP TABLE placed", dbname="payments")
    finally:
        server.execute('DROP TABLESPACE "the fast"')
    said = fails(await REGISTRY.actuator(RESTORE).check(RESTORE, context))
    assert "The backup names tablespaces that the server lacks: the fast" in said


async def test_extensions_of_another_version(payments: Any) -> None:
    """A dump holds no versions of extensions, so the check warns if the copy would get another one."""
    payments.server.execute("DROP EXTENSION hstore", "CREATE EXTENSION hstore VERSION '1.4'", dbname="payments")
    checks = await REGISTRY.actuator(RESTORE).check(RESTORE, payments.context(RESTORE))
    (warning,) = [check for check in checks if "other versions of extensions" in check.words]
    assert warning.verdict is Verdict.WARN
    assert "instead of 1.4" in warning.words
