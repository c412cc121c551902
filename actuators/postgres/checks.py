"""Preconditions that several steps share, looked at before anybody is asked to approve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from actuators.postgres import catalog
from actuators.postgres.catalog import DatabaseState, bytes_in_words, quoted
from actuators.postgres.connection import Connection, connected, database_of
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Step


@dataclass(frozen=True)
class Look:
    """What a precondition needs to look.

    Attributes:
        context: The run.
        target: The database target.
        connection: A read-only session in the maintenance database.
        live: The live database.
    """

    context: Context
    target: Database
    connection: Connection
    live: DatabaseState

    @property
    def subject(self) -> str:
        """The database, as checks name it."""
        return f"Database {self.target.dbname}"


Precondition = Callable[[Look], Awaitable[tuple[Check, ...]]]


async def examine(step: Step, context: Context, *preconditions: Precondition) -> tuple[Check, ...]:
    """Look at the server and at each precondition; one fault does not keep the others from being looked at."""
    subject = f"Database {step.target}"
    checks: list[Check] = []
    try:
        target = database_of(step, context)
        async with connected(target, context, looking=True) as connection:
            version = connection.info.parameter_status("server_version") or "?"
            found = f"PostgreSQL {version} answers at {target.host}:{target.port}"
            checks.append(Check(f"Server of {step.target}", Verdict.OK, found))
            look = Look(context, target, connection, await live_database(connection, target))
            for precondition in preconditions:
                try:
                    checks += await precondition(look)
                except ActuatorError as error:
                    checks.append(cannot_look(look.subject, error))
    except ActuatorError as error:
        checks.append(cannot_look(subject, error))
    return tuple(checks)


async def live_database(connection: Connection, target: Database) -> DatabaseState:
    """Return the live database.

    Raises:
        ActuatorError: If there is none.
    """
    if target.dbname == target.maintenance:
        raise ActuatorError(
            f"Database {target.dbname} is its own maintenance database, so that it cannot be renamed.",
            untouched="Nothing was touched.",
            resolution="Name another database as `maintenance` of the target in the inventory, e.g. postgres.",
        )
    live = await catalog.find_database(connection, target.dbname)
    if live is not None:
        return live
    raise ActuatorError(
        f"There is no database {target.dbname} at {target.host}:{target.port}.",
        untouched="Nothing was touched.",
        resolution="Look with \\l which databases there are: after an interrupted manual swap it has another name.",
    )


async def may_own(look: Look) -> tuple[Check, ...]:
    """Check that the role may act as the database's owner."""
    owner, user = look.live.owner, quoted(look.target.user)
    if await catalog.may_act_as(look.connection, owner):
        return (Check(look.subject, Verdict.OK, f"{look.target.user} may act as its owner {owner}"),)
    return (
        Check(
            look.subject,
            Verdict.FAIL,
            f'The role is too weak: "{look.target.user}" has not the rights of {owner}, who owns the database. '
            "Nothing was touched.",
            f"Run as an administrator: GRANT {quoted(owner)} TO {user};",
        ),
    )


async def may_create(look: Look) -> tuple[Check, ...]:
    """Check that the role may create and rename databases."""
    role = await catalog.own_role(look.connection)
    if role.superuser or role.createdb:
        return (Check(look.subject, Verdict.OK, f"{role.name} may create and rename databases"),)
    return (
        Check(
            look.subject,
            Verdict.FAIL,
            f'The role is too weak: "{role.name}" may not create or rename databases. Nothing was touched.',
            f"Run as an administrator: ALTER ROLE {quoted(role.name)} CREATEDB;",
        ),
    )


async def may_end_sessions(look: Look) -> tuple[Check, ...]:
    """Check that the role may end everybody's sessions in the database, and name who is there now."""
    role = await catalog.own_role(look.connection)
    own = await catalog.sessions(look.connection, look.live.name)
    subject = f"Connections to {look.live.name}"
    checks = [
        Check(subject, Verdict.OK, f"{len(own)} now: {catalog.sources(own)}" if own else "None at the moment")
    ]
    if role.superuser:
        return tuple(checks)
    users = {session.user for session in own}
    if not role.signal:
        barred = sorted([user for user in users if not await catalog.may_act_as(look.connection, user)])
        resolution = f"Run as an administrator: GRANT pg_signal_backend TO {quoted(role.name)};"
        words = f'The role is too weak: "{role.name}" may not end the sessions of {{}}. Nothing was touched.'
        if barred:
            checks.append(Check(subject, Verdict.FAIL, words.format(", ".join(barred)), resolution))
        elif not await catalog.may_act_as(look.connection, look.live.owner):
            checks.append(Check(subject, Verdict.FAIL, words.format("other roles"), resolution))
    superusers = sorted(users & await catalog.superusers(look.connection))
    if superusers:
        words = f"Sessions of administrators ({', '.join(superusers)}) are not the bot's to end"
        checks.append(Check(subject, Verdict.WARN, words, "Ask them to leave before the database is swapped."))
    return tuple(checks)


async def no_prepared_transactions(look: Look) -> tuple[Check, ...]:
    """Check that no two-phase transaction holds the database."""
    waiting = await catalog.prepared_transactions(look.connection, look.live.name)
    if not waiting:
        return ()
    return (
        Check(
            look.subject,
            Verdict.FAIL,
            f"Two-phase transactions wait in it and hold it: {', '.join(waiting[:5])}. Nothing was touched.",
            "Have their coordinator finish them, or run ROLLBACK PREPARED for each as its owner.",
        ),
    )


async def server_size(look: Look) -> tuple[Check, ...]:
    """Show how much room a copy of the database will take on the server."""
    size = await catalog.size(look.connection, look.live.name)
    words = f"{bytes_in_words(size)} on the server; a restored copy needs about as much beside it"
    return (Check(look.subject, Verdict.OK, words),)
