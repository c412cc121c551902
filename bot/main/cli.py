"""The `rollback` command."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.domain.errors import PlanInvalidError, RollbackError, StoreUnavailableError
from bot.main import cli_say, cli_serve, cli_token
from bot.main.clock import SystemClock
from bot.main.settings import Settings

app = typer.Typer(
    help="Reverts a production change by its documented rollback plan.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
plan = typer.Typer(help="Check rollback plans, and publish their form for editors.", no_args_is_help=True)
app.add_typer(plan, name="plan")
app.add_typer(cli_token.app, name="token")
app.command()(cli_serve.serve)
cli_say.register(app)
_out = Console()
_err = Console(stderr=True)

InventoryOption = Annotated[Path | None, typer.Option(help="The inventory file; default ROLLBACK_INVENTORY.")]


def main() -> None:
    """Run the command; errors are words, never tracebacks."""
    try:
        app()
    except RollbackError as error:
        _fail(error)
    except StoreUnavailableError as error:
        _fail(RollbackError(str(error), untouched="Nothing was started.", resolution="See `rollback doctor`."))
    except ValidationError as error:
        lines = "\n".join(
            f"  {'.'.join(map(str, e['loc'])) or 'settings'}: {_plainly(e['msg'])}" for e in error.errors()
        )
        _fail(
            RollbackError(
                f"The settings cannot be used:\n{lines}\n", resolution="See docs/settings.md and `rollback doctor`."
            )
        )


def _plainly(message: str) -> str:
    return message.removeprefix("Value error, ")


def _fail(error: RollbackError) -> None:
    _err.print(f"[bold red]✗[/] {escape(error.brief)}", highlight=False)
    if isinstance(error, PlanInvalidError):
        for problem in error.problems:
            _err.print(f"  {escape(problem)}", highlight=False)
    for part in (error.untouched, error.resolution):
        if part:
            _err.print(f"  {escape(part)}", highlight=False)
    sys.exit(1)


@app.command()
def doctor() -> None:
    """Tell what is configured, what is missing, and what would be used. Exit code 1 if something is broken."""
    sys.exit(1 if asyncio.run(_doctor(Settings())) else 0)


async def _doctor(settings: Settings) -> int:
    from bot.main import doctor as examination  # noqa: PLC0415 - `rollback --help` must not load every library

    colours = {"ok": "green", "default": "cyan", "missing": "yellow", "broken": "bold red"}
    table = Table(title="rollback doctor", show_lines=False)
    for heading in ("part", "state", "what would be used", "what to do"):
        table.add_column(heading, overflow="fold")
    broken = 0
    async for found in examination.examine(settings, SystemClock()):
        state = f"[{colours[found.state]}]{found.state}[/]"
        table.add_row(escape(found.part), state, escape(found.words), escape(found.resolution))
        broken += found.state is examination.State.BROKEN
    _out.print(table)
    return broken


@app.command()
def demo(
    *,
    live: Annotated[
        bool, typer.Option(help="Leave the command and the clicks to a person at the console.")
    ] = False,
    keep: Annotated[bool, typer.Option(help="Keep the estate's folder and the evidence afterwards.")] = True,
    folder: Annotated[Path, typer.Option(help="Where the demo keeps everything.")] = Path(".demo"),
) -> None:
    """Perform one real rollback of a real service on this machine, and show it as it happens."""
    from bot.demo import play  # noqa: PLC0415 - `rollback --help` must not load every library

    sys.exit(asyncio.run(play.perform(folder, live=live, keep=keep, out=_out)))


@plan.command("check")
def plan_check(
    files: Annotated[list[Path], typer.Argument(help="Plans, one file a change.")],
    inventory: InventoryOption = None,
) -> None:
    """Check plans against their form and the inventory; every error at once. Exit code 1 if one cannot be used."""
    from bot.main import plancheck  # noqa: PLC0415 - `rollback --help` must not load every library

    settings = Settings() if inventory is None else Settings(inventory=inventory)
    problems = 0
    for report in plancheck.check(files, settings, SystemClock()):
        if report.problems:
            _out.print(f"[bold red]✗[/] {escape(str(report.file))}", highlight=False)
            for problem in report.problems:
                _out.print(f"  {escape(problem)}", highlight=False, soft_wrap=True)
        else:
            _out.print(f"[bold green]✓[/] {escape(str(report.file))}: {escape(report.summary)}", highlight=False)
        problems += len(report.problems)
    sys.exit(1 if problems else 0)


@plan.command("schema")
def plan_schema(
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")] = None,
) -> None:
    """Print the JSON Schema of rollback plans, for editors."""
    from bot.main import plancheck  # noqa: PLC0415 - `rollback --help` must not load every library

    text = json.dumps(plancheck.schema(SystemClock()), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
