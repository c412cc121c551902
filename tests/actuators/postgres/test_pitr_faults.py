"""A recovery that cannot go on says why, leaves nothing of the second server, and the live database as it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from actuators.postgres import base_backup, live_server, pitr
from actuators.postgres.base_backup import BaseBackup, Findings
from actuators.postgres.baseline import Measured
from actuators.postgres.live_server import LiveServer
from actuators.postgres.pitr import PitrActuator
from bot.domain.actuation import Fault, Verdict
from bot.domain.errors import ActuatorError
from tests.actuators.postgres.archiving import Archived, archived, recovering, refused, server
from tests.support.actuation import fails

__all__ = ["archived", "server"]


async def said(archived: Archived) -> str:
    """Return what the check fails for."""
    step = recovering(archived)
    return fails(await PitrActuator().check(step, archived.context(step)))


async def test_a_restore_command_that_is_none(archived: Archived) -> None:
    """A server that ends for another reason is told by its own last words, and by the end of its log."""
    archived.overrides = {"archive": None, "restore_command": '/nowhere/fetch %f "%p"'}
    error = await refused(archived, recovering(archived), "The recovered server has ended: could not restore file")
    assert "/nowhere/fetch" in error.output


async def test_an_archive_that_nobody_can_list_ends_too_early(archived: Archived) -> None:
    """Without a list of the archive the segment that is needed next is named all the same."""
    archived.overrides = {"archive": None, "restore_command": "false"}
    (now,) = archived.server.execute("SELECT clock_timestamp()")[0]
    await refused(archived, recovering(archived, target_time=now), "the next segment would be 0000000")


async def test_a_database_that_was_not_there_then(archived: Archived) -> None:
    """A database that had another name at the moment cannot be read there."""
    archived.target = {"dbname": "tmpl_payments"}
    await refused(archived, recovering(archived), "the recovered database tmpl_payments cannot be read")


async def test_a_restore_that_fails(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pg_restore says is told without the password; the half-filled copy is made anew the next time."""
    step = recovering(archived)
    with monkeypatch.context() as patch:
        patch.setattr(pitr, "refuse_missing_roles", lambda *_args: None)
        archived.server.execute("ALTER ROLE payments_app RENAME TO gone_app")
        try:
            with pytest.raises(ActuatorError, match="pg_restore into payments_rb_0004 failed") as caught:
                await PitrActuator().apply(step, archived.context(step))
        finally:
            archived.server.execute("ALTER ROLE gone_app RENAME TO payments_app")
    assert "bot-secret" not in str(caught.value) + caught.value.output
    assert archived.left() == []
    await PitrActuator().apply(step, archived.context(step))
    assert archived.counts("payments_rb_0004") == (2007, "20240110120000")


async def test_a_copy_that_does_not_hold_what_was_recovered(
    archived: Archived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the copy are compared with those of the recovered database before it is marked."""

    async def other(*_args: object) -> Measured:
        return Measured("20240110120000", {"users": 300, "transactions": 2006})

    monkeypatch.setattr(pitr, "measure", other)
    step = recovering(archived)
    with pytest.raises(ActuatorError, match="does not hold what was recovered: schema"):
        await PitrActuator().apply(step, archived.context(step))
    assert archived.left() == []


async def test_a_foreign_database_with_the_copys_name(archived: Archived) -> None:
    """A database without our mark is neither dropped nor filled, and nothing is recovered."""
    archived.server.execute("CREATE DATABASE payments_rb_0004")
    archived.server.execute("CREATE TABLE theirs (n int)", dbname="payments_rb_0004")
    step = recovering(archived)
    assert "it bears no mark" in await said(archived)
    with pytest.raises(ActuatorError, match="it bears no mark"):
        await PitrActuator().apply(step, archived.context(step))
    assert archived.server.execute("SELECT count(*) FROM theirs", dbname="payments_rb_0004") == [(0,)]


async def test_whoever_holds_the_copy_can_be_found(archived: Archived) -> None:
    """A copy that cannot be made anew because somebody is in it leads to the list of who is connected."""
    step = recovering(archived)
    fault = Fault('database "payments_rb_0004" is being accessed by other users: x')
    found = await PitrActuator().remedies(step, fault, archived.context(step))
    assert [remedy.id for remedy in found] == ["connections"]


async def test_a_backup_of_another_cluster(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's own number tells its backups; where the manifest does not tell it, the unpacked files do."""
    judge, live = base_backup.judge, live_server.live_server

    def of_another(*args: Any) -> BaseBackup:
        return dataclasses.replace(judge(*args), system="1")

    async def another(*args: Any) -> LiveServer:
        return dataclasses.replace(await live(*args), system="2")

    with monkeypatch.context() as patch:
        patch.setattr(base_backup, "judge", of_another)
        assert "is one of another cluster than the live one" in await said(archived)
    monkeypatch.setattr(pitr, "live_server", another)
    await refused(archived, recovering(archived), "is one of another cluster than the live one")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"version": "postgres (PostgreSQL) 14.2"}, "has PostgreSQL 14, and the server is"),
        ({"uid": "0"}, "PostgreSQL does not run as root"),
        ({"scratch": "denied"}, "may not write to"),
        ({"archive": "denied"}, "may not read the archive"),
        ({"free": "10"}, "Too little room: 10.2 kB free"),
    ],
)
async def test_what_the_machine_says_is_judged(
    archived: Archived, monkeypatch: pytest.MonkeyPatch, facts: dict[str, str], words: str
) -> None:
    """Another version, root, rights and room are found before anybody is asked to approve."""
    look = base_backup.look

    async def told(*args: Any) -> Findings:
        found = await look(*args)
        return dataclasses.replace(found, facts={**found.facts, **facts})

    monkeypatch.setattr(base_backup, "look", told)
    assert words in await said(archived)


async def test_little_room_and_what_was_left_are_told(archived: Archived, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the copy but hardly for a dump is a warning, and what an interrupted attempt has left is named."""
    look = base_backup.look

    async def told(*args: Any) -> Findings:
        found = await look(*args)
        return dataclasses.replace(found, facts={**found.facts, "free": "40000", "left": "yes"})

    monkeypatch.setattr(base_backup, "look", told)
    step = recovering(archived)
    checks = await PitrActuator().check(step, archived.context(step))
    assert any("needs some too" in check.words for check in checks if check.verdict is Verdict.WARN)
    assert any("of an interrupted attempt" in check.words for check in checks)


async def test_owners_that_the_role_may_not_become(archived: Archived) -> None:
    """Objects of further roles in the live database are likely to be there at the moment as well."""
    archived.server.execute(
        "CREATE TABLE reports (n int)", "ALTER TABLE reports OWNER TO reporting", dbname="payments"
    )
    assert "GRANT reporting TO rollback_bot;" in await said(archived)
