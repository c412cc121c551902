"""What may help when a step on a database has failed."""

from __future__ import annotations

import asyncio
import hashlib
import re
from datetime import timedelta

from actuators.postgres import catalog, dumps
from actuators.postgres.baseline import NOT_BASELINE
from actuators.postgres.checks import Look, live_database, may_end_sessions
from actuators.postgres.connection import connected, database_of
from actuators.postgres.dump_checks import plan_backup
from actuators.postgres.dumps import Dump
from actuators.postgres.steps import ListBackups, ListConnections, Restore, RestoreFrom, Terminate
from actuators.remedies import titled
from bot.domain.actuation import Context, Fault, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Backup, Step
from bot.domain.times import in_words, parse_duration, utc_minute

_LOOK = 6.0
"""Seconds that looking at the server may take."""

_WRONG_BACKUP = re.compile(
    rf"is missing: there is no|is empty: |is corrupt: |is not the file that the plan means|{NOT_BASELINE}"
    r"|pg_restore into \S+ failed"
)
_CLINGING = re.compile(r"being (?:accessed|used) by|connections? to|two-phase", re.IGNORECASE)


async def help_against_connections(step: Step, context: Context, *, settles: bool = False) -> tuple[Remedy, ...]:
    """Return who is connected, and putting them out if there is anybody whom the role may put out.

    Args:
        step: The step that failed.
        context: The run.
        settles: Whether the step asks for nothing more than that.
    """
    try:
        async with asyncio.timeout(_LOOK):
            found, allowed = await _sessions(step, context)
    except (ActuatorError, TimeoutError):
        return ()
    target = database_of(step, context)
    who = Remedy(
        "connections",
        titled(f"Who is connected to {target.dbname}"),
        "Lists every connection with process, user, program, address, state and since when. Changes nothing.",
        ListConnections(id="connections", target=step.target),
    )
    if not found or not allowed:
        return (who,)
    end = Remedy(
        "terminate",
        titled(f"Terminate connections to {target.dbname}"),
        f"Ends {catalog.sources(found)} in {target.dbname} and this run's copy. "
        "What they had not committed is lost; a client that is not stopped comes back.",
        Terminate(id="terminate", target=step.target, expected=parse_duration("10s")),
        settles=settles,
    )
    return (who, end)


async def help_to_restore(step: Restore, fault: Fault, context: Context) -> tuple[Remedy, ...]:
    """Return other backups if the plan's one is at fault, and who keeps the copy from being made."""
    remedies: list[Remedy] = []
    if _CLINGING.search(fault.brief):
        remedies += await help_against_connections(step, context)
    if _WRONG_BACKUP.search(fault.brief):
        remedies += await _other_backups(step, context)
    return tuple(sorted(remedies, key=lambda remedy: not remedy.step.reads_only))


async def _sessions(step: Step, context: Context) -> tuple[tuple[catalog.Session, ...], bool]:
    """Return who is connected, and whether the role may end all of them."""
    target = database_of(step, context)
    async with connected(target, context, looking=True) as connection:
        found = await catalog.lingering(connection, target.dbname, context)
        look = Look(context, target, connection, await live_database(connection, target))
        barred = [check for check in await may_end_sessions(look) if check.verdict is Verdict.FAIL]
        others = {session.user for session in found} - await catalog.superusers(connection)
    return found, bool(others) and not barred


async def _other_backups(step: Restore, context: Context) -> list[Remedy]:
    try:
        backup, target = plan_backup(step, context), database_of(step, context)
    except ActuatorError:
        return []
    listed = Remedy(
        "catalogue",
        titled(f"Other backups of {target.dbname}"),
        "Lists the dumps beside the plan's backup with time, size, database and whether pg_restore reads them. "
        "Changes nothing.",
        ListBackups(id="catalogue", target=step.target, backup=step.backup),
    )
    try:
        found = await dumps.search(target, backup, context)
    except ActuatorError:
        return [listed]
    offered = found.usable[: dumps.OFFERED]
    digests = await asyncio.gather(*(dumps.digest(dump) for dump in offered))
    pairs = zip(offered, digests, strict=True)
    return [listed, *(_instead(step, backup, dump, sha256=digest) for dump, digest in pairs)]


def _instead(step: Restore, backup: Backup, dump: Dump, *, sha256: str | None) -> Remedy:
    # The same file must have the same name at every look, and a button's name has no room for a path.
    name = hashlib.sha256(str(dump.path).encode()).hexdigest()[:10]
    return Remedy(
        f"restore-from-{name}",
        titled(f"Restore {dump.path.name} instead"),
        f"Restores {dump.words()}, beside the live database in place of backup {backup.id}. {_apart(dump, backup)} "
        "The live database stays as it is until the swap.",
        RestoreFrom(
            id="restore-from",
            target=step.target,
            restores=step.id,
            location=str(dump.path),
            taken_at=dump.taken_at,
            size=dump.size,
            sha256=sha256,
            analyze=step.analyze,
            expected=step.expected,
            timeout=step.timeout,
            attempts=step.attempts,
        ),
        settles=True,
    )


def _apart(dump: Dump, backup: Backup) -> str:
    """Say what the other moment costs."""
    apart = backup.taken_at - dump.taken_at
    if apart > timedelta(minutes=1):
        than = f"the plan's backup ({utc_minute(backup.taken_at)})"
        return f"It is {in_words(apart)} older than {than}: what was written in between is lost as well."
    return "It is no older than the plan's backup."
