"""`rollback token`: an administrator lets people act from the command line as themselves.

Whoever can reach the store with its credentials may issue a token; that is what makes an administrator. The audit
keeps who did, by the name of the operating system's user.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.domain.errors import RollbackError
from bot.domain.times import utc_minute
from bot.main.clock import SystemClock
from bot.main.settings import Settings

if TYPE_CHECKING:
    from bot.domain.authority import Policy
    from bot.domain.ports import Audit
    from storage.tokens import AccessToken, SqlTokens

app = typer.Typer(help="Let people act from the command line as themselves.", no_args_is_help=True)
_out = Console()
_err = Console(stderr=True)
_USER = re.compile(r"[UW][A-Z0-9]{2,}", re.ASCII)
_LONGEST_LABEL = 120


@app.command()
def issue(
    user: Annotated[str, typer.Argument(help="Slack user id of the person who will act by it.")],
    *,
    label: Annotated[str, typer.Option(help="What it is for, e.g. «laptop» or «deploy pipeline».")],
) -> None:
    """Issue a token and print it, this once. Standard output gets the token and nothing else."""
    asyncio.run(_issue(Settings(), user, label.strip()))


@app.command("list")
def list_tokens() -> None:
    """Show which tokens were issued; never the tokens themselves."""
    asyncio.run(_list(Settings()))


@app.command()
def revoke(
    tokens: Annotated[list[str] | None, typer.Argument(help="Ids, as `rollback token list` shows them.")] = None,
    *,
    user: Annotated[str, typer.Option(help="Revoke every token of this Slack user id instead.")] = "",
) -> None:
    """Let nobody act by these tokens any more, from now on."""
    if bool(tokens) == bool(user):
        raise typer.BadParameter("name tokens, or the --user all of whose tokens are meant")
    asyncio.run(_revoke(Settings(), tokens or [], user))


@dataclass(frozen=True)
class _Desk:
    """What an administrator works with."""

    tokens: SqlTokens
    audit: Audit

    async def note(self, what: str, known: AccessToken) -> None:
        from bot.domain.ports import AuditEntry  # noqa: PLC0415 - `rollback --help` must not load every library

        detail = {"token": known.id, "user": known.user_id, "host": socket.gethostname()}
        if sudo := os.environ.get("SUDO_USER"):
            detail["sudo_user"] = sudo
        entry = AuditEntry(at=SystemClock().now(), who=administrator(), what=what, why=known.label, detail=detail)
        await self.audit.write(entry)


@asynccontextmanager
async def _desk(settings: Settings) -> AsyncIterator[_Desk]:
    from bot.main import acting, commanding  # noqa: PLC0415 - see _Desk
    from storage.audit import SqlAudit  # noqa: PLC0415 - see _Desk

    async with commanding.opened_store(settings, SystemClock()) as database:
        yield _Desk(acting.tokens(database), SqlAudit(database))


def administrator() -> str:
    """Return the operating system's user as the audit names him, e.g. ``os:root``."""
    try:
        return f"os:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container may run as a user that has no name
        return f"os:uid {os.getuid()}"


async def _issue(settings: Settings, user: str, label: str) -> None:
    _check(user, label)
    person = _policy(settings).person(user)
    async with _desk(settings) as desk:
        token, known = await desk.tokens.issue(user_id=user, label=label, created_by=administrator())
        # Nobody has seen the token yet: what cannot be put on record is not handed out.
        await desk.note("token.issued", known)
    sys.stdout.write(f"{token}\n")
    sys.stdout.flush()
    who = f"{person.name} ({user})" if person else user
    _err.print(f"Token {known.id} for {escape(who)}: it is not shown again, the store keeps its digest only.")
    _err.print("Whoever has it acts as this person. Keep it in a file that nobody else can read.")
    if person is None:
        _err.print(f"[yellow]The policy names nobody with the id {user}: by this token nothing may be done yet.[/]")


def _check(user: str, label: str) -> None:
    if not _USER.fullmatch(user):
        raise RollbackError(
            f"{user[:40]!r} is not a Slack user id.",
            untouched="No token was issued.",
            resolution="Write it like U0JSMITH; the policy names people by these ids.",
        )
    if not label or len(label) > _LONGEST_LABEL or not label.isprintable():
        raise RollbackError(
            f"A token needs a label of 1 to {_LONGEST_LABEL} characters on one line.",
            untouched="No token was issued.",
            resolution="Say what it is for: --label laptop.",
        )


def _policy(settings: Settings) -> Policy:
    from bot.domain.authority import Policy  # noqa: PLC0415 - see _Desk
    from bot.main import people  # noqa: PLC0415 - see _Desk
    from storage import plans  # noqa: PLC0415 - see _Desk

    if settings.policy.exists():
        return plans.read_policy(settings.policy)
    return Policy() if settings.speaks_slack else people.LOCAL_POLICY


async def _list(settings: Settings) -> None:
    policy = _policy(settings)
    async with _desk(settings) as desk:
        found = await desk.tokens.list()
    table = Table(title="access tokens")
    for heading in ("id", "person", "label", "issued", "by", "in force"):
        table.add_column(heading, overflow="fold")
    for known in found:
        person = policy.person(known.user_id)
        who = f"{known.user_id} {person.name}" if person else known.user_id
        force = f"revoked {utc_minute(known.revoked_at)}" if known.revoked_at else "yes"
        row = (known.id, who, known.label, utc_minute(known.created_at), known.created_by, force)
        table.add_row(*(escape(word) for word in row))
    _out.print(table)


async def _revoke(settings: Settings, ids: list[str], user: str) -> None:
    async with _desk(settings) as desk:
        if user:
            answers: list[AccessToken | None] = [*await desk.tokens.revoke_of(user)]
        else:
            answers = [await desk.tokens.revoke(token) for token in ids]
        revoked = [known for known in answers if known]
        for known in revoked:
            await desk.note("token.revoked", known)
    for known in revoked:
        words = f"Token {known.id} of {known.user_id} ({known.label}) is revoked."
        _out.print(f"[bold green]✓[/] {escape(words)}", highlight=False)
    if len(revoked) < len(answers) or not answers:
        # What was given may be a token: it is not repeated.
        unknown = f"{len(answers) - len(revoked)} of the {len(answers)} ids given are unknown."
        raise RollbackError(
            unknown if answers else f"{user} has no token in force.",
            untouched="Nothing else was changed.",
            resolution="See `rollback token list`.",
        )
