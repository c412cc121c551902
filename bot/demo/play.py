"""The demo: one real rollback of a real service on this machine, from the first command to the closed books."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from bot.demo import bot_process
from bot.demo.estate import Estate, PgServer
from bot.demo.performance import Performance, Story
from bot.domain.errors import RollbackError
from bot.domain.ports import Clock
from bot.engine import outside
from bot.main.clock import SystemClock
from storage.embedded import EmbeddedPostgres, Server

_MARK = ".rollback-demo"
"""Says that a folder is a demo's, whose contents may be replaced."""
_PATIENCE = timedelta(minutes=2)
_LIVE_PATIENCE = timedelta(hours=2)


async def perform(
    folder: Path,
    *,
    live: bool,
    keep: bool,
    out: Console,
    patience: timedelta | None = None,
    command: Sequence[str] = bot_process.COMMAND,
    story: Story | None = None,
) -> int:
    """Perform the demo.

    Args:
        folder: Where everything is kept.
        live: Whether a person types and clicks.
        keep: Whether the folder stays.
        out: The terminal.
        patience: How long the rollback may take; by default two minutes, or two hours with a person.
        command: How the bot is started.
        story: Takes what happened, for a caller who wants to know more than the exit code.

    Returns:
        The exit code: 0 if the rollback completed and the service is well again.
    """
    clock = SystemClock()
    try:
        folder = usable(folder)
    except RollbackError as error:
        out.print(f"[bold red]✗[/] {escape(str(error))}", highlight=False)
        return 1
    patience = patience or (_LIVE_PATIENCE if live else _PATIENCE)
    failures: list[str] = []
    try:
        async with stage(folder, clock) as (server, estate):
            performance = Performance(
                folder, estate, out=out, live=live, patience=patience, clock=clock, story=story or Story()
            )
            await performance.act(server, command=command)
    except* (RollbackError, TimeoutError) as group:
        failures = [str(error) for error in outside.leaves(group)]
    for failure in failures:
        out.print(f"[bold red]✗ The demo failed:[/] {escape(failure)}", highlight=False)
    if failures:
        out.print(f"  Everything is kept in {folder}: the bot's log is {folder / 'bot' / 'bot.log'}.")
        return 1
    if not keep:
        shutil.rmtree(folder)
    return 0


def usable(folder: Path) -> Path:
    """Return the folder, absolute; as root one that PostgreSQL's unprivileged user can reach as well.

    Raises:
        RollbackError: If it holds anything that is not a demo's: a demo replaces what an earlier one left.
    """
    folder = folder.resolve()
    if os.geteuid() == 0:
        closed = [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]
        if closed:
            folder = Path("/var/tmp/rollback-demo")  # noqa: S108 - a folder of root's own, made 0755 below
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / _MARK
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid() or (any(folder.iterdir()) and not mark.exists()):
        raise RollbackError(
            f"{folder} is not a folder of the demo: it holds something else, or is somebody else's.",
            untouched="It was left as it is.",
            resolution="Name a new folder with --folder.",
        )
    mark.touch()
    return folder


@asynccontextmanager
async def stage(folder: Path, clock: Clock) -> AsyncIterator[tuple[Server, Estate]]:
    """Yield the estate's PostgreSQL and a new estate on it; both are stopped at the end."""
    async with EmbeddedPostgres(folder / "database", clock=clock) as server:
        access = PgServer(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password.get_secret_value(),
            bin_dir=server.bin_dir,
        )
        async with await Estate.create(folder / "estate", access, clock=clock, replace=True) as estate:
            yield server, estate
