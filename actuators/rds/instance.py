"""An instance as RDS describes it: its state, its settings, and what of them another instance has to take over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actuators.rds.names import Mark, from_list, read_mark

USABLE = {"available", "storage-optimization", "storage-initialization"}
"""The instance serves, and its settings can be changed."""
_ENDED = {
    "deleting", "failed", "inaccessible-encryption-credentials", "inaccessible-encryption-credentials-recoverable",
    "insufficient-capacity", "restore-error", "stopped", "stopping", "storage-full",
}  # fmt: skip
"""It does not become available by waiting; so it is with ``incompatible-...``."""

_GP3_FREE = (3000, 125)
"""What a small gp3 volume has anyway, and must not be asked for."""

_TAKEN = (
    "MultiAZ", "PubliclyAccessible", "AutoMinorVersionUpgrade", "CopyTagsToSnapshot", "DeletionProtection",
    "StorageType", "BackupRetentionPeriod", "PreferredBackupWindow",
)  # fmt: skip
"""Settings that have the same name where they are told, where an instance is restored and where it is changed."""
_LATER = ("PreferredMaintenanceWindow", "MaxAllocatedStorage", "MonitoringInterval", "MonitoringRoleArn")
"""Settings that no restore takes, to be set afterwards."""


@dataclass(frozen=True)
class Instance:
    """An instance.

    Attributes:
        raw: What DescribeDBInstances tells.
    """

    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its identifier now."""
        return str(self.raw["DBInstanceIdentifier"])

    @property
    def resource(self) -> str:
        """What identifies it for ever."""
        return str(self.raw.get("DbiResourceId", ""))

    @property
    def arn(self) -> str:
        """Its ARN, which ends with its name."""
        return str(self.raw["DBInstanceArn"])

    def beside(self, kind: str, name: str) -> str:
        """Return the ARN of something else in the same account and region.

        Args:
            kind: ``db``, ``snapshot``, ``pg``, ``og`` or ``subgrp``.
            name: Its name.
        """
        return ":".join((*self.arn.split(":")[:5], kind, name))

    @property
    def account(self) -> str:
        """The number of its account."""
        return self.arn.split(":")[4]

    @property
    def status(self) -> str:
        """The status in AWS's word."""
        return str(self.raw.get("DBInstanceStatus", "unknown"))

    @property
    def ended(self) -> bool:
        """Whether it does not become available by waiting."""
        return self.status in _ENDED or self.status.startswith("incompatible-")

    @property
    def pending(self) -> dict[str, Any]:
        """Changes that are not in force yet."""
        return {key: value for key, value in self.raw.get("PendingModifiedValues", {}).items() if value}

    @property
    def settled(self) -> bool:
        """Whether it serves, and nothing is about to change."""
        return self.status in USABLE and not self.pending

    @property
    def serving(self) -> bool:
        """Whether it serves under the name that it keeps; other changes may wait for a maintenance window."""
        return self.status in USABLE and self.becoming in ("", self.name)

    @property
    def becoming(self) -> str:
        """The name that it is about to get; empty if none."""
        return str(self.pending.get("DBInstanceIdentifier", ""))

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return from_list(self.raw.get("TagList", []))

    @property
    def mark(self) -> Mark | None:
        """Who made it, if it was a rollback."""
        return read_mark(self.tags)

    @property
    def address(self) -> str:
        """The host name of its endpoint; empty while it has none."""
        return str(self.raw.get("Endpoint", {}).get("Address", ""))

    @property
    def latest(self) -> datetime | None:
        """The latest moment that it can be restored to."""
        found: datetime | None = self.raw.get("LatestRestorableTime")
        return found

    @property
    def replicas(self) -> list[str]:
        """Its read replicas."""
        return list(self.raw.get("ReadReplicaDBInstanceIdentifiers", []))

    @property
    def parameter_group(self) -> str:
        """The name of its parameter group."""
        return next((str(each["DBParameterGroupName"]) for each in self.raw.get("DBParameterGroups", [])), "")

    @property
    def out_of_force(self) -> list[str]:
        """The parameter and option groups whose settings are not in force."""
        groups = [(each.get("DBParameterGroupName"), each.get("ParameterApplyStatus"))
                  for each in self.raw.get("DBParameterGroups", [])]  # fmt: skip
        groups += [(each.get("OptionGroupName"), each.get("Status"))
                   for each in self.raw.get("OptionGroupMemberships", [])]  # fmt: skip
        return [f"{name} is {status}" for name, status in groups if status not in (None, "in-sync")]

    @property
    def option_group(self) -> str:
        """The name of its option group."""
        return next((str(each["OptionGroupName"]) for each in self.raw.get("OptionGroupMemberships", [])), "")

    @property
    def security_groups(self) -> list[str]:
        """Its VPC security groups."""
        return sorted(each["VpcSecurityGroupId"] for each in self.raw.get("VpcSecurityGroups", []))

    @property
    def subnet_group(self) -> str:
        """The name of its subnet group."""
        return str(self.raw.get("DBSubnetGroup", {}).get("DBSubnetGroupName", ""))

    def words(self) -> str:
        """Return what it is, for people."""
        raw = self.raw
        return f"{self.name}: {raw.get('Engine')} {raw.get('EngineVersion')} on {raw.get('DBInstanceClass')}"

    def state(self) -> str:
        """Return how it is, for people."""
        coming = ", ".join(sorted(self.pending))
        return f"{self.name} is {self.status}" + (f", with changes to come ({coming})" if coming else "")

    def settings(self) -> dict[str, Any]:
        """Return its settings as a restore takes them."""
        raw = self.raw
        found: dict[str, Any] = {key: raw[key] for key in _TAKEN if raw.get(key) is not None}
        found |= {
            "DBInstanceClass": raw.get("DBInstanceClass"),
            "DBSubnetGroupName": self.subnet_group,
            "VpcSecurityGroupIds": self.security_groups,
            "Port": raw.get("Endpoint", {}).get("Port"),
            "EnableIAMDatabaseAuthentication": raw.get("IAMDatabaseAuthenticationEnabled"),
            "EnableCloudwatchLogsExports": sorted(raw.get("EnabledCloudwatchLogsExports", [])),
            "CACertificateIdentifier": raw.get("CACertificateIdentifier"),
            "NetworkType": raw.get("NetworkType"),
            # AWS takes the default groups of the engine's version by itself, and only by itself.
            "DBParameterGroupName": "" if self.parameter_group.startswith("default.") else self.parameter_group,
            "OptionGroupName": "" if self.option_group.startswith("default:") else self.option_group,
        }
        if not raw.get("MultiAZ"):
            found["AvailabilityZone"] = raw.get("AvailabilityZone")
        found |= dict(self._volume())
        if raw.get("MasterUserSecret"):
            found["ManageMasterUserPassword"] = True
            found["MasterUserSecretKmsKeyId"] = raw["MasterUserSecret"].get("KmsKeyId")
        return {key: value for key, value in found.items() if value not in (None, "", [])}

    def _volume(self) -> Iterator[tuple[str, int]]:
        iops, throughput = self.raw.get("Iops"), self.raw.get("StorageThroughput")
        kind = self.raw.get("StorageType")
        if kind in ("io1", "io2") and iops:
            yield "Iops", iops
        if kind == "gp3" and iops and throughput and (iops, throughput) != _GP3_FREE:
            yield "Iops", iops
            yield "StorageThroughput", throughput

    def left_out(self) -> list[str]:
        """Return what this bot does not carry over to another instance, for people."""
        raw = self.raw
        found = [f"domain {each.get('Domain')}" for each in raw.get("DomainMemberships", [])]
        found += [f"role {each.get('RoleArn')}" for each in raw.get("AssociatedRoles", [])]
        found += [f"processor feature {each.get('Name')}={each.get('Value')}" for each in
                  raw.get("ProcessorFeatures", [])]  # fmt: skip
        if raw.get("PerformanceInsightsEnabled"):
            found.append("Performance Insights")
        if raw.get("DBInstanceAutomatedBackupsReplications"):
            found.append("replication of backups to another region")
        return found


def changes_to(copy: Instance, source: Instance) -> dict[str, Any]:
    """Return what ModifyDBInstance has to change so that a copy serves as its source does.

    The class is not compared: a step may name another one, which is meant.
    """
    old, new = source.raw, copy.raw
    found: dict[str, Any] = {
        key: old[key] for key in (*_TAKEN, *_LATER) if old.get(key) is not None and old[key] != new.get(key)
    }
    if source.security_groups and source.security_groups != copy.security_groups:
        found["VpcSecurityGroupIds"] = source.security_groups
    if source.parameter_group and source.parameter_group != copy.parameter_group:
        found["DBParameterGroupName"] = source.parameter_group
    if source.option_group and source.option_group != copy.option_group:
        found["OptionGroupName"] = source.option_group
    port = old.get("Endpoint", {}).get("Port")
    if port and copy.address and port != new["Endpoint"].get("Port"):
        found["DBPortNumber"] = port
    if bool(old.get("IAMDatabaseAuthenticationEnabled")) != bool(new.get("IAMDatabaseAuthenticationEnabled")):
        found["EnableIAMDatabaseAuthentication"] = bool(old.get("IAMDatabaseAuthenticationEnabled"))
    return found
