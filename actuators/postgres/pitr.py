"""postgres.pitr and postgres.pitr_clear: the database as it was at a moment, brought beside the live one.

A recovery is one of a whole cluster. It is done by a second server, from which only the one database is brought
over: a switch of clusters would take every other database back as well.
"""

from __future__ import annotations

from contextlib import suppress

from actuators.postgres import base_backup, beside
from actuators.postgres.base_backup import BaseBackup
from actuators.postgres.baseline import NOT_BASELINE, Measured, differences, measure
from actuators.postgres.beside import Origin
from actuators.postgres.connection import connected, database_of
from actuators.postgres.dump_checks import plan_backup
from actuators.postgres.filling import Copy, analyze, begin, finish, foreign
from actuators.postgres.live_server import LiveServer, archive_newest, live_server
from actuators.postgres.pitr_checks import check_recovery, refuse_moment
from actuators.postgres.recovered import RecoveredServer, Seen, remove
from actuators.postgres.recovered_data import Content, dump, fill, read, refuse_missing_roles
from actuators.postgres.recovery_host import RecoveryHost, recovery_host
from actuators.postgres.remedies import help_against_connections
from actuators.postgres.steps import ClearPitr, Pitr
from actuators.remedies import cannot_look, titled
from actuators.together import tasks
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Step
from bot.domain.times import parse_duration, utc_second


class PitrActuator:
    """Recovers a base backup to a moment beside the live server, and brings the database over."""

    async def check(self, step: Pitr, context: Context) -> tuple[Check, ...]:
        """Look at the machine, the base backup, the archive, the server and the role."""
        return await check_recovery(step, context)

    async def observe(self, step: Pitr, context: Context) -> Observation:
        """Read the marks. The copy is marked as restored when nothing of the recovered server is left."""
        target = database_of(step, context)
        async with connected(target, context, looking=True) as connection:
            return await beside.look(step.id, target, context, connection)

    async def apply(self, step: Pitr, context: Context) -> Outcome:
        """Recover, verify, bring over, clear away; unless this run has done so before."""
        target, backup = database_of(step, context), plan_backup(step, context)
        async with recovery_host(step, target, context) as host:
            async with connected(target, context) as connection:
                found = await beside.look(step.id, target, context, connection)
                if found.presence is Presence.PRESENT:
                    return Outcome(found.words, found.facts)
                if found.presence is Presence.UNKNOWN:
                    raise foreign(found.words)
                base = base_backup.judge(backup, await base_backup.look(backup, host))
                server = await _ready(step, context, await live_server(connection), base)
                await archive_newest(connection, server, host, context)
            recovered = RecoveredServer(host, context, step.id, base, server, step.target_time)
            try:
                copy, measured, seen = await _bring_over(step, target, recovered)
            except BaseException:
                # What went wrong is worth more than that it could not be cleared away, which the remedy does.
                with suppress(ActuatorError):
                    await recovered.remove()
                raise
            await recovered.remove()
        await finish(copy)
        return Outcome(
            f"Recovered {copy.marker.source()} beside {target.dbname} as {copy.created.name}: {measured.words()}",
            {"database": copy.created.name, "recovered_to": seen.facts["stopping"], **measured.facts()},
        )

    async def remedies(self, step: Pitr, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return clearing away what is left of the recovered server, and who keeps the copy from being made."""
        found: list[Remedy] = []
        if "being accessed by" in fault.brief or "being used by" in fault.brief:
            found += await help_against_connections(step, context)
        with suppress(ActuatorError):
            target = database_of(step, context)
            async with recovery_host(step, target, context) as host:
                if await _left(host):
                    found.append(_clearing(step, target, host))
        return tuple(found)


class ClearPitrActuator:
    """Stops the recovered server that an interrupted step has left, and removes its folder."""

    async def check(self, step: ClearPitr, context: Context) -> tuple[Check, ...]:
        """Look whether the machine can be reached, and what is there."""
        try:
            seen = await self.observe(step, context)
        except ActuatorError as error:
            return (cannot_look(f"Target {step.target}", error),)
        return (Check(f"Target {step.target}", Verdict.OK, seen.words),)

    async def observe(self, step: ClearPitr, context: Context) -> Observation:
        """Look whether the run's folder is there."""
        async with recovery_host(step, database_of(step, context), context) as host:
            if await _left(host):
                return Observation(Presence.ABSENT, f"{host.run_folder} is there on {host.name}")
            return Observation(Presence.PRESENT, f"There is no {host.run_folder} on {host.name}")

    async def apply(self, step: ClearPitr, context: Context) -> Outcome:
        """Stop and remove; nothing but this run's own."""
        async with recovery_host(step, database_of(step, context), context) as host:
            await remove(host, context)
            return Outcome(f"Nothing is left of the recovered server: {host.run_folder} is gone from {host.name}")


async def _ready(step: Pitr, context: Context, server: LiveServer, base: BaseBackup) -> LiveServer:
    """Refuse once more what the checks refuse: hours may have passed since.

    Raises:
        ActuatorError: If the moment cannot be recovered, or would be recovered over live files.
    """
    refuse_moment(step, context, server, base)
    if server.tablespaces:
        raise ActuatorError(
            f"The server has tablespaces of its own: {', '.join(server.tablespaces)}.",
            untouched="Nothing was touched.",
            resolution="Recover the cluster on another machine by hand: replayed WAL would write to the live ones.",
        )
    return server


async def _bring_over(step: Pitr, target: Database, recovered: RecoveredServer) -> tuple[Copy, Measured, Seen]:
    """Recover, verify there, copy, and verify the copy.

    Raises:
        ActuatorError: If any of it fails; the live database is as it was.
    """
    context, base = recovered.context, recovered.base
    seen = await recovered.bring_up()
    content = await read(recovered, target, context.plan.baseline)
    _refuse_other_state(step, content, context)
    origin = Origin(step.id, plan_backup(step, context), target_time=step.target_time)
    folder = await dump(recovered, target, context)
    async with connected(target, context) as connection:
        copy = await begin(connection, origin, target, context, sha256=base.digest)
    refuse_missing_roles(content, copy.known)
    await fill(recovered, copy, folder, content.owners)
    async with connected(target, context, dbname=copy.created.name) as connection, tasks() as group:
        if step.analyze:
            group.create_task(analyze(copy))
        measured = await measure(connection, target, context.plan.baseline)
    if measured != content.measured:
        raise ActuatorError(
            f"The copy {copy.created.name} does not hold what was recovered: {measured.words()}, not "
            f"{content.measured.words()}.",
            untouched=f"The live {target.dbname} was not touched.",
            resolution="Find out who writes to the copy; then retry, and it is made anew.",
        )
    return copy, measured, seen


def _refuse_other_state(step: Pitr, content: Content, context: Context) -> None:
    wrong = differences(content.measured, context.plan.baseline, tolerance=step.tolerance)
    if wrong:
        raise ActuatorError(
            f"The database as of {utc_second(step.target_time)} {NOT_BASELINE}: {'; '.join(wrong)}.",
            untouched="The live database was not touched, and no copy was made.",
            resolution="Compare `target_time` with the baseline; rows that were written between the two need a "
            "`tolerance`.",
        )


async def _left(host: RecoveryHost) -> bool:
    """Return whether something of this run lies on the machine.

    Raises:
        ActuatorError: If the machine cannot be asked.
    """
    finished = await host.script('if [ -e "$1" ] || [ -L "$1" ]; then echo yes; fi', host.run_folder)
    if not finished.ok:
        raise host.error(finished, "it cannot be looked at", resolution="Try the login by hand.", transient=True)
    return "yes" in finished.out


def _clearing(step: Step, target: Database, host: RecoveryHost) -> Remedy:
    return Remedy(
        "pitr-clear",
        titled(f"Remove the recovered server of {target.dbname}"),
        f"Stops the second server of this run on {host.name} and removes {host.run_folder}. The live server is not "
        "touched; a later attempt begins with the base backup again.",
        ClearPitr(id="pitr-clear", target=step.target, recovers=step.id, expected=parse_duration("30s")),
    )
