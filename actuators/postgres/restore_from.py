"""postgres.catalogue and postgres.restore_from: other backups than the plan's, listed or restored in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from actuators.postgres import beside, dumps
from actuators.postgres.archive import BackupUnusableError
from actuators.postgres.beside import Origin
from actuators.postgres.checks import examine, may_create, may_own, server_size
from actuators.postgres.connection import connected, database_of
from actuators.postgres.dump_checks import dump_fits, look_into, name_is_free, plan_backup
from actuators.postgres.restore import Order, carry_out
from actuators.postgres.steps import ListBackups, Restore, RestoreFrom
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look, shown
from bot.domain.actuation import Check, Context, Observation, Outcome, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Backup
from bot.domain.times import utc_minute


class CatalogueActuator(LeavesNothing):
    """A diagnosis: lists the backups that there are."""

    async def check(self, step: ListBackups, context: Context) -> tuple[Check, ...]:
        """Look whether the backup's folder is there."""
        subject = f"Backup {step.backup}"
        try:
            folder = Path(plan_backup(step, context).location).parent
            database_of(step, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        if folder.is_dir():
            return (Check(subject, Verdict.OK, f"{folder} can be listed"),)
        return (Check(subject, Verdict.WARN, f"There is no folder {folder}", "Correct `location` in the plan."),)

    async def apply(self, step: ListBackups, context: Context) -> Outcome:
        """List them, the newest first."""
        target, backup = database_of(step, context), plan_backup(step, context)
        found = await dumps.search(target, backup, context)
        lines = [
            f"{'usable: ' if not dump.problem else ''}{dump.words()}"
            + (f"; database {dump.contents.dbname}, pg_dump {dump.contents.dumped_by}" if dump.contents else "")
            for dump in found.dumps
        ]
        if found.more:
            lines.append(f"... and {found.more} further files that were not read")
        where = ", ".join(found.places)
        usable = found.usable
        words = f"{len(found.dumps)} backups in {where}, {len(usable)} of them usable in place of {backup.id}"
        if usable:
            words += f", the newest: {usable[0].words()}"
        return Outcome(
            words, {"found": len(found.dumps), "usable": [str(dump.path) for dump in usable]}, shown(lines)
        )


class RestoreFromActuator:
    """Restores a pinned file into the copy that the plan's own step would have made."""

    async def check(self, step: RestoreFrom, context: Context) -> tuple[Check, ...]:
        """Look at the file, the role, the room and the names."""
        try:
            backup = _pinned(step, context)
            await _unchanged(step, context, backup)
            on_file = await look_into(backup, database_of(step, context), context)
        except ActuatorError as error:
            return (cannot_look(f"Backup {step.location}", error),)
        on_server = await examine(
            step,
            context,
            may_own,
            may_create,
            server_size,
            lambda look: name_is_free(look, step.restores),
            lambda look: dump_fits(look, backup),
        )
        return (replace(on_file, subject=f"Backup {step.location}"), *on_server)

    async def observe(self, step: RestoreFrom, context: Context) -> Observation:
        """Read the marks: the copy must be of exactly this file."""
        target, backup = database_of(step, context), _pinned(step, context)
        async with connected(target, context, looking=True) as connection:
            wanted = Origin(step.restores, backup, replaces=True)
            return await beside.look(step.restores, target, context, connection, wanted=wanted)

    async def apply(self, step: RestoreFrom, context: Context) -> Outcome:
        """Restore and verify, unless this run has restored this file before."""
        target, backup = database_of(step, context), _pinned(step, context)
        await _unchanged(step, context, backup)
        return await carry_out(Order(Origin(step.restores, backup, replaces=True), step.analyze), target, context)


def _pinned(step: RestoreFrom, context: Context) -> Backup:
    """Return the file as a backup, under the id of the one that it takes the place of.

    Raises:
        ActuatorError: If the plan has no such step, or the file was taken after the deployment.
    """
    restoring = [
        other for other in context.plan.steps() if isinstance(other, Restore) and other.id == step.restores
    ]
    if not restoring or restoring[0].target != step.target:
        raise ActuatorError(
            f"The plan has no step {step.restores} that restores a backup of {step.target}.",
            untouched="Nothing was touched.",
            resolution="Name the plan's own step of kind postgres.restore in `restores`.",
        )
    if step.taken_at > context.plan.deployed_at:
        raise ActuatorError(
            f"{step.location} of {utc_minute(step.taken_at)} is younger than the deployment, so it is no way back.",
            untouched="Nothing was touched.",
            resolution="Restore a backup from before the deployment; without one, fix forward.",
        )
    plans = plan_backup(restoring[0], context)
    return plans.model_copy(update={"location": step.location, "taken_at": step.taken_at, "sha256": step.sha256})


async def _unchanged(step: RestoreFrom, context: Context, backup: Backup) -> None:
    """Make sure that the file is still the one that was chosen, as far as that can be told without reading it all.

    Raises:
        BackupUnusableError: If it is another one by now.
    """
    found = await dumps.look_at(backup, database_of(step, context), context)
    if (found.size, found.taken_at) != (step.size, step.taken_at):
        raise BackupUnusableError(
            f"{step.location} is not the file that was chosen: now {found.words()}.",
            untouched="Nothing was touched.",
            resolution="Look at the backups once more and choose again.",
        )
