"""A payments database after a failed deployment, on a real server, with the role that the docs ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from actuators import postgres
from actuators.postgres import dumps
from actuators.postgres.recovery_host import recovery_host
from actuators.postgres.steps import (
    ClearPitr,
    Drain,
    ListBackups,
    ListConnections,
    Pitr,
    Restore,
    RestoreFrom,
    SafetyBackup,
    Swap,
    Terminate,
    Verify,
)
from bot.domain.actuation import Context, Registry
from bot.domain.plan import Step
from tests.actuators.postgres.archiving import Archived, archived_server, owned
from tests.support.contract import Case, Cases, Ground
from tests.support.pgserver import free_port

DATABASE = "payments-db"
RESTORE = Restore(id="restore", target=DATABASE, backup="db-before")
STEPS: tuple[Step, ...] = (
    Drain(id="drain", target=DATABASE, grace="0s"),
    Terminate(id="terminate", target=DATABASE),
    SafetyBackup(id="safety", target=DATABASE),
    RESTORE,
    Swap(id="swap", target=DATABASE),
    Verify(id="verify", target=DATABASE),
    ListBackups(id="catalogue", target=DATABASE, backup="db-before"),
    ListConnections(id="connections", target=DATABASE),
)
FAULTS = (
    "The restored backup db-before is not what the baseline says: users has 3 rows, not 300.",
    "Connections to payments come back as soon as they are ended: payments_app.",
)
REGISTRY = Registry(*postgres.register())


def state(payments: Any) -> Callable[[], object]:
    """Return what tells the databases' names, owners, marks and content, the sessions, and the files."""

    def now() -> object:
        server = payments.server
        databases = server.execute(
            "SELECT datname, pg_get_userbyid(datdba), datallowconn, datconnlimit,"
            " shobj_description(oid, 'pg_database') FROM pg_database WHERE datname LIKE 'payments%' ORDER BY 1"
        )
        rows = {
            name: server.execute("SELECT count(*), max(id) FROM transactions", dbname=name)
            for (name, *_) in databases
        }
        sessions = server.execute(
            "SELECT datname, usename, application_name FROM pg_stat_activity WHERE datname LIKE 'payments%'"
            " AND backend_type = 'client backend' AND application_name NOT LIKE 'rollback %'"
            " AND usename <> 'admin' ORDER BY 1, 2, 3"
        )
        files = sorted((path.name, path.stat().st_size) for path in payments.folder.iterdir())
        return databases, rows, sessions, files

    return now


@asynccontextmanager
async def database(ground: Ground, *, step: Step) -> Cases:
    """The database, with one connection that the service has left behind."""
    payments = ground.request.getfixturevalue("payments")
    payments.folder = ground.folder
    if isinstance(step, Verify):
        payments.server.execute(
            "DELETE FROM schema_migrations WHERE version > '20240110120000'",
            "DELETE FROM transactions WHERE id > 2000",
            dbname="payments",
        )
    if isinstance(step, RestoreFrom):
        step = await pinned(payments, step)
    steps = (RESTORE, step) if step is not RESTORE else (RESTORE,)
    near = dated(payments.context(*steps))
    # What lies on the worker's own machine is away as well: the dump's folder, and that of safety backups.
    payments.overrides = {"port": free_port(), "backups": f"{payments.dump}/no-folder"}
    payments.backup = (
        {"location": f"{payments.dump}/no-folder/payments.dump"} if isinstance(step, ListBackups) else {}
    )
    away = dated(payments.context(*steps))
    conninfo = payments.server.conninfo("payments", user="payments_app", password="app-secret")
    before: Callable[[], Awaitable[object]] | None = None
    if isinstance(step, Swap):
        before = partial(REGISTRY.actuator(RESTORE).apply, RESTORE, near)
    with closing(psycopg.connect(conninfo, application_name="payments-web", autocommit=True)):
        yield Case(step, near, away, state=state(payments), faults=FAULTS, before=before)


def dated(context: Context) -> Context:
    """Return the run of a deployment that came after the backups, which the tests have just made."""
    later = datetime(2999, 1, 1, tzinfo=UTC)
    return dataclasses.replace(context, plan=context.plan.model_copy(update={"deployed_at": later}))


async def pinned(payments: Any, step: RestoreFrom) -> RestoreFrom:
    """Return the step with the backup that there is."""
    context = payments.context(RESTORE)
    backup, target = context.plan.backup("db-before"), context.inventory.databases[DATABASE]
    found = await dumps.look_at(backup, target, context)
    return step.model_copy(update={"location": str(found.path), "size": found.size, "taken_at": found.taken_at})


@asynccontextmanager
async def archived(ground: Ground, *, kind: type[Step]) -> Cases:
    """A server with a base backup and archived WAL, and what an interrupted recovery has left of itself."""
    ground.monkeypatch.setenv("PAYMENTS_DB_PASSWORD", "bot-secret")
    shared = ground.shared("postgres.archived", archived_server)
    estate = Archived(shared.server, before=shared.before, began=shared.began)
    step: Step = Pitr(id="recover", target=DATABASE, backup="base", target_time=estate.before)
    if kind is ClearPitr:
        step = ClearPitr(id="clear", target=DATABASE, recovers="recover")
    near = estate.context(step)
    estate.begin_anew()
    if kind is ClearPitr:
        async with recovery_host(step, near.inventory.databases[DATABASE], near) as host:
            owned(Path(host.run_folder)).joinpath("mark").write_text(f"{near.rollback_id} recover")
    estate.target, estate.overrides = {"port": free_port()}, {"user": "nobody-has-this-name"}
    yield Case(
        step,
        near,
        estate.context(step),
        state=lambda: (estate.databases(), estate.counts("payments"), estate.left()),
        faults=FAULTS,
    )
    estate.begin_anew()


FROM = RestoreFrom(
    id="from", target=DATABASE, restores="restore", location="/x", taken_at="2024-01-15 14:00", size=1
)
WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    **{step.kind: partial(database, step=step) for step in (*STEPS, FROM)},
    "postgres.pitr": partial(archived, kind=Pitr),
    "postgres.pitr_clear": partial(archived, kind=ClearPitr),
}
