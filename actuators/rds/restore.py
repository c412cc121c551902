"""rds.restore: the data of before the deployment, in a new instance beside the live one."""

from __future__ import annotations

import asyncio
from typing import Any

from actuators.aws import access
from actuators.aws.api import AwsError
from actuators.rds import checks, names
from actuators.rds.alignment import align, lacking
from actuators.rds.estate import Estate, opened, wrong
from actuators.rds.instance import Instance
from actuators.rds.names import MOMENT, Mark
from actuators.rds.remedies import for_restore
from actuators.rds.steps import RdsRestore
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Remedy, Verdict
from bot.domain.errors import ActuatorError

_OPERATION = {True: "RestoreDBInstanceFromDBSnapshot", False: "RestoreDBInstanceToPointInTime"}
"""By whether a snapshot is restored."""
_POLL = 5.0


class RestoreActuator:
    """Makes the copy, waits for it, and gives it the settings that no restore takes. The source is only read."""

    async def check(self, step: RdsRestore, context: Context) -> tuple[Check, ...]:
        """Look at the instance, the moment or snapshot, the copy's name, quotas, class and permissions."""
        subject = f"Copy of {step.target}"
        try:
            async with opened(step, context) as estate:
                copy = await estate.copy()
                if copy is not None:
                    return (Check(subject, Verdict.OK, f"{copy.state()}; it is this rollback's"),)
                return await _looked(step, estate)
        except ActuatorError as error:
            return (cannot_look(subject, error),)

    async def observe(self, step: RdsRestore, context: Context) -> Observation:
        """Look whether the copy is there, complete, and of what the step names."""
        async with opened(step, context) as estate:
            copy = await estate.copy()
            if copy is None or copy.mark is None:
                return Observation(Presence.ABSENT, f"There is no {estate.beside}")
            facts = {"copy": copy.name, "data": copy.mark.data.isoformat()}
            words = f"{copy.state()}; it holds {copy.mark.words()}"
            if not _of(step, copy.mark):
                return Observation(Presence.UNKNOWN, f"{words}, not {step.source()}", facts)
            if copy.ended:
                return Observation(Presence.UNKNOWN, words, facts)
            if not copy.serving:
                return Observation(Presence.ABSENT, words, facts)
            different = lacking(copy, await estate.of_resource(copy.mark.source))
        if different:
            return Observation(Presence.ABSENT, f"{words}; not yet as its source: {', '.join(different)}", facts)
        return Observation(Presence.PRESENT, words, facts)

    async def apply(self, step: RdsRestore, context: Context) -> Outcome:
        """Restore, unless this run has begun so before; then wait, and make the copy serve as its source does."""
        async with opened(step, context) as estate:
            copy = await estate.copy() or await _begin(step, estate)
            mark = copy.mark
            if mark is None or not _of(step, mark):
                raise ActuatorError(
                    f"{copy.name} holds {mark.words() if mark else 'something else'}, and not {step.source()}.",
                    untouched="It was left as it is.",
                    resolution="Go on with that one (mark this step done), or delete it by hand and retry.",
                )
            copy = await estate.wait(copy.resource, lambda found: found.serving, doing=f"Restoring {step.source()}")
            copy, left = await align(estate, copy, await estate.of_resource(mark.source))
        words = f"{copy.words()}, {copy.status}, holds {mark.words()}"
        if left:
            words += f"; not as its source: {', '.join(left)}"
        facts = {"copy": copy.name, "resource": copy.resource, "data": mark.data.isoformat(), "different": left}
        return Outcome(words, facts)

    async def remedies(self, step: RdsRestore, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what there is to restore, what RDS tells, and another snapshot if there is one."""
        del fault
        return await for_restore(step, context)


async def _looked(step: RdsRestore, estate: Estate) -> tuple[Check, ...]:
    source = await estate.live()
    subject = f"Backup of {source.name}"
    try:
        data = await checks.moment(step, estate, source)
        backup = Check(subject, Verdict.OK, f"{step.source()} can be restored, as {estate.beside}")
        tags = _tags(estate, source, mark=_mark(step, estate, source, data=data))
    except ActuatorError as error:
        backup, tags = cannot_look(subject, error), {}
    settings = {**source.settings(), **_chosen(step)}
    shown = Check(
        f"Settings of {estate.beside}",
        Verdict.OK,
        f"Taken over from {source.name}",
        detail=checks.settings_shown(settings),
    )
    needed = {"DBInstances": 1, "AllocatedStorage": int(source.raw.get("AllocatedStorage", 0))}
    made = source.beside("db", estate.beside)
    quotas, orderable, *allowed = await asyncio.gather(
        checks.quotas(estate, needed),
        checks.orderable(step, estate, source),
        access.may(estate.aws, _OPERATION[step.snapshot is not None], *_touched(step, estate, source)),
        access.may(estate.aws, "AddTagsToResource", made),
        access.may(estate.aws, "ModifyDBInstance", made),
    )
    return (
        checks.usable(source),
        backup,
        shown,
        *quotas,
        *orderable,
        *checks.hindrances(source, tags, estate),
        *allowed,
    )


def _touched(step: RdsRestore, estate: Estate, source: Instance) -> tuple[str, ...]:
    """Return the ARNs on which IAM must allow the restore."""
    origin = source.beside("snapshot", step.snapshot) if step.snapshot is not None else source.arn
    others = (
        ("subgrp", source.subnet_group),
        ("pg", source.settings().get("DBParameterGroupName")),
        ("og", source.settings().get("OptionGroupName")),
    )
    named = (source.beside(kind, str(name)) for kind, name in others if name)
    return (origin, source.beside("db", estate.beside), *named)


async def _begin(step: RdsRestore, estate: Estate) -> Instance:
    """Have the copy made, and return it."""
    source = await estate.live()
    checks.must_be_usable(source)
    data = await checks.moment(step, estate, source)
    tags = _tags(estate, source, mark=_mark(step, estate, source, data=data))
    if len(tags) > names.MOST_TAGS:
        raise wrong(
            f"With the rollback's own {source.name} would have {len(tags)} tags; AWS takes {names.MOST_TAGS}."
        )
    settings = {**source.settings(), **_chosen(step), "Tags": names.as_list(tags)}
    try:
        await _restore(step, estate, settings)
    except AwsError as error:
        if not error.code.startswith("DBInstanceAlreadyExists"):
            raise
        # An attempt whose answer was lost has made it; who made it is looked at next.
    clock, since = estate.context.clock, estate.context.clock.monotonic()
    while True:
        found = await estate.copy()
        if found is not None and found.resource:
            return found
        estate.report_time(f"Making {estate.beside}", since=since)
        await clock.sleep(_POLL)


async def _restore(step: RdsRestore, estate: Estate, settings: dict[str, Any]) -> None:
    if step.snapshot is not None:
        await estate.aws.change(
            "rds",
            "restore_db_instance_from_db_snapshot",
            DBSnapshotIdentifier=step.snapshot,
            DBInstanceIdentifier=estate.beside,
            **settings,
        )
        return
    await estate.aws.change(
        "rds",
        "restore_db_instance_to_point_in_time",
        SourceDBInstanceIdentifier=estate.instance,
        TargetDBInstanceIdentifier=estate.beside,
        RestoreTime=step.at,
        **settings,
    )


def _chosen(step: RdsRestore) -> dict[str, Any]:
    return {} if step.instance_class is None else {"DBInstanceClass": step.instance_class}


def _of(step: RdsRestore, mark: Mark) -> bool:
    """Return whether a copy holds what the step names."""
    if step.snapshot is not None:
        return mark.origin == step.snapshot
    return mark.origin == MOMENT and step.at is not None and mark.data == step.at.replace(microsecond=0)


def _mark(step: RdsRestore, estate: Estate, source: Instance, *, data: Any) -> Mark:
    context = estate.context
    return Mark(context.rollback_id, context.plan.change, step.id, source.resource, step.snapshot or MOMENT, data)


def _tags(estate: Estate, source: Instance, *, mark: Mark) -> dict[str, str]:
    return {**names.of_people(source.tags), **mark.tags(why=estate.context.why)}
