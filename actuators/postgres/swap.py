"""postgres.swap: the restored database takes the live one's name, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from actuators.postgres import beside, catalog
from actuators.postgres.catalog import DatabaseState, Session, quoted
from actuators.postgres.checks import (
    Look,
    examine,
    may_create,
    may_end_sessions,
    may_own,
    no_prepared_transactions,
)
from actuators.postgres.connection import Connection, connected, database_of
from actuators.postgres.drain import end_sessions
from actuators.postgres.loss import loss_by
from actuators.postgres.marker import beside_name, failed_name
from actuators.postgres.properties import carry_over, read_properties
from actuators.postgres.remedies import help_against_connections
from actuators.postgres.steps import Swap
from actuators.together import tasks
from bot.domain.actuation import Check, Context, Fault, Loss, Observation, Outcome, Presence, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database

_ATTEMPTS = 3
_POLL = 0.1
"""Seconds between two rounds of ending sessions while the rename waits; PostgreSQL waits 5 s for them to go."""


@dataclass(frozen=True)
class _Ready:
    """The two databases of a swap that can be done."""

    live: DatabaseState
    restored: DatabaseState


class SwapActuator:
    """Renames both databases at once; either both have their new names or both the old ones."""

    async def check(self, step: Swap, context: Context) -> tuple[Check, ...]:
        """Look at the role, at what holds the database, and at what would not come along."""
        return await examine(
            step,
            context,
            may_own,
            may_create,
            may_end_sessions,
            no_prepared_transactions,
            _settings_come_along,
            _slots_stay_behind,
        )

    async def observe(self, step: Swap, context: Context) -> Observation:
        """Read the marks of both databases."""
        target = database_of(step, context)
        async with connected(target, context, looking=True) as connection:
            return (await _look(step, target, context, connection))[0]

    async def apply(self, step: Swap, context: Context) -> Outcome:
        """Swap, unless this run has done so before."""
        target = database_of(step, context)
        async with connected(target, context) as connection, connected(target, context) as second:
            found, ready = await _look(step, target, context, connection)
            if found.presence is Presence.PRESENT:
                return Outcome(found.words, found.facts)
            if ready is None:
                raise ActuatorError(
                    f"The databases cannot be swapped: {found.words}.",
                    untouched="No database was renamed.",
                    resolution="Run the restore of this rollback first; has it run, look with \\l what there is.",
                )
            waiting = await catalog.prepared_transactions(connection, target.dbname)
            if waiting:
                raise _held(waiting)
            kept = failed_name(target.dbname, context.rollback_id, at=context.clock.now())
            for last in (False,) * (_ATTEMPTS - 1) + (True,):
                try:
                    ended, lost = await _swap(step, context, (connection, second), ready, kept=kept)
                    break
                except psycopg.errors.ObjectInUse as error:
                    if last:
                        raise await _in_use(error, second, ready) from None
        return _outcome(ready, kept=kept, ended=ended, lost=lost)

    async def remedies(self, step: Swap, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return who is connected, and putting them out before the swap is tried again."""
        del fault
        return await help_against_connections(step, context)

    async def loss(self, step: Swap, context: Context) -> Loss | None:
        """Count what came in after the backup, and compare it with the plan's point of no return."""
        return await loss_by(step, context)


async def _look(
    step: Swap, target: Database, context: Context, connection: Connection
) -> tuple[Observation, _Ready | None]:
    """Tell from the marks on which side of the swap the databases are."""
    live = await catalog.find_database(connection, target.dbname)
    name = beside_name(target.dbname, context.rollback_id)
    restored = await catalog.find_database(connection, name)
    mark = live.marker if live else None
    if mark is not None and mark.rollback == context.rollback_id and mark.state == "live":
        words = f"{target.dbname} is the restored database; the failed one is kept as {mark.replaced}"
        presence = Presence.PRESENT if mark.swap == step.id else Presence.UNKNOWN
        return Observation(presence, words, {"failed_database": mark.replaced}), None
    if live is None:
        return Observation(Presence.UNKNOWN, f"There is no database {target.dbname}"), None
    if restored is None:
        return Observation(Presence.UNKNOWN, f"There is no restored database {name}"), None
    mark = restored.marker
    if mark is None or mark.rollback != context.rollback_id:
        return Observation(Presence.UNKNOWN, f"{name} is not of this rollback"), None
    if mark.state != "restored":
        return Observation(Presence.UNKNOWN, f"{name} is only half restored"), None
    words = f"{target.dbname} is still the failed database; {name}, restored from {mark.source()}, is ready"
    return Observation(Presence.ABSENT, words), _Ready(live, restored)


async def _swap(
    step: Swap, context: Context, pair: tuple[Connection, Connection], ready: _Ready, *, kept: str
) -> tuple[dict[int, Session], tuple[str, ...]]:
    """Rename on one connection while the other ends the sessions that the rename waits for.

    The rename locks the database before it waits, so nobody can come in any more; nothing outlives a crash.
    """
    connection, second = pair
    ended: dict[int, Session] = {}
    names = (ready.live.name, ready.restored.name)
    await _end_all(second, names, ended)
    async with tasks() as group:
        ending = group.create_task(_keep_ending(second, context, names, ended))
        lost = await _rename(step, context, connection, ready, kept=kept)
        ending.cancel()
    return ended, lost


async def _rename(
    step: Swap, context: Context, connection: Connection, ready: _Ready, *, kept: str
) -> tuple[str, ...]:
    """Do everything in one transaction; return the settings that could not be carried over."""
    live, restored = ready.live, ready.restored
    properties = await read_properties(connection, live)
    marker = restored.marker
    assert marker is not None, "only a marked database is ready"  # noqa: S101 - decided by _look
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    async with connection.transaction():
        lost = await carry_over(connection, properties, to=restored.name)
        await beside.mark(
            connection,
            restored.name,
            marker.model_copy(update={"state": "live", "swap": step.id, "replaced": kept}),
        )
        await connection.execute(rename.format(sql.Identifier(live.name), sql.Identifier(kept)))
        await connection.execute(rename.format(sql.Identifier(restored.name), sql.Identifier(live.name)))
        await _unchanged(connection, ready, kept=kept, rollback_id=context.rollback_id)
    return lost


async def _unchanged(connection: Connection, ready: _Ready, *, kept: str, rollback_id: str) -> None:
    """Make sure, under the locks of the renames, that these were the databases that had been looked at."""
    failed = await catalog.find_database(connection, kept)
    live = await catalog.find_database(connection, ready.live.name)
    found = (failed.oid if failed else 0, live.oid if live else 0)
    if found != (ready.live.oid, ready.restored.oid):
        raise ActuatorError(
            f"Somebody else renamed or replaced a database while {rollback_id} was swapping.",
            untouched="The swap was undone as a whole.",
            resolution="Nothing to do: what is there is looked at before the swap is tried again.",
            transient=True,
        )


async def _end_all(connection: Connection, names: tuple[str, ...], ended: dict[int, Session]) -> None:
    for name in names:
        found = await catalog.sessions(connection, name)
        ended |= {session.pid: session for session in await end_sessions(connection, found)}


async def _keep_ending(
    connection: Connection, context: Context, names: tuple[str, ...], ended: dict[int, Session]
) -> None:
    while True:
        await context.clock.sleep(_POLL)
        await _end_all(connection, names, ended)


def _held(waiting: tuple[str, ...]) -> ActuatorError:
    return ActuatorError(
        f"Two-phase transactions hold the live database: {', '.join(waiting[:5])}.",
        untouched="No database was renamed.",
        resolution="Have their coordinator finish them, or run ROLLBACK PREPARED for each of them; then retry.",
    )


async def _in_use(error: psycopg.Error, connection: Connection, ready: _Ready) -> ActuatorError:
    """Say who kept the rename from happening."""
    found = await catalog.sessions(connection, ready.live.name)
    return ActuatorError(
        f"{error.diag.message_primary}: {catalog.sources(found) or error.diag.message_detail}.",
        untouched="No database was renamed.",
        resolution="Stop the named client, then retry.",
        transient=True,
    )


def _outcome(ready: _Ready, *, kept: str, ended: dict[int, Session], lost: tuple[str, ...]) -> Outcome:
    words = f"{ready.live.name} is the restored database; the failed one is kept as {kept}"
    if ended:
        words += f"; ended {catalog.sources(ended.values())}"
    if lost:
        words += f"; settings to be made by an administrator: {', '.join(lost)}"
    facts = {"failed_database": kept, "ended": len(ended), "settings_left_out": list(lost)}
    return Outcome(words, facts)


async def _settings_come_along(look: Look) -> tuple[Check, ...]:
    """Name the per-role settings that the bot's role cannot make on the restored database."""
    properties = await read_properties(look.connection, look.live)
    foreign = sorted({setting.role for setting in properties.settings if setting.role})
    barred = [role for role in foreign if not await catalog.may_act_as(look.connection, role)]
    if not barred:
        return ()
    words = f"Settings of roles in {look.live.name} would not come along: {', '.join(barred)}"
    user = quoted(look.target.user)
    statements = " ".join(f"GRANT {quoted(role)} TO {user};" for role in barred)
    return (Check(look.subject, Verdict.WARN, words, f"Run as an administrator: {statements}"),)


async def _slots_stay_behind(look: Look) -> tuple[Check, ...]:
    """Name what reads changes from the live database, because a slot follows the database and not its name."""
    rows = await (
        await look.connection.execute(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = %s ORDER BY 1", [look.live.name]
        )
    ).fetchall()
    if not rows:
        return ()
    words = f"Logical replication slots stay with the failed database: {', '.join(name for (name,) in rows)}"
    return (Check(look.subject, Verdict.WARN, words, "Have the subscribers set up anew after the rollback."),)
