"""A small production with a faulty release in it: what whole-system tests ask the bot to roll back."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import yaml
from psycopg import sql

from bot.demo import play, scenario
from bot.demo.estate import Estate
from bot.demo.scenario import SiteFiles
from bot.domain.criteria import Reading
from bot.domain.ports import Clock
from storage.embedded.postmaster import Server

OPERATOR, MANAGER, OWNER = scenario.OPERATOR, scenario.MANAGER, scenario.OWNER
COLLEAGUE = "U0KIMLEE"
GUEST = "U0GUEST"
PEOPLE = (
    {"id": OPERATOR, "name": "O. Larsen", "roles": ["on_call_engineer"]},
    {"id": MANAGER, "name": "J. Smith", "roles": ["change_manager"]},
    {"id": OWNER, "name": "P. Rao", "roles": ["service_owner"], "services": ["payments"]},
    {"id": COLLEAGUE, "name": "K. Lee", "roles": ["on_call_engineer"]},
    {"id": GUEST, "name": "G. Guest", "roles": []},
)
BASELINE = Reading(error_rate=0.002, p95=timedelta(milliseconds=40))
READER = "payments_reader"
"""A role of the payments database that may read and nothing else."""

Json = dict[str, Any]


@contextmanager
def passable_folder() -> Iterator[Path]:
    """Give a folder that PostgreSQL's unprivileged user can reach, even if the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="rollback-e2e-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Fingerprint:
    """Everything that a rollback would change.

    Attributes:
        schema: The newest migration.
        databases: The databases of the server, by name.
        rows: The rows by table, and a digest of what is in them.
        link: The release that `current` points at.
        files: A digest of each file of the configuration and of the backups.
        served: The version that the service names.
        process: The service's process.
    """

    schema: str
    databases: tuple[str, ...]
    rows: Json
    link: str
    files: dict[str, str]
    served: str
    process: str


@dataclass(frozen=True)
class Production:
    """The estate, and the site by which the bot knows it.

    Attributes:
        folder: Holds everything.
        server: The estate's PostgreSQL, with its superuser.
        estate: The payments service with its database.
        files: Inventory, policy and plans.
        session: For requests to the service.
    """

    folder: Path
    server: Server
    estate: Estate
    files: SiteFiles
    session: aiohttp.ClientSession

    def plan(self, *, baseline: Reading = BASELINE) -> Json:
        """Return the plan of the deployment as a document, to be changed and written."""
        return scenario.plan(self.estate, baseline=baseline)

    def quick_plan(self) -> Json:
        """Return the plan with wide bounds and a short look at the metrics: for a machine that has more to do."""
        plan = self.plan(baseline=Reading(error_rate=0.01, p95=timedelta(milliseconds=400)))
        next(step for step in plan["verification"]["steps"] if step["id"] == "metrics")["settle"] = "2s"
        return plan

    def write_plan(self, change: str, document: Json) -> Path:
        """Write a plan for a change."""
        return self.write_text(change, yaml.safe_dump({**document, "change": change}, sort_keys=False, width=200))

    def write_text(self, change: str, text: str) -> Path:
        """Write the text of a plan, sound or not."""
        self.files.plans.mkdir(parents=True, exist_ok=True)
        file = self.files.plans / f"{change}.yaml"
        # Beside and renamed, as a checkout does: nobody reads half a plan.
        beside = file.with_suffix(".partial")
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
        return file

    def write_policy(self, **changed: Any) -> None:
        """Write the people, and what else the policy shall say."""
        policy = {"people": list(PEOPLE), "approval_valid": "30m", **changed}
        self.files.policy.write_text(yaml.safe_dump(policy), encoding="utf-8")

    def write_inventory(self, amend: Callable[[Json], None] = lambda _: None) -> None:
        """Write the targets: the estate's, the same database reached by a role that may only read, and changes."""
        inventory = scenario.inventory(self.estate)
        secret = self.folder / "reader.password"
        secret.write_text(self.server.password.get_secret_value()[::-1], encoding="utf-8")
        secret.chmod(0o600)
        weak = {**inventory["databases"]["payments-db"], "user": READER, "password": {"file": str(secret)}}
        inventory["databases"]["payments-db-weak"] = weak
        amend(inventory)
        self.files.inventory.parent.mkdir(parents=True, exist_ok=True)
        self.files.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")

    async def fingerprint(self) -> Fingerprint:
        """Read everything that a rollback would change."""
        layout = self.estate.layout
        kept = [path for path in (layout.config.parent, layout.root / "backups") if path.exists()]
        files = [file for folder in kept for file in sorted(folder.rglob("*")) if file.is_file()]
        async with self.session.get(f"{self.estate.facts.base_url}/version") as answer:
            served = (await answer.json())["version"]
        async with await psycopg.AsyncConnection.connect(self.server.url("postgres")) as connection:
            found = await connection.execute("SELECT datname::text FROM pg_database ORDER BY 1")
            databases = tuple(row[0] for row in await found.fetchall())
        return Fingerprint(
            schema=await self.estate.schema_version(),
            databases=databases,
            rows={**await self.estate.row_counts(), "digest": await self._rows_digest()},
            link=layout.link.resolve().name,
            files={str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
            served=served,
            process=await self.estate.ctl("status"),
        )

    async def create_database(self, name: str) -> None:
        """Create a database on the estate's server, for whoever wants one."""
        await self.administer(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    async def administer(self, statement: sql.Composed) -> None:
        """Run a statement as the server's superuser."""
        url = self.server.url("postgres")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(statement)

    async def _rows_digest(self) -> str:
        async with await psycopg.AsyncConnection.connect(self.server.url(self.estate.facts.db_name)) as connection:
            tables = ("users", "transactions")
            digests = []
            for table in tables:
                found = await connection.execute(
                    f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} AS t"  # noqa: S608 - ours
                )
                row = await found.fetchone()
                digests.append(str(row and row[0]))
        return "/".join(digests)


@asynccontextmanager
async def staged(folder: Path, clock: Clock) -> AsyncIterator[Production]:
    """Give an estate with the old release running and nothing backed up yet; the site has inventory and policy."""
    async with play.stage(folder, clock) as (server, estate), aiohttp.ClientSession() as session:
        production = Production(folder, server, estate, scenario.site_files(folder / "site"), session)
        await _create_reader(production)
        production.write_inventory()
        production.write_policy()
        production.files.plans.mkdir(parents=True, exist_ok=True)
        await estate.start_old()
        yield production


@asynccontextmanager
async def deployed(folder: Path, clock: Clock) -> AsyncIterator[Production]:
    """Give an estate in which v2.4.0 has been deployed after a backup. No customers: nothing moves by itself."""
    async with staged(folder, clock) as production:
        await production.estate.take_backup()
        await production.estate.deploy()
        yield production


async def _create_reader(production: Production) -> None:
    password = production.server.password.get_secret_value()[::-1]
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
    await production.administer(statement.format(sql.Identifier(READER), sql.Literal(password)))


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without any setting of a bot, and with these."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ROLLBACK_", "SLACK_"))}
    return {**own, **settings}
