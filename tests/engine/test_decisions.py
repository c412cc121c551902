from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bot.domain import events
from bot.domain.actuation import Outcome
from bot.domain.errors import (
    ActuatorError,
    RefusedError,
    StoreUnavailableError,
)
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.run import Run
from bot.engine.service import Actor, DuplicateDeliveryError, Service
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act
from tests.support.wires import Passing, Wire, lost_answer

ON_CALL = Actor(plans.ON_CALL)
MANAGER = Actor(plans.MANAGER)


async def breaks(_act: Act) -> Outcome:
    """Fail for good."""
    raise ActuatorError("The disk is full.")


async def held(lab: Lab) -> Run:
    """Return a rollback of which two steps wait for a person."""
    plan = plans.plan_of([[plans.act("stop"), plans.act("save")]], verification=[plans.probe("health")])
    lab.estate.script("stop", breaks)
    lab.estate.script("save", breaks)
    return await lab.after(await lab.approved(plan))


async def click(service: Service, what: str, run: Run, actor: Actor, version: int) -> Run:
    """Click on a button of a rollback."""
    match what:
        case "approve":
            return await service.approve(run.id, actor, version=version)
        case "reject":
            return await service.reject(run.id, actor, version=version, reason="r")
        case _:
            return await service.decide(run.id, actor, version=version, step="stop", choice=Choice.SKIP, reason="r")


async def test_an_approval(lab: Lab) -> None:
    """An approval names person, role, grounds and reason, and binds to the digests that were checked."""
    run = await lab.asked()
    run = await lab.service().approve(run.id, MANAGER, version=run.state_seq)
    given: events.Authorised = run.last(events.Authorised)
    asked: events.AuthorityAsked = run.last(events.AuthorityAsked)
    assert (given.name, given.role, given.why) == (
        "J. Smith",
        "Change Manager",
        "Error rate 12.3% (threshold: 10%)",
    )
    assert given.grounds.startswith("Change Manager; business hours")
    assert (given.plan_digest, given.targets_digest) == (asked.plan_digest, asked.targets_digest)
    assert lab.jobs.queued[-1] == (run.id, "default")
    assert await lab.audited() == []


async def test_an_approval_with_a_reason(lab: Lab) -> None:
    """The reason that the approver gives goes on record."""
    run = await lab.asked()
    run = await lab.service().approve(run.id, MANAGER, version=run.state_seq, reason=" customers call ")
    assert run.last(events.Authorised).why == "customers call"


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (plans.STRANGER, "You hold no role here."),
        (plans.COMMANDER, "C. Mander may not authorise this."),
        (plans.OTHER_OWNER, "B. Illing may not authorise this."),
    ],
)
@pytest.mark.parametrize("what", ["approve", "reject"])
async def test_who_may_not_decide(lab: Lab, user: str, words: str, what: str) -> None:
    """Who holds no role for it neither approves nor rejects, and the attempt is on record."""
    run = await lab.asked()
    service = lab.service()
    with pytest.raises(RefusedError, match=words):
        await click(service, what, run, Actor(user), run.state_seq)
    assert await lab.audited() == [(user, f"rollback.{what}", run.id)]
    assert await lab.runs.load(run.id) == run


async def test_nobody_approves_alone(lab: Lab) -> None:
    """The requester may stand the rollback down, but not authorise it."""
    run = await lab.service().request(plans.CHANGE, MANAGER, reason="r")
    run = await lab.after(run)
    with pytest.raises(RefusedError, match=r"a second person is needed .A\. Okafor."):
        await lab.service().approve(run.id, MANAGER, version=run.state_seq)
    run = await lab.service().reject(run.id, MANAGER, version=run.state_seq, reason="never mind")
    assert (run.state, run.history[-1].why) == (State.STOOD_DOWN, "never mind")


async def test_a_decision_needs_a_reason(lab: Lab) -> None:
    """Who stands a rollback down or decides about a step says why; blanks are no reason."""
    run = await lab.after(await lab.service().request(plans.CHANGE, MANAGER, reason="r"))
    with pytest.raises(RefusedError, match="needs a reason"):
        await lab.service().reject(run.id, MANAGER, version=run.state_seq, reason="  ")
    assert (await lab.runs.load(run.id)).state is State.AWAITING_AUTHORITY


async def test_the_requester_stands_down(lab: Lab) -> None:
    """Who asked may take it back without any role of an approver."""
    run = await lab.asked()
    run = await lab.service().reject(run.id, ON_CALL, version=run.state_seq, reason="false alarm")
    rejected: events.Rejected = run.last(events.Rejected)
    assert (rejected.name, rejected.why) == ("oncall-engineer", "false alarm")


async def test_a_person_who_left_the_policy(lab: Lab) -> None:
    """A requester who is in the policy no more may still stand down, and is named by id."""
    run = await lab.asked()
    lab.policy = plans.policy(people=[p for p in plans.policy().people if p.id != plans.ON_CALL])
    run = await lab.service().reject(run.id, ON_CALL, version=run.state_seq, reason="r")
    assert run.last(events.Rejected).name == plans.ON_CALL


@pytest.mark.parametrize("what", ["approve", "reject", "decide"])
async def test_a_stale_button(lab: Lab, what: str) -> None:
    """A button of an earlier state is answered and never obeyed, and the click is on record."""
    run = await (held(lab) if what == "decide" else lab.asked())
    service = lab.service()
    old = run.state_seq - 1
    with pytest.raises(RefusedError, match="This button is out of date") as refused:
        await click(service, what, run, MANAGER, old)
    assert refused.value.untouched == "Your click changed nothing."
    assert (await lab.audited())[-1][2] == run.id
    assert await lab.runs.load(run.id) == run


@pytest.mark.parametrize("what", ["approve", "reject", "decide"])
async def test_an_unknown_rollback(lab: Lab, what: str) -> None:
    """A rollback that does not exist is said not to."""
    gone = replace(await lab.requested(), id="rb-9999")
    with pytest.raises(RefusedError, match="There is no rollback 'rb-9999'"):
        await click(lab.service(), what, gone, MANAGER, 1)


@pytest.mark.parametrize(("early", "state"), [(1, State.AUTHORISED), (0, State.EXPIRED)])
async def test_the_last_second(lab: Lab, early: int, state: State) -> None:
    """An approval counts up to the last second before the expiry; from then on it expires."""
    run = await lab.asked()
    await lab.clock.advance(3600 - early)
    if early:
        await lab.approve(run)
    else:
        with pytest.raises(RefusedError, match="The request for authority of rb-0001 expired"):
            await lab.approve(run)
        assert await lab.audited() == [(plans.MANAGER, "rollback.expired", run.id)]
    assert (await lab.runs.load(run.id)).state is state


async def test_a_changed_plan_voids_the_click(lab: Lab) -> None:
    """An approval of a plan that changed since the checks does not count, and the difference is told."""
    run = await lab.asked()
    lab.shelf.plans[plans.CHANGE] = plans.plan(window="31m")
    with pytest.raises(RefusedError, match=r"The approval does not count: .*plan\.window: 30m → 31m"):
        await lab.approve(run)
    run = await lab.runs.load(run.id)
    assert run.state is State.REFUSED
    assert await lab.audited() == [(plans.MANAGER, "rollback.voided", run.id)]


async def test_two_approve_at_once(lab: Lab) -> None:
    """Of approvals at the same time exactly one counts, and the others are told that it is done."""
    run = await lab.asked()
    service = lab.service()
    users = [plans.MANAGER, plans.OWNER] * 4
    answers = await asyncio.gather(
        *(service.approve(run.id, Actor(user), version=run.state_seq) for user in users), return_exceptions=True
    )
    assert sum(isinstance(answer, Run) for answer in answers) == 1
    assert sum("out of date" in str(answer) for answer in answers if isinstance(answer, RefusedError)) == 7
    assert kinds(await lab.runs.load(run.id)).count("authorised") == 1


async def test_a_worker_expires_it_meanwhile(lab: Lab) -> None:
    """A click that races with a worker's event is decided anew, upon what then stands."""
    run = await lab.asked()
    wire = Wire(lab.runs)
    expired = events.Expired(at=lab.clock.now(), who="policy", why="late")

    async def meanwhile_expired(passing: Passing) -> None:
        if passing.label == "append authorised":
            await lab.runs.append(run, expired, lease=None)

    wire.trouble = meanwhile_expired
    with pytest.raises(RefusedError, match="out of date: rb-0001 is expired"):
        await lab.service(wire).approve(run.id, MANAGER, version=run.state_seq)


@pytest.mark.parametrize("what", ["approve", "reject", "decide"])
async def test_a_journal_that_never_rests(lab: Lab, what: str) -> None:
    """A click that finds the journal changed again and again gives up with words, and changes nothing."""
    run = await (held(lab) if what == "decide" else lab.asked())
    wire = Wire(lab.runs)
    note = events.IncidentOpened(at=lab.clock.now(), who="w", why="", incident="INC0000009")

    async def busy(passing: Passing) -> None:
        if passing.call == "append" and not passing.back:
            await lab.runs.append(await lab.runs.load(run.id), note, lease=None)

    wire.trouble = busy
    service = lab.service(wire)
    with pytest.raises(RefusedError, match="rb-0001 keeps changing while you decide"):
        await click(service, what, run, MANAGER, run.state_seq)
    assert (await lab.runs.load(run.id)).state is run.state


async def test_a_lost_answer_to_an_approval(lab: Lab) -> None:
    """When the answer to an approval is lost, it stands; the sweep brings a worker, and a second click is stale."""
    run = await lab.asked()
    lab.jobs.queued.clear()
    wire = Wire(lab.runs, trouble=lost_answer("authorised"))
    with pytest.raises(StoreUnavailableError):
        await lab.service(wire).approve(run.id, MANAGER, version=run.state_seq)
    with pytest.raises(RefusedError, match="out of date: rb-0001 is authorised"):
        await lab.approve(run)
    assert await lab.sweep().once() == (run.id,)


async def test_the_same_delivery_twice(lab: Lab) -> None:
    """A request that the chat delivers twice is obeyed once; deliveries without an id are not told apart."""
    service = lab.service()
    actor = Actor(plans.ON_CALL, delivery="Ev0001")
    run = await service.request(plans.CHANGE, actor, reason="r")
    with pytest.raises(DuplicateDeliveryError):
        await service.request(plans.CHANGE, actor, reason="r")
    run = await lab.after(run)
    for click in (
        service.approve(run.id, actor, version=run.state_seq),
        service.reject(run.id, actor, version=run.state_seq, reason="r"),
        service.decide(run.id, actor, version=run.state_seq, step="stop", choice=Choice.SKIP, reason="r"),
    ):
        with pytest.raises(DuplicateDeliveryError):
            await click
    assert await lab.runs.load(run.id) == run


async def test_a_carrier_that_is_away(lab: Lab) -> None:
    """A request and an approval stand even if no job can be queued; the sweep finds the rollback."""
    lab.jobs.failure = StoreUnavailableError("away")
    run = await lab.approve(await lab.asked())
    assert run.state is State.AUTHORISED
    lab.jobs.failure = None
    assert await lab.sweep().once() == (run.id,)


async def test_decisions(lab: Lab) -> None:
    """Each held step is decided about once, by somebody who may operate, with a reason on record."""
    run = await held(lab)
    version = run.state_seq
    service = lab.service()
    with pytest.raises(RefusedError, match="You hold no role here"):
        await service.decide(
            run.id, Actor(plans.STRANGER), version=version, step="stop", choice=Choice.RETRY, reason="r"
        )
    with pytest.raises(RefusedError, match=r"may not authorise this. Needed now: Change Manager"):
        await service.decide(run.id, ON_CALL, version=version, step="stop", choice=Choice.SKIP, reason="r")
    run = await service.decide(
        run.id, MANAGER, version=version, step="stop", choice=Choice.SKIP, reason=" by hand "
    )
    decided: events.Decided = run.last(events.Decided)
    assert (decided.name, decided.why, decided.choice) == ("J. Smith", "by hand", Choice.SKIP)
    for step, words in (("stop", "it is skipped. skipped by J. Smith: by hand"), ("nothing", "it is pending.")):
        with pytest.raises(RefusedError, match=f"Step {step} does not wait for a decision: {words}"):
            await service.decide(run.id, ON_CALL, version=version, step=step, choice=Choice.RETRY, reason="r")
    assert [what for _, what, _ in await lab.audited()] == ["rollback.decide"] * 4
    run = await service.decide(
        run.id, MANAGER, version=version, step="save", choice=Choice.MARK_DONE, reason="seen"
    )
    run = await lab.after(run)
    completed: events.Completed = run.last(events.Completed)
    assert completed.why.startswith("by decision: J. Smith decided to skip stop: by hand; ")
    assert completed.why.endswith(" decided to mark done save: seen")
    assert run.state is State.CLOSED
