"""`rollback serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bot.main.clock import SystemClock
from bot.main.settings import Role, Settings

if TYPE_CHECKING:
    from bot.main.compose import Bot

_log = logging.getLogger(__name__)
_out = Console()


def serve(
    *,
    role: Annotated[
        Role | None,
        typer.Option(
            help="bot: speak with people. worker: act on targets. all: both; the default. Sets ROLLBACK_ROLE."
        ),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(help="The network zone whose targets this process can reach. Sets ROLLBACK_ZONE."),
    ] = None,
) -> None:
    """Run the bot. Everything is set by ROLLBACK_* variables; without any, the console takes Slack's place."""
    given: dict[str, Any] = {"role": role, "zone": zone}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    _log_to_stderr(settings.log_level)
    asyncio.run(_serve(settings))


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("alembic", "asyncssh", "procrastinate"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    for talkative in ("aiohttp", "slack_bolt", "slack_sdk"):
        # On DEBUG these write whole payloads, response URLs and tickets: credentials, all of them.
        logging.getLogger(talkative).setLevel(max(logging.INFO, logging.getLogger().level))


async def _serve(settings: Settings) -> None:
    from bot.main import compose, heap  # noqa: PLC0415 - `rollback --help` must not load every library

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _asked_to_stop, number, stop, loop)

    def ready(bot: Bot) -> None:
        heap.settle()
        _announce(bot, settings)

    await compose.serve(settings, clock=SystemClock(), stop=stop, ready=ready)


def _asked_to_stop(number: int, stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """Stop in good order; whoever asks a second time means at once."""
    _log.info("%s: a second signal ends the process at once", signal.Signals(number).name)
    stop.set()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(each)
        # Not the default action: the kernel spares the first process of a container from it.
        signal.signal(each, _end_at_once)


def _end_at_once(number: int, _frame: object) -> None:
    # What runs is in the journal as begun, as after a crash; child processes end with their parent.
    os._exit(128 + number)


def _announce(bot: Bot, settings: Settings) -> None:
    if not settings.role.talks:
        _out.print(f"[bold green]●[/] The worker of zone {escape(settings.zone)} is ready.", soft_wrap=True)
        return
    _out.print("[bold green]●[/] The bot is ready.")
    if bot.seat is None:
        return
    _out.print(f"  Console: {bot.seat.url}")
    if not _out.is_terminal:
        # What is not a terminal is a log, and a sign-in link is a credential.
        _out.print(f"  The sign-in tokens are in {bot.seat.tokens_file}", soft_wrap=True)
        return
    for person in bot.site.policy.people:
        roles = ", ".join(role.words() for role in person.roles)
        _out.print(f"  Sign in as {escape(person.name)} ({roles}): {bot.seat.sign_in(person.id)}", soft_wrap=True)
