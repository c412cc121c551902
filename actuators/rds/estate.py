"""What a rollback finds in RDS: the service's instance, the copy beside it, the failed instance, and snapshots."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from actuators.aws import api
from actuators.aws.api import Aws, AwsError
from actuators.rds import names
from actuators.rds.instance import Instance
from actuators.rds.snapshots import Snapshot
from bot.domain.actuation import Context, Progress
from bot.domain.errors import ActuatorError
from bot.domain.inventory import ManagedDatabase
from bot.domain.plan import Step
from bot.domain.times import in_words

_QUOTA = "Delete what is no longer needed, or have the quota raised (AWS Service Quotas); then retry."
SERVICE = api.Service(
    "rds",
    "rds",
    "docs/actuators/rds.md",
    {
        "InstanceQuotaExceeded": _QUOTA,
        "StorageQuotaExceeded": _QUOTA,
        "SnapshotQuotaExceeded": _QUOTA,
        "InsufficientDBInstanceCapacity": "AWS has no room for this class there now: retry, or name another"
        " `instance_class`.",
        "InvalidDBInstanceState": "Wait until the instance is available, then retry.",
        "DBInstanceAlreadyExists": "Retry: what bears the name is looked at first.",
        "DBSnapshotAlreadyExists": "Retry: what bears the name is looked at first.",
        "KMSKeyNotAccessibleFault": "Let the bot's role use the instance's KMS key (docs/actuators/rds.md).",
    },
)
_POLL = 10.0
_PAGES = 10
"""Of a hundred snapshots each; there are never so many."""
_DEAF = 6
"""Looks without an answer after which waiting is given up: an hour of waiting outlives a short outage."""


@dataclass(frozen=True)
class Estate:
    """The instances of one target, as one run sees them.

    Attributes:
        aws: The AWS API.
        target: The target.
        context: The run.
    """

    aws: Aws
    target: ManagedDatabase
    context: Context

    @property
    def instance(self) -> str:
        """The identifier of the service's instance."""
        return self.target.instance

    @property
    def beside(self) -> str:
        """The identifier of this run's copy before it is swapped in."""
        return names.copy_name(self.instance, self.context.rollback_id)

    async def find(self, name: str) -> Instance | None:
        """Return the instance of that name, None if there is none."""
        return await self._one(DBInstanceIdentifier=name)

    async def of_resource(self, resource: str) -> Instance | None:
        """Return the instance of that id, whatever its name; None if there is none."""
        return await self._one(Filters=[{"Name": "dbi-resource-id", "Values": [resource]}])

    async def _one(self, **which: Any) -> Instance | None:
        try:
            answer = await self.aws.read("rds", "describe_db_instances", **which)
        except AwsError as error:
            if error.missing:
                return None
            raise
        found = [Instance(raw) for raw in answer.get("DBInstances", [])]
        if found and self.target.account not in (None, found[0].account):
            raise wrong(f"{found[0].name} lies in account {found[0].account}, not in {self.target.account}.")
        return found[0] if found else None

    def ours(self, instance: Instance | None) -> bool:
        """Return whether this run made the instance."""
        return instance is not None and instance.mark is not None and instance.mark.of(self.context)

    async def live(self) -> Instance:
        """Return the instance that bears the service's name.

        Raises:
            ActuatorError: If there is none.
        """
        found = await self.find(self.instance)
        if found is not None:
            return found
        raise wrong(f"There is no RDS instance {self.instance} in {self.target.region}.")

    async def copy(self) -> Instance | None:
        """Return this run's copy, be it beside or swapped in; None if there is none.

        Raises:
            ActuatorError: If somebody else's instance bears its name.
        """
        for name in (self.beside, self.instance):
            found = await self.find(name)
            if found is not None and self.ours(found):
                return found
            if found is not None and name == self.beside:
                raise ActuatorError(
                    f"{name} exists and is not this rollback's: it bears no tag {names.PREFIX}run of it.",
                    untouched="Nothing was changed.",
                    resolution="Look whose it is; rename or delete it by hand, then retry.",
                )
        return None

    async def failed(self) -> Instance | None:
        """Return the instance that this run's copy was made of, whatever its name now; None if it is not known."""
        copy = await self.copy()
        return await self.of_resource(copy.mark.source) if copy is not None and copy.mark is not None else None

    async def snapshot(self, name: str) -> Snapshot | None:
        """Return the snapshot of that name, None if there is none."""
        try:
            answer = await self.aws.read("rds", "describe_db_snapshots", DBSnapshotIdentifier=name)
        except AwsError as error:
            if error.missing:
                return None
            raise
        return next((Snapshot(raw) for raw in answer.get("DBSnapshots", [])), None)

    async def snapshots(self) -> list[Snapshot]:
        """Return the snapshots of the service's instance, the newest first."""
        found: list[Snapshot] = []
        which = {"DBInstanceIdentifier": self.instance}
        for _ in range(_PAGES):
            answer = await self.aws.read("rds", "describe_db_snapshots", **which)
            found += [Snapshot(raw) for raw in answer.get("DBSnapshots", [])]
            if not answer.get("Marker"):
                break
            which["Marker"] = answer["Marker"]
        return sorted(found, key=lambda snapshot: (snapshot.taken is not None, snapshot.taken), reverse=True)

    async def window(self, source: Instance) -> tuple[datetime | None, datetime | None]:
        """Return the earliest and the latest moment to restore an instance to, as far as they are told."""
        try:
            answer = await self.aws.read(
                "rds", "describe_db_instance_automated_backups", DbiResourceId=source.resource
            )
        except AwsError as error:
            if not error.missing:
                raise
            return None, None
        kept = [
            each.get("RestoreWindow", {})
            for each in answer.get("DBInstanceAutomatedBackups", [])
            if each.get("DbiResourceId") == source.resource and each.get("Status") == "active"
        ]
        told: dict[str, datetime] = next(iter(kept), {})
        return told.get("EarliestTime"), told.get("LatestTime") or source.latest

    def report_time(self, words: str, *, since: float) -> None:
        """Report how long something has been going on in AWS, which tells no share of it."""
        gone = self.context.clock.monotonic() - since
        shown = f"{words}, for {in_words(timedelta(seconds=gone))}"
        self.context.report(Progress(round(gone), None, "seconds", shown))

    async def wait(self, resource: str, done: Callable[[Instance], bool], *, doing: str) -> Instance:
        """Look at an instance until it is as it should be. The step's own deadline bounds it.

        Args:
            resource: Its id that never changes.
            done: Whether it is so.
            doing: What is going on, for people.

        Raises:
            ActuatorError: If it ended badly, or AWS gave no answer for long.
        """
        clock, since, deaf = self.context.clock, self.context.clock.monotonic(), 0
        while True:
            try:
                found = await self.of_resource(resource)
                deaf = 0
            except AwsError as error:
                deaf += 1
                if not error.transient or deaf >= _DEAF:
                    raise
                found = None
            if found is not None and done(found):
                return found
            if found is not None and found.ended:
                raise ended(found)
            self.report_time(f"{doing}: {found.state() if found else 'AWS tells nothing'}", since=since)
            await clock.sleep(_POLL)


def ended(instance: Instance) -> ActuatorError:
    """Return the error for an instance that does not become available."""
    return ActuatorError(
        f"{instance.state()}, which does not pass by waiting.",
        untouched="It was left as it is; nothing was deleted.",
        resolution="Read its events (rds.events); mend or delete it by hand, then retry.",
    )


def wrong(what: str) -> ActuatorError:
    """Return the error for a name that does not fit."""
    return ActuatorError(
        what, untouched="Nothing was changed.", resolution="Correct the name in the plan or in the inventory."
    )


@asynccontextmanager
async def opened(step: Step, context: Context) -> AsyncIterator[Estate]:
    """Open RDS for a step.

    Raises:
        ActuatorError: If the inventory has no such target.
    """
    target = context.inventory.find(step.target)
    if not isinstance(target, ManagedDatabase):
        what = "is no managed database" if target else "is not in the inventory"
        raise ActuatorError(
            f"Step {step.id} ({step.kind}): {step.target} {what}.",
            untouched="Nothing was contacted.",
            resolution="Name a target of the inventory's section `managed_databases` in the plan.",
        )
    async with api.connected(
        SERVICE, region=target.region, profile=target.profile, endpoint_url=target.endpoint_url
    ) as aws:
        yield Estate(aws, target, context)
