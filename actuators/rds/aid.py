"""rds.points and rds.events show what a person would look at next; rds.verify looks whether all is well."""

from __future__ import annotations

from actuators.balancer.tables import aligned
from actuators.probes import LeavesNothing
from actuators.rds import checks
from actuators.rds.estate import Estate, opened
from actuators.rds.instance import Instance
from actuators.rds.remedies import events_of
from actuators.rds.steps import RdsEvents, RdsPoints, RdsStep, RdsVerify
from actuators.remedies import cannot_look, shown
from bot.domain.actuation import Check, Context, Fault, Outcome, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.times import utc_minute, utc_second

_POLL = 5.0
_MOST = 20
_HEADINGS = ("snapshot", "kind", "taken", "size", "verdict")


class _Diagnosis(LeavesNothing):
    """Looks whether RDS can be asked for the instance."""

    async def check(self, step: RdsStep, context: Context) -> tuple[Check, ...]:
        """Look whether the instance can be read."""
        subject = f"Instance of {step.target}"
        try:
            async with opened(step, context) as estate:
                found = await estate.find(estate.instance)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        words = found.state() if found is not None else f"There is no {estate.instance} now"
        return (Check(subject, Verdict.OK, words),)


class PointsActuator(_Diagnosis):
    """A diagnosis: what the instance can be brought back to."""

    async def apply(self, step: RdsPoints, context: Context) -> Outcome:
        """List moments and snapshots."""
        deployed = context.plan.deployed_at
        async with opened(step, context) as estate:
            live = await estate.live()
            earliest, latest = await estate.window(live)
            found = await estate.snapshots()
        rows = [_HEADINGS]
        for each in found[:_MOST]:
            against = each.objections(live, deployed_at=deployed)
            rows.append(
                (
                    each.name,
                    str(each.raw.get("SnapshotType", "")),
                    utc_minute(each.taken) if each.taken else "not yet",
                    f"{each.raw.get('AllocatedStorage', '?')} GiB",
                    "; ".join(against) or "can be restored",
                )
            )
        usable = sum(not each.objections(live, deployed_at=deployed) for each in found)
        window = f"{utc_second(earliest)} .. {utc_second(latest)}" if earliest and latest else "no moment is told"
        kept = live.raw.get("BackupRetentionPeriod", 0)
        snapshots = f"{usable} of {len(found)} snapshots can be restored"
        words = f"{live.name}: {window} (backups are kept {kept} days); {snapshots}"
        return Outcome(words, output=shown(aligned(rows).splitlines()) if found else "")


class EventsActuator(_Diagnosis):
    """A diagnosis: what RDS tells about the instances."""

    async def apply(self, step: RdsEvents, context: Context) -> Outcome:
        """List the events of the instance, of this run's copy and of the failed instance, the newest first."""
        async with opened(step, context) as estate:
            names = await _names(estate)
            found = []
            for name in names:
                which = {"SourceIdentifier": name, "SourceType": "db-instance", "Duration": step.hours * 60}
                answer = await estate.aws.read("rds", "describe_events", **which)
                found += [(each["Date"], name, str(each.get("Message", ""))) for each in answer.get("Events", [])]
        found.sort(key=lambda event: event[0], reverse=True)
        rows = [(utc_second(date), name, message) for date, name, message in found]
        latest = f"; the latest: {rows[0][2]}" if rows else ""
        words = f"{len(rows)} events of {', '.join(names)} in {step.hours} hours{latest}"
        return Outcome(words, output=shown(aligned(rows).splitlines()) if rows else "")


async def _names(estate: Estate) -> list[str]:
    """Return the identifiers that the instances of this run have or had."""
    source = await estate.failed()
    every = (estate.instance, estate.beside, source.name if source is not None else estate.instance)
    return list(dict.fromkeys(every))


class VerifyActuator(LeavesNothing):
    """A probe: looks until the restored instance is in service, or the deadline passes."""

    async def check(self, step: RdsVerify, context: Context) -> tuple[Check, ...]:
        """Look whether the instance can be read; before the swap it is still the failed one."""
        subject = f"Instance of {step.target}"
        try:
            async with opened(step, context) as estate:
                live = await estate.live()
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        return (checks.usable(live),)

    async def apply(self, step: RdsVerify, context: Context) -> Outcome:
        """Look until all is well."""
        clock, until = context.clock, context.clock.monotonic() + step.deadline().total_seconds() - 2 * _POLL
        async with opened(step, context) as estate:
            since = clock.monotonic()
            while True:
                live = await estate.find(estate.instance)
                why = _amiss(estate, live)
                if live is not None and live.mark is not None and not why:
                    words = f"{live.words()}, {live.status}, holds {live.mark.words()}, at {live.address}"
                    return Outcome(words, {"endpoint": live.address, "data": live.mark.data.isoformat()})
                if clock.monotonic() >= until:
                    raise ActuatorError(
                        f"The restored instance is not in service: {why}.",
                        untouched="It was only looked at.",
                        resolution="Read the events (rds.events); a parameter group not in force needs a reboot.",
                    )
                estate.report_time(why, since=since)
                await clock.sleep(_POLL)

    async def remedies(self, step: RdsVerify, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what RDS tells."""
        del fault
        return (events_of(step),) if context.inventory.find(step.target) else ()


def _amiss(estate: Estate, live: Instance | None) -> str:
    """Return what is not as it should be, for people; empty if all is well."""
    if live is None:
        return f"nobody bears the name {estate.instance}"
    if not estate.ours(live):
        return f"{live.name} ({live.resource}) was not restored by {estate.context.rollback_id}"
    if not live.serving:
        return live.state()
    return ", ".join(live.out_of_force)
