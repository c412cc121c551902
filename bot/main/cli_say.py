"""The commands by which people steer a rollback from the command line, with the words and rules of the chat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.domain.times import in_words, utc_minute
from bot.main.clock import SystemClock
from bot.main.settings import Settings

_BLOCKED = 10
_UNKNOWN = 11

_HELP = {
    "hold": "Pause a rollback: hold ROLLBACK WHY. Or ask for pipelines: hold check SERVICE "
    f"(exit code 0: deploy; {_BLOCKED}: deployments are blocked; {_UNKNOWN}: it cannot be told, do not deploy).",
    "resume": "End a pause: resume ROLLBACK WHY.",
    "abort": "Give a rollback up: abort ROLLBACK now confirmed WHY. «now» stops running steps.",
    "retry": "Run a held step again: retry ROLLBACK STEP WHY.",
    "done": "Mark a held step done, because you have seen its effect: done ROLLBACK STEP WHY. Or say that you did "
    "what a step asks a person to do: done ROLLBACK STEP WHAT evidence: LINK.",
    "cannot": "Say that what a step asks a person to do cannot be done: cannot ROLLBACK STEP WHY.",
    "skip": "Go on without a held step: skip ROLLBACK STEP WHY.",
    "remedy": "Run what may help a held step: remedy ROLLBACK STEP REMEDY WHY.",
    "extend": "Extend the window and tell everybody: extend ROLLBACK 20m WHY.",
    "continue": "Choose to go on beyond the window: continue ROLLBACK WHY.",
    "incident": "Report another cause than the deployment; it gets its own incident: incident ROLLBACK WHY.",
    "handover": "Let another person lead: handover ROLLBACK --to U0123 WHY.",
    "confirm": "Confirm, as a second person, that data are lost: confirm ROLLBACK WHY.",
    "unblock": "Let deployments of the service through again: unblock ROLLBACK WHY.",
}

Words = Annotated[
    list[str] | None,
    typer.Argument(
        help="The rollback or its change, which may be left out when only one is under way; then the rest."
    ),
]

_out = Console()


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for verb, words in _HELP.items():
        app.command(verb, help=words)(_command(verb))
    app.command("status")(status)


def _command(verb: str) -> Callable[..., None]:
    if verb == "handover":

        def handover(
            words: Words = None,
            *,
            to: Annotated[str, typer.Option(help="Slack user id of who leads from now on.")] = "",
        ) -> None:
            asyncio.run(_say(verb, words or [], person=to))

        return handover

    def command(words: Words = None) -> None:
        if verb == "hold" and words and words[0] == "check":
            raise typer.Exit(asyncio.run(_check(words[1:])))
        asyncio.run(_say(verb, words or []))

    return command


async def _say(verb: str, words: list[str], *, person: str = "") -> None:
    from bot.engine.service import Actor  # noqa: PLC0415 - `rollback --help` must not load every library
    from bot.main import acting, commanding  # noqa: PLC0415 - see above
    from handlers.slack import commands, outlook, saying  # noqa: PLC0415 - see above

    settings, clock = Settings(), SystemClock()
    said = commands.parse(" ".join((verb, *words)))
    if not isinstance(said, commands.Say):
        raise typer.BadParameter(f"{verb} cannot be understood")
    said = commands.Say(said.verb, said.rollback, said.words, person)
    async with commanding.opened(settings, clock) as at:
        user = await acting.acting_user(settings, acting.tokens(at.database))
        run = await saying.typed(at.service, Actor(user), said)
    _out.print(f"[bold green]✓[/] {escape(outlook.what_next(run, verb))}", highlight=False, soft_wrap=True)


async def _check(services: list[str]) -> int:
    """Tell a pipeline whether a service may be deployed. What cannot be told is not a yes."""
    from bot.main import commanding  # noqa: PLC0415 - see _say

    if len(services) != 1:
        raise typer.BadParameter("name one service: rollback hold check SERVICE")
    try:
        async with commanding.opened(Settings(), SystemClock()) as at:
            blocking = await at.service.blocking(services[0])
    except Exception as error:  # noqa: BLE001 - whatever it is, the pipeline must not take it for a yes
        _out.print(
            f"[bold red]✗[/] It cannot be told whether {escape(services[0])} may be deployed: {escape(_why(error))}"
        )
        _out.print("  Do not deploy before it can.")
        return _UNKNOWN
    if not blocking:
        _out.print(f"[bold green]✓[/] Nothing blocks deployments of {escape(services[0])}.", highlight=False)
        return 0
    from bot.domain.steering import blocked_words  # noqa: PLC0415 - see _say

    for run in blocking:
        _out.print(f"[bold red]✗[/] {escape(blocked_words(run))}", highlight=False)
        _out.print(f"  Lift it: rollback unblock {escape(run.id)} WHY", highlight=False)
    return _BLOCKED


def _why(error: Exception) -> str:
    """Return the error in words; settings that cannot be used are told without their values, secrets among them."""
    if isinstance(error, ValidationError):
        return "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors(include_input=False))
    return str(error) or type(error).__name__


def status(
    word: Annotated[str, typer.Argument(help="A change or rollback; without it all under way.")] = "",
) -> None:
    """Show the rollbacks under way, or one: its steps, its window and what waits for a person."""
    asyncio.run(_status(word))


async def _status(word: str) -> None:
    from bot.main import commanding  # noqa: PLC0415 - see _say

    async with commanding.opened(Settings(), SystemClock()) as at:
        found = await at.service.status(word)
    if not found:
        _out.print("No rollback is under way." if not word else f"There is no rollback {escape(word)}.")
        return
    for run in found:
        table = Table(title=f"{run.id} {run.plan.change}: {run.state.value.replace('_', ' ')}", show_lines=False)
        for heading in ("step", "state", "took", "words"):
            table.add_column(heading, overflow="fold")
        for step in run.plan.steps():
            standing = run.status(step.id)
            took = (
                in_words(standing.ended_at - standing.started_at)
                if standing.ended_at and standing.started_at
                else ""
            )
            table.add_row(step.id, standing.state.value, took, escape(standing.words))
        _out.print(table)
        asked = f"asked {utc_minute(run.history[0].at)} by {run.requester}, lead {run.lead}" if run.history else ""
        _out.print(f"  {asked}", highlight=False)
