"""rds.snapshot: a safety snapshot of the failed instance, named after the run."""

from __future__ import annotations

from actuators.aws import access
from actuators.aws.api import AwsError
from actuators.rds import checks, names
from actuators.rds.estate import Estate, opened, wrong
from actuators.rds.names import MOMENT, Mark
from actuators.rds.remedies import events_of
from actuators.rds.snapshots import Snapshot
from actuators.rds.steps import RdsSnapshot
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.times import utc_second

_POLL = 5.0
_DEAF = 6


class SnapshotActuator:
    """Takes a snapshot, unless this step has done so before."""

    async def check(self, step: RdsSnapshot, context: Context) -> tuple[Check, ...]:
        """Look at the instance, the snapshot's name, the quota and the permission."""
        subject = f"Safety snapshot of {step.target}"
        try:
            async with opened(step, context) as estate:
                live = await estate.live()
                name = _name(step, estate)
                found = await _own(step, estate)
                made = live.beside("snapshot", name)
                allowed = await access.may(estate.aws, "CreateDBSnapshot", live.arn, made)
                quota = await checks.quotas(estate, {"ManualSnapshots": 0 if found else 1})
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        words = f"{found.name} is there already" if found else f"it will be {name}"
        return (checks.usable(live), Check(subject, Verdict.OK, words), *quota, allowed)

    async def observe(self, step: RdsSnapshot, context: Context) -> Observation:
        """Look whether the snapshot is complete."""
        async with opened(step, context) as estate:
            found = await _own(step, estate)
        if found is None:
            return Observation(Presence.ABSENT, f"There is no snapshot {_name(step, estate)}")
        if found.status == "available":
            return Observation(Presence.PRESENT, f"{found.name} is available", {"snapshot": found.name})
        if found.status == "creating":
            return Observation(Presence.ABSENT, f"{found.name} is being made, {found.percent:g} % so far")
        return Observation(Presence.UNKNOWN, f"{found.name} is {found.status}")

    async def apply(self, step: RdsSnapshot, context: Context) -> Outcome:
        """Take the snapshot and wait until it is complete; one that was begun before is taken up."""
        async with opened(step, context) as estate:
            if await _own(step, estate) is None:
                await self._begin(step, estate)
            done = await self._complete(step, estate)
        taken = f" of {utc_second(done.taken)}" if done.taken else ""
        return Outcome(f"{done.name}{taken} is available", {"snapshot": done.name})

    async def remedies(self, step: RdsSnapshot, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what RDS itself tells."""
        del fault
        return (events_of(step),) if context.inventory.find(step.target) else ()

    async def _begin(self, step: RdsSnapshot, estate: Estate) -> None:
        live, context = await estate.live(), estate.context
        if estate.ours(live):
            raise ActuatorError(
                f"{estate.instance} is already the restored instance, so a snapshot would hold the wrong data.",
                untouched="No snapshot was taken.",
                resolution="The failed instance itself is kept; take a snapshot of that by hand if one is needed.",
            )
        checks.must_be_usable(live)
        mark = Mark(context.rollback_id, context.plan.change, step.id, live.resource, MOMENT, context.clock.now())
        tags = {**names.of_people(live.tags), **mark.tags(why=context.why)}
        try:
            await estate.aws.change(
                "rds",
                "create_db_snapshot",
                DBInstanceIdentifier=estate.instance,
                DBSnapshotIdentifier=_name(step, estate),
                Tags=names.as_list(tags),
            )
        except AwsError as error:
            if not error.code.startswith("DBSnapshotAlreadyExists"):
                raise
            # An attempt whose answer was lost has made it; who made it is looked at next.

    async def _complete(self, step: RdsSnapshot, estate: Estate) -> Snapshot:
        deaf = 0
        while True:
            found: Snapshot | None = None
            try:
                found, deaf = await _own(step, estate), 0
            except AwsError as error:
                deaf += 1
                if not error.transient or deaf >= _DEAF:
                    raise
            if found is not None and found.status == "available":
                return found
            if found is not None and found.status != "creating":
                raise ActuatorError(
                    f"The snapshot {found.name} is {found.status}.",
                    untouched="The instance is as it was.",
                    resolution="Read the events (rds.events); delete the snapshot by hand, then retry.",
                )
            percent = found.percent if found else 0.0
            words = f"{_name(step, estate)}: {found.status if found else 'AWS tells nothing'}"
            estate.context.report(Progress(percent, 100, "per cent", words))
            await estate.context.clock.sleep(_POLL)


def _name(step: RdsSnapshot, estate: Estate) -> str:
    return names.snapshot_name(estate.instance, estate.context.rollback_id, step.id)


async def _own(step: RdsSnapshot, estate: Estate) -> Snapshot | None:
    """Return the snapshot that this step has made.

    Raises:
        ActuatorError: If somebody else's bears its name.
    """
    found = await estate.snapshot(_name(step, estate))
    if found is None or (found.mark is not None and found.mark.of(estate.context)):
        return found
    raise wrong(f"The snapshot {found.name} exists and is not this rollback's.")
