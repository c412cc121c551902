"""Names, tags, settings and the forms of steps and targets: what is decided without asking AWS."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from actuators.rds import RdsEvents, RdsPoints, RdsRestore, RdsSnapshot, RdsSwap, RdsSwapBack, RdsVerify, names
from actuators.rds.checks import hindrances
from actuators.rds.instance import Instance, changes_to
from actuators.rds.names import Mark
from actuators.rds.restore import RestoreActuator
from actuators.rds.snapshots import Snapshot
from bot.domain.actuation import Verdict
from bot.domain.inventory import Inventory
from bot.domain.plan_rules import check_plan
from tests.actuators.rds.site import ROOT, WHOLE
from tests.support.actuation import fails, make_context, make_plan

AT = datetime(2024, 1, 15, 15, 47, tzinfo=UTC)
TARGET = {"service": "payments", "region": "eu-west-1", "instance": "payments"}
ARN = "arn:aws:rds:eu-west-1:123456789012:db:payments"
LONG = "payments-of-the-northern-region-and-its-neighbours-in-the-south"


def instance(**raw: Any) -> Instance:
    """Return an instance."""
    return Instance({"DBInstanceIdentifier": "payments", "DBInstanceArn": ARN, **raw})


def test_names_tell_instance_and_run() -> None:
    """Copy, failed instance and snapshot are named after the instance and the run."""
    assert names.copy_name("payments", "rb-0004") == "payments-rb-0004"
    assert names.failed_name("payments", "rb-0004", at=AT) == "payments-failed-20240115-1547-0004"
    assert names.snapshot_name("payments", "rb-0004", "safety.1") == "payments-pre-rollback-0004-safety-1"


@pytest.mark.parametrize("run", ["rb-0004", "rb-0005", f"rb-{'9' * 80}"])
def test_long_names_keep_the_run_and_stay_apart(run: str) -> None:
    """A name that AWS would not take is shortened in front, by a digest, and still an identifier."""
    made = {names.copy_name(LONG, run), names.failed_name(LONG, run, at=AT), names.copy_name(f"{LONG[:-1]}x", run)}
    assert len(made) == 3
    for name in made:
        assert len(name) <= 63
        Inventory.model_validate({"managed_databases": {"db": {**TARGET, "instance": name}}})
    assert len(names.snapshot_name(LONG, run, "s" * 200)) <= 255


def test_a_mark_is_read_back() -> None:
    """What a copy says of itself is read from its tags; tags of anybody else are no mark."""
    mark = Mark("rb-0004", "CHG0012345", "restore", "db-ABC", "rds:payments-1", AT)
    tags = mark.tags(why="5xx > 10 % (p95!)\n" + "x" * 400)
    assert names.read_mark(tags) == mark
    assert tags["rollback:why"].startswith("5xx 10 p95 xxx")
    assert all(len(value) <= 256 for value in tags.values())
    assert names.read_mark({"rollback:run": "rb-0004"}) is None
    assert names.read_mark({**tags, "rollback:data": "yesterday"}) is None
    assert names.of_people({"team": "a", "aws:cloudformation:stack-name": "b", **tags}) == {"team": "a"}


@pytest.mark.parametrize(
    ("raw", "asked"),
    [
        ({"StorageType": "gp3", "Iops": 3000, "StorageThroughput": 125}, {"StorageType": "gp3"}),
        (
            {"StorageType": "gp3", "Iops": 12000, "StorageThroughput": 500},
            {"StorageType": "gp3", "Iops": 12000, "StorageThroughput": 500},
        ),
        ({"StorageType": "io1", "Iops": 4000}, {"StorageType": "io1", "Iops": 4000}),
        ({"StorageType": "gp2", "Iops": 300}, {"StorageType": "gp2"}),
        (
            {"MultiAZ": False, "AvailabilityZone": "eu-west-1b"},
            {"MultiAZ": False, "AvailabilityZone": "eu-west-1b"},
        ),
        (
            {"MasterUserSecret": {"KmsKeyId": "key"}},
            {"ManageMasterUserPassword": True, "MasterUserSecretKmsKeyId": "key"},
        ),
        ({"DBParameterGroups": [{"DBParameterGroupName": "default.postgres16"}]}, {}),
        ({"OptionGroupMemberships": [{"OptionGroupName": "default:postgres-16"}]}, {}),
        ({"EnabledCloudwatchLogsExports": ["postgresql"]}, {"EnableCloudwatchLogsExports": ["postgresql"]}),
    ],
)
def test_settings_are_asked_for_as_aws_takes_them(raw: dict[str, Any], asked: dict[str, Any]) -> None:
    """What AWS gives by itself is not asked for, because it refuses to be asked."""
    assert instance(**{"MultiAZ": True, **raw}).settings() == {"MultiAZ": True, **asked}


def test_differences_are_changes() -> None:
    """Everything that keeps clients out, or lets the copy be deleted, is found as a change to make."""
    source = instance(
        DeletionProtection=True,
        VpcSecurityGroups=[{"VpcSecurityGroupId": "sg-1"}],
        DBParameterGroups=[{"DBParameterGroupName": "tuned"}],
        OptionGroupMemberships=[{"OptionGroupName": "opts"}],
        Endpoint={"Port": 5433},
        IAMDatabaseAuthenticationEnabled=True,
        MaxAllocatedStorage=500,
    )
    copy = instance(Endpoint={"Port": 5432, "Address": "payments-rb-0004.x"})
    assert changes_to(copy, source) == {
        "DeletionProtection": True,
        "VpcSecurityGroupIds": ["sg-1"],
        "DBParameterGroupName": "tuned",
        "OptionGroupName": "opts",
        "DBPortNumber": 5433,
        "EnableIAMDatabaseAuthentication": True,
        "MaxAllocatedStorage": 500,
    }
    assert not changes_to(source, source)


def test_states_of_an_instance() -> None:
    """Serving, settled and ended are told apart; what is not in force is named."""
    waiting = instance(DBInstanceStatus="available", PendingModifiedValues={"DBInstanceClass": "db.r6g.large"})
    assert (waiting.serving, waiting.settled, waiting.ended) == (True, False, False)
    leaving = instance(DBInstanceStatus="available", PendingModifiedValues={"DBInstanceIdentifier": "other"})
    assert (leaving.serving, leaving.becoming) == (False, "other")
    assert instance(DBInstanceStatus="incompatible-network").ended
    assert instance(DBInstanceStatus="storage-full").ended
    group = {"DBParameterGroupName": "tuned", "ParameterApplyStatus": "pending-reboot"}
    assert instance(DBParameterGroups=[group]).out_of_force == ["tuned is pending-reboot"]
    assert waiting.state() == "payments is available, with changes to come (DBInstanceClass)"


def test_what_stays_behind_is_named() -> None:
    """Domains, roles, processor features, Performance Insights, secrets and waiting changes are warnings."""
    source = instance(
        DomainMemberships=[{"Domain": "d-1"}],
        AssociatedRoles=[{"RoleArn": "arn:role"}],
        ProcessorFeatures=[{"Name": "coreCount", "Value": "4"}],
        PerformanceInsightsEnabled=True,
        DBInstanceAutomatedBackupsReplications=[{}],
        MasterUserSecret={"KmsKeyId": "key"},
        PendingModifiedValues={"DBInstanceClass": "db.r6g.large"},
    )
    found = list(hindrances(source, {}, Any))  # type: ignore[arg-type]  # only a surplus of tags asks for it
    assert {check.verdict for check in found} == {Verdict.WARN}
    words = "\n".join(check.words for check in found)
    for part in (
        "domain d-1",
        "role arn:role",
        "coreCount=4",
        "Performance Insights",
        "new secret",
        "DBInstanceClass",
    ):
        assert part in words


def test_a_snapshot_that_fits_has_nothing_against_it() -> None:
    """The same instance, or one that had its name, and the time of the first one where it is a copy."""
    source = instance(DbiResourceId="db-NEW", Engine="postgres")
    raw = {"DBSnapshotIdentifier": "s", "Status": "available", "Engine": "postgres", "DbiResourceId": "db-OLD"}
    times = {"SnapshotCreateTime": AT, "OriginalSnapshotCreateTime": datetime(2024, 1, 15, 14, tzinfo=UTC)}
    deployed = datetime(2024, 1, 15, 15, 20, tzinfo=UTC)
    assert (
        Snapshot({**raw, **times, "DBInstanceIdentifier": "payments"}).objections(source, deployed_at=deployed)
        == []
    )
    against = Snapshot({**raw, "Engine": "mysql", "DBInstanceIdentifier": "shop"})
    assert against.objections(source, deployed_at=deployed) == [
        "it was taken of shop",
        "it holds mysql, not postgres",
        "AWS does not tell when it was taken",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"at": "2024-01-15 14:30", "snapshot": "pre-deploy"},
        {"snapshot": "../etc"},
        {"snapshot": "1-is-no-letter"},
        {"at": "2024-01-15 14:30", "instance_class": "m6g.large"},
        {"at": "2024-01-15 14:30", "instance_class": "db.m6g"},
    ],
)
def test_restores_that_name_nothing_or_nonsense_are_refused(fields: dict[str, Any]) -> None:
    """Exactly one thing comes back, and names and classes have AWS's form; moto would take anything."""
    with pytest.raises(ValidationError):
        RdsRestore.model_validate({"id": "restore", "target": "payments-rds", **fields})


@pytest.mark.parametrize(
    "wrong",
    [
        {"region": "europe"},
        {"region": "eu-west-1a"},
        {"instance": "Payments"},
        {"instance": "pay--ments"},
        {"instance": "payments-"},
        {"instance": "p" * 64},
        {"account": "1234"},
        {"endpoint_url": "ftp://x"},
    ],
)
def test_targets_of_a_wrong_form_are_refused(wrong: dict[str, Any]) -> None:
    """Regions, identifiers and accounts are checked before anybody contacts AWS."""
    with pytest.raises(ValidationError):
        Inventory.model_validate({"managed_databases": {"payments-rds": {**TARGET, **wrong}}})


def test_inventories_without_managed_databases_stay_as_they_were() -> None:
    """The section and its optional fields are left out where unused, and a part keeps what it names."""
    assert "managed_databases" not in Inventory().model_dump(mode="json")
    whole = Inventory.model_validate({"managed_databases": {"a": TARGET, "b": TARGET}})
    assert set(whole.only(["a"]).managed_databases) == {"a"}
    written = whole.model_dump(mode="json")["managed_databases"]["a"]
    assert written == {**TARGET, "zone": "default", "touch": [], "kind": "rds"}


async def test_steps_belong_to_managed_databases() -> None:
    """A plan's step on another sort of target is found by the plan's check, and refused by the step's own."""
    step = RdsRestore(id="restore", target="web", at="2024-01-15 14:30")
    inventory = {"endpoints": {"web": {"service": "payments", "url": "http://web"}}}
    problems = check_plan(make_plan(step), Inventory.model_validate(inventory))
    assert any("is a endpoint, which rds.restore cannot act on" in problem.message for problem in problems)
    failed = fails(await RestoreActuator().check(step, make_context(make_plan(step), inventory)))
    assert "web is no managed database" in failed


def test_a_plans_backup_may_be_of_a_managed_database() -> None:
    """A snapshot that a plan counts on is a backup of the kind database."""
    backup = {"id": "before", "kind": "database", "target": "db", "location": "s", "taken_at": "2024-01-15 14:30"}
    plan = make_plan(RdsSwap(id="swap", target="db"), backups=[backup])
    inventory = Inventory.model_validate({"managed_databases": {"db": TARGET}})
    assert not [problem for problem in check_plan(plan, inventory) if problem.path[0] == "backups"]


def test_steps_in_words() -> None:
    """Every step says what it does, unless the plan has words of its own."""
    db = {"target": "payments-rds"}
    assert RdsSnapshot(id="a", **db).words() == "Take a safety snapshot of payments-rds"
    restore = RdsRestore(id="a", at="2024-01-15 14:30", **db)
    assert restore.words() == "Restore payments-rds to 2024-01-15 14:30:00 UTC, beside it"
    assert RdsSwap(id="a", **db).words() == "Swap the restored instance of payments-rds in"
    assert "its name back" in RdsSwapBack(id="a", resource="db-ABCDEFGH", **db).words()
    assert RdsVerify(id="a", **db).words() == "The restored instance of payments-rds is in service"
    assert RdsPoints(id="a", **db).words() == "What payments-rds can be restored to"
    assert RdsEvents(id="a", title="Mine", **db).words() == "Mine"


def test_the_documented_policy_is_what_the_tests_run_with() -> None:
    """docs/actuators/rds.md permits exactly what the bot's user of the tests may do, and asking the simulator."""
    page = (ROOT / "docs" / "actuators" / "rds.md").read_text(encoding="utf-8")
    policy = json.loads(page.partition("```json")[2].partition("```")[0])
    listed = [statement["Action"] for statement in policy["Statement"]]
    actions = {action for each in listed for action in ([each] if isinstance(each, str) else each)}
    assert actions == {*WHOLE, "iam:SimulatePrincipalPolicy", "iam:GetRole"}
