"""Each way in which a server turns the bot away has its own words, and no secret is among them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from actuators import postgres
from actuators.postgres.connection import connected, database_of
from actuators.postgres.steps import Drain, Restore, SafetyBackup, Swap, Verify
from bot.domain.actuation import Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import fails
from tests.support.pgserver import free_port

DRAIN = Drain(id="drain", target="payments-db", grace="0s")
ALL = (
    DRAIN,
    SafetyBackup(id="safety", target="payments-db"),
    Restore(id="restore", target="payments-db", backup="db-before"),
    Swap(id="swap", target="payments-db"),
    Verify(id="verify", target="payments-db"),
)
REGISTRY = Registry(*postgres.register())


async def refused(payments: Any, **overrides: Any) -> ActuatorError:
    """Return the error of a connection with other settings."""
    payments.overrides = overrides
    with pytest.raises(ActuatorError) as caught:
        await REGISTRY.actuator(DRAIN).observe(DRAIN, payments.context(DRAIN))
    assert "Nothing was touched" in caught.value.untouched
    assert caught.value.resolution
    return caught.value


async def test_wrong_password_names_user_and_reference(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password is told apart from a dead server; the message names the reference, never the value."""
    monkeypatch.setenv("PAYMENTS_DB_PASSWORD", "not-the-secret")
    error = await refused(payments)
    assert 'refuses the password of user "rollback_bot"' in error.brief
    assert "environment variable PAYMENTS_DB_PASSWORD" in error.resolution
    assert "not-the-secret" not in str(error)
    assert not error.transient


async def test_missing_password_names_the_reference(payments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is not there fails before anything is contacted."""
    monkeypatch.delenv("PAYMENTS_DB_PASSWORD")
    with pytest.raises(ActuatorError, match="PAYMENTS_DB_PASSWORD is not set"):
        await REGISTRY.actuator(DRAIN).observe(DRAIN, payments.context(DRAIN))


async def test_server_down_names_the_address_and_is_passing(payments: Any) -> None:
    """A server that does not answer is a passing fault."""
    port = free_port()
    error = await refused(payments, port=port)
    assert f"127.0.0.1:{port} does not answer: Connection refused" in error.brief
    assert error.transient


async def test_missing_maintenance_database_is_named(payments: Any) -> None:
    """A database that the inventory names wrongly is named in the message."""
    error = await refused(payments, maintenance="nowhere")
    assert 'no database "nowhere"' in error.brief


async def test_unencrypted_server_is_named_when_encryption_is_required(payments: Any) -> None:
    """A server without TLS is not contacted in clear text when the inventory asks for encryption."""
    error = await refused(payments, sslmode="require")
    assert "No trusted connection" in error.brief


async def test_missing_live_database_fails_every_check(payments: Any) -> None:
    """A live database that is not there fails each step's check, with the name."""
    payments.server.execute("DROP DATABASE payments")
    context = payments.context(*ALL)
    for step in ALL:
        assert "There is no database payments" in fails(await REGISTRY.actuator(step).check(step, context))


async def test_every_check_survives_a_dead_server(payments: Any) -> None:
    """A check reports a dead server as a finding; what does not need the server is looked at all the same."""
    payments.overrides = {"port": free_port()}
    context = payments.context(*ALL)
    for step in ALL:
        assert "does not answer" in fails(await REGISTRY.actuator(step).check(step, context))
    restore = ALL[2]
    checks = await REGISTRY.actuator(restore).check(restore, context)
    assert [check.verdict for check in checks if check.subject == "Backup db-before"] == [Verdict.OK]


async def test_target_of_another_kind_is_refused(payments: Any) -> None:
    """A step on a target that is no database says so instead of failing on an attribute."""
    step = DRAIN.model_copy(update={"target": "web"})
    context = payments.context(step)
    assert "not in the inventory" in fails(await REGISTRY.actuator(step).check(step, context))
    with pytest.raises(ActuatorError, match="not in the inventory"):
        database_of(step, context)


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
async def test_cancelled_connection_attempt_leaves_no_socket(payments: Any) -> None:
    """However far a connection had come, cancelling it closes its socket even while the error is kept."""
    context = payments.context(DRAIN)
    target = database_of(DRAIN, context)

    async def connect() -> None:
        async with connected(target, context):
            await asyncio.Event().wait()

    before = open_sockets()
    kept: list[BaseException] = []
    for turns in (1, 2, 3, 5, 8, 12, 20, 40, 80, 160, 320, 640, 1280):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(connect())
            for _ in range(turns):
                await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop
            task.cancel()
        try:
            task.result()
        except asyncio.CancelledError as error:
            kept.append(error)
    assert len(kept) == 13
    assert open_sockets() - before == set()


def open_sockets() -> set[str]:
    """Return the descriptors of this process's sockets."""
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.is_socket()}


async def test_a_lost_privilege_is_told_as_such(payments: Any) -> None:
    """A statement that the server refuses for want of rights says that the role is too weak."""
    context = payments.context(DRAIN)
    target = database_of(DRAIN, context)
    with pytest.raises(ActuatorError, match="role of the bot is too weak"):
        async with connected(target, context) as connection:
            await connection.execute("CREATE ROLE another")


async def test_looking_connections_cannot_write(payments: Any) -> None:
    """Whatever looks, looks in read-only transactions."""
    context = payments.context(DRAIN)
    target = database_of(DRAIN, context)
    with pytest.raises(ActuatorError, match="read-only"):
        async with connected(target, context, looking=True) as connection:
            await connection.execute("COMMENT ON DATABASE payments IS 'x'")
