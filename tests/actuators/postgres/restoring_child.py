"""A bot that restores and will be killed: prints the process id of its pg_restore as soon as data are restored."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from actuators import postgres
from actuators.postgres.steps import Restore
from bot.domain.actuation import Progress, Registry
from tests.support.actuation import Reports, make_context, make_plan

PORT, BIN_DIR, DUMP, FOLDER = sys.argv[1:]


def announce(progress: Progress) -> None:
    """Tell the test that the restore is under way."""
    if "TABLE DATA" in progress.words:
        # ps joins its selections by «or»: asked for the name as well, it would show other tests' programs.
        found = subprocess.run(
            ["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
        (mine,) = (line.split()[0] for line in found.stdout.splitlines() if line.split()[1] == "pg_restore")
        print(mine, flush=True)  # noqa: T201 - this is how it speaks to the test


async def main() -> None:
    """Restore until killed."""
    os.environ["PAYMENTS_DB_PASSWORD"] = "bot-secret"
    step = Restore(id="restore", target="payments-db", backup="db-before")
    backup = {"id": "db-before", "kind": "database", "target": "payments-db", "location": DUMP}
    target = {
        "service": "payments",
        "host": "127.0.0.1",
        "port": int(PORT),
        "dbname": "payments",
        "user": "rollback_bot",
        "password": {"env": "PAYMENTS_DB_PASSWORD"},
        "backups": FOLDER,
        "bin_dir": BIN_DIR,
        "sslmode": "disable",
    }
    plan = make_plan(step, backups=[{**backup, "taken_at": "2024-01-15 14:30"}])
    reports = Reports(on_report=announce)
    context = make_context(plan, {"databases": {"payments-db": target}}, reports=reports)
    await Registry(*postgres.register()).actuator(step).apply(step, context)


asyncio.run(main())
