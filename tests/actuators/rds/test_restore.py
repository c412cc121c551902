"""rds.restore and rds.snapshot: what is made beside the live instance, and what is refused before."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from actuators.aws.api import AwsError
from actuators.rds import RdsPoints, RdsRestore, RdsSnapshot, RdsSwap, register
from actuators.rds.estate import opened
from actuators.rds.restore import RestoreActuator
from actuators.rds.snapshot import SnapshotActuator
from actuators.rds.swap import SwapActuator
from bot.domain.actuation import Check, Fault, Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.actuators.rds.site import READING, WHOLE, Site, decision
from tests.actuators.rds.stricter import STATUS
from tests.support import aws
from tests.support.actuation import fails

RESTORE, SNAPSHOT = RestoreActuator(), SnapshotActuator()
REGISTRY = Registry(*register())
STEP = RdsRestore(id="restore", target="payments-rds", at="2024-01-15 14:30")
SAFETY = RdsSnapshot(id="safety", target="payments-rds")
BEFORE = "2024-01-15T14:00:00+00:00"
RDS = "http://rds.amazonaws.com/doc/2014-10-31/"


def told(checks: tuple[Check, ...], verdict: Verdict) -> str:
    """Return the words of the checks of a verdict."""
    return "\n".join(check.words for check in checks if check.verdict is verdict)


def described(site: Site, inner: str, *, name: str = "payments") -> None:
    """Let AWS tell an instance that moto cannot make."""
    arn = f"arn:aws:rds:eu-west-1:123456789012:db:{name}"
    xml = (
        f"<DBInstances><DBInstance><DBInstanceIdentifier>{name}</DBInstanceIdentifier>"
        f"<DBInstanceArn>{arn}</DBInstanceArn><DbiResourceId>db-ABCDEFGH</DbiResourceId><Engine>postgres</Engine>"
        f"<EngineVersion>16.3</EngineVersion><DBInstanceClass>db.m6g.large</DBInstanceClass>{inner}"
        "</DBInstance></DBInstances>"
    )
    site.front.answers["DescribeDBInstances"] = (RDS, xml)


async def test_a_copy_beside_has_the_settings_of_its_source(site: Site) -> None:
    """Absent before and present after; class, network, groups, protection and tags come along, the source stays."""
    context, before = site.context(STEP), site.state()
    checks = await RESTORE.check(STEP, context)
    assert {check.verdict for check in checks} == {Verdict.OK}
    assert 'DBParameterGroupName: "tuned"' in "\n".join(check.detail for check in checks)
    assert (await RESTORE.observe(STEP, context)).presence is Presence.ABSENT
    outcome = await RESTORE.apply(STEP, context)
    assert outcome.words.endswith("available, holds 2024-01-15 14:30:00 UTC")
    assert (await RESTORE.observe(STEP, context)).presence is Presence.PRESENT
    after = site.state()
    (resource,) = after.keys() - before.keys()
    copy, (source,) = after[resource], before.values()
    assert copy["DBInstanceIdentifier"] == "payments-rb-0004"
    for same in (
        "DBInstanceClass", "MultiAZ", "StorageType", "DeletionProtection", "BackupRetentionPeriod",
        "MonitoringInterval", "MonitoringRoleArn", "PreferredMaintenanceWindow", "DBParameterGroups",
        "OptionGroupMemberships", "VpcSecurityGroups",
    ):  # fmt: skip
        assert copy[same] == source[same], same
    assert copy["DBSubnetGroup"]["DBSubnetGroupName"] == "inner"
    tags = {tag["Key"]: tag["Value"] for tag in copy["TagList"]}
    assert tags["team"] == "payments"
    assert tags["rollback:run"] == "rb-0004"
    assert tags["rollback:source"] == source["DbiResourceId"]
    assert tags["rollback:why"] == "Error rate 12.3 threshold: 10"
    assert after[source["DbiResourceId"]] == source


async def test_a_second_run_makes_no_second_copy(site: Site) -> None:
    """The copy is known by its name and its tags, so nothing is restored twice."""
    context = site.context(STEP)
    await RESTORE.apply(STEP, context)
    again = await RESTORE.apply(STEP, context)
    assert again.facts["copy"] == "payments-rb-0004"
    assert site.front.actions().count("RestoreDBInstanceToPointInTime") == 1
    assert "it is this rollback's" in told(await RESTORE.check(STEP, context), Verdict.OK)
    assert len(site.names()) == 2


async def test_a_restore_that_was_interrupted_is_waited_for(site: Site) -> None:
    """A worker that dies while the copy is being made leaves it, and the next one waits for that very copy."""
    crash = RuntimeError("killed")

    def die(_seconds: float) -> None:
        raise crash

    site.clock.on_sleep = die
    with pytest.raises(RuntimeError):
        await RESTORE.apply(STEP, site.context(STEP))
    site.clock.on_sleep = None
    seen = await RESTORE.observe(STEP, site.context(STEP))
    assert seen.presence is Presence.ABSENT
    assert "payments-rb-0004 is" in seen.words
    await RESTORE.apply(STEP, site.context(STEP))
    assert (await RESTORE.observe(STEP, site.context(STEP))).presence is Presence.PRESENT
    assert site.front.actions().count("RestoreDBInstanceToPointInTime") == 1


async def test_an_answer_that_was_lost_is_looked_for(site: Site) -> None:
    """No answer to the restore is no outcome: what became of it is looked at before it is tried again."""
    site.front.answers["RestoreDBInstanceToPointInTime"] = 503
    other = site.context(STEP, rollback_id="rb-0005")
    with pytest.raises(ActuatorError, match="AWS gave no answer to RestoreDBInstanceToPointInTime") as caught:
        await RESTORE.apply(STEP, other)
    assert caught.value.transient
    assert (await RESTORE.observe(STEP, other)).presence is Presence.ABSENT
    del site.front.answers["RestoreDBInstanceToPointInTime"]
    await RESTORE.apply(STEP, other)
    assert (await RESTORE.observe(STEP, other)).presence is Presence.PRESENT


async def test_a_foreign_instance_of_the_copys_name_is_left_alone(site: Site) -> None:
    """An instance that has the name and not the run's tags is somebody else's: refused, and never touched."""
    foreign = site.instance("payments-rb-0004")
    before = site.state()[foreign]
    context = site.context(STEP)
    words = "exists and is not this rollback's"
    assert words in fails(await RESTORE.check(STEP, context))
    with pytest.raises(ActuatorError, match=words):
        await RESTORE.observe(STEP, context)
    with pytest.raises(ActuatorError, match=words):
        await RESTORE.apply(STEP, context)
    assert site.state()[foreign] == before
    assert "RestoreDBInstanceToPointInTime" not in site.front.actions()


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (
            "2024-01-09 14:30",
            "is not within what payments can be restored to: 2024-01-10 04:00:00 UTC .. 2024-01-15",
        ),
        ("2024-01-15 15:21", "is after the deployment"),
    ],
)
async def test_a_moment_outside_of_the_window_is_refused(site: Site, at: str, words: str) -> None:
    """A moment that RDS no longer has, or that holds the failed state, is refused before anything is restored."""
    step = RdsRestore(id="restore", target="payments-rds", at=at)
    assert words in fails(await RESTORE.check(step, site.context(step)))
    with pytest.raises(ActuatorError, match=words[:30]):
        await RESTORE.apply(step, site.context(step))
    assert "RestoreDBInstanceToPointInTime" not in site.front.actions()


async def test_a_moment_that_is_not_there_yet_is_tried_again(site: Site) -> None:
    """RDS is some minutes behind: a moment of just before the deployment may become restorable by waiting."""
    xml = (
        "<DBInstanceAutomatedBackups><DBInstanceAutomatedBackup><Status>active</Status>"
        f"<DbiResourceId>{site.names()['payments']}</DbiResourceId><RestoreWindow>"
        "<EarliestTime>2024-01-10T04:00:00Z</EarliestTime><LatestTime>2024-01-15T14:20:00Z</LatestTime>"
        "</RestoreWindow></DBInstanceAutomatedBackup></DBInstanceAutomatedBackups>"
    )
    site.front.answers["DescribeDBInstanceAutomatedBackups"] = (RDS, xml)
    assert "retry then" in fails(await RESTORE.check(STEP, site.context(STEP)))
    with pytest.raises(ActuatorError) as caught:
        await RESTORE.apply(STEP, site.context(STEP))
    assert caught.value.transient


async def test_no_window_is_no_good_window(site: Site) -> None:
    """Where AWS does not tell the window, or no backups are kept, no moment counts as restorable."""
    site.front.answers["DescribeDBInstanceAutomatedBackups"] = (
        RDS,
        "<DBInstanceAutomatedBackups/>",
    )
    assert "does not tell to which moments" in fails(await RESTORE.check(STEP, site.context(STEP)))
    with site.administrator() as rds:
        rds.modify_db_instance(DBInstanceIdentifier="payments", BackupRetentionPeriod=0)
    site.names()
    assert "keeps no automated backups" in fails(await RESTORE.check(STEP, site.context(STEP)))
    del site.front.answers["DescribeDBInstanceAutomatedBackups"]
    points = RdsPoints(id="points", target="payments-rds")
    shown = await REGISTRY.actuator(points).apply(points, site.context(points))
    assert shown.words == "payments: no moment is told (backups are kept 0 days); 0 of 0 snapshots can be restored"
    site.permit("rds:DescribeDBInstances", "rds:DescribeDBSnapshots")
    with pytest.raises(ActuatorError, match="AWS refused DescribeDBInstanceAutomatedBackups"):
        await REGISTRY.actuator(points).apply(points, site.context(points))


async def test_a_snapshot_brings_back_its_own_moment(site: Site) -> None:
    """A named snapshot is restored in the same way, and the copy says which one."""
    site.snapshot("pre-deploy", BEFORE)
    step = RdsRestore(id="restore", target="payments-rds", snapshot="pre-deploy")
    context = site.context(step)
    assert not fails(await RESTORE.check(step, context))
    outcome = await RESTORE.apply(step, context)
    assert "holds snapshot pre-deploy of 2024-01-15 14:00:00 UTC" in outcome.words
    assert (await RESTORE.observe(step, context)).presence is Presence.PRESENT
    other = await RESTORE.observe(STEP, site.context(STEP))
    assert other.presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match=r"holds snapshot pre-deploy .* and not 2024-01-15 14:30:00 UTC"):
        await RESTORE.apply(STEP, site.context(STEP))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "There is no snapshot nowhere in eu-west-1"),
        ("late", "it was taken after the deployment, 2024-01-15 15:30:00 UTC"),
        ("shop", "it was taken of shop"),
        ("young", "it is creating"),
    ],
)
async def test_snapshots_that_cannot_bring_it_back_are_refused(site: Site, name: str, words: str) -> None:
    """A snapshot that is missing, of after the deployment, of another instance or incomplete is refused by us."""
    site.instance("shop")
    site.snapshot("late", "2024-01-15T15:30:00+00:00")
    site.snapshot("shop", BEFORE, of="shop")
    with site.administrator() as rds:
        rds.create_db_snapshot(DBSnapshotIdentifier="young", DBInstanceIdentifier="payments")
    step = RdsRestore(id="restore", target="payments-rds", snapshot=name)
    assert words in fails(await RESTORE.check(step, site.context(step)))
    assert "RestoreDBInstanceFromDBSnapshot" not in site.front.actions()


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ("<DBClusterIdentifier>aurora</DBClusterIdentifier>", "belongs to the cluster aurora"),
        (
            "<ReadReplicaSourceDBInstanceIdentifier>main</ReadReplicaSourceDBInstanceIdentifier>",
            "is a read replica of main",
        ),
        ("<DBInstanceStatus>stopped</DBInstanceStatus>", "is stopped, not available"),
    ],
)
async def test_instances_that_cannot_be_restored_are_refused(site: Site, inner: str, words: str) -> None:
    """A member of a cluster, a read replica and an instance that does not run are refused by our own code."""
    described(site, f"<BackupRetentionPeriod>7</BackupRetentionPeriod>{inner}")
    step = RdsSnapshot(id="safety", target="payments-rds")
    site.front.answers["DescribeDBSnapshots"] = (
        RDS, "<DBSnapshots/>"
    )  # fmt: skip
    assert words in fails(await SNAPSHOT.check(step, site.context(step)))
    with pytest.raises(ActuatorError, match=words):
        await SNAPSHOT.apply(step, site.context(step))
    assert "CreateDBSnapshot" not in site.front.actions()


async def test_what_does_not_come_along_is_told(site: Site) -> None:
    """Domains, roles, replicas, secrets and changes in waiting are named to whoever approves."""
    with site.administrator() as rds:
        tags = [{"Key": f"k{n}", "Value": "v"} for n in range(48)]
        arn = rds.describe_db_instances(DBInstanceIdentifier="payments")["DBInstances"][0]["DBInstanceArn"]
        rds.add_tags_to_resource(ResourceName=arn, Tags=tags)
        rds.create_db_instance_read_replica(DBInstanceIdentifier="reader", SourceDBInstanceIdentifier="payments")
    checks = await RESTORE.check(STEP, site.context(STEP))
    assert "Read replicas stay with the failed instance: reader" in told(checks, Verdict.WARN)
    assert "AWS takes 50" in fails(checks)
    with pytest.raises(ActuatorError, match="AWS takes 50"):
        await RESTORE.apply(STEP, site.context(STEP))


async def test_the_class_is_looked_up(site: Site) -> None:
    """A class that AWS has not for this engine is refused, which moto would take; one that it has is used."""
    wrong = STEP.model_copy(update={"instance_class": "db.z9.huge"})
    assert "AWS has no db.z9.huge for postgres 16.3" in fails(await RESTORE.check(wrong, site.context(wrong)))
    listed = (
        "<OrderableDBInstanceOptions><OrderableDBInstanceOption><DBInstanceClass>db.r6g.large</DBInstanceClass>"
        "</OrderableDBInstanceOption></OrderableDBInstanceOptions>"
    )
    site.front.answers["DescribeOrderableDBInstanceOptions"] = (RDS, listed)
    step = STEP.model_copy(update={"instance_class": "db.r6g.large"})
    assert not fails(await RESTORE.check(step, site.context(step)))
    await RESTORE.apply(step, site.context(step))
    assert {each["DBInstanceClass"] for each in site.state().values()} == {"db.m6g.large", "db.r6g.large"}
    assert (await RESTORE.observe(step, site.context(step))).presence is Presence.PRESENT
    del site.front.answers["DescribeOrderableDBInstanceOptions"]
    site.permit(*(right for right in WHOLE if right != "rds:DescribeOrderableDBInstanceOptions"))
    other = site.context(step, rollback_id="rb-0005")
    assert "Cannot be looked up: AWS refused" in told(await RESTORE.check(step, other), Verdict.WARN)


async def test_quotas(site: Site) -> None:
    """A full account is told before, and a quota that cannot be read is a warning."""
    full = (
        "<AccountQuotas><AccountQuota><AccountQuotaName>DBInstances</AccountQuotaName><Used>40</Used><Max>40</Max>"
        "</AccountQuota></AccountQuotas>"
    )
    site.front.answers["DescribeAccountAttributes"] = (RDS, full)
    checks = await RESTORE.check(STEP, site.context(STEP))
    assert "40 of 40 instances are used, 1 more needed" in fails(checks)
    assert "AWS does not tell it" in told(checks, Verdict.WARN)
    del site.front.answers["DescribeAccountAttributes"]
    site.permit(*(right for right in WHOLE if right != "rds:DescribeAccountAttributes"))
    assert "Cannot be read: AWS refused DescribeAccountAttributes" in told(
        await RESTORE.check(STEP, site.context(STEP)), Verdict.WARN
    )


async def test_missing_rights_are_found_before(site: Site) -> None:
    """IAM's simulator says no: the check fails; without the simulator the restore itself is refused in words."""
    site.permit(*READING)
    site.front.answers["SimulatePrincipalPolicy"] = decision("implicitDeny")
    failed = fails(await RESTORE.check(STEP, site.context(STEP)))
    assert "may not call rds:RestoreDBInstanceToPointInTime" in failed
    assert "docs/actuators/rds.md" in failed
    del site.front.answers["SimulatePrincipalPolicy"]
    assert "is not proven" in told(await RESTORE.check(STEP, site.context(STEP)), Verdict.WARN)
    with pytest.raises(ActuatorError, match="AWS refused RestoreDBInstanceToPointInTime") as caught:
        await RESTORE.apply(STEP, site.context(STEP))
    assert not caught.value.transient
    site.permit("s3:GetObject")
    assert "AWS refused DescribeDBInstances" in fails(await RESTORE.check(STEP, site.context(STEP)))


async def test_wrong_targets_are_refused(site: Site) -> None:
    """An instance that is not there, and one of another account, are told before anything is done."""
    gone = site.context(STEP, instance="paymints")
    assert "There is no RDS instance paymints in eu-west-1" in fails(await RESTORE.check(STEP, gone))
    other = site.context(STEP, account="999999999999")
    assert "lies in account 123456789012, not in 999999999999" in fails(await RESTORE.check(STEP, other))


async def test_a_copy_that_fails_is_left_for_a_person(site: Site) -> None:
    """A copy that ends in a state that no waiting mends is told, kept, and not taken for done."""
    with site.administrator() as rds:
        arn = rds.describe_db_instances(DBInstanceIdentifier="payments")["DBInstances"][0]["DBInstanceArn"]
        rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": STATUS, "Value": "incompatible-restore"}])
    with pytest.raises(ActuatorError, match="incompatible-restore, which does not pass by waiting"):
        await RESTORE.apply(STEP, site.context(STEP))
    assert (await RESTORE.observe(STEP, site.context(STEP))).presence is Presence.UNKNOWN
    assert len(site.names()) == 2


async def test_short_outages_of_aws_do_not_end_the_waiting(site: Site) -> None:
    """While the copy is made, some looks without an answer are borne; many are an error that may pass."""
    context = site.context(STEP)

    def outage(seconds: float) -> None:
        if seconds < 35:
            site.front.answers["DescribeDBInstances"] = 503
        else:
            site.front.answers.pop("DescribeDBInstances", None)

    site.clock.on_sleep = outage
    await RESTORE.apply(STEP, context)
    assert any("AWS tells nothing" in report.words for report in site.reports.seen)
    site.clock.on_sleep = lambda _seconds: site.front.answers.update(DescribeDBInstances=503)
    other = site.context(STEP, rollback_id="rb-0005")
    with pytest.raises(ActuatorError, match="AWS gave no answer to DescribeDBInstances") as caught:
        await RESTORE.apply(STEP, other)
    assert caught.value.transient


async def test_remedies_offer_what_can_be_restored(site: Site) -> None:
    """The newest usable snapshot is offered while there is no copy, settles the step, and can be restored."""
    site.snapshot("older", "2024-01-14T14:00:00+00:00")
    site.snapshot("newer", BEFORE)
    site.snapshot("late", "2024-01-15T15:30:00+00:00")
    context, fault = site.context(STEP), Fault("outside of the window")
    found = await RESTORE.remedies(STEP, fault, context)
    assert [remedy.id for remedy in found[:2]] == ["points", "events"]
    assert found[2].settles
    assert found[2].title == "Restore the snapshot of 2024-01-15 14:00 UTC instead"
    shown = await REGISTRY.actuator(found[0].step).apply(RdsPoints(id="p", target="payments-rds"), context)
    assert "2 of 3 snapshots can be restored" in shown.words
    assert "late" in shown.output
    assert isinstance(found[2].step, RdsRestore)
    assert found[2].step.snapshot == "newer"
    await RESTORE.apply(found[2].step, context)
    assert [remedy.id for remedy in await RESTORE.remedies(STEP, fault, context)] == ["points", "events"]


async def test_safety_snapshot(site: Site) -> None:
    """It is named after the run, tagged, taken once, and waited for."""
    context = site.context(SAFETY)
    assert not fails(await SNAPSHOT.check(SAFETY, context))
    assert (await SNAPSHOT.observe(SAFETY, context)).presence is Presence.ABSENT
    outcome = await SNAPSHOT.apply(SAFETY, context)
    assert outcome.facts == {"snapshot": "payments-pre-rollback-0004-safety"}
    assert (await SNAPSHOT.observe(SAFETY, context)).presence is Presence.PRESENT
    await SNAPSHOT.apply(SAFETY, context)
    assert site.snapshots() == ["payments-pre-rollback-0004-safety"]
    assert site.front.actions().count("CreateDBSnapshot") == 1
    assert "is there already" in told(await SNAPSHOT.check(SAFETY, context), Verdict.OK)
    assert [remedy.id for remedy in await SNAPSHOT.remedies(SAFETY, Fault("x"), context)] == ["events"]


async def test_safety_snapshot_under_way_is_waited_for(site: Site) -> None:
    """A snapshot that an earlier attempt began is not taken twice, even if AWS is silent for a moment."""
    context = site.context(SAFETY)
    site.clock.on_sleep = lambda _seconds: (_ for _ in ()).throw(RuntimeError("killed"))
    with pytest.raises(RuntimeError):
        await SNAPSHOT.apply(SAFETY, context)
    seen = await SNAPSHOT.observe(SAFETY, context)
    assert seen.presence is Presence.ABSENT
    assert "is being made" in seen.words
    site.clock.on_sleep = None
    await SNAPSHOT.apply(SAFETY, context)
    assert site.front.actions().count("CreateDBSnapshot") == 1


async def test_safety_snapshot_of_somebody_else(site: Site) -> None:
    """A snapshot that has the name and not the run's tags is refused."""
    site.snapshot("payments-pre-rollback-0004-safety", BEFORE)
    words = "exists and is not this rollback's"
    assert words in fails(await SNAPSHOT.check(SAFETY, site.context(SAFETY)))
    with pytest.raises(ActuatorError, match=words):
        await SNAPSHOT.apply(SAFETY, site.context(SAFETY))


async def test_safety_snapshot_that_fails(site: Site) -> None:
    """A snapshot that ended badly is told, and neither done nor taken again behind anybody's back."""
    with site.administrator() as rds:
        arn = rds.describe_db_instances(DBInstanceIdentifier="payments")["DBInstances"][0]["DBInstanceArn"]
        rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": STATUS, "Value": "failed"}])
    with pytest.raises(ActuatorError, match="payments-pre-rollback-0004-safety is failed"):
        await SNAPSHOT.apply(SAFETY, site.context(SAFETY))
    assert (await SNAPSHOT.observe(SAFETY, site.context(SAFETY))).presence is Presence.UNKNOWN


async def test_a_cancelled_restore_ends_after_its_call(site: Site) -> None:
    """A step that is stopped waits for the call under way, so that the next look sees the copy."""
    site.front.held = "RestoreDBInstanceToPointInTime"
    restoring = asyncio.get_running_loop().create_task(RESTORE.apply(STEP, site.context(STEP)))
    await site.front.arrived.wait()
    restoring.cancel()
    await asyncio.wait({restoring}, timeout=0.05)
    assert not restoring.done()
    site.front.go.set()
    with pytest.raises(asyncio.CancelledError):
        await restoring
    assert "payments-rb-0004" in site.names()


async def test_the_simulator_decides_for_each_resource(site: Site) -> None:
    """A call must be allowed on everything that it touches, and no answer of the simulator is no permission."""
    one = (
        "<EvaluationResults><member><EvalActionName>x</EvalActionName><EvalDecision>allowed</EvalDecision>"
        "<ResourceSpecificResults><member><EvalResourceName>arn:of-the-copy</EvalResourceName>"
        "<EvalResourceDecision>implicitDeny</EvalResourceDecision></member></ResourceSpecificResults></member>"
        "</EvaluationResults>"
    )
    site.front.answers["SimulatePrincipalPolicy"] = (aws.IAM, one)
    failed = fails(await RESTORE.check(STEP, site.context(STEP)))
    assert "may not call rds:AddTagsToResource on arn:of-the-copy (IAM's policy simulator: implicitDeny)" in failed
    site.front.answers["SimulatePrincipalPolicy"] = (aws.IAM, "<EvaluationResults/>")
    assert "simulator: nothing" in fails(await RESTORE.check(STEP, site.context(STEP)))
    session = "<Arn>arn:aws:sts::123456789012:assumed-role/bot/worker</Arn>"
    site.front.answers["GetCallerIdentity"] = (aws.STS, session)
    site.front.answers["GetRole"] = 503
    warned = told(await RESTORE.check(STEP, site.context(STEP)), Verdict.WARN)
    assert "AWS gave no answer to GetRole" in warned


async def test_answers_that_are_none_of_aws(site: Site) -> None:
    """A proxy's page in place of an answer, or a name that cannot be sent, is told in words of our own."""
    site.front.answers["DescribeDBInstances"] = (RDS, "<not><xml>")
    assert "it was no answer of AWS" in fails(await RESTORE.check(STEP, site.context(STEP)))
    del site.front.answers["DescribeDBInstances"]
    async with opened(STEP, site.context(STEP)) as estate:
        with pytest.raises(AwsError, match="DescribeDBInstances cannot be sent"):
            await estate.aws.read("rds", "describe_db_instances", DBInstanceIdentifier=7)
        with pytest.raises(AwsError) as caught:
            await estate.aws.read("rds", "describe_db_snapshots", DBSnapshotIdentifier="nowhere")
    assert caught.value.missing


async def test_all_pages_of_snapshots_are_read(site: Site) -> None:
    """AWS tells a hundred at a time; the newest may be on the last page."""
    page = "<DBSnapshots><DBSnapshot><DBSnapshotIdentifier>s</DBSnapshotIdentifier></DBSnapshot></DBSnapshots>"
    site.front.answers["DescribeDBSnapshots"] = (RDS, f"<Marker>more</Marker>{page}")
    async with opened(STEP, site.context(STEP)) as estate:
        assert len(await estate.snapshots()) == 10
    sent = [sent.get("Marker") for action, sent in site.front.calls if action == "DescribeDBSnapshots"]
    assert sent[:2] == [None, "more"]


async def test_points_need_their_instance(site: Site) -> None:
    """A name that AWS does not know is told by the diagnosis, too."""
    away = site.context(STEP, instance="paymints")
    points = RdsPoints(id="points", target="payments-rds")
    assert "There is no paymints now" in told(await REGISTRY.actuator(points).check(points, away), Verdict.OK)
    with pytest.raises(ActuatorError, match="There is no RDS instance paymints"):
        await REGISTRY.actuator(points).apply(points, away)


async def test_a_name_that_an_instance_takes_in_between(site: Site) -> None:
    """Somebody makes an instance of the copy's name after the look: AWS refuses, and it is left alone."""
    site.front.held = "RestoreDBInstanceToPointInTime"
    restoring = asyncio.get_running_loop().create_task(RESTORE.apply(STEP, site.context(STEP)))
    await site.front.arrived.wait()
    foreign = site.instance("payments-rb-0004")
    site.front.go.set()
    with pytest.raises(ActuatorError, match="exists and is not this rollback's"):
        await restoring
    assert site.names()["payments-rb-0004"] == foreign


async def test_a_name_that_a_snapshot_takes_in_between(site: Site) -> None:
    """So it is with the safety snapshot; what AWS refuses for another reason is told as it is."""
    site.front.held = "CreateDBSnapshot"
    taking = asyncio.get_running_loop().create_task(SNAPSHOT.apply(SAFETY, site.context(SAFETY)))
    await site.front.arrived.wait()
    site.snapshot("payments-pre-rollback-0004-safety", BEFORE)
    site.front.go.set()
    with pytest.raises(ActuatorError, match="exists and is not this rollback's"):
        await taking
    site.permit(*READING)
    with pytest.raises(ActuatorError, match="AWS refused CreateDBSnapshot"):
        await SNAPSHOT.apply(SAFETY, site.context(SAFETY, rollback_id="rb-0005"))


async def test_no_safety_snapshot_of_the_restored_instance(site: Site) -> None:
    """After the swap the name is the copy's, whose snapshot would save nothing."""
    await RESTORE.apply(STEP, site.context(STEP))
    await SwapActuator().apply(RdsSwap(id="swap", target="payments-rds"), site.context(STEP))
    with pytest.raises(ActuatorError, match="is already the restored instance"):
        await SNAPSHOT.apply(SAFETY, site.context(SAFETY))


async def test_silence_while_a_snapshot_is_made(site: Site) -> None:
    """Some looks without an answer are borne, many are an error that may pass."""

    def outage(seconds: float) -> None:
        if seconds < 15:
            site.front.answers["DescribeDBSnapshots"] = 503
        else:
            site.front.answers.pop("DescribeDBSnapshots", None)

    site.clock.on_sleep = outage
    await SNAPSHOT.apply(SAFETY, site.context(SAFETY))
    assert any("AWS tells nothing" in report.words for report in site.reports.seen)
    site.clock.on_sleep = lambda _seconds: site.front.answers.update(DescribeDBSnapshots=503)
    with pytest.raises(ActuatorError, match="AWS gave no answer to DescribeDBSnapshots"):
        await SNAPSHOT.apply(SAFETY, site.context(SAFETY, rollback_id="rb-0005"))


async def test_a_run_of_another_bot_is_another_run(site: Site) -> None:
    """Two bots on one account count alike, so a copy of the same run's number for another change is foreign."""
    await RESTORE.apply(STEP, site.context(STEP))
    context = site.context(STEP)
    other = dataclasses.replace(context, plan=context.plan.model_copy(update={"change": "CHG0099999"}))
    with pytest.raises(ActuatorError, match="exists and is not this rollback's"):
        await RESTORE.observe(STEP, other)
