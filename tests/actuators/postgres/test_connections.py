"""Whoever clings to a database is listed with all that is known, and can be put out once more by a button."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
import pytest

from actuators import postgres
from actuators.postgres.steps import Drain, ListConnections, Restore, Swap, Terminate
from bot.domain.actuation import Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import FakeClock, fails
from tests.support.helping import remedies_of, run_remedy

DRAIN = Drain(id="drain", target="payments-db", grace="0s")
RESTORE = Restore(id="restore", target="payments-db", backup="db-before")
SWAP = Swap(id="swap", target="payments-db")
LISTED = ListConnections(id="connections", target="payments-db")
TERMINATE = Terminate(id="terminate", target="payments-db")
REGISTRY = Registry(*postgres.register())

Session = psycopg.Connection[Any]


@pytest.fixture
def clinging(payments: Any) -> Iterator[list[Session]]:
    """Two connections of the service's pool, one of which is in a transaction, and one of a report."""
    server = payments.server
    with ExitStack() as stack:

        def connect(user: str, password: str, name: str) -> Session:
            conninfo = server.conninfo("payments", user=user, password=password)
            return stack.enter_context(closing(psycopg.connect(conninfo, application_name=name, autocommit=True)))

        web = [connect("payments_app", "app-secret", "payments-web") for _ in range(2)]
        report = connect("reporting", "reporting-secret", "monthly")
        web[0].execute("BEGIN")
        web[0].execute("INSERT INTO transactions (user_id, amount) VALUES (1, 5)")
        yield [*web, report]


async def test_connections_are_listed_by_source(payments: Any, clinging: list[Session]) -> None:
    """Those of one source stand together, with user, program, address, state, since when, and their processes."""
    outcome = await REGISTRY.actuator(LISTED).apply(LISTED, payments.context(LISTED))
    assert outcome.facts == {"connections": 3, "prepared": 0}
    assert outcome.words.startswith('3 connections to payments: payments_app "payments-web" from 127.0.0.1 (2)')
    lines = outcome.output.splitlines()
    pids = [session.info.backend_pid for session in clinging]
    assert any(
        f"idle in transaction for 0 seconds, connected for 0 seconds; pid {pids[0]}" in line for line in lines
    )
    assert any(line.startswith('payments: 1 of reporting "monthly" from 127.0.0.1, idle') for line in lines)
    again = await REGISTRY.actuator(LISTED).apply(LISTED, payments.context(LISTED))
    assert again.facts == outcome.facts
    assert clinging[0].info.transaction_status is psycopg.pq.TransactionStatus.INTRANS


async def test_two_phase_transactions_are_listed_too(payments: Any) -> None:
    """They hold the database as connections do."""
    payments.server.execute(
        "BEGIN", "INSERT INTO users (email) VALUES ('x')", "PREPARE TRANSACTION 'order-9'", dbname="payments"
    )
    try:
        outcome = await REGISTRY.actuator(LISTED).apply(LISTED, payments.context(LISTED))
    finally:
        payments.server.execute("ROLLBACK PREPARED 'order-9'", dbname="payments")
    assert outcome.words == "0 connections to payments; 1 two-phase transactions wait in it"
    assert 'payments: two-phase transaction "order-9" of admin' in outcome.output


async def test_a_drain_that_failed_offers_to_terminate_once_more(payments: Any, clinging: list[Session]) -> None:
    """The button names whom it puts out; when it has run, the drain itself counts as done."""
    context = payments.context(DRAIN)
    who, end = await remedies_of(REGISTRY, DRAIN, context, "Connections to payments come back")
    assert (who.id, who.step.reads_only, who.settles) == ("connections", True, False)
    assert (end.id, end.step.reads_only, end.settles) == ("terminate", False, True)
    assert 'payments_app "payments-web" from 127.0.0.1 (2), reporting "monthly" from 127.0.0.1 (1)' in end.words
    assert (await REGISTRY.actuator(TERMINATE).observe(TERMINATE, context)).presence is Presence.ABSENT
    assert fails(await REGISTRY.actuator(TERMINATE).check(TERMINATE, context)) == ""
    outcome = await run_remedy(REGISTRY, end, context)
    assert outcome.facts == {"connections": 0, "ended": 3}
    assert (await run_remedy(REGISTRY, end, context)).facts == {"connections": 0, "ended": 0}
    for step in (DRAIN, TERMINATE):
        assert (await REGISTRY.actuator(step).observe(step, context)).presence is Presence.PRESENT
    with pytest.raises(psycopg.OperationalError):
        clinging[2].execute("SELECT 1")
    (who,) = await remedies_of(REGISTRY, DRAIN, context)
    assert who.id == "connections"


async def test_a_swap_that_failed_offers_it_without_counting_as_done(
    payments: Any, clinging: list[Session]
) -> None:
    """Ending connections is not swapping: the swap is tried again afterwards."""
    assert clinging
    _, end = await remedies_of(REGISTRY, SWAP, payments.context(SWAP), "being accessed by other users")
    assert not end.settles


async def test_terminating_gives_up_on_a_client_that_comes_back(payments: Any) -> None:
    """It is named, so that somebody can stop it."""
    conninfo = payments.server.conninfo("payments", user="payments_app", password="app-secret")
    with ExitStack() as stack:

        def reconnect(_seconds: float = 0) -> None:
            stack.enter_context(closing(psycopg.connect(conninfo, application_name="stubborn")))

        reconnect()
        clock = FakeClock(on_sleep=reconnect)
        with pytest.raises(ActuatorError, match='come back as soon as they are ended: payments_app "stubborn"'):
            await REGISTRY.actuator(TERMINATE).apply(TERMINATE, payments.context(TERMINATE, clock=clock))


async def test_nothing_is_offered_that_the_role_may_not_do(payments: Any) -> None:
    """Sessions of administrators only, or a role too weak to end any: they are listed, and there is no button."""
    with payments.server.connect("payments"):
        (who,) = await remedies_of(REGISTRY, DRAIN, payments.context(DRAIN))
    assert who.id == "connections"
    payments.server.execute("REVOKE pg_signal_backend FROM rollback_bot")
    try:
        conninfo = payments.server.conninfo("payments", user="reporting", password="reporting-secret")
        with closing(psycopg.connect(conninfo)):
            (who,) = await remedies_of(REGISTRY, DRAIN, payments.context(DRAIN))
    finally:
        payments.server.execute("GRANT pg_signal_backend TO rollback_bot")
    assert who.id == "connections"


async def test_a_server_that_is_away_leaves_nothing_to_offer(payments: Any) -> None:
    """What cannot be found out is left out; the diagnosis itself fails with the reason."""
    payments.overrides = {"port": 1}
    assert await remedies_of(REGISTRY, SWAP, payments.context(SWAP)) == ()
    checks = await REGISTRY.actuator(LISTED).check(LISTED, payments.context(LISTED))
    assert [check.verdict for check in checks] == [Verdict.FAIL]
    with pytest.raises(ActuatorError, match="does not answer"):
        await REGISTRY.actuator(LISTED).apply(LISTED, payments.context(LISTED))


async def test_a_copy_that_is_held_names_what_holds_it(payments: Any) -> None:
    """A half-restored copy that cannot be dropped: the failure says why, and the remedies lead to who it is."""
    payments.baseline = payments.baseline.model_copy(update={"row_counts": {"users": 301}})
    context = payments.context(RESTORE)
    with pytest.raises(ActuatorError, match="users has 300 rows"):
        await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    payments.server.execute(
        "BEGIN", "INSERT INTO users (email) VALUES ('x')", "PREPARE TRANSACTION 'held'", dbname="payments_rb_0004"
    )
    try:
        with pytest.raises(ActuatorError, match="being used by prepared transactions: held") as caught:
            await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
        found = await remedies_of(REGISTRY, RESTORE, context, caught.value.brief)
    finally:
        payments.server.execute("ROLLBACK PREPARED 'held'", dbname="payments_rb_0004")
    assert caught.value.untouched == "The live database was not touched."
    assert [remedy.id for remedy in found] == ["connections"]
