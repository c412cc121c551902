"""Words that come while something is under way: nothing is begun that a later word or the time has overtaken."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bot.domain import events
from bot.domain.actuation import Loss, Outcome, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from bot.engine.service import Actor
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act, meanwhile, until, works

ON_CALL = Actor(plans.ON_CALL)
MANAGER = Actor(plans.MANAGER)


async def breaks(_act: Act) -> Outcome:
    """Fail for good."""
    raise ActuatorError("The disk is full.", output="df: 100 %")


async def endless(_act: Act) -> Outcome:
    """Act until it is stopped."""
    await asyncio.Event().wait()
    raise AssertionError


def one_drain() -> Plan:
    """Return a plan whose only step has an actuator that knows remedies."""
    return plans.plan_of([[plans.drain("drain")]], verification=[plans.probe("health")])


def remedy(name: str) -> Remedy:
    """Return a remedy that acts, and brings about the effect of the step that it helps."""
    step = plans.Drain(id=name, target="payments-db")
    return Remedy(name, f"Restore {name}", "Restores another backup.", step, settles=True)


async def with_two_remedies(lab: Lab) -> tuple[Run, list[str]]:
    """Return a held rollback with two remedies on one target, and the ids of their steps."""
    lab.estate.remedies["drain"] = (remedy("first"), remedy("second"))
    lab.estate.script("drain", breaks, works)
    run = await lab.after(await lab.approved(one_drain()))
    assert run.state is State.HELD
    return run, [str(offered.step["id"]) for offered in run.remedies("drain")]


async def test_remedies_do_not_meet_on_a_target(lab: Lab) -> None:
    """Of two remedies for one step one runs at a time, and none once the step has its effect."""
    run, (first, second) = await with_two_remedies(lab)
    for key in (first, second):
        run = await lab.service().remedy(run.id, MANAGER, step="drain", remedy=key, reason="try")
    go = asyncio.Event()

    async def waits(act: Act) -> Outcome:
        await go.wait()
        return await works(act)

    lab.estate.script(first, waits)
    worker = lab.worker()
    async with meanwhile(worker.advance(run)):
        await until(lambda: first in lab.estate.acting)
        assert second not in lab.estate.acting
        go.set()
    run = await lab.runs.load(run.id)
    assert run.state is State.CLOSED
    assert (run.status(second).state, lab.estate.count(f"apply {second}")) == (StepState.PENDING, 0)


async def test_a_decision_overtakes_a_remedy_that_has_not_begun(lab: Lab) -> None:
    """Whoever decides about the step before its remedy began does not get the remedy as well."""
    run, (first, _) = await with_two_remedies(lab)
    await lab.service().remedy(run.id, MANAGER, step="drain", remedy=first, reason="try")
    run = await lab.after(await lab.decide(run, "drain", Choice.MARK_DONE))
    assert run.state is State.CLOSED
    assert lab.estate.count(f"apply {first}") == 0


async def test_a_hold_in_the_last_step_holds_the_end(lab: Lab) -> None:
    """What is held while its last probe looks is complete only after the word to resume."""
    go = asyncio.Event()

    async def waits(act: Act) -> Outcome:
        await go.wait()
        return await works(act)

    lab.estate.script("health", waits)
    run = await lab.approved(one_drain())
    async with meanwhile(lab.worker().advance(run)):
        await until(lambda: "health" in lab.estate.acting)
        run = await lab.service().hold(run.id, ON_CALL, reason="customers still complain")
        go.set()
        await lab.clock.advance(5)
    run = await lab.after(run)
    assert (run.state, run.status("health").state) == (State.HELD, StepState.DONE)
    assert run.last(events.Held).why.endswith("holds it: customers still complain")
    run = await lab.after(await lab.service().resume(run.id, ON_CALL, reason="it was the cache"))
    assert run.state is State.CLOSED
    assert kinds(run).index("resumed") < kinds(run).index("completed")


async def test_a_swap_that_was_interrupted_is_not_begun_again_beyond_return(lab: Lab) -> None:
    """The worker is lost before the swap, the point of no return passes: a second person must let it go on."""
    lab.estate.script("swap", endless, works)
    run = await lab.approved(plans.plan_of([[plans.swap("swap")]], verification=[plans.probe("health")]))
    async with meanwhile(lab.worker().advance(run)) as advancing:
        await until(lambda: "swap" in lab.estate.acting)
        advancing.cancel()
    await lab.clock.advance(40 * 60)
    run = await lab.after(run)
    assert (run.state, run.status("swap").state) == (State.HELD, StepState.HELD)
    assert lab.estate.effects.get("swap", 0) == 0
    assert lab.estate.count("apply swap") == 1
    assert "the point of no return passed" in run.last(events.Held).why


async def test_a_step_is_stopped_by_a_worker_that_is_leaving(lab: Lab) -> None:
    """A worker that was told to end still stops its step when somebody gives the rollback up."""
    lab.estate.script("drain", endless)
    run, stop = await lab.approved(one_drain()), asyncio.Event()
    async with meanwhile(lab.worker(stop=stop).advance(run)):
        await until(lambda: "drain" in lab.estate.acting)
        stop.set()
        await lab.service().abort(run.id, ON_CALL, reason="wrong change", stop=True)
        await lab.clock.advance(5)
    run = await lab.runs.load(run.id)
    assert run.status("drain").state is StepState.FAILED
    assert "It was stopped" in run.status("drain").words


async def test_an_approval_is_valid_as_long_as_it_was_promised(lab: Lab) -> None:
    """A policy that lets later approvals be valid for longer does not ask for a confirmation over and over."""
    lab.estate.losses["swap"] = Loss("9 rows", since=plans.at("14:30"), beyond="9 rows")
    plan = plans.plan_of([[plans.swap("swap")]], verification=[plans.probe("health")])
    run = await lab.after(await lab.approved(plan))
    assert run.open_confirmation is not None
    longer = lab.policy.approval_valid + timedelta(hours=1)
    await lab.clock.advance(lab.policy.approval_valid.total_seconds())
    lab.policy = lab.policy.model_copy(update={"approval_valid": longer})
    run = await lab.after(run)
    assert run.state is State.REFUSED
    assert kinds(run).count("confirmation_asked") == 1
