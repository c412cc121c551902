"""A payments database in a failed state, its backup, and a role with exactly the rights that the docs ask for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.domain.actuation import Context
from bot.domain.plan import Baseline, Step
from tests.support.actuation import Reports, make_context, make_plan
from tests.support.pgserver import PgServer, pg_server

__all__ = ["pg_server"]

BASELINE = Baseline(
    error_rate=0.002, p95="175ms", schema_version="20240110120000", row_counts={"users": 300, "transactions": 2000}
)

# The statements of docs/actuators/postgres.md; a test compares them.
GRANTS = (
    "CREATE ROLE rollback_bot LOGIN CREATEDB PASSWORD 'bot-secret'",
    "GRANT payments_owner TO rollback_bot",
    "GRANT pg_signal_backend TO rollback_bot",
    "GRANT pg_read_all_stats TO rollback_bot",
)

ROLES = (
    "CREATE ROLE payments_owner NOLOGIN",
    "CREATE ROLE payments_app LOGIN PASSWORD 'app-secret'",
    "CREATE ROLE reporting LOGIN PASSWORD 'reporting-secret'",
    *GRANTS,
)

SCHEMA = (
    "SET ROLE payments_owner",
    "CREATE TABLE schema_migrations (version text PRIMARY KEY)",
    "INSERT INTO schema_migrations VALUES ('20240110120000')",
    "CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL UNIQUE)",
    (
        "CREATE TABLE transactions (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " user_id bigint NOT NULL REFERENCES users, amount numeric(12, 2) NOT NULL CHECK (amount > 0))"
    ),
    "INSERT INTO users (email) SELECT 'c' || n || '@mail.example' FROM generate_series(1, 300) AS n",
    "INSERT INTO transactions (user_id, amount) SELECT n % 300 + 1, n FROM generate_series(1, 2000) AS n",
    "GRANT SELECT, INSERT ON users, transactions TO payments_app",
    "GRANT USAGE ON SEQUENCE transactions_id_seq TO payments_app",
    "CREATE EXTENSION hstore",
    # While a role named brake exists, a restore of this view takes a minute: then there is time to interrupt it.
    (
        "CREATE FUNCTION slow() RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
        " IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'brake') THEN PERFORM pg_catalog.pg_sleep(60);"
        " END IF; RETURN 1; END $$"
    ),
    "CREATE MATERIALIZED VIEW summary AS SELECT slow() AS one",
)

DEPLOYMENT = (
    "SET ROLE payments_owner",
    "ALTER TABLE transactions ADD COLUMN currency char(3)",
    "INSERT INTO schema_migrations VALUES ('20240115120000')",
    "INSERT INTO transactions (user_id, amount, currency) SELECT 1, n, 'EUR' FROM generate_series(1, 50) AS n",
)


@dataclass
class Payments:
    """The estate of one test.

    Attributes:
        server: The server.
        dump: The backup from before the deployment.
        folder: The test's own folder.
        overrides: Fields of the inventory's target to be otherwise.
    """

    server: PgServer
    dump: Path
    folder: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    backup: dict[str, Any] = field(default_factory=dict)
    baseline: Baseline = BASELINE

    def context(self, *steps: Step, **kwargs: Any) -> Context:
        """Return the context of a run of these steps."""
        backup = {
            "id": "db-before",
            "kind": "database",
            "target": "payments-db",
            "location": str(self.dump),
            "taken_at": "2024-01-15 14:30",
            **self.backup,
        }
        target = {
            "service": "payments",
            "host": "127.0.0.1",
            "port": self.server.port,
            "dbname": "payments",
            "user": "rollback_bot",
            "password": {"env": "PAYMENTS_DB_PASSWORD"},
            "sslmode": "disable",
            "backups": str(self.folder),
            "bin_dir": str(self.server.bin_dir),
            "jobs": 2,
            **self.overrides,
        }
        plan = make_plan(*steps, backups=[backup], baseline=self.baseline)
        return make_context(plan, {"databases": {"payments-db": target}}, **kwargs)

    def databases(self) -> list[str]:
        """Return the names of the databases of the service."""
        rows = self.server.execute("SELECT datname FROM pg_database WHERE datname LIKE 'payments%' ORDER BY 1")
        return [name for (name,) in rows]

    def schema_version(self, dbname: str = "payments") -> str:
        """Return the schema version of a database."""
        return str(self.server.execute("SELECT max(version) FROM schema_migrations", dbname=dbname)[0][0])

    def comment(self, dbname: str) -> str | None:
        """Return the comment of a database."""
        rows = self.server.execute(
            f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{dbname}'"  # noqa: S608
        )
        return str(rows[0][0]) if rows and rows[0][0] is not None else None


@pytest.fixture(scope="session")
def payments_dump(pg_server: PgServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backup from before the deployment; the server keeps a template of the state after it."""
    pg_server.execute(*ROLES, "CREATE DATABASE tmpl_payments OWNER payments_owner")
    pg_server.execute(*SCHEMA, dbname="tmpl_payments")
    dump = tmp_path_factory.mktemp("backups") / "payments-20240115-1430.dump"
    subprocess.run(
        [str(pg_server.bin_dir / "pg_dump"), "-Fc", "-f", str(dump), pg_server.conninfo("tmpl_payments")],
        check=True,
        timeout=30,
    )
    pg_server.execute(*DEPLOYMENT, dbname="tmpl_payments")
    return dump


@pytest.fixture
def payments(
    pg_server: PgServer, payments_dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Payments]:
    """The payments database after the failed deployment."""
    monkeypatch.setenv("PAYMENTS_DB_PASSWORD", "bot-secret")
    pg_server.execute("CREATE DATABASE payments TEMPLATE tmpl_payments OWNER payments_owner")
    estate = Payments(server=pg_server, dump=payments_dump, folder=tmp_path)
    yield estate
    pg_server.execute("DROP ROLE IF EXISTS brake")
    for name in estate.databases():
        pg_server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def reports() -> Reports:
    """What a step has reported."""
    return Reports()
