"""Connections to a database target, and PostgreSQL's errors in an operator's words."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import psycopg

from actuators import secrets
from actuators.redact import redact
from actuators.targets import target_of
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Step

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

CONNECT_TIMEOUT = 10
"""Seconds."""

_GUIDE = "docs/actuators/postgres.md lists every privilege the bot's role needs."
_PASSING = ("08", "40", "53", "55006", "55P03", "57")
"""Classes and codes of faults that may pass by themselves: connection, conflict, resources, object in use, lock,
operator intervention; https://www.postgresql.org/docs/current/errcodes-appendix.html"""


class _Refusal(NamedTuple):
    """A way in which a server turns a connection away. libpq hands on the text only, no code."""

    pattern: str
    brief: str
    resolution: str
    transient: bool = False


_REFUSALS = (
    _Refusal(
        r"password authentication failed",
        'The server at {address} refuses the password of user "{user}".',
        "Correct the secret in {secret}, or the user of the target in the inventory.",
    ),
    _Refusal(
        r"no password supplied",
        'The server at {address} wants a password of user "{user}", and the inventory names none.',
        "Name the password's place (env or file) at the target in the inventory.",
    ),
    _Refusal(
        r"no pg_hba\.conf entry",
        'The server at {address} does not let user "{user}" in from this machine (pg_hba.conf).',
        "Add a line to the server's pg_hba.conf for this user and machine, for all databases, and reload it.",
    ),
    _Refusal(
        r'database ".*" does not exist',
        'There is no database "{dbname}" at {address}.',
        "Correct the name of the database in the inventory.",
    ),
    _Refusal(
        r'role ".*" (does not exist|is not permitted to log in)',
        'User "{user}" may not log in to the server at {address}.',
        "Create the role with LOGIN, or correct the user of the target in the inventory.",
    ),
    _Refusal(
        r"permission denied for database",
        'User "{user}" may not connect to database "{dbname}".',
        "Run: GRANT CONNECT ON DATABASE {dbname} TO {user};",
    ),
    _Refusal(
        r"too many (clients|connections)|remaining connection slots",
        "The server at {address} has no connection left for the bot.",
        "Wait, or end connections that are not needed.",
        transient=True,
    ),
    _Refusal(
        r"starting up|shutting down|in recovery mode|not yet accepting",
        "The server at {address} is starting or stopping.",
        "Wait until it is up.",
        transient=True,
    ),
    _Refusal(
        r"SSL|certificate",
        "No trusted connection to the server at {address}: {reason}.",
        "Correct sslmode of the target in the inventory, or the server's certificate.",
    ),
)


def database_of(step: Step, context: Context) -> Database:
    """Return the step's target.

    Raises:
        ActuatorError: If the inventory has no database of that name.
    """
    return target_of(
        step, context, Database, called="database", section="databases", untouched="Nothing was touched."
    )


def password_of(target: Database) -> str | None:
    """Return the password of the target's user, None if none is configured."""
    return secrets.resolve(target.password) if target.password is not None else None


def application_name(context: Context) -> str:
    """Return the name under which the bot's sessions show in pg_stat_activity."""
    return f"rollback {context.rollback_id}"[:63]


@asynccontextmanager
async def connected(
    target: Database, context: Context, *, dbname: str | None = None, looking: bool = False
) -> AsyncIterator[Connection]:
    """Open a connection in autocommit mode; close it in the end.

    Args:
        target: The database target.
        context: The run.
        dbname: The database to connect to; without it, the maintenance database.
        looking: Whether every transaction is read only.

    Raises:
        ActuatorError: If the server refuses or fails, here or in the body.
    """
    dbname = dbname or target.maintenance
    password = password_of(target)
    try:
        connection = await psycopg.AsyncConnection.connect(
            host=target.host,
            port=target.port,
            dbname=dbname,
            user=target.user,
            password=password,
            sslmode=target.sslmode,
            application_name=application_name(context),
            connect_timeout=CONNECT_TIMEOUT,
            autocommit=True,
        )
    except psycopg.Error as error:
        raise refused(error, target, dbname=dbname) from None
    except asyncio.CancelledError as error:
        # The unfinished connection hangs in the frames of this error. Left open, its server process would wait for
        # a password until authentication_timeout (60 s), and keep every DROP DATABASE of the server waiting.
        traceback.clear_frames(error.__traceback__)
        raise
    try:
        if looking:
            await connection.execute("SET default_transaction_read_only = on")
        yield connection
    except psycopg.Error as error:
        raise explained(error, target) from None
    finally:
        await connection.close()


def refused(error: psycopg.Error, target: Database, *, dbname: str) -> ActuatorError:
    """Say why no connection came about."""
    text = " ".join(str(error).split())
    words = {
        "address": f"{target.host}:{target.port}",
        "user": target.user,
        "dbname": dbname,
        "secret": secrets.describe(target.password) if target.password else "~/.pgpass",
        "reason": _reason(text),
    }
    untouched = "Nothing was touched."
    for refusal in _REFUSALS:
        if re.search(refusal.pattern, text):
            return ActuatorError(
                refusal.brief.format(**words),
                untouched=untouched,
                resolution=refusal.resolution.format(**words),
                transient=refusal.transient,
            )
    return ActuatorError(
        "The database server at {address} does not answer: {reason}.".format(**words),
        untouched=untouched,
        resolution="Start the server, or correct host and port of the target in the inventory.",
        transient=True,
    )


def explained(error: psycopg.Error, target: Database) -> ActuatorError:
    """Say why a statement failed."""
    message = error.diag.message_primary or _reason(" ".join(str(error).split()))
    detail = error.diag.message_detail
    output = redact(f"{message}\n{detail}" if detail else message)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return ActuatorError(
            f'The role of the bot is too weak: user "{target.user}" was told: {message}.',
            resolution=f"Grant it what it lacks and ask again. {_GUIDE}",
            output=output,
        )
    state = error.sqlstate
    lost = state is None and isinstance(error, psycopg.OperationalError)
    if lost or (state or "").startswith(("08", "57P")):
        return ActuatorError(
            f"The connection to the server at {target.host}:{target.port} was lost: {message}.",
            resolution="Whether the last statement took effect is looked up before anything else is done.",
            transient=True,
            output=output,
        )
    return ActuatorError(
        f"The server at {target.host}:{target.port} refused: {message}.",
        resolution="Correct the cause and ask again.",
        transient=(state or "").startswith(_PASSING),
        output=output,
    )


def _reason(text: str) -> str:
    """Return the end of libpq's message, which names the cause; the beginning names the server once more."""
    text = re.sub(r"Is the server running.*$|Multiple connection attempts failed.*$", "", text)
    text = re.sub(
        r'^connection failed: |connection to server at "[^"]*"(?: \([^)]*\))?, port \d+ failed: ', "", text
    )
    return text.strip()[-300:].rstrip(".")
