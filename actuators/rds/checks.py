"""What has to hold before an instance is restored, found out by reading alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from actuators.aws.api import AwsError
from actuators.rds import names
from actuators.rds.estate import Estate
from actuators.rds.instance import USABLE, Instance
from actuators.rds.steps import RdsRestore
from bot.domain.actuation import Check, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.times import utc_second

_UNTOUCHED = "Nothing was changed."
_QUOTAS = {"AllocatedStorage": "GiB of storage", "DBInstances": "instances", "ManualSnapshots": "snapshots"}


def hindrance(instance: Instance) -> str:
    """Return why an instance cannot be acted on, for people; empty if it can."""
    raw = instance.raw
    if raw.get("DBClusterIdentifier"):
        return f"{instance.name} belongs to the cluster {raw['DBClusterIdentifier']}, which restores as a whole"
    if raw.get("ReadReplicaSourceDBInstanceIdentifier"):
        return f"{instance.name} is a read replica of {raw['ReadReplicaSourceDBInstanceIdentifier']}"
    if instance.status not in USABLE:
        return f"{instance.name} is {instance.status}, not available"
    return ""


def usable(instance: Instance) -> Check:
    """Tell whether an instance can be acted on."""
    subject, why = f"Instance {instance.name}", hindrance(instance)
    if not why:
        return Check(subject, Verdict.OK, f"{instance.words()}, {instance.status}")
    return Check(subject, Verdict.FAIL, f"{why}. {_UNTOUCHED}", _mend(instance))


def must_be_usable(instance: Instance) -> None:
    """Check that an instance can be acted on.

    Raises:
        ActuatorError: If it cannot.
    """
    why = hindrance(instance)
    if why:
        passing = instance.status not in USABLE and not instance.ended
        raise ActuatorError(f"{why}.", untouched=_UNTOUCHED, resolution=_mend(instance), transient=passing)


def _mend(instance: Instance) -> str:
    if instance.raw.get("DBClusterIdentifier") or instance.raw.get("ReadReplicaSourceDBInstanceIdentifier"):
        return "Name an instance of its own; Aurora and Multi-AZ clusters are for their own tools."
    return "Start it or wait until it is available; its events (rds.events) tell more."


async def moment(step: RdsRestore, estate: Estate, source: Instance) -> datetime:
    """Return the moment whose data the step brings back.

    Raises:
        ActuatorError: If it cannot be restored.
    """
    plan = estate.context.plan
    if step.snapshot is not None:
        found = await estate.snapshot(step.snapshot)
        if found is None:
            raise _not_there(f"There is no snapshot {step.snapshot} in {estate.target.region}.")
        against = found.objections(source, deployed_at=plan.deployed_at)
        if against or found.taken is None:
            raise _not_there(f"The snapshot {step.snapshot} cannot bring {source.name} back: {'; '.join(against)}.")
        return found.taken
    at = step.at
    assert at is not None, "a step names one of both"  # noqa: S101 - checked by the step's model
    if at > plan.deployed_at:
        raise _not_there(
            f"{utc_second(at)} is after the deployment ({utc_second(plan.deployed_at)}): it holds the failed state."
        )
    if not source.raw.get("BackupRetentionPeriod"):
        raise _not_there(
            f"{source.name} keeps no automated backups (retention 0), so it has no moments to go back to."
        )
    earliest, latest = await estate.window(source)
    if earliest is None or latest is None:
        raise _not_there(f"AWS does not tell to which moments {source.name} can be restored.")
    if at < earliest or at > latest:
        raise ActuatorError(
            f"{utc_second(at)} is not within what {source.name} can be restored to:"
            f" {utc_second(earliest)} .. {utc_second(latest)}.",
            untouched=_UNTOUCHED,
            resolution="The latest moment follows in about five minutes: retry then."
            if at > latest
            else "Restore a snapshot instead (rds.points lists them).",
            transient=at > latest,
        )
    return at


def _not_there(what: str) -> ActuatorError:
    resolution = "See what there is (rds.points), and name that in the plan."
    return ActuatorError(what, untouched=_UNTOUCHED, resolution=resolution)


async def quotas(estate: Estate, needed: Mapping[str, int]) -> tuple[Check, ...]:
    """Tell whether the account has room.

    Args:
        estate: Where.
        needed: How much more is needed, by the quota's name in DescribeAccountAttributes.
    """
    try:
        answer = await estate.aws.read("rds", "describe_account_attributes")
    except AwsError as error:
        return (Check("Quotas", Verdict.WARN, f"Cannot be read: {error.brief}", error.resolution),)
    found = {each["AccountQuotaName"]: each for each in answer.get("AccountQuotas", [])}
    return tuple(_quota(name, found.get(name), more) for name, more in needed.items())


def _quota(name: str, found: Mapping[str, Any] | None, needed: int) -> Check:
    words = _QUOTAS[name]
    subject = f"Quota of {words}"
    if found is None:
        return Check(subject, Verdict.WARN, "AWS does not tell it", "Look at Service Quotas in AWS's console.")
    used, most = int(found.get("Used", 0)), int(found.get("Max", 0))
    told = f"{used} of {most} {words} are used"
    if used + needed <= most:
        return Check(subject, Verdict.OK, told)
    resolution = "Delete what is no longer needed, or have the quota raised (AWS Service Quotas)."
    return Check(subject, Verdict.FAIL, f"{told}, {needed} more needed. {_UNTOUCHED}", resolution)


async def orderable(step: RdsRestore, estate: Estate, source: Instance) -> tuple[Check, ...]:
    """Tell whether AWS has the class that a step names, for the engine's version."""
    if step.instance_class is None:
        return ()
    subject = f"Class {step.instance_class}"
    engine, version = str(source.raw["Engine"]), str(source.raw["EngineVersion"])
    try:
        answer = await estate.aws.read(
            "rds",
            "describe_orderable_db_instance_options",
            Engine=engine,
            EngineVersion=version,
            DBInstanceClass=step.instance_class,
        )
    except AwsError as error:
        return (Check(subject, Verdict.WARN, f"Cannot be looked up: {error.brief}", error.resolution),)
    options = answer.get("OrderableDBInstanceOptions", [])
    if any(option.get("DBInstanceClass") == step.instance_class for option in options):
        return (Check(subject, Verdict.OK, f"AWS has it for {engine} {version}"),)
    words = f"AWS has no {step.instance_class} for {engine} {version} in {estate.target.region}. {_UNTOUCHED}"
    return (Check(subject, Verdict.FAIL, words, "Name another `instance_class`, or none."),)


def hindrances(source: Instance, tags: dict[str, str], estate: Estate) -> Iterator[Check]:
    """Yield what would not come along."""
    subject = f"Instance {source.name}"
    if source.pending:
        words = f"Renaming it applies what waits for its maintenance window: {', '.join(sorted(source.pending))}"
        yield Check(
            subject, Verdict.WARN, words, "Take these changes back, if the failed instance must stay as it is."
        )
    if source.left_out():
        words = f"These would not come along: {', '.join(source.left_out())}"
        yield Check(subject, Verdict.WARN, words, "Set them on the restored instance by hand after the swap.")
    if source.raw.get("MasterUserSecret"):
        words = "AWS makes a new secret for the master user of the restored instance"
        yield Check(subject, Verdict.WARN, words, "Whoever reads the old secret by its ARN needs the new one.")
    if source.replicas:
        words = f"Read replicas stay with the failed instance: {', '.join(source.replicas)}"
        yield Check(subject, Verdict.WARN, words, "Have them made anew after the rollback.")
    if len(tags) > names.MOST_TAGS:
        words = f"With the rollback's own it would have {len(tags)} tags; AWS takes {names.MOST_TAGS}. {_UNTOUCHED}"
        yield Check(subject, Verdict.FAIL, words, f"Remove tags of {estate.instance} that nobody needs.")


def settings_shown(settings: dict[str, Any]) -> str:
    """Return the settings of the new instance, one a line, for whoever approves it."""
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in sorted(settings.items()))
