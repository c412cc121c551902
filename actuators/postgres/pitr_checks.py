"""Whether a moment can be recovered: machine, base backup, archive, server and role; read only."""

from __future__ import annotations

from datetime import UTC, datetime

from actuators.postgres import base_backup, catalog, wal
from actuators.postgres.base_backup import BaseBackup, Findings
from actuators.postgres.catalog import bytes_in_words, quoted
from actuators.postgres.checks import Look, examine, may_create, may_own, server_size
from actuators.postgres.connection import connected, database_of
from actuators.postgres.dump_checks import name_is_free, plan_backup
from actuators.postgres.live_server import LiveServer, archiver_fails, live_server
from actuators.postgres.recovered_data import OWNERS
from actuators.postgres.recovery_host import RecoveryHost, recovery_host
from actuators.postgres.steps import Pitr
from actuators.postgres.tools import major
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.times import utc_second

_UNTOUCHED = "Nothing was touched."


async def check_recovery(step: Pitr, context: Context) -> tuple[Check, ...]:
    """Look at everything that the recovery needs; the machine also when the server is down."""
    checks: list[Check] = []
    subject = f"Backup {step.backup}"
    try:
        target, backup = database_of(step, context), plan_backup(step, context)
        async with recovery_host(step, target, context) as host:
            subject = f"Machine {host.name}"
            findings = await base_backup.look(backup, host)
            subject = f"Backup {step.backup}"
            checks += machine(host, findings)
            base: BaseBackup | None = None
            try:
                base = base_backup.judge(backup, findings)
                checks += [_found(step, base), *_room(host, findings, base)]
            except ActuatorError as error:
                checks.append(cannot_look(subject, error))
            checks += await examine(
                step,
                context,
                may_own,
                may_create,
                may_give,
                server_size,
                lambda look: name_is_free(look, step.id),
                lambda look: fits(look, step, host, findings, base),
            )
    except ActuatorError as error:
        checks.append(cannot_look(subject, error))
    return tuple(checks)


def machine(host: RecoveryHost, findings: Findings) -> list[Check]:
    """Judge the machine: programs, user, folders."""
    facts, checks = findings.facts, []

    def fail(words: str, resolution: str) -> None:
        checks.append(Check(f"Machine {host.name}", Verdict.FAIL, f"{words}. {_UNTOUCHED}", resolution))

    if findings.lacks:
        missing = ", ".join(findings.lacks)
        fail(f"PostgreSQL's programs are not there: {missing}", "Correct `bin_dir` of the target's `pitr`.")
    if facts["uid"] == "0":
        fail("PostgreSQL does not run as root", "Name a `user` of the target's `pitr`, or log in as another one.")
    if facts["scratch"] == "missing":
        fail(f"There is no folder {host.pitr.scratch}", f"Run: install -d -m 700 -o USER {host.pitr.scratch}")
    if facts["scratch"] == "denied":
        fail(f"{facts['user']} may not write to {host.pitr.scratch}", f"Make {facts['user']} own it.")
    if facts.get("archive") in {"missing", "denied"}:
        what = (
            "There is no archive" if facts["archive"] == "missing" else f"{facts['user']} may not read the archive"
        )
        fail(f"{what} {host.pitr.archive}", "Correct `archive` of the target's `pitr`, or the folder's rights.")
    words = f"{facts['user']} runs {facts['version'] or 'no PostgreSQL'}"
    if facts.get("left"):
        words += f"; {host.run_folder} is there already, of an interrupted attempt"
    return checks or [Check(f"Machine {host.name}", Verdict.OK, words)]


def _found(step: Pitr, base: BaseBackup) -> Check:
    words = f"{bytes_in_words(base.size)}, ended {utc_second(base.ended)}, manifest {base.digest[:12]}..."
    return Check(f"Backup {step.backup}", Verdict.OK, f"base backup, {words}")


def _room(host: RecoveryHost, findings: Findings, base: BaseBackup) -> list[Check]:
    free = findings.number("free") * 1024
    words = f"{bytes_in_words(free)} free in {host.pitr.scratch}, the base backup has {bytes_in_words(base.size)}"
    subject = f"Machine {host.name}"
    if free < base.size:
        return [Check(subject, Verdict.FAIL, f"Too little room: {words}. {_UNTOUCHED}", "Make room there.")]
    if free < 2 * base.size:
        return [Check(subject, Verdict.WARN, f"{words}; a dump of the database needs some too", "Make room there.")]
    return [Check(subject, Verdict.OK, words)]


async def fits(
    look: Look, step: Pitr, host: RecoveryHost, findings: Findings, base: BaseBackup | None
) -> tuple[Check, ...]:
    """Check the moment and the archive against the live server."""
    server = await live_server(look.connection)
    checks = [*_version(look, host, findings, server), *_tablespaces(look, server)]
    try:
        refuse_moment(step, look.context, server, base)
    except ActuatorError as error:
        checks.append(cannot_look(look.subject, error))
    if base is None:
        return tuple(checks)
    if base.system not in {"", server.system}:
        words = f"Backup {step.backup} is one of another cluster than the live one. {_UNTOUCHED}"
        checks.append(Check(look.subject, Verdict.FAIL, words, "Name a base backup of this cluster in the plan."))
    checks += await _archive(look, step, host, server, base)
    return tuple(checks)


def refuse_moment(step: Pitr, context: Context, server: LiveServer, base: BaseBackup | None) -> None:
    """Refuse a moment that is no way back or cannot be reached.

    Raises:
        ActuatorError: If it is one.
    """
    moment, problem = utc_second(step.target_time), ""
    resolution = "Correct `target_time` in the plan."
    if step.target_time > context.plan.deployed_at:
        problem = f"{moment} is after the deployment, so it would bring back the failed state"
    elif step.target_time > server.now:
        problem = f"{moment} lies in the future by the server's clock ({utc_second(server.now)})"
    elif base is not None and step.target_time <= base.ended:
        problem = (
            f"Backup {step.backup} ended at {utc_second(base.ended)}, and recovery to {moment} must begin before"
        )
        resolution = "Name an older base backup in the plan, or a later moment."
    if problem:
        raise ActuatorError(f"{problem}.", untouched=_UNTOUCHED, resolution=resolution)


def _version(look: Look, host: RecoveryHost, findings: Findings, server: LiveServer) -> list[Check]:
    found = major(findings.facts["version"].rpartition(")")[2])
    if found == server.major or not findings.facts["version"]:
        return []
    words = f"{host.name} has PostgreSQL {found}, and the server is {server.major}: it could not start on its files"
    resolution = f"Point `bin_dir` of the target's `pitr` at PostgreSQL {server.major}."
    return [Check(look.subject, Verdict.FAIL, f"{words}. {_UNTOUCHED}", resolution)]


def _tablespaces(look: Look, server: LiveServer) -> list[Check]:
    if not server.tablespaces:
        return []
    words = (
        f"The server has tablespaces of its own ({', '.join(server.tablespaces)}): replayed WAL would write there"
    )
    resolution = "Recover the cluster on another machine by hand, or restore a dump instead."
    return [Check(look.subject, Verdict.FAIL, f"{words}. {_UNTOUCHED}", resolution)]


async def _archive(look: Look, step: Pitr, host: RecoveryHost, server: LiveServer, base: BaseBackup) -> list[Check]:
    """Check that the WAL from the backup on is there without a gap, and that the newest will come."""
    subject, size = "Archived WAL", server.segment_size
    there = await base_backup.archived(base, host, segment_size=size)
    if there is None:
        words = "It cannot be listed, so a gap would only show during the recovery"
        checks = [Check(subject, Verdict.WARN, words, "Look at it with the archive's own tool.")]
    else:
        first = base.first(size)
        gaps = wal.missing(first, there, until=step.target_time.timestamp())
        newest = max(there.values(), default=0.0)
        if gaps:
            words = f"Segments are missing: {wal.named(gaps, base.timeline, size)}. {_UNTOUCHED}"
            resolution = "Find them in another copy of the archive, or name a later base backup."
            return [Check(subject, Verdict.FAIL, words, resolution)]
        words = f"{len(there)} segments without a gap from {first.name(size)} on"
        if newest:
            words += f", the newest of {utc_second(datetime.fromtimestamp(newest, tz=UTC))}"
        checks = [Check(subject, Verdict.OK, words)]
    failing = await archiver_fails(look.connection)
    if failing:
        words = f"The live server cannot archive {failing} at the moment"
        checks.append(
            Check(subject, Verdict.WARN, words, "Look into the server's log, and correct archive_command.")
        )
    if not server.may_switch:
        user = quoted(look.target.user)
        words = f"{look.target.user} may not have the newest WAL archived: the end may be missing"
        resolution = f"Run as an administrator: GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {user};"
        checks.append(Check(subject, Verdict.WARN, words, resolution))
    return checks


async def may_give(look: Look) -> tuple[Check, ...]:
    """Check that the role may give objects to those who own some in the live database: they are likely to then."""
    async with connected(look.target, look.context, dbname=look.live.name, looking=True) as connection:
        rows = await (await connection.execute(OWNERS.encode())).fetchall()
    owners = {name for name, owns in rows if owns} - {look.live.owner}
    barred = sorted([name for name in owners if not await catalog.may_act_as(look.connection, name)])
    if not barred:
        return ()
    user = look.target.user
    words = f'The role is too weak: "{user}" may not give objects to {", ".join(barred)}. {_UNTOUCHED}'
    statements = " ".join(f"GRANT {quoted(name)} TO {quoted(user)};" for name in barred)
    return (Check(look.subject, Verdict.FAIL, words, f"Run as an administrator: {statements}"),)
