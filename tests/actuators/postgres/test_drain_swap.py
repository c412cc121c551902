"""Whoever clings to the database is named and put out, and cannot come between the two renames."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest

from actuators import postgres
from actuators.postgres import swap
from actuators.postgres.steps import Drain, Restore, Swap
from bot.domain.actuation import Presence, Registry
from bot.domain.errors import ActuatorError
from tests.support.actuation import FakeClock, Reports, fails

DRAIN = Drain(id="drain", target="payments-db", grace="0s")
RESTORE = Restore(id="restore", target="payments-db", backup="db-before")
SWAP = Swap(id="swap", target="payments-db")
REGISTRY = Registry(*postgres.register())


@pytest.fixture
def lingering(payments: Any) -> Iterator[psycopg.Connection[Any]]:
    """A connection that the service left behind."""
    conninfo = payments.server.conninfo("payments", user="payments_app", password="app-secret")
    with closing(psycopg.connect(conninfo, application_name="payments-web")) as connection:
        connection.execute("SELECT 1")
        yield connection


async def test_drain_ends_and_names_what_lingers(payments: Any, lingering: psycopg.Connection[Any]) -> None:
    """A lingering connection makes the step ABSENT, is ended, and its user, program and address are named."""
    reports = Reports()
    context = payments.context(DRAIN, reports=reports)
    actuator = REGISTRY.actuator(DRAIN)
    observed = await actuator.observe(DRAIN, context)
    assert observed.presence is Presence.ABSENT
    assert observed.facts == {"connections": 1}
    outcome = await actuator.apply(DRAIN, context)
    assert outcome.words == 'Ended 1 connection to payments: payments_app "payments-web" from 127.0.0.1 (1)'
    with pytest.raises(psycopg.OperationalError):
        lingering.execute("SELECT 1")
    assert (await actuator.observe(DRAIN, context)).presence is Presence.PRESENT
    assert reports.seen[0].total == 1
    assert (await actuator.apply(DRAIN, context)).facts == {"connections": 0, "ended": 0}


async def test_drain_lets_clients_leave_by_themselves(payments: Any, lingering: psycopg.Connection[Any]) -> None:
    """A client that goes within the grace is not ended."""
    clock = FakeClock(on_sleep=lambda seconds: lingering.close() if seconds > 1 else None)
    step = DRAIN.model_copy(update={"grace": Drain(id="x", target="y", grace="30s").grace})
    outcome = await REGISTRY.actuator(step).apply(step, payments.context(step, clock=clock))
    assert outcome.facts == {"connections": 0, "ended": 0}
    assert clock.seconds < 30


async def test_drain_gives_up_on_a_client_that_comes_back(payments: Any) -> None:
    """A client that reconnects again and again is named as what must be stopped."""
    conninfo = payments.server.conninfo("payments", user="payments_app", password="app-secret")
    opened: list[psycopg.Connection[Any]] = []

    def reconnect(_seconds: float = 0) -> None:
        opened.append(psycopg.connect(conninfo, application_name="stubborn"))

    reconnect()
    try:
        with pytest.raises(ActuatorError, match="come back") as caught:
            await REGISTRY.actuator(DRAIN).apply(
                DRAIN, payments.context(DRAIN, clock=FakeClock(on_sleep=reconnect))
            )
    finally:
        for connection in opened:
            connection.close()
    assert '"stubborn"' in caught.value.brief
    assert caught.value.transient


async def test_drain_names_a_session_that_is_not_the_bots_to_end(payments: Any) -> None:
    """An administrator's session cannot be ended by the bot's role, and the message says whose it is."""
    with payments.server.connect("payments"):
        context = payments.context(DRAIN)
        with pytest.raises(ActuatorError, match="too weak to end the session of admin"):
            await REGISTRY.actuator(DRAIN).apply(DRAIN, context)
        checks = await REGISTRY.actuator(DRAIN).check(DRAIN, context)
    assert any("Sessions of administrators (admin)" in check.words for check in checks)


async def test_two_phase_transactions_are_found(payments: Any) -> None:
    """A two-phase transaction holds a database without any connection; check and swap both name it."""
    context = payments.context(RESTORE, SWAP)
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    payments.server.execute(
        "BEGIN", "INSERT INTO users (email) VALUES ('x')", "PREPARE TRANSACTION 'order-7'", dbname="payments"
    )
    try:
        assert "order-7" in fails(await REGISTRY.actuator(SWAP).check(SWAP, context))
        with pytest.raises(ActuatorError, match="order-7") as caught:
            await REGISTRY.actuator(SWAP).apply(SWAP, context)
    finally:
        payments.server.execute("ROLLBACK PREPARED 'order-7'", dbname="payments")
    assert caught.value.untouched == "No database was renamed."
    assert not caught.value.transient
    assert (await REGISTRY.actuator(SWAP).observe(SWAP, context)).presence is Presence.ABSENT


async def test_swap_wins_against_clients_that_keep_reconnecting(payments: Any) -> None:
    """Clients that reconnect without pause cannot stop the swap; they see one database or the other."""
    context = payments.context(RESTORE, SWAP)
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    conninfo = payments.server.conninfo("payments", user="payments_app", password="app-secret")
    stop = threading.Event()
    seen: list[int] = []

    def hammer() -> None:
        while not stop.is_set():
            with suppress(psycopg.Error), closing(psycopg.connect(conninfo)) as connection:
                while not stop.is_set():
                    row = connection.execute("SELECT count(*) FROM transactions").fetchone()
                    seen.append(row[0] if row else -1)

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        outcome = await REGISTRY.actuator(SWAP).apply(SWAP, context)
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert outcome.facts["ended"] >= 1
    assert set(seen) <= {2050, 2000}
    assert payments.schema_version() == "20240110120000"


async def test_swap_gives_up_on_a_session_that_does_not_end(
    payments: Any, lingering: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server process that hangs holds the database: nothing is renamed, and whose session it is is named."""
    monkeypatch.setattr(swap, "_ATTEMPTS", 1)
    context = payments.context(RESTORE, SWAP)
    await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    os.kill(lingering.info.backend_pid, signal.SIGSTOP)
    try:
        with pytest.raises(
            ActuatorError, match='being accessed by other users: payments_app "payments-web"'
        ) as caught:
            await REGISTRY.actuator(SWAP).apply(SWAP, context)
    finally:
        os.kill(lingering.info.backend_pid, signal.SIGCONT)
    assert caught.value.transient
    assert payments.databases() == ["payments", "payments_rb_0004"]
    await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert (await REGISTRY.actuator(SWAP).observe(SWAP, context)).presence is Presence.PRESENT


async def test_swap_without_a_restored_database_is_refused(payments: Any) -> None:
    """Without the copy nothing is renamed, and the observation says what is missing."""
    context = payments.context(SWAP)
    observed = await REGISTRY.actuator(SWAP).observe(SWAP, context)
    assert observed.presence is Presence.UNKNOWN
    assert observed.words == "There is no restored database payments_rb_0004"
    with pytest.raises(ActuatorError, match="cannot be swapped: There is no restored database"):
        await REGISTRY.actuator(SWAP).apply(SWAP, context)
    assert payments.databases() == ["payments"]


async def test_swap_does_not_take_a_database_of_somebody_else(payments: Any) -> None:
    """A database of the right name without our mark is not swapped in."""
    payments.server.execute("CREATE DATABASE payments_rb_0004 OWNER payments_owner")
    with pytest.raises(ActuatorError, match="is not of this rollback"):
        await REGISTRY.actuator(SWAP).apply(SWAP, payments.context(SWAP))
    assert payments.databases() == ["payments", "payments_rb_0004"]


async def test_swap_names_logical_slots(payments: Any) -> None:
    """Whoever reads changes from the database hears beforehand that the slot stays with the failed one."""
    payments.server.execute("SELECT pg_create_logical_replication_slot('warehouse', 'pgoutput')", dbname="payments")
    try:
        checks = await REGISTRY.actuator(SWAP).check(SWAP, payments.context(SWAP))
    finally:
        payments.server.execute("SELECT pg_drop_replication_slot('warehouse')", dbname="payments")
    assert any("slots stay with the failed database: warehouse" in check.words for check in checks)
