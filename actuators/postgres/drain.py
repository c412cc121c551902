"""postgres.drain: nobody is connected to the database any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

import psycopg

from actuators.postgres import catalog
from actuators.postgres.catalog import Session
from actuators.postgres.checks import examine, may_end_sessions, no_prepared_transactions
from actuators.postgres.connection import Connection, application_name, connected, database_of
from actuators.postgres.remedies import help_against_connections
from actuators.postgres.steps import Drain
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Step

_POLL = 0.1
"""Seconds between two looks."""

_ROUNDS = 50
"""How often sessions are ended before it is clear that somebody keeps coming back."""


S_contra = TypeVar("S_contra", bound=Step, contravariant=True)


class EndsSessions(Generic[S_contra]):
    """Brings the number of connections down to none, and names where they came from."""

    def grace(self, step: S_contra) -> timedelta:
        """Return how long clients may take to leave by themselves."""
        raise NotImplementedError

    def databases(self, target: Database, context: Context) -> tuple[str, ...]:
        """Return the databases that nobody may be connected to, the live one first."""
        raise NotImplementedError

    async def check(self, step: S_contra, context: Context) -> tuple[Check, ...]:
        """Look who is connected, and whether the role may end them."""
        return await examine(step, context, may_end_sessions, no_prepared_transactions)

    async def observe(self, step: S_contra, context: Context) -> Observation:
        """Count the connections."""
        target = database_of(step, context)
        async with connected(target, context, looking=True) as connection:
            names = self.databases(target, context)
            found = await catalog.sessions(connection, *names, own=application_name(context))
        if found:
            words = f"{count(found)} to {target.dbname}: {catalog.sources(found)}"
            return Observation(Presence.ABSENT, words, {"connections": len(found)})
        return Observation(Presence.PRESENT, f"No connections to {target.dbname}", {"connections": 0})

    async def apply(self, step: S_contra, context: Context) -> Outcome:
        """End them, and look until none has come back."""
        target = database_of(step, context)
        async with connected(target, context) as connection:
            names = self.databases(target, context)
            ended = await end_until_none(connection, context, names, grace=self.grace(step))
        words = f"No connections to {target.dbname} are left"
        if ended:
            words = f"Ended {count(ended)} to {target.dbname}: {catalog.sources(ended)}"
        return Outcome(words, {"connections": 0, "ended": len(ended)})


class DrainActuator(EndsSessions[Drain]):
    """Waits for clients to leave, then ends what remains and names its source."""

    def grace(self, step: Drain) -> timedelta:
        """Return the step's own patience."""
        return step.grace

    def databases(self, target: Database, context: Context) -> tuple[str, ...]:
        """Return the live database: the copy may be being filled meanwhile."""
        del context
        return (target.dbname,)

    async def remedies(self, step: Drain, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return who is connected, and putting them out without grace."""
        del fault
        return await help_against_connections(step, context, settles=True)


async def end_until_none(
    connection: Connection, context: Context, names: Sequence[str], *, grace: timedelta
) -> tuple[Session, ...]:
    """Bring the number of connections to some databases down to none.

    Args:
        connection: A session in the maintenance database.
        context: The run; its own sessions are left alone.
        names: The databases, the live one first.
        grace: How long clients may take to leave by themselves.

    Returns:
        The sessions that were ended.

    Raises:
        ActuatorError: If the role may not end one, or somebody comes back again and again; names who.
    """
    own = application_name(context)
    ended: dict[int, Session] = {}
    patience = context.clock.monotonic() + grace.total_seconds()
    first = await catalog.sessions(connection, *names, own=own)
    found, rounds = first, 0
    while found:
        _report(context, first=len(first), left=len(found))
        if context.clock.monotonic() >= patience:
            if rounds == _ROUNDS:
                raise _stubborn(names[0], found)
            ended |= {session.pid: session for session in await end_sessions(connection, found)}
            rounds += 1
        await context.clock.sleep(_POLL)
        found = await catalog.sessions(connection, *names, own=own)
    return tuple(ended.values())


async def end_sessions(connection: Connection, found: tuple[Session, ...]) -> tuple[Session, ...]:
    """End sessions and return those that were told to end; one that has gone by itself is none.

    Raises:
        ActuatorError: If the role may not end one of them.
    """
    told = []
    for session in found:
        try:
            row = await (await connection.execute("SELECT pg_terminate_backend(%s)", [session.pid])).fetchone()
        except psycopg.errors.InsufficientPrivilege as error:
            role = catalog.quoted(connection.info.user)
            raise ActuatorError(
                f"The role of the bot is too weak to end the session of {session.source}: "
                f"{error.diag.message_primary}.",
                untouched="That session goes on.",
                resolution=f"Run as an administrator: GRANT pg_signal_backend TO {role}; or end it by hand.",
            ) from None
        if row and row[0]:
            told.append(session)
    return tuple(told)


def _report(context: Context, *, first: int, left: int) -> None:
    total = max(first, left)
    context.report(Progress(total - left, total, "connections", f"{left} left"))


def count(found: Collection[Session]) -> str:
    """Return a number of sessions in words."""
    number = len(found)
    return f"{number} connection{'s' if number != 1 else ''}"


def _stubborn(dbname: str, found: tuple[Session, ...]) -> ActuatorError:
    return ActuatorError(
        f"Connections to {dbname} come back as soon as they are ended: {catalog.sources(found)}.",
        untouched="The database itself was not touched.",
        resolution="Stop the named client or its pool, then retry.",
        transient=True,
    )
