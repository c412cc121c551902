"""Interrupted at any point, a step leaves nothing half-named; done again, it ends as if nothing had happened."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from actuators import postgres
from actuators.postgres import swap
from actuators.postgres.steps import Restore, SafetyBackup, Swap
from bot.domain.actuation import Presence, Registry
from bot.domain.errors import ActuatorError
from tests.support.actuation import RealClock, Reports
from tests.support.pgserver import running_server

BACKUP = SafetyBackup(id="safety", target="payments-db")
RESTORE = Restore(id="restore", target="payments-db", backup="db-before")
SWAP = Swap(id="swap", target="payments-db")
REGISTRY = Registry(*postgres.register())
AFTER = ["payments", "payments_failed_20240115_1547_0004"]


class KilledError(BaseException):
    """Stands for kill -9: nothing catches it, and the connections break."""


class Crasher:
    """Breaks off before or after the n-th statement that changes something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        self.fatal: tuple[int, str] | None = None
        execute = psycopg.AsyncConnection.execute

        async def watched(connection: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            text = query.as_string(None) if isinstance(query, sql.Composable) else query
            text = text.decode() if isinstance(text, bytes) else text
            if text.split()[0] in {"SELECT", "SET", "RESET"}:
                return await execute(connection, query, *args, **kwargs)
            number = len(self.statements)
            self.statements.append(text)
            if self.fatal == (number, "before"):
                raise KilledError
            result = await execute(connection, query, *args, **kwargs)
            if self.fatal == (number, "after"):
                raise KilledError
            return result

        monkeypatch.setattr(psycopg.AsyncConnection, "execute", watched)

    def arm(self, number: int, when: str) -> None:
        """Break off at a statement."""
        self.statements = []
        self.fatal = (number, when)

    def disarm(self) -> None:
        """Let everything pass."""
        self.fatal = None


def points(statements: int) -> list[tuple[int, str]]:
    """Return every point before and after each statement."""
    return [(number, when) for number in range(statements) for when in ("before", "after")]


RESTORE_STATEMENTS = 9  # four tables have statistics
SWAP_STATEMENTS = 10


@pytest.mark.parametrize(("number", "when"), points(RESTORE_STATEMENTS))
async def test_restore_killed_at_any_statement_is_done_again(
    payments: Any, monkeypatch: pytest.MonkeyPatch, number: int, when: str
) -> None:
    """Whatever a killed restore left is known for our own and redone; the live database stays as it is."""
    crasher = Crasher(monkeypatch)
    context = payments.context(RESTORE)
    actuator = REGISTRY.actuator(RESTORE)
    crasher.arm(number, when)
    with pytest.raises(KilledError):
        await actuator.apply(RESTORE, context)
    crasher.disarm()
    done = (number, when) == (RESTORE_STATEMENTS - 1, "after")
    observed = await actuator.observe(RESTORE, context)
    assert observed.presence is (Presence.PRESENT if done else Presence.ABSENT)
    await actuator.apply(RESTORE, context)
    assert (await actuator.observe(RESTORE, context)).presence is Presence.PRESENT
    assert payments.databases() == ["payments", "payments_rb_0004"]
    assert payments.schema_version("payments_rb_0004") == "20240110120000"
    assert payments.schema_version() == "20240115120000"


async def test_swap_killed_at_any_statement_changes_nothing(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the transaction's end a killed swap has done nothing; done again, it ends right."""
    crasher = Crasher(monkeypatch)
    context = payments.context(RESTORE, SWAP)
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    actuator = REGISTRY.actuator(SWAP)
    for number, when in points(SWAP_STATEMENTS):
        crasher.arm(number, when)
        with pytest.raises(KilledError):
            await actuator.apply(SWAP, context)
        crasher.disarm()
        assert (await actuator.observe(SWAP, context)).presence is Presence.ABSENT
        assert payments.databases() == ["payments", "payments_rb_0004"]
    crasher.statements = []
    await actuator.apply(SWAP, context)
    assert len(crasher.statements) == SWAP_STATEMENTS
    assert payments.databases() == AFTER


async def test_swap_killed_after_the_commit_is_found_done(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the transaction's end the swap is PRESENT, and applying it again renames nothing more."""
    context = payments.context(RESTORE, SWAP)
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    actuator = REGISTRY.actuator(SWAP)

    def killed(*_args: object, **_kwargs: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(swap, "_outcome", killed)
        with pytest.raises(KilledError):
            await actuator.apply(SWAP, context)
    assert (await actuator.observe(SWAP, context)).presence is Presence.PRESENT
    await actuator.apply(SWAP, context)
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    assert payments.databases() == AFTER


def when_restoring(action: Callable[[], object]) -> Reports:
    """Return reports that call back once, when the data of a table have been restored."""
    reports = Reports()

    def look(_progress: object) -> None:
        if any("TABLE DATA" in report.words for report in reports.seen):
            reports.on_report = None
            action()

    reports.on_report = look
    return reports


def programs() -> list[str]:
    """Return the names of PostgreSQL's client programs that run below this process."""
    found = subprocess.run(
        ["ps", "-e", "-o", "ppid=,pgid=,comm="], check=True, capture_output=True, text=True, timeout=10
    )
    rows = [line.split(None, 2) for line in found.stdout.splitlines()]
    return [name for parent, _, name in rows if name.startswith("pg_") and int(parent) == os.getpid()]


async def test_cancelled_restore_leaves_no_program_and_is_done_again(payments: Any) -> None:
    """A cancelled restore ends pg_restore at once; the half-restored copy is redone by the next attempt."""
    payments.server.execute("CREATE ROLE brake")
    reports = when_restoring(lambda: task.cancel())  # noqa: PLW0108 - the task is made below
    context = payments.context(RESTORE, reports=reports)
    actuator = REGISTRY.actuator(RESTORE)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(actuator.apply(RESTORE, context))
    assert task.cancelled()
    assert programs() == []
    assert (await actuator.observe(RESTORE, context)).presence is Presence.ABSENT
    payments.server.execute("DROP ROLE brake")
    await actuator.apply(RESTORE, context)
    assert (await actuator.observe(RESTORE, context)).presence is Presence.PRESENT


async def test_cancelled_dump_leaves_no_file(payments: Any) -> None:
    """A cancelled safety backup leaves neither a program nor a partial file."""
    reports = Reports(on_report=lambda _progress: cancel())
    context = payments.context(BACKUP, reports=reports)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(REGISTRY.actuator(BACKUP).apply(BACKUP, context))

        def cancel() -> None:
            task.cancel()

    assert task.cancelled()
    assert programs() == []
    assert list(payments.folder.iterdir()) == []


async def test_left_over_partial_dump_is_written_anew(payments: Any) -> None:
    """A partial file of a killed attempt is no backup, and does not disturb the next attempt."""
    context = payments.context(BACKUP)
    actuator = REGISTRY.actuator(BACKUP)
    partial = payments.folder / "payments-pre-rollback-rb-0004-safety.dump.partial"
    partial.write_bytes(b"PGDMP")
    assert (await actuator.observe(BACKUP, context)).presence is Presence.ABSENT
    await actuator.apply(BACKUP, context)
    (written,) = payments.folder.iterdir()
    assert written.name == "payments-pre-rollback-rb-0004-safety.dump"
    assert written.stat().st_mode & 0o777 == 0o600


def runs(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not asked for its exit code does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, timeout=10)
    return found.returncode == 0 and not found.stdout.strip().startswith(b"Z")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
async def test_killed_bot_leaves_no_pg_restore_and_the_next_one_goes_on(payments: Any) -> None:
    """After kill -9 of the bot in the middle of pg_restore another process redoes the restore."""
    payments.server.execute("CREATE ROLE brake")
    child = Path(__file__).with_name("restoring_child.py")
    settings = [str(payments.server.port), str(payments.server.bin_dir), str(payments.dump), str(payments.folder)]
    bot = await asyncio.create_subprocess_exec(sys.executable, str(child), *settings, stdout=subprocess.PIPE)
    try:
        assert bot.stdout is not None
        pid = int(await asyncio.wait_for(bot.stdout.readline(), 30))
        assert runs(pid)
    finally:
        bot.send_signal(signal.SIGKILL)
        await bot.wait()
    async with asyncio.timeout(10):
        while runs(pid):
            await RealClock().sleep(0.01)
    payments.server.execute("DROP ROLE brake")
    context = payments.context(RESTORE)
    actuator = REGISTRY.actuator(RESTORE)
    assert (await actuator.observe(RESTORE, context)).presence is Presence.ABSENT
    await actuator.apply(RESTORE, context)
    assert (await actuator.observe(RESTORE, context)).presence is Presence.PRESENT


async def test_server_lost_in_the_middle_is_a_passing_fault(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the connection breaks at the swap, the error is transient and says that the outcome is looked up."""
    context = payments.context(RESTORE, SWAP)
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    unchanged = swap._unchanged

    async def broken(connection: Any, *args: Any, **kwargs: Any) -> None:
        await unchanged(connection, *args, **kwargs)
        payments.server.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")

    with monkeypatch.context() as patch:
        patch.setattr(swap, "_unchanged", broken)
        with pytest.raises(ActuatorError) as caught:
            await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert caught.value.transient
    assert "lost" in caught.value.brief
    assert (await REGISTRY.actuator(SWAP).observe(SWAP, context)).presence is Presence.ABSENT


async def test_database_down_is_a_passing_fault(payments: Any) -> None:
    """A server that is down makes every step fail transiently, with the address in the message."""
    with running_server() as server:
        payments.overrides = {"port": server.port}
    context = payments.context(SWAP, clock=RealClock())
    with pytest.raises(ActuatorError, match="does not answer") as caught:
        await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert caught.value.transient
