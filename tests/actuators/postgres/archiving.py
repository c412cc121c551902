"""A real server that archives its WAL, with base backups, and a payments database that was changed later."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from actuators.postgres import live_server, recovered
from actuators.postgres.pitr import PitrActuator
from actuators.postgres.steps import Pitr
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.plan import Baseline, Step
from tests.actuators.postgres.conftest import BASELINE, DEPLOYMENT, ROLES, SCHEMA
from tests.support.actuation import make_context, make_plan
from tests.support.pgserver import PgServer, running_server

NOBODY = "nobody"
SWITCH = "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO rollback_bot"
AS_BEFORE = BASELINE.model_copy(update={"row_counts": {"users": 300, "transactions": 2007}})
EARLIER = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = "INSERT INTO transactions (user_id, amount) SELECT 1, n FROM generate_series(1, {}) AS n"


@dataclass
class Archived:
    """The estate.

    Attributes:
        server: The live server. It archives into `archive`.
        before: The moment to go back to.
        began: A moment after the base backups, before any of these rows.
        overrides: Fields of the inventory's section `pitr` to be otherwise.
        target: Fields of the database's target to be otherwise.
        backup: Fields of the plan's backup to be otherwise.
        baseline: The plan's baseline.
    """

    server: PgServer
    before: datetime = EARLIER
    began: datetime = EARLIER
    overrides: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)
    backup: dict[str, Any] = field(default_factory=dict)
    baseline: Baseline = AS_BEFORE

    @property
    def archive(self) -> Path:
        """The folder with archived WAL."""
        return self.server.folder / "archive"

    @property
    def archiving(self) -> str:
        """The statement that lets the server archive; a segment gets its name when it is whole."""
        archive = self.archive
        return f"ALTER SYSTEM SET archive_command = 'cp %p {archive}/.%f && mv {archive}/.%f {archive}/%f'"

    @property
    def base(self) -> Path:
        """The base backup in the plain form."""
        return self.server.folder / "base" / "plain"

    @property
    def scratch(self) -> Path:
        """The folder of recovered servers."""
        return self.server.folder / "scratch"

    def context(self, *steps: Step, **kwargs: Any) -> Context:
        """Return the context of a run of these steps."""
        backup = {
            "id": "base",
            "kind": "database",
            "target": "payments-db",
            "location": str(self.base),
            "taken_at": "2024-01-15 14:00",
            "sha256": digest(self.base),
            **self.backup,
        }
        pitr = {
            "base_backups": str(self.base.parent),
            "archive": str(self.archive),
            "scratch": str(self.scratch),
            "bin_dir": str(self.server.bin_dir),
            **({"user": NOBODY} if os.geteuid() == 0 else {}),
            **self.overrides,
        }
        target = {
            "service": "payments",
            "host": "127.0.0.1",
            "port": self.server.port,
            "dbname": "payments",
            "user": "rollback_bot",
            "password": {"env": "PAYMENTS_DB_PASSWORD"},
            "sslmode": "disable",
            "backups": str(self.server.folder),
            "bin_dir": str(self.server.bin_dir),
            "jobs": 2,
            "pitr": pitr,
            **self.target,
        }
        plan = make_plan(*steps, backups=[backup], baseline=self.baseline)
        # The WAL bears the machine's real time.
        plan = plan.model_copy(update={"deployed_at": datetime(2999, 1, 1, tzinfo=UTC)})
        return make_context(plan, {"databases": {"payments-db": target}}, **kwargs)

    def databases(self) -> list[str]:
        """Return the names of the databases of the service."""
        rows = self.server.execute("SELECT datname FROM pg_database WHERE datname LIKE 'payments%' ORDER BY 1")
        return [name for (name,) in rows]

    def counts(self, dbname: str) -> tuple[int, str]:
        """Return the transactions and the schema version of a database."""
        (row,) = self.server.execute(
            "SELECT (SELECT count(*) FROM transactions), (SELECT max(version) FROM schema_migrations)",
            dbname=dbname,
        )
        return row[0], row[1]

    def left(self) -> list[str]:
        """Return what lies in the folder of recovered servers."""
        return sorted(path.name for path in self.scratch.iterdir())

    def begin_anew(self) -> None:
        """Let the service's database be the failed one again, and nothing else be there."""
        for folder in self.scratch.iterdir():
            shutil.rmtree(folder)
        for name in self.databases():
            self.server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self.server.execute("CREATE DATABASE payments TEMPLATE tmpl_payments OWNER payments_owner")


def digest(base: Path) -> str:
    """Return the digest that pins a base backup."""
    return hashlib.sha256((base / "backup_manifest").read_bytes()).hexdigest()


def owned(path: Path) -> Path:
    """Make a folder that belongs to the server's user."""
    path.mkdir(mode=0o700)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam(NOBODY)
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return path


def base_backup(server: PgServer, path: Path, *arguments: str) -> None:
    """Take a base backup as the server's user."""
    as_user: dict[str, Any] = {"user": NOBODY, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    argv = [str(server.bin_dir / "pg_basebackup"), "-h", "127.0.0.1", "-p", str(server.port), "-U", server.user]
    env = {"PGPASSWORD": server.password, "PATH": os.environ["PATH"], "HOME": "/tmp"}  # noqa: S108 - nobody has none
    subprocess.run([*argv, "-c", "fast", "-D", str(path), *arguments], check=True, timeout=60, env=env, **as_user)


@contextlib.contextmanager
def archived_server() -> Iterator[Archived]:
    """Run such a server; 7 rows come before the moment in a segment of their own, 50 and a new schema after it."""
    with running_server() as server:
        for name in ("archive", "base", "scratch"):
            owned(server.folder / name)
        estate = Archived(server)
        server.execute("ALTER SYSTEM SET archive_mode = on", estate.archiving)
        server.stop()
        server.start()
        server.execute(*ROLES, SWITCH, "CREATE DATABASE payments OWNER payments_owner")
        server.execute(*SCHEMA, dbname="payments")
        base_backup(server, server.folder / "base" / "plain")
        base_backup(server, server.folder / "base" / "tar", "-Ft", "-z")
        (began,) = server.execute("SELECT clock_timestamp()")[0]
        for rows in (3, 4):
            server.execute(ROWS.format(rows), "SELECT pg_switch_wal()", dbname="payments")
        (before,) = server.execute("SELECT clock_timestamp()")[0]
        server.execute(*DEPLOYMENT, dbname="payments")
        server.execute("ALTER DATABASE payments RENAME TO tmpl_payments")
        estate.before, estate.began = before.astimezone(UTC), began.astimezone(UTC)
        estate.begin_anew()
        yield estate


@pytest.fixture(scope="module")
def server() -> Iterator[Archived]:
    """The server, once for all tests: a base backup takes a second."""
    with archived_server() as estate:
        yield estate


@pytest.fixture
def archived(server: Archived, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archived]:
    """The estate as it is after the failed deployment."""
    monkeypatch.setenv("PAYMENTS_DB_PASSWORD", "bot-secret")
    monkeypatch.setattr(recovered, "_POLL", 0.05)
    monkeypatch.setattr(live_server, "_POLL", 0.05)
    yield Archived(server.server, before=server.before, began=server.began)
    server.begin_anew()


def recovering(archived: Archived, **fields: Any) -> Pitr:
    """Return the step."""
    fields = {"target_time": archived.before, **fields}
    return Pitr(id="recover", target="payments-db", backup="base", **fields)


async def refused(archived: Archived, step: Pitr, words: str) -> ActuatorError:
    """Assert that a recovery fails with these words, leaves nothing, and that the live database is as it was."""
    with pytest.raises(ActuatorError) as caught:
        await PitrActuator().apply(step, archived.context(step))
    assert words in caught.value.brief, str(caught.value)
    assert "not touched" in caught.value.untouched or "Nothing was touched" in caught.value.untouched
    assert archived.left() == []
    assert archived.databases() == ["payments"]
    assert archived.counts("payments") == (2057, "20240115120000")
    return caught.value
