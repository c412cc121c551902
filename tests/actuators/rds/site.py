"""An RDS instance on a strict moto with IAM enforced, behind a front that answers what moto cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.domain.actuation import Context
from bot.domain.plan import Step
from tests.support import aws
from tests.support.actuation import FakeClock, Reports, make_context, make_plan

ROOT = Path(__file__).parents[3]
READING = (
    "rds:DescribeAccountAttributes", "rds:DescribeDBInstanceAutomatedBackups", "rds:DescribeDBInstances",
    "rds:DescribeDBSnapshots", "rds:DescribeEvents", "rds:DescribeOrderableDBInstanceOptions",
)  # fmt: skip
WHOLE = (
    *READING, "rds:AddTagsToResource", "rds:CreateDBSnapshot", "rds:ModifyDBInstance",
    "rds:RestoreDBInstanceFromDBSnapshot", "rds:RestoreDBInstanceToPointInTime",
)  # fmt: skip
DECISION = (
    "<EvaluationResults><member><EvalActionName>x</EvalActionName><EvalDecision>{}</EvalDecision></member>"
    "</EvaluationResults><IsTruncated>false</IsTruncated>"
)


def strict_moto(log: Path) -> AbstractContextManager[int]:
    """Give the port of a strict moto server of its own process."""
    return aws.moto_server(log, module="tests.actuators.rds.stricter")


@dataclass
class Site:
    """An account with one instance, ``payments``.

    Attributes:
        front: The way to it.
        clock: The clock of its runs.
        reports: What they reported.
        groups: Names and ids that the instance was made with.
    """

    front: aws.Front
    clock: FakeClock = field(default_factory=FakeClock)
    reports: Reports = field(default_factory=Reports)
    groups: dict[str, str] = field(default_factory=dict)

    def target(self, **more: Any) -> dict[str, Any]:
        """Return the instance as the inventory names it."""
        where = {"region": aws.REGION, "instance": "payments", "endpoint_url": self.front.url}
        return {"service": "payments", **where, **more}

    def context(self, *steps: Step, rollback_id: str = "rb-0004", **more: Any) -> Context:
        """Return the context of a run."""
        inventory = {"managed_databases": {"payments-rds": self.target(**more)}}
        return make_context(
            make_plan(*steps), inventory, rollback_id=rollback_id, clock=self.clock, reports=self.reports
        )

    @contextmanager
    def administrator(self) -> Iterator[Any]:
        """Give a client that speaks to moto without the front, the code under test and its rights."""
        aws.tell_moto(self.front.moto, "reset-auth", "inf")
        yield aws.client(self.front.moto, "rds")
        aws.tell_moto(self.front.moto, "reset-auth", "0")

    def permit(self, *actions: str) -> None:
        """Let the bot do this and no more."""
        aws.permit(self.front.moto, *actions)

    def state(self) -> dict[str, dict[str, Any]]:
        """Return every instance by its id that never changes."""
        with self.administrator() as rds:
            found = rds.describe_db_instances(Filters=[{"Name": "engine", "Values": ["postgres"]}])["DBInstances"]
        return {each["DbiResourceId"]: each for each in found}

    def names(self) -> dict[str, str]:
        """Return the resource ids by name, when all that is under way has come to its end."""
        for _ in range(8):
            found = self.state()
        return {each["DBInstanceIdentifier"]: resource for resource, each in found.items()}

    def snapshots(self) -> list[str]:
        """Return the manual snapshots."""
        with self.administrator() as rds:
            found = rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
        return sorted(each["DBSnapshotIdentifier"] for each in found)

    def instance(self, name: str, **more: Any) -> str:
        """Make an instance, and return its id that never changes."""
        with self.administrator() as rds:
            plain = {"Engine": "postgres", "EngineVersion": "16.3", "DBInstanceClass": "db.m6g.large"}
            rest = {"MasterUsername": "owner", "MasterUserPassword": "hunter2-hunter2", "AllocatedStorage": 100}
            made = rds.create_db_instance(DBInstanceIdentifier=name, **{**plain, **rest, **more})
        return str(made["DBInstance"]["DbiResourceId"])

    def snapshot(self, name: str, taken: str, *, of: str = "payments", **tags: str) -> None:
        """Make a snapshot that was taken at a moment."""
        listed = [{"Key": "test:taken", "Value": taken}, *({"Key": k, "Value": v} for k, v in tags.items())]
        with self.administrator() as rds:
            rds.create_db_snapshot(DBSnapshotIdentifier=name, DBInstanceIdentifier=of, Tags=listed)

    def build(self) -> None:
        """Make the instance as somebody has it in production."""
        ec2, rds = aws.client(self.front.moto, "ec2"), aws.client(self.front.moto, "rds")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{aws.REGION}{zone}")
            for n, zone in enumerate("ab")
        ]
        group = ec2.create_security_group(GroupName="payments-db", Description="-", VpcId=vpc)["GroupId"]
        ids = [subnet["Subnet"]["SubnetId"] for subnet in subnets]
        rds.create_db_subnet_group(DBSubnetGroupName="inner", DBSubnetGroupDescription="-", SubnetIds=ids)
        rds.create_db_parameter_group(
            DBParameterGroupName="tuned", DBParameterGroupFamily="postgres16", Description="-"
        )
        rds.create_option_group(
            OptionGroupName="opts", EngineName="mysql", MajorEngineVersion="5.6", OptionGroupDescription="-"
        )
        self.groups = {"VpcSecurityGroupIds": group}
        self.instance(
            "payments",
            VpcSecurityGroupIds=[group],
            DBSubnetGroupName="inner",
            DBParameterGroupName="tuned",
            OptionGroupName="opts",
            MultiAZ=True,
            StorageType="gp3",
            BackupRetentionPeriod=7,
            DeletionProtection=True,
            PreferredMaintenanceWindow="sun:02:00-sun:03:00",
            MonitoringInterval=30,
            MonitoringRoleArn="arn:aws:iam::123456789012:role/monitoring",
            Tags=[{"Key": "team", "Value": "payments"}, {"Key": "rollback:run", "Value": "rb-0001"}],
        )


def decision(word: str) -> tuple[str, str]:
    """Return an answer of IAM's policy simulator."""
    return aws.IAM, DECISION.format(word)


@asynccontextmanager
async def site(moto: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """Give a fresh account, and the environment of a user who may do what is documented and no more."""
    aws.tell_moto(moto, "reset-auth", "inf")
    aws.tell_moto(moto, "reset")
    key = aws.make_user(moto)
    async with aws.front(moto) as front:
        built = Site(front)
        built.build()
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.delenv(name, raising=False)
        environment = {"AWS_ENDPOINT_URL": front.url, "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**environment, **key}.items():
            monkeypatch.setenv(name, value)
        # The caller may do what is needed, as far as IAM's simulator says; moto has none.
        front.answers["SimulatePrincipalPolicy"] = decision("allowed")
        built.permit(*WHOLE)
        yield built
