"""rds.swap and rds.swap_back: the names change hands, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from actuators.rds import RdsEvents, RdsRestore, RdsSwap, RdsSwapBack, RdsVerify, register
from actuators.rds.restore import RestoreActuator
from actuators.rds.swap import SwapActuator, SwapBackActuator
from bot.domain.actuation import Context, Fault, Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import LossQuery, RowsWritten, Step
from tests.actuators.rds.site import READING, Site, decision
from tests.support.actuation import fails

RESTORE, SWAP, BACK = RestoreActuator(), SwapActuator(), SwapBackActuator()
REGISTRY = Registry(*register())
RDS = "http://rds.amazonaws.com/doc/2014-10-31/"
COPY = RdsRestore(id="restore", target="payments-rds", at="2024-01-15 14:30")
STEP = RdsSwap(id="swap", target="payments-rds")
VERIFY = RdsVerify(id="verify", target="payments-rds", timeout="1m")
KEPT = "payments-failed-20240115-1547-0004"
FAULT = Fault("something failed")


class KilledError(RuntimeError):
    """The worker died."""


@pytest.fixture
async def ready(site: Site) -> tuple[Site, str, str]:
    """Give the account with a copy, and the ids of the live instance and of the copy."""
    await RESTORE.apply(COPY, run(site))
    names = site.names()
    site.front.calls.clear()
    site.clock.seconds = 0.0
    return site, names["payments"], names["payments-rb-0004"]


def run(site: Site, *more: Step) -> Context:
    """Return the context of the run."""
    return site.context(COPY, STEP, *more)


def renames(site: Site) -> list[tuple[str, str]]:
    """Return the renames that AWS was asked for."""
    sent = [sent for action, sent in site.front.calls if action == "ModifyDBInstance"]
    return [(each["DBInstanceIdentifier"], each["NewDBInstanceIdentifier"]) for each in sent]


def killer(site: Site, after: int) -> Callable[[float], None]:
    """Return what kills the worker while it waits after that many renames."""

    def die(_seconds: float) -> None:
        if len(renames(site)) == after:
            raise KilledError

    return die


async def test_names_change_hands_and_are_read_back(ready: tuple[Site, str, str]) -> None:
    """The copy has the name and the endpoint, the failed instance a dated name; a second run is harmless."""
    site, failed, copy = ready
    context = run(site)
    assert {check.verdict for check in await SWAP.check(STEP, context)} == {Verdict.OK}
    before = await SWAP.observe(STEP, context)
    assert (before.presence, before.words) == (
        Presence.ABSENT, "payments is still the failed instance; payments-rb-0004 is available",
    )  # fmt: skip
    outcome = await SWAP.apply(STEP, context)
    assert outcome.facts["failed_instance"] == KEPT
    assert str(outcome.facts["endpoint"]).startswith("payments.")
    assert site.names() == {KEPT: failed, "payments": copy}
    assert (await SWAP.observe(STEP, context)).presence is Presence.PRESENT
    again = await SWAP.apply(STEP, context)
    assert again.facts["failed_instance"] == KEPT
    assert renames(site) == [("payments", KEPT), ("payments-rb-0004", "payments")]
    assert site.state()[failed]["DeletionProtection"]
    assert site.state()[copy]["DeletionProtection"]
    assert (await RESTORE.observe(COPY, context)).presence is Presence.PRESENT
    assert not fails(await SWAP.check(STEP, context))


@pytest.mark.parametrize("after", [1, 2])
async def test_a_swap_that_was_killed_is_taken_up(ready: tuple[Site, str, str], after: int) -> None:
    """Killed while the first or the second rename is under way, the next attempt finishes and repeats nothing."""
    site, failed, copy = ready
    site.clock.on_sleep = killer(site, after)
    with pytest.raises(KilledError):
        await SWAP.apply(STEP, run(site))
    site.clock.on_sleep = None
    assert (await SWAP.observe(STEP, run(site))).presence is Presence.ABSENT
    site.clock.seconds += 600  # the failed name's minute has passed
    await SWAP.apply(STEP, run(site))
    assert site.names() == {KEPT: failed, "payments": copy}
    assert (await SWAP.observe(STEP, run(site))).presence is Presence.PRESENT
    assert renames(site) == [("payments", KEPT), ("payments-rb-0004", "payments")]


async def test_half_a_swap_is_told_and_finished(ready: tuple[Site, str, str]) -> None:
    """Killed between the renames nobody bears the name: it is told as half done, and then finished."""
    site, failed, copy = ready
    site.clock.on_sleep = killer(site, 1)
    with pytest.raises(KilledError):
        await SWAP.apply(STEP, run(site))
    site.clock.on_sleep = None
    assert set(site.names()) == {KEPT, "payments-rb-0004"}
    seen = await SWAP.observe(STEP, run(site))
    assert seen.presence is Presence.ABSENT
    assert seen.words.startswith("Half done: nobody bears the name payments; payments-rb-0004 is available")
    assert not fails(await SWAP.check(STEP, run(site)))
    assert (await RESTORE.observe(COPY, run(site))).presence is Presence.PRESENT
    await SWAP.apply(STEP, run(site))
    assert site.names() == {KEPT: failed, "payments": copy}


async def test_half_a_swap_can_be_taken_back(ready: tuple[Site, str, str]) -> None:
    """The way back is offered once a name has changed hands, and brings the failed instance's name back."""
    site, failed, copy = ready
    assert [remedy.id for remedy in await SWAP.remedies(STEP, FAULT, run(site))] == ["events"]
    site.clock.on_sleep = killer(site, 1)
    with pytest.raises(KilledError):
        await SWAP.apply(STEP, run(site))
    site.clock.on_sleep = None
    site.names()
    events, back = await SWAP.remedies(STEP, FAULT, run(site))
    assert isinstance(events.step, RdsEvents)
    assert back.step == RdsSwapBack(id="swap-back", target="payments-rds", resource=failed)
    assert not fails(await BACK.check(back.step, run(site)))
    assert (await BACK.observe(back.step, run(site))).presence is Presence.ABSENT
    await BACK.apply(back.step, run(site))
    assert site.names() == {"payments": failed, "payments-rb-0004": copy}
    assert (await BACK.observe(back.step, run(site))).presence is Presence.PRESENT


async def test_a_whole_swap_can_be_taken_back(ready: tuple[Site, str, str]) -> None:
    """The names go back, twice is harmless, and then the swap can be done once more."""
    site, failed, copy = ready
    await SWAP.apply(STEP, run(site))
    back = RdsSwapBack(id="back", target="payments-rds", resource=failed)
    for _ in range(2):
        outcome = await BACK.apply(back, run(site))
        assert "payments is the instance of before the swap again" in outcome.words
    assert site.names() == {"payments": failed, "payments-rb-0004": copy}
    assert (await SWAP.observe(STEP, run(site))).presence is Presence.ABSENT
    await SWAP.apply(STEP, run(site))
    assert site.names()["payments"] == copy


async def test_the_way_back_needs_its_instances(site: Site) -> None:
    """Without the failed instance, or without one of this run, nothing is renamed."""
    gone = RdsSwapBack(id="back", target="payments-rds", resource="db-GONEGONE")
    assert "There is no instance db-GONEGONE in eu-west-1" in fails(await BACK.check(gone, run(site)))
    back = RdsSwapBack(id="back", target="payments-rds", resource=site.names()["payments"])
    assert "There is no RDS instance payments-rb-0004" in fails(await BACK.check(back, run(site)))
    with pytest.raises(ActuatorError, match="no instance of this rollback"):
        await BACK.apply(back, run(site))
    assert not renames(site)


async def test_the_way_back_is_for_the_failed_instance_alone(ready: tuple[Site, str, str]) -> None:
    """An instance that this run's copy was not made of never gets the service's name, and nothing is renamed."""
    site, _failed, copy = ready
    await SWAP.apply(STEP, run(site))
    foreign, done = site.instance("shop"), renames(site)
    for resource in (foreign, copy):
        back = RdsSwapBack(id="back", target="payments-rds", resource=resource)
        assert "is not the instance that" in fails(await BACK.check(back, run(site)))
        with pytest.raises(ActuatorError, match="is not the instance that payments was made of"):
            await BACK.observe(back, run(site))
        with pytest.raises(ActuatorError, match="is not the instance that payments was made of"):
            await BACK.apply(back, run(site))
    assert renames(site) == done
    assert (site.names()["payments"], site.names()["shop"]) == (copy, foreign)


async def test_the_way_back_looks_for_the_right_to_rename_the_failed_one(ready: tuple[Site, str, str]) -> None:
    """What is renamed back bears the dated name, so the permission is asked for that name, too."""
    site, failed, _copy = ready
    await SWAP.apply(STEP, run(site))
    back = RdsSwapBack(id="back", target="payments-rds", resource=failed)
    assert not fails(await BACK.check(back, run(site)))
    asked = [sent for action, sent in site.front.calls if action == "SimulatePrincipalPolicy"][-1]
    assert f"arn:aws:rds:eu-west-1:123456789012:db:{KEPT}" in asked.values()


async def test_no_swap_without_a_copy(site: Site) -> None:
    """Nothing is renamed while there is nothing to take the name."""
    assert (await SWAP.observe(STEP, run(site))).presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match="There is no payments-rb-0004 to be swapped in"):
        await SWAP.apply(STEP, run(site))
    assert not renames(site)
    assert "no RDS instance paymints" in fails(await SWAP.check(STEP, site.context(STEP, instance="paymints")))


async def test_a_name_that_somebody_else_took_is_left_alone(ready: tuple[Site, str, str]) -> None:
    """Somebody made an instance of the name while nobody bore it: told, and that instance is not touched."""
    site, failed, copy = ready
    site.clock.on_sleep = killer(site, 1)
    with pytest.raises(KilledError):
        await SWAP.apply(STEP, run(site))
    site.clock.on_sleep = None
    site.names()
    foreign = site.instance("payments")
    seen = await SWAP.observe(STEP, run(site))
    assert seen.presence is Presence.UNKNOWN
    assert "payments is another instance" in seen.words
    with pytest.raises(ActuatorError, match="another instance"):
        await SWAP.apply(STEP, run(site))
    back = RdsSwapBack(id="back", target="payments-rds", resource=failed)
    with pytest.raises(ActuatorError, match="The name payments belongs to another instance"):
        await BACK.apply(back, run(site))
    assert site.names()["payments"] == foreign
    assert site.names()["payments-rb-0004"] == copy


async def test_a_failed_name_that_is_taken_is_left_alone(ready: tuple[Site, str, str]) -> None:
    """The dated name belongs to somebody: nothing is renamed."""
    site, failed, _copy = ready
    site.instance(KEPT)
    with pytest.raises(ActuatorError, match=f"The name {KEPT} belongs to another instance"):
        await SWAP.apply(STEP, run(site))
    assert site.names()["payments"] == failed


async def test_a_copy_that_is_gone_between_the_renames(ready: tuple[Site, str, str]) -> None:
    """Somebody deleted the copy after the first rename: told, with the way back to the failed instance."""
    site, _failed, _copy = ready

    def delete(_seconds: float) -> None:
        if len(renames(site)) != 1:
            return
        site.clock.on_sleep = None
        with site.administrator() as rds:
            rds.modify_db_instance(DBInstanceIdentifier="payments-rb-0004", DeletionProtection=False)
        site.names()
        with site.administrator() as rds:
            rds.delete_db_instance(DBInstanceIdentifier="payments-rb-0004", SkipFinalSnapshot=True)

    site.clock.on_sleep = delete
    with pytest.raises(ActuatorError, match="is not there any more") as caught:
        await SWAP.apply(STEP, run(site))
    assert "give it back to the failed instance" in caught.value.resolution


async def test_a_copy_is_brought_up_to_its_source_before_the_swap(ready: tuple[Site, str, str]) -> None:
    """Security groups that were changed since the restore are set on the copy before it gets the name."""
    site, failed, copy = ready
    with site.administrator() as rds:
        rds.modify_db_instance(DBInstanceIdentifier="payments", VpcSecurityGroupIds=["sg-12345678"])
    site.names()
    assert (await RESTORE.observe(COPY, run(site))).words.endswith("not yet as its source: VpcSecurityGroupIds")
    await SWAP.apply(STEP, run(site))
    state = site.state()
    assert state[copy]["VpcSecurityGroups"] == state[failed]["VpcSecurityGroups"]
    assert (await RESTORE.observe(COPY, run(site))).presence is Presence.PRESENT


async def test_a_copy_under_change_is_not_swapped_in(ready: tuple[Site, str, str]) -> None:
    """A copy that is being changed is not ready; that passes."""
    site, _failed, _copy = ready
    with site.administrator() as rds:
        rds.modify_db_instance(DBInstanceIdentifier="payments-rb-0004", AutoMinorVersionUpgrade=False)
    with pytest.raises(ActuatorError, match="payments-rb-0004 is modifying, not available") as caught:
        await SWAP.apply(STEP, run(site))
    assert caught.value.transient
    assert "NewDBInstanceIdentifier" not in str(site.front.calls)


async def test_missing_rights_are_found_before(ready: tuple[Site, str, str]) -> None:
    """IAM's simulator says no: the check fails; the rename itself is refused in words."""
    site, failed, _copy = ready
    site.permit(*READING)
    site.front.answers["SimulatePrincipalPolicy"] = decision("explicitDeny")
    assert "may not call rds:ModifyDBInstance" in fails(await SWAP.check(STEP, run(site)))
    with pytest.raises(ActuatorError, match="AWS refused ModifyDBInstance"):
        await SWAP.apply(STEP, run(site))
    assert site.names()["payments"] == failed


async def test_minutes_that_would_be_lost(site: Site) -> None:
    """The loss counts from the moment that comes back: the plan's, or the copy's; after the swap there is none."""
    loss = await SWAP.loss(STEP, run(site))
    assert loss is not None
    assert loss.words.startswith("All writes since 2024-01-15 14:30 UTC (77 minutes); how many rows is not known")
    assert (loss.rows, loss.beyond) == (None, "")
    site.snapshot("before", "2024-01-15T13:47:00+00:00")
    other = RdsRestore(id="restore", target="payments-rds", snapshot="before")
    loss = await SWAP.loss(STEP, site.context(other, STEP))
    assert loss is not None
    assert "(120 minutes)" in loss.words
    unnamed = await SWAP.loss(STEP, site.context(STEP))
    assert unnamed is not None
    assert "(27 minutes)" in unnamed.words
    await RESTORE.apply(other, site.context(other, STEP))
    site.clock.seconds = 0.0
    loss = await SWAP.loss(STEP, run(site))
    assert loss is not None
    assert "(120 minutes)" in loss.words
    await SWAP.apply(STEP, run(site))
    assert await SWAP.loss(STEP, run(site)) is None


async def test_limits_that_nobody_measures_count_as_passed(site: Site) -> None:
    """Rows and queries of the plan's point of no return cannot be measured here, so a second person is asked."""
    context = run(site)
    limits = {
        "rows": RowsWritten(target="payments-db", tables=("transactions",)),
        "query": LossQuery(target="payments-db", sql="SELECT 1"),
        "after": timedelta(minutes=30),
    }
    point = context.plan.point_of_no_return.model_copy(update=limits)
    plan = context.plan.model_copy(update={"point_of_no_return": point})
    loss = await SWAP.loss(STEP, Context(**{**vars(context), "plan": plan}))
    assert loss is not None
    assert "limit `rows` on payments-db is measured by no step, which counts as passed" in loss.beyond
    assert "limit `query`" in loss.beyond
    second = RdsSwap(id="second", target="payments-rds")
    both = context.plan.phases[0].model_copy(update={"steps": (COPY, STEP, second)})
    plan = plan.model_copy(update={"phases": (both,)})
    loss = await SWAP.loss(second, Context(**{**vars(context), "plan": plan}))
    assert loss is not None
    assert not loss.beyond


async def test_verification(ready: tuple[Site, str, str]) -> None:
    """It passes when this run's copy is in service with its groups in force, and says what is amiss until then."""
    site, _failed, _copy = ready
    actuator = REGISTRY.actuator(VERIFY)
    assert not fails(await actuator.check(VERIFY, run(site, VERIFY)))
    with pytest.raises(ActuatorError, match=r"payments \(db-[A-Z]+\) was not restored by rb-0004"):
        await actuator.apply(VERIFY, run(site, VERIFY))
    await SWAP.apply(STEP, run(site))
    outcome = await actuator.apply(VERIFY, run(site, VERIFY))
    assert "holds 2024-01-15 14:30:00 UTC" in outcome.words
    assert outcome.facts["data"] == "2024-01-15T14:30:00+00:00"
    with site.administrator() as rds:
        rds.modify_db_instance(DBInstanceIdentifier="payments", AutoMinorVersionUpgrade=False)
    await actuator.apply(VERIFY, run(site, VERIFY))
    assert "payments is modifying" in site.reports.seen[-1].words
    away = site.context(VERIFY, instance="paymints")
    with pytest.raises(ActuatorError, match="nobody bears the name paymints"):
        await actuator.apply(VERIFY, away)


async def test_events_name_all_instances_of_the_run(ready: tuple[Site, str, str]) -> None:
    """RDS's own words about the instance, the copy and the failed one, the newest first."""
    site, _failed, _copy = ready
    await SWAP.apply(STEP, run(site))
    step = RdsEvents(id="events", target="payments-rds")
    outcome = await REGISTRY.actuator(step).apply(step, run(site))
    assert f"events of payments, payments-rb-0004, {KEPT} in 24 hours" in outcome.words
    assert "DB instance created" in outcome.output
    away = site.context(step, instance="paymints")
    assert (await REGISTRY.actuator(step).apply(step, away)).words.startswith("0 events of paymints")
    assert not fails(await REGISTRY.actuator(step).check(step, away))


async def test_a_copy_that_somebody_else_renames_is_not_waited_for(ready: tuple[Site, str, str]) -> None:
    """A copy that is on its way to another name is told as soon as it bears that."""
    site, failed, _copy = ready

    def rename(seconds: float) -> None:
        if seconds >= 30:  # so that it is under way when the copy's turn comes
            site.clock.on_sleep = None
            with site.administrator() as rds:
                rds.modify_db_instance(
                    DBInstanceIdentifier="payments-rb-0004", NewDBInstanceIdentifier="mine", ApplyImmediately=True
                )

    site.clock.on_sleep = rename
    with pytest.raises(ActuatorError, match="The name mine belongs to another instance than it should"):
        await SWAP.apply(STEP, run(site))
    assert failed == site.names()[KEPT]


async def test_settings_that_aws_does_not_take_over_are_an_error(ready: tuple[Site, str, str]) -> None:
    """AWS takes the security groups and tells the old ones: the copy is not swapped in."""
    site, failed, _copy = ready
    with site.administrator() as rds:
        rds.modify_db_instance(DBInstanceIdentifier="payments", VpcSecurityGroupIds=["sg-12345678"])
    site.names()
    site.front.answers["ModifyDBInstance"] = (RDS, "<DBInstance/>")
    with pytest.raises(ActuatorError, match=r"took settings of payments-rb-0004 .*: VpcSecurityGroupIds"):
        await SWAP.apply(STEP, run(site))
    assert site.names()["payments"] == failed
    assert site.clock.seconds >= 600


async def test_a_failed_instance_that_is_gone_does_not_hinder(ready: tuple[Site, str, str]) -> None:
    """Somebody deleted the failed instance: the copy still gets the name, and what is left is told."""
    site, _failed, copy = ready
    with site.administrator() as rds:
        rds.modify_db_instance(DBInstanceIdentifier="payments", DeletionProtection=False)
    site.names()
    with site.administrator() as rds:
        rds.delete_db_instance(DBInstanceIdentifier="payments", SkipFinalSnapshot=True)
    assert (await RESTORE.observe(COPY, run(site))).presence is Presence.PRESENT
    await SWAP.apply(STEP, run(site))
    seen = await SWAP.observe(STEP, run(site))
    assert seen.words.endswith("; the failed one is gone")
    assert site.names() == {"payments": copy}
    assert [remedy.id for remedy in await SWAP.remedies(STEP, FAULT, run(site))] == ["events"]


async def test_a_copy_without_its_tags_is_nobodys(ready: tuple[Site, str, str]) -> None:
    """Somebody removed the tags: the copy is not taken for this run's any more."""
    site, _failed, copy = ready
    arn = site.state()[copy]["DBInstanceArn"]
    with site.administrator() as rds:
        rds.remove_tags_from_resource(ResourceName=arn, TagKeys=["rollback:run"])
    with pytest.raises(ActuatorError, match="payments-rb-0004 exists and is not this rollback's"):
        await SWAP.apply(STEP, run(site))
    assert not renames(site)


async def test_remedies_without_a_look(ready: tuple[Site, str, str]) -> None:
    """Where AWS cannot be asked, the diagnoses are offered all the same."""
    site, _failed, _copy = ready
    away = site.context(COPY, STEP, VERIFY, endpoint_url="http://127.0.0.1:9")
    assert [remedy.id for remedy in await SWAP.remedies(STEP, FAULT, away)] == ["events"]
    assert [remedy.id for remedy in await RESTORE.remedies(COPY, FAULT, away)] == ["points", "events"]
    verify: Any = REGISTRY.actuator(VERIFY)
    assert [remedy.id for remedy in await verify.remedies(VERIFY, FAULT, away)] == ["events"]
    assert fails(await verify.check(VERIFY, away))
    events = RdsEvents(id="events", target="payments-rds")
    assert fails(await REGISTRY.actuator(events).check(events, away))
    unknown = STEP.model_copy(update={"target": "nobody"})
    assert await SWAP.remedies(unknown, FAULT, away) == ()
    assert await RESTORE.remedies(COPY.model_copy(update={"target": "nobody"}), FAULT, away) == ()
