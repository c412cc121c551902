"""moto's server with an RDS that is as strict, and as slow, as AWS in what the steps rely on.

moto alone gives all instances one resource id, renames and restores at once, copies every setting of the source to
a restored instance, knows no window of moments to restore to, and no quotas. Run as a program, with its arguments.
"""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.rds import models, responses
from moto.rds.exceptions import DBInstanceAlreadyExists, RDSClientError
from moto.rds.responses import RDSResponse
from moto.server import main

EARLIEST = datetime(2024, 1, 10, 4, 0, tzinfo=UTC)
LATEST = datetime(2024, 1, 15, 15, 42, tzinfo=UTC)
LOOKS = 4
"""Looks from outside for which a change is under way."""
TAKEN = "test:taken"
"""The tag that tells when a snapshot is to have been taken; the machine's time is of no use to a test."""
STATUS = "test:status"
"""The tag that tells what becomes of a snapshot or a restored instance, if it does not become available."""
MOST_TAGS = 50


def _tag(tags: list[dict[str, str]], key: str) -> str:
    return next((tag["Value"] for tag in tags if tag["Key"] == key), "")


def _born(self: Any, *args: Any, **kwargs: Any) -> None:
    _BORN(self, *args, **kwargs)
    self.dbi_resource_id = "db-" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(26))
    self.pending_modified_values = {}
    self.looks = 0


def _tick(database: Any, databases: Any) -> None:
    """Let what is under way come nearer to its end."""
    if database.looks > 0:
        database.looks -= 1
        if database.looks:
            return
        database.status = _tag(database.tags, STATUS) or "available"
        new = database.pending_modified_values.pop("DBInstanceIdentifier", "")
        if new:
            del databases[database.db_instance_identifier]
            database.db_instance_identifier = new
            databases[new] = database


def _begin(database: Any, status: str) -> None:
    database.status, database.looks = status, LOOKS


def _must_be_available(database: Any) -> None:
    if database.status != "available":
        raise RDSClientError("InvalidDBInstanceState", f"{database.db_instance_identifier} is not available.")


class Strict(RDSResponse):
    """The answers."""

    def describe_db_instances(self) -> ActionResult:
        """Tell, and let time pass."""
        for database in list(self.backend.databases.values()):
            _tick(database, self.backend.databases)
        return RDSResponse.describe_db_instances(self)

    def modify_db_instance(self) -> ActionResult:
        """Rename later, and only to a free name."""
        name, params = self.params["DBInstanceIdentifier"], self.params
        database: Any = self.backend.databases[name]
        _must_be_available(database)
        new = params.pop("NewDBInstanceIdentifier", None)
        if new and new in self.backend.databases:
            raise DBInstanceAlreadyExists
        result = RDSResponse.modify_db_instance(self)
        if new:
            database.pending_modified_values = {"DBInstanceIdentifier": new}
        _begin(database, "renaming" if new else "modifying")
        return result

    def restore_db_instance_to_point_in_time(self) -> ActionResult:
        """Restore within the window alone, with the settings that were given."""
        (source,) = self.backend.describe_db_instances(self.params["SourceDBInstanceIdentifier"])
        moment = self.params["RestoreTime"].astimezone(UTC)
        if not source.backup_retention_period or not EARLIEST <= moment <= LATEST:
            raise RDSClientError("InvalidRestoreFault", f"{moment} is not within the window.")
        result = RDSResponse.restore_db_instance_to_point_in_time(self)
        self._plain(self.params["TargetDBInstanceIdentifier"])
        return result

    def restore_db_instance_from_db_snapshot(self) -> ActionResult:
        """Restore with the settings that were given."""
        result = RDSResponse.restore_db_instance_from_db_snapshot(self)
        self._plain(self.params["DBInstanceIdentifier"])
        return result

    def _plain(self, name: str) -> None:
        """Take from a restored instance what AWS would not have copied."""
        database: Any = self.backend.databases[name]
        params = self.params
        if len(params.get("Tags", [])) > MOST_TAGS:
            del self.backend.databases[name]
            raise RDSClientError("InvalidParameterValue", "Too many tags.")
        database.tags = params.get("Tags", [])
        database.deletion_protection = params.get("DeletionProtection", False)
        database.multi_az = params.get("MultiAZ", False)
        database.vpc_security_group_ids = params.get("VpcSecurityGroupIds", ["sg-default"])
        database.db_parameter_group_name = params.get("DBParameterGroupName")
        database.monitoring_interval, database.monitoring_role_arn = 0, None
        database.max_allocated_storage = database.allocated_storage
        database.source_db_instance_identifier = None  # that is for read replicas
        _begin(database, "creating")

    def create_db_snapshot(self) -> ActionResult:
        """Take a snapshot, which takes a while."""
        result = RDSResponse.create_db_snapshot(self)
        snapshot: Any = self.backend.database_snapshots[self.params["DBSnapshotIdentifier"]]
        taken = _tag(snapshot.tags, TAKEN)
        if taken:
            snapshot.created = snapshot.original_snapshot_create_time = datetime.fromisoformat(taken)
        else:
            snapshot.status, snapshot.percent_progress = "creating", 0
        return result

    def describe_db_snapshots(self) -> ActionResult:
        """Tell, and let time pass."""
        snapshot: Any
        for snapshot in self.backend.database_snapshots.values():
            if snapshot.status == "creating":
                snapshot.percent_progress += 50
                if snapshot.percent_progress > 100:
                    snapshot.percent_progress = 100
                    snapshot.status = _tag(snapshot.tags, STATUS) or "available"
        return RDSResponse.describe_db_snapshots(self)

    def describe_db_instance_automated_backups(self) -> ActionResult:
        """Tell from when to when instances can be restored."""
        if "DbiResourceId" in self.params and not any(
            database.backup_retention_period
            for database in self.backend.databases.values()
            if database.dbi_resource_id == self.params["DbiResourceId"]
        ):
            raise RDSClientError("DBInstanceAutomatedBackupNotFound", "No automated backup was found.")
        kept = [
            {
                "DBInstanceIdentifier": database.db_instance_identifier,
                "DbiResourceId": database.dbi_resource_id,
                "Status": "active",
                "RestoreWindow": {"EarliestTime": EARLIEST, "LatestTime": LATEST},
            }
            for database in self.backend.databases.values()
            if database.backup_retention_period
        ]
        return ActionResult({"DBInstanceAutomatedBackups": kept})

    def describe_account_attributes(self) -> ActionResult:
        """Tell the quotas."""
        backend = self.backend
        used = {
            "DBInstances": (len(backend.databases), 40),
            "ManualSnapshots": (len(backend.database_snapshots), 100),
            "AllocatedStorage": (sum(each.allocated_storage for each in backend.databases.values()), 100_000),
        }
        quotas = [{"AccountQuotaName": name, "Used": n, "Max": most} for name, (n, most) in used.items()]
        return ActionResult({"AccountQuotas": quotas})


_BORN = models.DBInstance.__init__

if __name__ == "__main__":
    instances: Any = models.DBInstance
    answers: Any = responses
    instances.__init__ = _born
    instances.save_automated_backup = lambda _self: None  # its name holds the minute, and must not be there twice
    instances.latest_restorable_time = property(lambda _self: LATEST)
    answers.RDSResponse = Strict  # what answers is looked up there at the first call
    main()
