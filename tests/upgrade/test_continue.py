from __future__ import annotations

import asyncio

import pytest

from bot.domain import events
from bot.domain.actuation import Presence
from bot.domain.announcements import CARD, announcements
from bot.domain.errors import RefusedError
from bot.domain.events import Choice
from bot.domain.lifecycle import FINAL, State
from bot.domain.run import StepState
from bot.engine.service import Actor, DuplicateDeliveryError
from bot.main.clock import SystemClock
from storage.carrier import make_app, run_worker
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.upgrade.release import RELEASED
from tests.upgrade.scene import STATES, assert_booked, assert_continued, assert_ended_well, said, set_scene

ENDED = sorted(name for name, state in STATES.items() if state in FINAL)
BEFORE_AUTHORITY = ("requested", "checking", "waiting")
DECIDED = ("retrying", "aborting")
ALIVE = ("requested", "checking", "authorised", "started", "acted", *DECIDED, "verifying", "complete", "aborted")
"""What today's worker has to take up by itself: it waits for nobody."""


@pytest.mark.parametrize("name", STATES)
async def test_every_rollback_is_read(lab: Lab, name: str) -> None:
    """A rollback of the release folds to the state that the release had it in, its digests unchanged."""
    run = (await set_scene(lab, name)).before
    assert run.state is STATES[name]
    rows = await lab.sql(
        "SELECT state::text, seq, state_seq, plan_digest, targets_digest FROM rollback WHERE id = :id", id=run.id
    )
    assert rows == [(run.state.value, run.seq, run.state_seq, run.plan.digest(), run.inventory.digest())]


async def test_the_lists_are_whole(lab: Lab) -> None:
    """No rollback of the release is missing from the lists, and just those that have not ended are active."""
    points = RELEASED.points.values()
    assert {run.id for run in await lab.runs.recent(100)} == {point.rollback for point in points}
    active = {point.rollback for point in points if STATES[point.name] not in FINAL}
    assert {run.id for run in await lab.runs.active()} == active


@pytest.mark.parametrize("name", ALIVE)
async def test_what_waits_for_nobody_is_taken_up(lab: Lab, name: str) -> None:
    """Today's sweep finds each rollback that waits for no person: its worker died, or none had come yet."""
    scene = await set_scene(lab, name)
    assert scene.before.id in {rollback_id for rollback_id, _ in await lab.runs.due()}


@pytest.mark.parametrize("name", ["started", "acted", "retrying", "verifying", "complete"])
async def test_a_run_goes_on_to_its_end(lab: Lab, name: str) -> None:
    """A rollback that the release began is brought to its end by today's worker, and nothing is done twice."""
    scene = await set_scene(lab, name)
    run = await scene.go_on()
    assert_ended_well(scene, run)
    await assert_booked(scene, run)


async def test_a_doubtful_step_is_looked_at(lab: Lab) -> None:
    """Of two restores whose worker died, the one without effect is run again and the other one is found done."""
    scene = await set_scene(lab, "started")
    await scene.go_on()
    assert scene.calls("restore") == ["observe", "apply", "observe"]


async def test_an_effect_of_the_release_is_found(lab: Lab) -> None:
    """An effect that the release brought about, and did not live to write down, is found and not repeated."""
    scene = await set_scene(lab, "acted")
    run = await scene.go_on()
    assert scene.calls("restore") == ["observe"]
    ended = [e for e in run.history if isinstance(e, events.StepSucceeded) and e.step == "restore"]
    assert [e.found for e in ended] == [True]


@pytest.mark.parametrize("name", BEFORE_AUTHORITY)
async def test_authority_is_asked_and_given(lab: Lab, name: str) -> None:
    """A rollback that was not authorised yet is authorised today, by the release's own button where it had one."""
    scene = await set_scene(lab, name)
    run = await scene.go_on()
    assert run.state is State.AWAITING_AUTHORITY
    version = scene.before.state_seq if name == "waiting" else run.state_seq
    run = await lab.service().approve(run.id, Actor(plans.MANAGER), version=version)
    assert_ended_well(scene, await scene.go_on())


async def test_an_approval_binds(lab: Lab) -> None:
    """An approval that the release took is acted upon: plan and targets, read anew, are those it was given for."""
    scene = await set_scene(lab, "authorised")
    run = await scene.go_on()
    assert_ended_well(scene, run)
    assert kinds(run).count("authorised") == 1


async def test_an_approval_binds_to_nothing_else(lab: Lab) -> None:
    """An approval that the release took is void when the plan was changed since."""
    scene = await set_scene(lab, "authorised")
    other = RELEASED.plan_document(scene.point.number).replace("v2.3.1", "v2.3.0")
    lab.shelf.plans = {scene.point.change: plans.MODEL.model_validate_json(other)}
    run = await scene.go_on()
    assert run.state is State.REFUSED
    assert "v2.3.1 → v2.3.0" in run.history[-1].why
    assert not [call for call in lab.estate.calls if call.startswith("apply")]


@pytest.mark.parametrize("choice", [Choice.RETRY, Choice.MARK_DONE, Choice.SKIP])
@pytest.mark.parametrize("name", ["failed", "unknown"])
async def test_a_held_step_is_decided(lab: Lab, name: str, choice: Choice) -> None:
    """A step that the release held is decided today, by the button that the release posted."""
    scene = await set_scene(lab, name)
    failure = scene.before.status("restore").failure
    assert failure is not None
    assert failure.presence is (Presence.UNKNOWN if name == "unknown" else Presence.ABSENT)
    lab.estate.effects["restore"] = 0  # a retry that a person decided upon acts again
    decided = await lab.service().decide(
        scene.before.id,
        Actor(plans.MANAGER),
        version=scene.before.state_seq,
        step="restore",
        choice=choice,
        reason="I looked",
    )
    assert decided.status("restore").state is not StepState.HELD
    run = await scene.go_on()
    assert run.state is State.CLOSED
    assert_continued(scene, run)
    assert lab.estate.effects["restore"] == (1 if choice is Choice.RETRY else 0)
    await assert_booked(scene, run)


@pytest.mark.parametrize("name", ["failed", "unknown"])
async def test_a_held_run_waits(lab: Lab, name: str) -> None:
    """A rollback that the release held waits for its person today as well: nothing is begun."""
    scene = await set_scene(lab, name)
    run = await scene.go_on()
    assert run.state is State.HELD
    assert not [call for call in lab.estate.calls if call.startswith("apply")]
    assert run.status("restore").state is StepState.HELD


@pytest.mark.parametrize("name", ["aborting", "aborted"])
async def test_an_abort_is_carried_out(lab: Lab, name: str) -> None:
    """A person's word to abort, given to the release, ends the rollback today; nothing is begun any more."""
    scene = await set_scene(lab, name)
    run = await scene.go_on()
    assert run.state is State.CLOSED
    assert_continued(scene, run)
    assert not [call for call in lab.estate.calls if call.startswith("apply")]
    aborted: events.Aborted = run.last(events.Aborted)
    assert (aborted.who, aborted.why) == (plans.ON_CALL, "I looked")
    assert await lab.sql("SELECT count(*) FROM rollback_lock WHERE live AND rollback_id = :id", id=run.id) == [(0,)]
    await assert_booked(scene, run)


@pytest.mark.parametrize("name", ENDED)
async def test_what_ended_stays_as_it_is(lab: Lab, name: str) -> None:
    """A rollback that ended under the release wants no worker and no decision, and is shown as it was."""
    scene = await set_scene(lab, name)
    assert await scene.go_on() == scene.before
    assert not lab.estate.calls
    with pytest.raises(RefusedError, match="out of date"):
        await lab.service().approve(scene.before.id, Actor(plans.MANAGER), version=scene.before.state_seq)
    (shown,) = await lab.service().status(scene.point.change)
    assert shown == scene.before


@pytest.mark.parametrize("name", ["closed", "closed_by_decision"])
async def test_what_is_rolled_back_stays_so(lab: Lab, name: str) -> None:
    """A change that the release rolled back is not rolled back again while it was not deployed again."""
    scene = await set_scene(lab, name)
    with pytest.raises(RefusedError, match=f"was rolled back already by {scene.before.id}"):
        await lab.service().request(scene.point.change, Actor(plans.ON_CALL), reason="again")


async def test_targets_stay_locked(lab: Lab) -> None:
    """A target that a rollback of the release holds cannot be taken by another one of today."""
    scene = await set_scene(lab, "failed")
    plan = plans.MODEL.model_validate_json(
        RELEASED.plan_document(scene.point.number).replace(scene.point.change, "CHG0099999")
    )
    lab.shelf.plans = {plan.change: plan}
    with pytest.raises(RefusedError, match=f"{scene.before.id} already holds"):
        await lab.service().request(plan.change, Actor(plans.ON_CALL), reason="another one")


@pytest.mark.parametrize("name", ["waiting", "started", "failed", "complete", "closed", "closed_by_decision"])
async def test_no_message_is_posted_twice(lab: Lab, name: str) -> None:
    """What the release announced is not announced again; the card that it posted is edited."""
    scene = await set_scene(lab, name)
    before = set(await said(lab, scene.before.id))
    assert CARD.key in before
    await lab.announcer().sync(scene.before.id)
    assert not before & set(lab.chat.keys())
    assert lab.chat.edits == [scene.before.seq]
    wanted = {announcement.key for announcement in announcements(scene.before, lab.policy)}
    assert wanted <= before | set(lab.chat.keys())


async def test_a_delivery_is_obeyed_once(lab: Lab) -> None:
    """A delivery of the chat that the release took in, and that the chat repeats after the upgrade, is known."""
    scene = await set_scene(lab, "closed")
    actor = Actor(plans.ON_CALL, f"delivery-{scene.point.number}")
    with pytest.raises(DuplicateDeliveryError):
        await lab.service().request(scene.point.change, actor, reason="Card payments fail")


async def test_the_audit_is_kept(lab: Lab) -> None:
    """What the release wrote into the audit is there after the upgrade."""
    waiting = RELEASED.points["waiting"].rollback
    assert (plans.ON_CALL, "rollback.approve", waiting) in await lab.audited()


async def test_a_job_of_the_release_is_carried_out(lab: Lab, upgraded_url: str) -> None:
    """A job that the release queued reaches today's worker of the zone."""
    taken, stop = set(), asyncio.Event()
    queued = {RELEASED.points[name].rollback for name in ("requested", "authorised")}

    async def handler(rollback_id: str) -> None:
        taken.add(rollback_id)
        if taken == queued:
            stop.set()

    app = make_app(upgraded_url, clock=SystemClock())
    async with app.open_async(), asyncio.timeout(20):
        await run_worker(app, zone="default", concurrency=2, handler=handler, stop=stop, clock=SystemClock())
    assert taken == queued
    assert await lab.sql("SELECT count(*) FROM procrastinate_jobs") == [(0,)]
