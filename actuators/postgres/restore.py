"""postgres.restore: the backup is restored beside the live database, and verified there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import psycopg

from actuators.postgres import archive, beside, catalog
from actuators.postgres.baseline import NOT_BASELINE, Measured, differences, gaps, measure
from actuators.postgres.beside import Origin
from actuators.postgres.catalog import DatabaseState
from actuators.postgres.checks import examine, live_database, may_create, may_own, server_size
from actuators.postgres.connection import Connection, connected, database_of, tasks
from actuators.postgres.dump_checks import check_backup, dump_fits, name_is_free, plan_backup
from actuators.postgres.marker import beside_name
from actuators.postgres.remedies import help_to_restore
from actuators.postgres.steps import Restore
from actuators.postgres.tools import Contents, Tools
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database

_POLL = 0.5
"""Seconds between two looks at the size of the database."""


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
    backup, name = order.origin.backup, beside_name(target.dbname, context.rollback_id)
    tools = Tools(target, context)
    async with connected(target, context) as connection:
        found = await beside.look(order.origin.step, target, context, connection, wanted=order.origin)
        if found.presence is Presence.PRESENT:
            return Outcome(found.words, found.facts)
        if found.presence is Presence.UNKNOWN:
            raise _foreign(found.words)
        await archive.find_backup(backup)
        contents = await tools.contents(backup.location)
        digest = await archive.verify_digest(backup)
        live = await live_database(connection, target)
        try:
            await beside.drop(connection, name)
            created, marker = await beside.create(order.origin, context, connection, live, sha256=digest)
        except psycopg.errors.ObjectInUse as error:
            raise await _in_use(error, connection, name) from None
        known = await catalog.roles(connection)
    job = _Job(target, context, tools, live, created)
    await _fill(job, path=backup.location, contents=contents, known=known)
    measured = await _verify(order, job)
    async with connected(target, context) as connection:
        await beside.finish(connection, created, marker)
    return Outcome(
        f"Restored {marker.source()} beside {target.dbname} as {created.name}: {measured.words()}",
        {"database": created.name, **measured.facts()},
    )


@dataclass(frozen=True)
class _Job:
    """One restore on its way."""

    target: Database
    context: Context
    tools: Tools
    live: DatabaseState
    created: DatabaseState


@dataclass
class _Progress:
    """Bytes from the size of the database, words from pg_restore's messages."""

    context: Context
    entries: int
    serial: bool
    size: int = 0
    total: int | None = None
    last: str = ""
    finished: set[str] = field(default_factory=set)

    def follow(self, line: str) -> None:
        """Take a message of pg_restore."""
        if self.serial:
            match = re.search(r"((?:creating|processing data for table) .*)$", line)
            number = line
        else:
            match = re.search(r"(?:processing|finished) item (\d+) (.*)$", line)
            number = match[1] if match else ""
        if match:
            self.finished.add(number)
            self.last = match[match.lastindex or 0]
            self.report()

    def report(self) -> None:
        """Tell how far the restore is."""
        share = min(len(self.finished), self.entries)
        words = f"{share} of {self.entries} objects" + (f", last {self.last}" if self.last else "")
        self.context.report(Progress(self.size, self.total, "bytes", words))


async def _fill(job: _Job, *, path: str, contents: Contents, known: frozenset[str]) -> None:
    """Run pg_restore while the size of the database is watched."""
    jobs = 1 if contents.format == "TAR" else job.target.jobs
    owners = contents.owners(known)
    progress = _Progress(job.context, entries=contents.total, serial=jobs == 1)
    async with tasks() as group:
        watch = group.create_task(_watch(job, progress))
        await job.tools.restore(
            path,
            dbname=job.created.name,
            jobs=jobs,
            # What has no owner in a dump (extensions) would belong to the bot otherwise.
            role=job.live.owner if owners <= {job.live.owner} else None,
            on_line=progress.follow,
        )
        watch.cancel()
    if progress.total is not None:
        progress.size = progress.total
    progress.report()


async def _watch(job: _Job, progress: _Progress) -> None:
    """Follow the size until the caller ends it. It is a convenience: its own faults end nothing."""
    try:
        async with connected(job.target, job.context, looking=True) as connection:
            empty = await catalog.size(connection, job.created.name)
            progress.total = max(1, await catalog.size(connection, job.live.name) - empty)
            while True:
                await job.context.clock.sleep(_POLL)
                progress.size = max(0, await catalog.size(connection, job.created.name) - empty)
                progress.report()
    except ActuatorError:
        return


async def _verify(order: Order, job: _Job) -> Measured:
    """Compare the restored database with the baseline: exactly, if it is the plan's own backup.

    Another backup is of another moment, so its row counts cannot be those of the baseline; the schema must be the
    baseline's, and no table may be empty that was not.

    Raises:
        ActuatorError: If it differs.
    """
    baseline, origin = job.context.plan.baseline, order.origin
    async with connected(job.target, job.context, dbname=job.created.name) as connection, tasks() as group:
        gathering = group.create_task(_analyze(order, job))
        measured = await measure(connection, job.target, baseline)
        await gathering
    wrong = gaps(measured, baseline) if origin.replaces else differences(measured, baseline)
    if wrong:
        restored = origin.backup.location if origin.replaces else origin.backup.id
        raise ActuatorError(
            f"The restored backup {restored} {NOT_BASELINE}: {'; '.join(wrong)}.",
            untouched=f"The live {job.target.dbname} was not touched; the copy is kept as {job.created.name}.",
            resolution="Compare the plan's baseline with the backup: one of them is wrong.",
        )
    return measured


async def _analyze(order: Order, job: _Job) -> None:
    if not order.analyze:
        return
    async with connected(job.target, job.context, dbname=job.created.name) as connection:
        await _quietly_analyze(connection)


async def _quietly_analyze(connection: Connection) -> None:
    """Gather statistics. Tables of other owners are skipped by the server with a warning, which is no fault."""
    try:
        await connection.execute("ANALYZE")
    except psycopg.errors.QueryCanceled:
        # A statement_timeout of the server: statistics can be gathered later, by autovacuum at the latest.
        return


def _foreign(words: str) -> ActuatorError:
    return ActuatorError(
        f"The backup cannot be restored: {words}.",
        untouched="Neither that database nor the live one was touched.",
        resolution="Find out whose it is; rename or drop it by hand if nobody needs it, then retry.",
    )


async def _in_use(error: psycopg.Error, connection: Connection, name: str) -> ActuatorError:
    """Say who keeps the copy from being made: those in its half-restored forerunner, or in the template."""
    found = catalog.sources(await catalog.sessions(connection, name, "template0"))
    waiting = ", ".join(await catalog.prepared_transactions(connection, name))
    return ActuatorError(
        f"{error.diag.message_primary}: {found or waiting or error.diag.message_detail}.",
        untouched="The live database was not touched.",
        resolution="Stop the named client, or terminate its connections; then retry.",
        transient=True,
    )
