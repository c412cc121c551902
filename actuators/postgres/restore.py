"""postgres.restore: the backup is restored beside the live database, and verified there."""

from __future__ import annotations

from dataclasses import dataclass

from actuators.postgres import archive, beside
from actuators.postgres.baseline import NOT_BASELINE, Measured, differences, gaps, measure
from actuators.postgres.beside import Origin
from actuators.postgres.checks import examine, may_create, may_own, server_size
from actuators.postgres.connection import Connection, connected, database_of
from actuators.postgres.dump_checks import check_backup, dump_fits, name_is_free, plan_backup
from actuators.postgres.filling import Copy, Filling, analyze, begin, finish, foreign, watch
from actuators.postgres.remedies import help_to_restore
from actuators.postgres.steps import Restore
from actuators.postgres.tools import Contents, Tools
from actuators.together import tasks
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Backup


class RestoreActuator:
    """Creates a database of the run's own, fills it with pg_restore, verifies it, and marks it as restored."""

    async def check(self, step: Restore, context: Context) -> tuple[Check, ...]:
        """Look at the backup, the role, the room and the names; the backup also when the server is down."""
        on_file = await check_backup(step, context)
        on_server = await examine(
            step,
            context,
            may_own,
            may_create,
            server_size,
            lambda look: name_is_free(look, step.id),
            lambda look: dump_fits(look, plan_backup(step, context)),
        )
        return (*on_file, *on_server)

    async def observe(self, step: Restore, context: Context) -> Observation:
        """Read the marks."""
        target = database_of(step, context)
        async with connected(target, context, looking=True) as connection:
            return await beside.look(step.id, target, context, connection)

    async def apply(self, step: Restore, context: Context) -> Outcome:
        """Restore and verify, unless this run has done so before."""
        target = database_of(step, context)
        order = Order(Origin(step.id, plan_backup(step, context)), analyze=step.analyze)
        return await carry_out(order, target, context)

    async def remedies(self, step: Restore, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return other backups, and who keeps the copy from being made."""
        return await help_to_restore(step, fault, context)


@dataclass(frozen=True)
class Order:
    """What is to be restored.

    Attributes:
        origin: From which file, and for which step of the plan.
        analyze: Whether the planner's statistics are gathered.
    """

    origin: Origin
    analyze: bool


async def carry_out(order: Order, target: Database, context: Context) -> Outcome:
    """Restore beside the live database and verify, unless this run has done so before.

    Raises:
        ActuatorError: If it cannot be done; the live database is as it was.
    """
    backup = order.origin.backup
    tools = Tools(target, context)
    async with connected(target, context) as connection:
        found = await beside.look(order.origin.step, target, context, connection, wanted=order.origin)
        if found.presence is Presence.PRESENT:
            return Outcome(found.words, found.facts)
        if found.presence is Presence.UNKNOWN:
            raise foreign(found.words)
        await archive.find_backup(backup)
        contents = await tools.contents(backup.location)
        copy = await _begin_verified(connection, order.origin, target, context)
    await _fill(copy, tools, path=backup.location, contents=contents)
    measured = await _verify(order, copy)
    await finish(copy)
    return Outcome(
        f"Restored {copy.marker.source()} beside {target.dbname} as {copy.created.name}: {measured.words()}",
        {"database": copy.created.name, **measured.facts()},
    )


async def _begin_verified(connection: Connection, origin: Origin, target: Database, context: Context) -> Copy:
    """Compare the file's digest, and create the copy. Nothing of a file is run before it is known.

    Raises:
        ActuatorError: If the plan means another file; no copy is left then.
    """
    if origin.backup.sha256 is None:
        digest = await archive.verify_digest(origin.backup)
        return await begin(connection, origin, target, context, sha256=digest)
    # Reading the file and creating a database take about as long as each other.
    async with tasks() as group:
        digesting = group.create_task(_misfit(origin.backup))
        copy = await begin(connection, origin, target, context, sha256=origin.backup.sha256)
    error = digesting.result()
    if error is not None:
        await beside.drop(connection, copy.created.name)
        raise error
    return copy


async def _misfit(backup: Backup) -> ActuatorError | None:
    try:
        await archive.verify_digest(backup)
    except ActuatorError as error:
        return error
    return None


async def _fill(copy: Copy, tools: Tools, *, path: str, contents: Contents) -> None:
    """Run pg_restore while the size of the database is watched."""
    jobs = 1 if contents.format == "TAR" else copy.target.jobs
    owners = contents.owners(copy.known)
    progress = Filling(copy.context, entries=contents.total, serial=jobs == 1)
    async with tasks() as group:
        watching = group.create_task(watch(copy, progress))
        await tools.restore(
            path,
            dbname=copy.created.name,
            jobs=jobs,
            # What has no owner in a dump (extensions) would belong to the bot otherwise.
            role=copy.live.owner if owners <= {copy.live.owner} else None,
            on_line=progress.follow,
        )
        watching.cancel()
    progress.complete()


async def _verify(order: Order, copy: Copy) -> Measured:
    """Compare the restored database with the baseline: exactly, if it is the plan's own backup.

    Another backup is of another moment, so its row counts cannot be those of the baseline; the schema must be the
    baseline's, and no table may be empty that was not.

    Raises:
        ActuatorError: If it differs.
    """
    baseline, origin = copy.context.plan.baseline, order.origin
    async with connected(copy.target, copy.context, dbname=copy.created.name) as connection, tasks() as group:
        if order.analyze:
            group.create_task(analyze(copy))
        measured = await measure(connection, copy.target, baseline)
    wrong = gaps(measured, baseline) if origin.replaces else differences(measured, baseline)
    if wrong:
        restored = origin.backup.location if origin.replaces else origin.backup.id
        raise ActuatorError(
            f"The restored backup {restored} {NOT_BASELINE}: {'; '.join(wrong)}.",
            untouched=f"The live {copy.target.dbname} was not touched; the copy is kept as {copy.created.name}.",
            resolution="Compare the plan's baseline with the backup: one of them is wrong.",
        )
    return measured
