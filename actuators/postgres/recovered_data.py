"""The database in a recovered server: what it holds, and its way into a copy beside the live one."""

from __future__ import annotations

from dataclasses import dataclass

from actuators.postgres import catalog
from actuators.postgres.baseline import Measured
from actuators.postgres.connection import CONNECT_TIMEOUT, application_name, password_of
from actuators.postgres.filling import Copy, Filling, watch
from actuators.postgres.recovered import RecoveredServer
from actuators.together import tasks
from bot.domain.actuation import Context, Progress
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Baseline

_LONG = 24 * 3600.0
"""Seconds; what really ends a dump or a restore is the step's own deadline."""

OWNERS = """
SELECT DISTINCT r.rolname::text, d.deptype = 'o' FROM pg_shdepend AS d JOIN pg_roles AS r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype IN ('o', 'a')
  AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION
SELECT r.rolname::text, true FROM pg_roles AS r WHERE r.oid = 10 AND EXISTS (
  SELECT FROM pg_class AS c WHERE c.relowner = 10 AND c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype IN ('e', 'i')))
"""
"""Roles that own something in the database, and those that have been granted something there. The role that was
made with the cluster (number 10) stands in no pg_shdepend. Numbers from 16384 on are not the system's own."""


@dataclass(frozen=True)
class Content:
    """What was read from the recovered database.

    Attributes:
        measured: Its schema version and rows.
        owners: Roles that own something in it.
        roles: These, and those that have been granted something.
    """

    measured: Measured
    owners: frozenset[str]
    roles: frozenset[str]


async def read(server: RecoveredServer, target: Database, baseline: Baseline) -> Content:
    """Read the recovered database.

    Raises:
        ActuatorError: If it is not there, or lacks a table that the plan or the inventory names.
    """
    version: str | None = None
    if baseline.schema_version is not None:
        rows = await _query(server, target, target.migrations)
        version = (rows[0][0] or None) if rows else None
    counts = {}
    for table in dict.fromkeys((*baseline.row_counts, *target.count_tables)):
        name = ".".join(catalog.quoted(part) for part in table.split("."))
        counts[table] = int((await _query(server, target, f"SELECT count(*) FROM {name}"))[0][0])  # noqa: S608 - a quoted name
    roles = await _query(server, target, OWNERS)
    return Content(
        Measured(version, counts),
        owners=frozenset(name for name, owns in roles if owns == "t"),
        roles=frozenset(name for name, _ in roles),
    )


async def _query(server: RecoveredServer, target: Database, statement: str) -> list[list[str]]:
    argv = [server.host.program("psql"), *_socket(server), "-d", target.dbname, "-XAtq", "-F", "\t"]
    finished = await server.host.run([*argv, "-v", "ON_ERROR_STOP=1", "-c", statement], timeout=_LONG)
    if finished.ok:
        return [line.split("\t") for line in finished.out.splitlines()]
    raise server.host.error(
        finished,
        f"the recovered database {target.dbname} cannot be read",
        resolution="Compare target time, baseline and the inventory's `migrations` with each other.",
    )


async def dump(server: RecoveredServer, target: Database, context: Context) -> str:
    """Dump the recovered database into a folder beside it, and return that folder.

    Raises:
        ActuatorError: If pg_dump fails.
    """
    folder = f"{server.host.run_folder}/dump.{server.attempt}"
    argv = [server.host.program("pg_dump"), *_socket(server), "--format=directory", "--compress=1"]
    argv += [f"--jobs={target.jobs}", "--no-password", f"--file={folder}", target.dbname]
    async with tasks() as group:
        watching = group.create_task(_watch_dump(server, context, folder))
        finished = await server.host.run(argv, timeout=_LONG)
        watching.cancel()
    if finished.ok:
        return folder
    raise server.host.error(
        finished, "pg_dump of the recovered database failed", resolution="Look at the room there; then retry."
    )


async def _watch_dump(server: RecoveredServer, context: Context, folder: str) -> None:
    while True:
        found = await server.host.run(["du", "-sk", folder])
        kilobytes = found.out.split("\t")[0]
        done = int(kilobytes) * 1024 if kilobytes.isdigit() else 0
        words = f"dumping the recovered database, {catalog.bytes_in_words(done)} written"
        context.report(Progress(done, None, "bytes", words))
        await context.clock.sleep(0.5)


async def fill(server: RecoveredServer, copy: Copy, folder: str, owners: frozenset[str]) -> None:
    """Restore the dump into the copy in the live server, from the recovered server's own machine.

    Raises:
        ActuatorError: If pg_restore fails.
    """
    target, progress = copy.target, Filling(copy.context, dbname=copy.target.dbname)
    password = password_of(target)
    env = [f"PGAPPNAME={application_name(copy.context)}", f"PGSSLMODE={target.sslmode}"]
    env += [f"PGCONNECT_TIMEOUT={CONNECT_TIMEOUT}"]
    if password is not None:
        env.append(f"PGPASSFILE={await _passfile(server, password)}")
    argv = ["env", *env, server.host.program("pg_restore"), "--exit-on-error", "--no-password"]
    argv += [f"--jobs={target.jobs}", f"--host={target.host}", f"--port={target.port}", f"--username={target.user}"]
    # What has no owner in a dump (extensions) would belong to the bot otherwise.
    argv += [f"--role={copy.live.owner}"] if owners <= {copy.live.owner} else []
    async with tasks() as group:
        watching = group.create_task(watch(copy, progress))
        finished = await server.host.run([*argv, f"--dbname={copy.created.name}", folder], timeout=_LONG)
        watching.cancel()
    if not finished.ok:
        raise server.host.error(
            finished,
            f"pg_restore into {copy.created.name} failed",
            resolution="Correct the cause and retry; the half-filled copy is dropped then.",
            secrets=[password] if password else [],
        )
    progress.complete()


async def _passfile(server: RecoveredServer, password: str) -> str:
    """Write the password where only the recovered server's user can read it; it goes with the run's folder."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    path = f"{server.host.run_folder}/pass"
    text = f"*:*:*:*:{escaped}\n".encode()
    written = await server.host.script('umask 077 && rm -f "$1" && cat >"$1"', path, stdin=text)
    if written.ok:
        return path
    raise server.host.error(written, "the run's folder cannot be written to", resolution="Look at the disk there.")


def refuse_missing_roles(content: Content, known: frozenset[str]) -> None:
    """Refuse what the live server has no roles for any more.

    Raises:
        ActuatorError: If it lacks a role that owns something or has been granted something.
    """
    missing = sorted(content.roles - known)
    if missing:
        statements = " ".join(f"CREATE ROLE {catalog.quoted(name)};" for name in missing)
        raise ActuatorError(
            f"The recovered database names roles that the live server has not any more: {', '.join(missing)}.",
            untouched="The live database was not touched.",
            resolution=f"Run as an administrator: {statements} Then retry.",
        )


def _socket(server: RecoveredServer) -> list[str]:
    return ["-h", server.host.run_folder, "-p", "5432", "-U", server.live.superuser]
