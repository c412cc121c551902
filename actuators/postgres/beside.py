"""The database that a backup is restored into, beside the live one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from actuators.postgres import catalog
from actuators.postgres.catalog import DatabaseState
from actuators.postgres.connection import Connection, connected
from actuators.postgres.marker import Marker, beside_name, own_comment
from bot.domain.actuation import Context, Observation, Presence
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Backup

_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
"""pg_database.datlocprovider, which there is since PostgreSQL 15."""

_DEFAULT_TABLESPACE = "pg_default"


@dataclass(frozen=True)
class Origin:
    """What a copy is restored from.

    Attributes:
        step: The plan's step that restores; its name stands in the mark, whichever file is restored.
        backup: The file; under the id of the plan's backup even where it is another file.
        replaces: Whether it is another file than the plan's backup.
        target_time: The moment that it was recovered to, where it is a base backup.
    """

    step: str
    backup: Backup
    replaces: bool = False
    target_time: datetime | None = None


async def look(
    step: str, target: Database, context: Context, connection: Connection, *, wanted: Origin | None = None
) -> Observation:
    """Tell from the marks how far the restore has come.

    Args:
        step: The plan's step that restores.
        target: The database target.
        context: The run.
        connection: A session in the maintenance database.
        wanted: The file that must have been restored; without it, whichever the run restored counts.
    """
    live = await catalog.find_database(connection, target.dbname)
    mark = live.marker if live else None
    if mark is not None and (mark.rollback, mark.step, mark.state) == (context.rollback_id, step, "live"):
        return _restored(
            mark, f"Restored from {mark.source()}, and already in the place of {target.dbname}", wanted
        )
    name = beside_name(target.dbname, context.rollback_id)
    found = await catalog.find_database(connection, name)
    if found is None:
        return Observation(Presence.ABSENT, f"There is no database {name}")
    mark = found.marker
    if mark is None:
        if await _is_leftover(found, live, target, context):
            return Observation(Presence.ABSENT, f"{name} was only just created when the bot was interrupted")
        return Observation(Presence.UNKNOWN, f"{name} exists and is not the bot's: it bears no mark")
    if (mark.rollback, mark.step) != (context.rollback_id, step):
        return Observation(
            Presence.UNKNOWN, f"{name} exists and belongs to step {mark.step} of rollback {mark.rollback}"
        )
    if mark.state == "restored":
        return _restored(mark, f"{name} is restored from {mark.source()}", wanted, database=name)
    return Observation(Presence.ABSENT, f"{name} is only half restored")


def _restored(mark: Marker, words: str, wanted: Origin | None, **facts: str) -> Observation:
    """Return what a finished copy means. One of another file is finished too: it is not dropped for ours."""
    if wanted is not None and wanted.replaces:
        backup = wanted.backup
        digests = mark.sha256 == backup.sha256 or None in {mark.sha256, backup.sha256}
        if (mark.location, mark.taken_at) != (backup.location, backup.taken_at) or not digests:
            return Observation(Presence.UNKNOWN, f"{words}, and not from {backup.location}", facts)
    return Observation(Presence.PRESENT, words, facts)


async def _is_leftover(
    found: DatabaseState, live: DatabaseState | None, target: Database, context: Context
) -> bool:
    """Tell whether an unmarked database is our own, from a crash between CREATE DATABASE and its mark.

    The name is unique to the run, the owner is ours, and there is nothing in it: dropping it loses nothing.
    """
    if found.comment is not None or live is None or found.owner != live.owner:
        return False
    try:
        async with connected(target, context, dbname=found.name, looking=True) as connection:
            row = await (
                await connection.execute("SELECT count(*) FROM pg_class WHERE oid >= 16384")  # FirstNormalObjectId
            ).fetchone()
    except ActuatorError:
        return False
    return row is not None and row[0] == 0


async def create(
    origin: Origin, context: Context, connection: Connection, live: DatabaseState, *, sha256: str | None
) -> tuple[DatabaseState, Marker]:
    """Create the empty database with the live one's owner, encoding and locale, and mark it.

    Nobody but its owner may connect to it until it is swapped in.
    """
    name = beside_name(live.name, context.rollback_id)
    await connection.execute(creation(live, name))
    marker = Marker(
        rollback=context.rollback_id,
        step=origin.step,
        state="restoring",
        attempt=secrets.token_hex(8),
        backup=origin.backup.id,
        sha256=sha256,
        location=origin.backup.location if origin.replaces else None,
        taken_at=origin.backup.taken_at if origin.replaces else None,
        target_time=origin.target_time,
        comment=own_comment(live.comment),
    )
    await mark(connection, name, marker)
    await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    created = await catalog.find_database(connection, name)
    if created is None:
        raise ActuatorError(
            f"Database {name} vanished while it was being restored.",
            untouched=f"The live database {live.name} was not touched.",
            resolution="Find out who dropped it, then retry.",
            transient=True,
        )
    return created, marker


def creation(live: DatabaseState, name: str) -> sql.Composed:
    """Return the statement that creates a database like the live one, without its content."""
    columns = live.columns
    options: list[tuple[str, str]] = [("ENCODING", live.encoding)]
    provider = columns.get("datlocprovider")
    if provider is not None:
        options.append(("LOCALE_PROVIDER", _PROVIDERS[provider]))
    options += [("LC_COLLATE", columns["datcollate"]), ("LC_CTYPE", columns["datctype"])]
    # Named daticulocale in PostgreSQL 15 and 16.
    locale = columns.get("datlocale") or columns.get("daticulocale")
    if locale is not None:
        options.append(("BUILTIN_LOCALE" if provider == "b" else "ICU_LOCALE", locale))
    if columns.get("daticurules"):
        options.append(("ICU_RULES", columns["daticurules"]))
    clauses = [sql.SQL("{} {}").format(sql.SQL(key), sql.Literal(value)) for key, value in options]
    if live.tablespace != _DEFAULT_TABLESPACE:
        clauses.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(live.tablespace)))
    return sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 {}").format(
        sql.Identifier(name), sql.Identifier(live.owner), sql.SQL(" ").join(clauses)
    )


async def mark(connection: Connection, name: str, marker: Marker) -> None:
    """Write a database's mark."""
    text = marker.model_dump_json(exclude_none=True)
    await connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(text))
    )


async def finish(connection: Connection, created: DatabaseState, marker: Marker) -> None:
    """Mark the database as restored, if it is still the one that this attempt has filled.

    Raises:
        ActuatorError: If another worker has replaced it in the meantime.
    """
    found = await catalog.find_database(connection, created.name)
    if found is None or found.oid != created.oid or found.marker != marker:
        raise ActuatorError(
            f"Database {created.name} is no longer the one that was restored: another worker has replaced it.",
            untouched="The live database was not touched.",
            resolution="Nothing to do: what is there is looked at before the restore goes on.",
            transient=True,
        )
    await mark(connection, created.name, marker.model_copy(update={"state": "restored"}))


async def drop(connection: Connection, name: str) -> None:
    """Drop a half-restored database, whoever is connected to it."""
    await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
