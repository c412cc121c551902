"""What a point-in-time recovery must know of the live server, and its newest WAL brought into the archive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from actuators.postgres.connection import Connection
from actuators.postgres.recovery_host import RecoveryHost
from bot.domain.actuation import Context, Progress
from bot.domain.errors import ActuatorError

LIMITS = {
    "max_connections": "max_connections",
    "max_worker_processes": "max_worker_processes",
    "max_wal_senders": "max_wal_senders",
    "max_prepared_transactions": "max_prepared_xacts",
    "max_locks_per_transaction": "max_locks_per_xact",
}
"""Settings that a server which replays WAL may not have lower than the one that wrote it, with their names in
pg_controldata; https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN"""

_FACTS = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       (SELECT timeline_id FROM pg_control_checkpoint()),
       pg_size_bytes(current_setting('wal_segment_size')),
       clock_timestamp(),
       (SELECT rolname::text FROM pg_roles WHERE oid = 10),
       has_function_privilege('pg_switch_wal()', 'EXECUTE'),
       array(SELECT spcname::text FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1),
       (SELECT json_object_agg(name, setting::int) FROM pg_settings WHERE name = ANY(%s))
"""
_ARCHIVER = """
SELECT coalesce(left(last_archived_wal, 24), ''), coalesce(last_failed_wal, ''),
       coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
FROM pg_stat_archiver
"""
_WHOLE = '[ "$(stat -c %s -- "$1/$2" 2>/dev/null)" = "$3" ]'

_POLL = 0.5
_PATIENCE = 120.0
"""Seconds in which the archiver must have taken the newest segment; it takes one after the other."""


@dataclass(frozen=True)
class LiveServer:
    """The live server.

    Attributes:
        system: The cluster's own number, which its base backups share.
        timeline: The timeline that it writes.
        segment_size: Bytes of a WAL segment.
        now: The time by its clock, which is that of the WAL.
        superuser: The role that was made with the cluster.
        may_switch: Whether the bot's role may have the current segment archived.
        tablespaces: Its tablespaces outside of the data folder.
        limits: The settings of `LIMITS`.
        major: Its version.
    """

    system: str
    timeline: int
    segment_size: int
    now: datetime
    superuser: str
    may_switch: bool
    tablespaces: tuple[str, ...]
    limits: dict[str, int]
    major: int


async def live_server(connection: Connection) -> LiveServer:
    """Return what the server says of itself, read only."""
    row = await (await connection.execute(_FACTS, [list(LIMITS)])).fetchone()
    assert row is not None, "the statement has no condition"  # noqa: S101 - one row by its form
    system, timeline, segment_size, now, superuser, may_switch, tablespaces, limits = row
    return LiveServer(
        system=system,
        timeline=timeline,
        segment_size=segment_size,
        now=now,
        superuser=superuser,
        may_switch=may_switch,
        tablespaces=tuple(tablespaces),
        limits=limits,
        major=connection.info.server_version // 10000,
    )


async def archiver_fails(connection: Connection) -> str:
    """Return which segment the server cannot archive at the moment; empty if there is none."""
    row = await (await connection.execute(_ARCHIVER)).fetchone()
    return str(row[1]) if row and row[2] else ""


async def archive_newest(
    connection: Connection, server: LiveServer, host: RecoveryHost, context: Context
) -> str | None:
    """Have everything archived that was written until now, and a transaction after it, by which recovery ends.

    Recovery stops at the first commit after its target: on a quiet server there may be none.

    Returns:
        The newest archived segment; None if the bot's role may not have it archived.

    Raises:
        ActuatorError: If the archiver does not take it in time.
    """
    try:
        await connection.execute("SELECT pg_current_xact_id()")
        row = await (await connection.execute("SELECT pg_walfile_name(pg_switch_wal() - 1)")).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    assert row is not None, "a function yields one row"  # noqa: S101 - one row by its form
    segment = str(row[0])
    until = context.clock.monotonic() + _PATIENCE
    while not await _is_archived(segment, connection, server, host):
        if context.clock.monotonic() >= until:
            failing = await archiver_fails(connection)
            raise ActuatorError(
                f"The live server has not archived WAL segment {segment} within {_PATIENCE:g} s"
                + (f": its archive_command fails for {failing}." if failing else "."),
                untouched="The live database was not touched.",
                resolution="Look into the server's log why its archiver does not go on; retry when it does.",
                transient=True,
            )
        context.report(Progress(0, None, "seconds", f"waiting for WAL segment {segment} to be archived"))
        await context.clock.sleep(_POLL)
    return segment


async def _is_archived(segment: str, connection: Connection, server: LiveServer, host: RecoveryHost) -> bool:
    if host.pitr.archive is not None:
        # A plain `cp` fills the file under its final name, so only a whole one counts.
        found = await host.script(_WHOLE, host.pitr.archive, segment, str(server.segment_size))
        return found.ok
    row = await (await connection.execute(_ARCHIVER)).fetchone()
    return row is not None and str(row[0]) >= segment
