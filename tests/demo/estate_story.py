"""One estate lives through create, kill, attach, backup, deployment, rollback by hand and outage."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.demo.estate import Backup, Estate, EstateError, Measured, PgServer, commands, releases
from tests.demo.conftest import WallClock

PROJECT = Path(__file__).parents[2]
Answer = tuple[int, Any]
SYNTHETIC = {"test": True, "amount": 1.00}


@dataclass
class Release:
    """What one release was seen to do."""

    status: str
    health: Answer
    version: Answer
    synthetic: Answer
    schema: str
    measured: Measured
    metrics: dict[str, float]


@dataclass
class Story:
    """What was seen on the way."""

    estate: Estate
    old: Release
    new: Release
    restored: Release
    backup: Backup
    counts_around_synthetic: tuple[dict[str, int], dict[str, int]]
    counts_restored: dict[str, int]
    bad_requests: dict[str, Answer]
    deploying: Measured
    seconds_to_deployed: float
    old_on_new_schema: str
    without_database: dict[str, Answer]
    health_after_outage: Answer


class Caller:
    """Talks to the service as its callers do."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url

    async def get(self, path: str) -> Answer:
        """Return status and JSON (or text) of a page."""
        async with self._session.get(self._base_url + path) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text())

    async def post(self, path: str, body: object) -> Answer:
        """Send JSON and return status and JSON."""
        async with self._session.post(self._base_url + path, json=body) as response:
            return response.status, await response.json()

    async def bad_requests(self) -> dict[str, Answer]:
        """Ask for what the service has to refuse."""
        book = "/api/v1/transactions"
        return {
            "lasting test": await self.post("/api/v1/test-transaction", {"amount": 1}),
            "no amount": await self.post("/api/v1/test-transaction", {"test": True}),
            "infinite amount": await self.post(book, {"user_id": 1, "amount": "Infinity"}),
            "unknown customer": await self.post(book, {"user_id": 999_999, "amount": 1}),
            "too much": await self.post(book, {"user_id": 1, "amount": 10_000.01}),
            "no object": await self.post(book, [1]),
            "no such page": await self.get("/admin"),
        }


async def observe(estate: Estate, caller: Caller, measured: Measured) -> Release:
    """Look at the release that runs."""
    families = text_string_to_metric_families((await caller.get("/metrics"))[1])
    samples = [sample for family in families for sample in family.samples]
    requests = [sample for sample in samples if sample.name == "http_requests_total"]
    return Release(
        status=await estate.ctl("status"),
        health=await caller.get("/health"),
        version=await caller.get("/version"),
        synthetic=await caller.post("/api/v1/test-transaction", SYNTHETIC),
        schema=await estate.schema_version(),
        measured=measured,
        metrics={
            "requests": sum(sample.value for sample in requests),
            "errors": sum(sample.value for sample in requests if sample.labels["status"].startswith("5")),
            "timed": sum(s.value for s in samples if s.name == "http_request_duration_seconds_count"),
        },
    )


def create_in_a_process_that_is_killed(root: Path, server: PgServer) -> None:
    """Let another process build and start the estate, and end it the hard way."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.demo.estate_child"],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        given = {"root": str(root), "server": {**server.model_dump(mode="json")}}
        child.stdin.write(json.dumps(given) + "\n")
        child.stdin.flush()
        assert child.stdout.readline() == "up\n"
        child.kill()


async def start_old_release_on_new_schema(estate: Estate, backup: Backup) -> str:
    """Put program and configuration back but not the database; return what the start says."""
    await estate.ctl("stop")
    releases.switch_link(estate.layout.link, estate.layout.releases / "v2.3.1")
    estate.layout.config.write_bytes(backup.config.path.read_bytes())
    with pytest.raises(EstateError) as refused:
        await estate.ctl("start")
    return str(refused.value)


async def restore_database_by_hand(estate: Estate, backup: Backup) -> None:
    """Restore beside and swap by rename, with no other rights than the operator role's."""
    facts = estate.facts
    password = estate.layout.operator_password.read_text()
    who: dict[str, Any] = {
        "host": facts.db_host,
        "port": facts.db_port,
        "user": facts.operator_role,
        "password": password,
    }
    postgres = await psycopg.AsyncConnection.connect(**who, dbname="postgres", autocommit=True)
    async with postgres:
        await postgres.execute("CREATE DATABASE payments_restored OWNER payments_app")
        await commands.run(
            [
                facts.bin_dir / "pg_restore",
                *("--host", facts.db_host, "--port", str(facts.db_port), "--username", facts.operator_role),
                *("--dbname", "payments_restored", "--exit-on-error", backup.database.path),
            ],
            env={"PGPASSWORD": password},
        )
        await postgres.execute("ALTER DATABASE payments RENAME TO payments_failed_20240115")
        await postgres.execute("ALTER DATABASE payments_restored RENAME TO payments")


async def take_database_away(estate: Estate, caller: Caller, server: PgServer) -> tuple[dict[str, Answer], Answer]:
    """Refuse the service its database for a while; return what it answered meanwhile and afterwards."""
    admin = await psycopg.AsyncConnection.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        dbname="postgres",
        autocommit=True,
    )
    async with admin:
        await admin.execute("ALTER DATABASE payments ALLOW_CONNECTIONS false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = 'payments'"
        )
        meanwhile = {
            "health": await caller.get("/health"),
            "transaction": await caller.post("/api/v1/transactions", {"user_id": 7, "amount": 1}),
        }
        await admin.execute("ALTER DATABASE payments ALLOW_CONNECTIONS true")
    await estate.ctl("restart")
    return meanwhile, await caller.get("/health")


@asynccontextmanager
async def live(root: Path, server: PgServer, clock: WallClock) -> AsyncIterator[Story]:
    """Live through it all once; the estate runs until the context is left."""
    begun = time.monotonic()
    create_in_a_process_that_is_killed(root, server)
    async with Estate.attach(root, clock=clock) as estate, aiohttp.ClientSession() as session:
        caller = Caller(session, estate.facts.base_url)
        before = await estate.row_counts()
        await caller.post("/api/v1/test-transaction", SYNTHETIC)
        around = (before, await estate.row_counts())
        bad_requests = await caller.bad_requests()
        old = await observe(estate, caller, await estate.measure_baseline(3))
        backup = await estate.take_backup()
        deploy_began = clock.now()
        await estate.deploy()
        seconds_to_deployed = time.monotonic() - begun
        new = await observe(estate, caller, await estate.measure_next(3))
        deploying = await estate.measure_last((clock.now() - deploy_began).total_seconds())
        refused = await start_old_release_on_new_schema(estate, backup)
        await restore_database_by_hand(estate, backup)
        counts_restored = await estate.row_counts()
        await estate.start_old()
        restored = await observe(estate, caller, await estate.measure_next(2))
        await estate.stop_traffic()
        without_database, after_outage = await take_database_away(estate, caller, server)
        yield Story(
            estate=estate,
            old=old,
            new=new,
            restored=restored,
            backup=backup,
            counts_around_synthetic=around,
            counts_restored=counts_restored,
            bad_requests=bad_requests,
            deploying=deploying,
            seconds_to_deployed=seconds_to_deployed,
            old_on_new_schema=refused,
            without_database=without_database,
            health_after_outage=after_outage,
        )
    # Leaving the context has stopped everything, though none of it was started by this process.
    with pytest.raises(EstateError, match="is stopped"):
        await estate.ctl("status")
