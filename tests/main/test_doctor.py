from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest
from aiohttp import web
from pydantic import SecretStr

from bot.domain.inventory import Inventory
from bot.main import doctor, doctor_store, identity
from bot.main.clock import SystemClock
from bot.main.findings import Finding, State
from bot.main.settings import Role, Settings
from tests.support.console import serve
from tests.support.pgserver import PgServer
from tests.support.pgserver import pg_server as server

__all__ = ["server"]

ENDPOINT = {"service": "shop", "url": "http://shop.internal"}
TWO_ZONES = Inventory.model_validate({"endpoints": {"a": ENDPOINT, "b": {**ENDPOINT, "zone": "dmz"}}})


@pytest.fixture
def settings(server: PgServer) -> Settings:
    """A worker's settings on a real store."""
    url = f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/postgres"
    return Settings(role=Role.WORKER, zone="dmz", database_url=SecretStr(url))


async def found(findings: AsyncIterator[Finding]) -> dict[str, Finding]:
    """Return the findings by part."""
    return {finding.part: finding async for finding in findings}


async def test_store_that_could_lose_a_journal_is_broken(settings: Settings) -> None:
    """A server without fsync can lose what was acknowledged, and the doctor says so; this test's server is one."""
    parts = await found(doctor_store.store(settings, Inventory()))
    assert parts["store"].state is State.GOOD
    assert parts["store: durability"].state is State.BROKEN
    assert "can lose or damage the journal" in parts["store: durability"].words


async def test_zone_without_a_worker_is_named(settings: Settings) -> None:
    """For each zone of the inventory the doctor tells whether a worker is connected to the store."""
    parts = await found(doctor_store.store(settings, TWO_ZONES))
    assert {parts[f"workers of {zone}"].state for zone in ("default", "dmz")} == {State.MISSING}
    assert parts["workers of dmz"].resolution == "Run `rollback serve --role worker --zone dmz`."
    assert settings.database_url is not None
    async with await psycopg.AsyncConnection.connect(
        settings.database_url.get_secret_value(), application_name=identity.application_name("worker/dmz")
    ):
        parts = await found(doctor_store.store(settings, TWO_ZONES))
    assert parts["workers of dmz"].state is State.GOOD
    assert parts["workers of default"].state is State.MISSING


async def test_embedded_store_serves_one_zone() -> None:
    """With the embedded store there is one process, so every other zone of the inventory has no worker."""
    parts = await found(doctor_store.store(Settings(zone="dmz"), TWO_ZONES))
    assert parts["store"].state is State.DEFAULT
    assert "workers of dmz" not in parts
    assert parts["workers of default"].state is State.MISSING


async def test_store_out_of_reach_is_broken_and_its_password_is_not_shown(settings: Settings) -> None:
    """A store that does not answer is broken; address and reason are shown, the password is not."""
    url = SecretStr("postgresql://bot:hunter2@127.0.0.1:9/rollback")
    parts = await found(doctor_store.store(settings.model_copy(update={"database_url": url}), Inventory()))
    assert parts["store"].state is State.BROKEN
    assert "127.0.0.1:9/rollback" in parts["store"].words
    assert "hunter2" not in str(parts)


async def test_worker_is_not_asked_for_what_it_does_not_use(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's examination has no chat, and only the credentials of targets in its own zone."""
    database = {
        "service": "s",
        "host": "db",
        "dbname": "s",
        "user": "u",
        "backups": "/b",
        "password": {"env": "SDBP"},
    }
    monkeypatch.delenv("SDBP", raising=False)
    inventory = Inventory.model_validate({"databases": {"near": {**database, "zone": "dmz"}, "far": database}})
    reached = doctor._reached(settings, inventory)
    assert [name for name, _ in reached.items()] == ["near"]
    assert [each.part for each in doctor._credentials(reached) if each.state is State.BROKEN] == [
        "credential of near"
    ]
    parts = await found(doctor.examine(settings, SystemClock()))
    assert "chat" not in parts
    assert parts["role"].words == "worker; it speaks with nobody. Zone dmz, no probes"


async def test_slack_is_asked_at_its_own_address(settings: Settings) -> None:
    """The doctor asks the Slack that is configured who the bot is."""

    async def who(_request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "team": "Gov", "user": "rollback"})

    app = web.Application()
    app.router.add_post("/api/auth.test", who)
    async with serve(app) as url:
        tokens = {"slack_bot_token": SecretStr("xoxb-1"), "slack_signing_secret": SecretStr("s")}
        asked = settings.model_copy(update={"role": Role.BOT, "slack_api_url": f"{url}/api/", **tokens})
        parts = await found(doctor.examine(asked, SystemClock()))
    assert parts["chat"].state is State.GOOD
    assert parts["chat"].words.startswith("Gov as rollback over HTTP")
