"""What people say to a rollback that runs, and what the engine makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bot.domain import events
from bot.domain.actuation import Loss, Observation, Outcome, Presence, Remedy
from bot.domain.control import ConfirmationNeededError
from bot.domain.errors import ActuatorError, RefusedError, StoreUnavailableError, UnknownServiceError
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from bot.engine.executor import Executor
from bot.engine.service import Actor
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act, meanwhile, until, works

ON_CALL = Actor(plans.ON_CALL)
MANAGER = Actor(plans.MANAGER)
STRANGER = Actor(plans.STRANGER)


async def breaks(_act: Act) -> Outcome:
    """Fail for good."""
    raise ActuatorError("The disk is full.", output="df: 100 %")


async def endless(_act: Act) -> Outcome:
    """Act until it is stopped."""
    await asyncio.Event().wait()
    raise AssertionError


def two() -> Plan:
    """Return a plan with two phases of a step each."""
    return plans.plan_of([[plans.act("stop")], [plans.act("start")]], verification=[plans.probe("health")])


def one_drain() -> Plan:
    """Return a plan whose only step has an actuator that knows remedies."""
    return plans.plan_of([[plans.drain("drain")]], verification=[plans.probe("health")])


async def held(lab: Lab, plan: Plan | None = None, step: str = "drain") -> Run:
    """Return a rollback that is held by a failed step."""
    lab.estate.script(step, breaks, works)
    run = await lab.after(await lab.approved(plan or one_drain()))
    assert run.state is State.HELD
    return run


async def test_hold_and_resume(lab: Lab) -> None:
    """On hold the running step ends, nothing new begins, and after the word to resume it goes on."""
    go = asyncio.Event()

    async def waits(act: Act) -> Outcome:
        await go.wait()
        return await works(act)

    lab.estate.script("stop", waits)
    run = await lab.approved(two())
    worker = lab.worker()
    async with meanwhile(worker.advance(run)):
        await until(lambda: "stop" in lab.estate.acting)
        await lab.service().hold(run.id, ON_CALL, reason="look at the replica")
        await lab.clock.advance(1)
        await until(lambda: worker.wire.calls.count("load") > 0)
        go.set()
    run = await lab.runs.load(run.id)
    assert run.state is State.HELD
    assert (run.status("stop").state, run.status("start").state) == (StepState.DONE, StepState.PENDING)
    assert run.last(events.Held).why == "oncall-engineer holds it: look at the replica"
    with pytest.raises(RefusedError, match="oncall-engineer holds rb-0001 already"):
        await lab.service().hold(run.id, MANAGER, reason="r")
    run = await lab.service().resume(run.id, MANAGER, reason="fine")
    run = await lab.after(run)
    assert run.state is State.CLOSED
    with pytest.raises(RefusedError, match="is closed now"):
        await lab.service().resume(run.id, MANAGER, reason="fine")


async def test_resume_without_a_hold(lab: Lab) -> None:
    """Whoever resumes what nobody holds is told what it waits for instead."""
    run = await held(lab)
    with pytest.raises(RefusedError, match=r"Nobody holds rb-0001. Decide about drain instead"):
        await lab.service().resume(run.id, ON_CALL, reason="r")


@pytest.mark.parametrize("what", ["hold", "resume", "abort", "extend", "go_on", "hand_over"])
async def test_strangers_steer_nothing(lab: Lab, what: str) -> None:
    """Whoever may not operate rollbacks cannot steer one, and the try is audited."""
    run = await held(lab)
    service = lab.service()
    known: dict[str, dict[str, Any]] = {"extend": {"by": timedelta(minutes=5)}, "hand_over": {"to": plans.MANAGER}}
    more = known.get(what, {})
    with pytest.raises(RefusedError, match="You hold no role here"):
        await getattr(service, what)(run.id, STRANGER, reason="r", **more)
    assert (plans.STRANGER, f"rollback.{'continue' if what == 'go_on' else what}", run.id) in await lab.audited()
    assert (await lab.runs.load(run.id)).seq == run.seq


async def test_reserved_targets(lab: Lab) -> None:
    """A rollback whose target is reserved is steered by those it is reserved for only."""
    lab.inventory = plans.inventory(payments_db=("change_manager",))
    run = await held(lab)
    with pytest.raises(
        RefusedError, match=r"The targets are reserved. oncall-engineer is not among: Change Manager"
    ):
        await lab.service().hold(run.id, ON_CALL, reason="r")
    assert (await lab.service().hold(run.id, MANAGER, reason="r")).pause


async def test_abort_lets_steps_end(lab: Lab) -> None:
    """An abort lets the running step end, looks at every target, and says how each stands."""
    go = asyncio.Event()

    async def waits(act: Act) -> Outcome:
        await go.wait()
        return await works(act)

    lab.estate.script("stop", waits)
    run = await lab.approved(two())
    async with meanwhile(lab.worker().advance(run)):
        await until(lambda: "stop" in lab.estate.acting)
        await lab.service().abort(run.id, ON_CALL, reason="we fix forward")
        await lab.clock.advance(1)
        go.set()
    run = await lab.runs.load(run.id)
    surveyed: events.Surveyed = run.last(events.Surveyed)
    assert [(f.step, f.presence, f.words) for f in surveyed.found] == [
        ("stop", Presence.PRESENT, "stop is there"),
        ("start", Presence.ABSENT, "start is not there"),
    ]
    assert run.last(events.Aborted).who == plans.ON_CALL
    assert "apply start" not in lab.estate.calls


async def test_abort_stops_steps(lab: Lab) -> None:
    """An abort «now» stops the running actuator, looks what it left, and writes both down."""
    lab.estate.script("stop", endless)
    run = await lab.approved(two())
    async with meanwhile(lab.worker().advance(run)):
        await until(lambda: "stop" in lab.estate.acting)
        await lab.service().abort(run.id, ON_CALL, reason="wrong change", stop=True)
        await lab.clock.advance(1)
    run = await lab.runs.load(run.id)
    failed: events.StepFailed = run.last(events.StepFailed)
    assert lab.estate.stopped == ["stop"]
    assert (failed.brief, failed.presence) == (
        "It was stopped, because the rollback was given up.",
        Presence.ABSENT,
    )
    assert run.last(events.Aborted).why == "wrong change"
    with pytest.raises(RefusedError, match="closed now"):
        await lab.service().abort(run.id, ON_CALL, reason="again")


async def test_abort_settles_what_is_in_doubt(lab: Lab) -> None:
    """What a lost worker had begun is looked at before the end, and is not begun again."""
    run = await lab.approved(two())
    lab.estate.script("stop", endless)
    async with meanwhile(lab.worker().advance(run)) as advancing:
        await until(lambda: "stop" in lab.estate.acting)
        advancing.cancel()
    await lab.service().abort(run.id, ON_CALL, reason="we fix forward")
    run = await lab.after(run)
    failed: events.StepFailed = run.last(events.StepFailed)
    assert failed.brief.startswith("The worker was lost while the step was running, and its effect is not there")
    assert lab.estate.count("apply stop") == 1
    assert run.state is State.CLOSED
    assert run.last(events.Aborted)


async def test_hold_settles_what_is_in_doubt(lab: Lab) -> None:
    """On hold, what a lost worker had begun is looked at but not begun again before somebody resumes."""
    run = await lab.approved(two())
    lab.estate.script("stop", endless, works)
    async with meanwhile(lab.worker().advance(run)) as advancing:
        await until(lambda: "stop" in lab.estate.acting)
        advancing.cancel()
    await lab.service().hold(run.id, ON_CALL, reason="look first")
    run = await lab.after(run)
    assert (run.state, lab.estate.count("apply stop")) == (State.HELD, 1)
    await lab.service().resume(run.id, ON_CALL, reason="go")
    async with meanwhile(lab.worker().advance(run)):
        await until(lambda: lab.clock.sleeping(1.0) > 1)
        await lab.clock.advance(1)
    run = await lab.runs.load(run.id)
    assert (run.state, lab.estate.count("apply stop")) == (State.CLOSED, 2)


async def test_abort_beyond_return(lab: Lab) -> None:
    """Beyond a step's point of no return an abort needs a second word, and says what a forward-fix needs."""
    plan = plans.plan_of(
        [
            [plans.swap("swap", point_of_no_return="v2.4.0 cannot run on it: fix forward with v2.4.1")],
            [plans.act("start")],
        ],
        verification=[plans.probe("health")],
    )
    run = await held(lab, plan, "start")
    with pytest.raises(ConfirmationNeededError, match=r"point of no return is passed.*v2.4.1"):
        await lab.service().abort(run.id, ON_CALL, reason="r")
    with pytest.raises(ConfirmationNeededError):
        await lab.service().decide(
            run.id, ON_CALL, version=run.state_seq, step="start", choice=Choice.ABORT, reason="r"
        )
    assert (await lab.runs.load(run.id)).seq == run.seq
    run = await lab.service().abort(run.id, ON_CALL, reason="r", confirmed=True)
    assert "v2.4.1" in run.last(events.AbortAsked).confirmed


async def test_abort_before_anything_was_touched(lab: Lab) -> None:
    """Before the beginning an abort stands the rollback down, and its targets are free."""
    run = await lab.asked(two())
    run = await lab.service().abort(run.id, ON_CALL, reason="wrong change")
    assert run.state is State.STOOD_DOWN
    assert (await lab.requested(two())).id != run.id


def look() -> Remedy:
    """Return a diagnosis."""
    step = plans.BackAtBaseline(id="look", target="payments-metrics")
    return Remedy("look", "Look at the connections", "Names who is connected.", step)


def terminate(*, settles: bool = False) -> Remedy:
    """Return a remedy that acts."""
    step = plans.Drain(id="terminate", target="payments-db")
    return Remedy("terminate", "Terminate the connections", "Ends every session.", step, settles=settles)


async def test_remedies(lab: Lab) -> None:
    """A held step's remedies are recorded; a diagnosis runs for an operator, and its finding is in the journal."""
    lab.estate.remedies["drain"] = (look(), terminate())
    run = await held(lab)
    offered = run.remedies("drain")
    assert [(o.id, o.acts) for o in offered] == [("look", False), ("terminate", True)]
    assert "remedies drain: The disk is full." in lab.estate.calls
    run = await lab.service().remedy(run.id, ON_CALL, step="drain", remedy="look", reason="")
    with pytest.raises(RefusedError, match="'Look at the connections' is under way already"):
        await lab.service().remedy(run.id, ON_CALL, step="drain", remedy="look", reason="")
    run = await lab.after(run)
    key = str(offered[0].step["id"])
    assert run.state is State.HELD
    assert (run.status(key).state, run.status(key).words) == (StepState.DONE, f"{key} done")
    run = await lab.after(await lab.service().remedy(run.id, ON_CALL, step="drain", remedy=key, reason="again"))
    assert run.status(key).attempt == 2
    run = await lab.after(await lab.decide(run, "drain", Choice.RETRY))
    assert run.state is State.CLOSED
    assert [kind for kind in kinds(run) if kind.startswith("remed")] == [
        "remedies_offered",
        "remedy_chosen",
        "remedy_chosen",
    ]


async def test_a_remedy_that_acts(lab: Lab) -> None:
    """A remedy that acts needs who may authorise the rollback; one that settles the step makes it done."""
    lab.estate.remedies["drain"] = (terminate(settles=True),)
    run = await held(lab)
    with pytest.raises(RefusedError, match="may not authorise this"):
        await lab.service().remedy(run.id, ON_CALL, step="drain", remedy="terminate", reason="")
    with pytest.raises(RefusedError, match=r"No remedy 'purge' is offered for drain. Offered: terminate"):
        await lab.service().remedy(run.id, MANAGER, step="drain", remedy="purge", reason="")
    run = await lab.after(await lab.service().remedy(run.id, MANAGER, step="drain", remedy="terminate", reason=""))
    assert run.state is State.CLOSED
    settled = [e for e in run.history if isinstance(e, events.StepSucceeded) and e.step == "drain"]
    assert [(e.found, e.words) for e in settled] == [
        (True, f"brought about by a remedy: {run.last(events.RemedyChosen).remedy} done")
    ]
    assert run.last(events.RemedyChosen).role == "Change Manager"
    assert lab.estate.count("apply drain") == 1


async def test_a_remedy_that_fails(lab: Lab) -> None:
    """A remedy that fails leaves the step held, and can be run again."""
    lab.estate.remedies["drain"] = (terminate(),)
    run = await held(lab)
    key = str(run.remedies("drain")[0].step["id"])
    lab.estate.script(key, breaks, works)
    run = await lab.after(await lab.service().remedy(run.id, MANAGER, step="drain", remedy=key, reason=""))
    assert (run.state, run.status(key).state) == (State.HELD, StepState.FAILED)
    run = await lab.after(await lab.service().remedy(run.id, MANAGER, step="drain", remedy=key, reason=""))
    assert (run.state, run.status(key).state) == (State.HELD, StepState.DONE)


async def test_a_remedy_in_doubt(lab: Lab) -> None:
    """A remedy whose worker was lost is looked at before it is run again."""
    lab.estate.remedies["drain"] = (terminate(),)
    run = await held(lab)
    key = str(run.remedies("drain")[0].step["id"])
    lab.estate.script(key, endless, works)
    await lab.service().remedy(run.id, MANAGER, step="drain", remedy=key, reason="")
    async with meanwhile(lab.worker().advance(run)) as advancing:
        await until(lambda: key in lab.estate.acting)
        advancing.cancel()
    run = await lab.after(run)
    assert run.status(key).state is StepState.DONE
    assert lab.estate.calls.index(f"observe {key}") < len(lab.estate.calls)
    assert (run.status(key).attempt, lab.estate.effects[key]) == (2, 1)


async def test_remedies_that_cannot_be_found_out(lab: Lab) -> None:
    """An actuator that fails to tell what may help leaves the decision to the person, without remedies."""
    lab.estate.remedies["drain"] = RuntimeError("no idea")
    run = await held(lab)
    assert run.remedies("drain") == ()
    assert run.last(events.RemediesOffered).remedies == ()
    run = await lab.after(await lab.decide(run, "drain", Choice.RETRY))
    assert run.state is State.CLOSED


async def test_the_window_is_exceeded(lab: Lab) -> None:
    """A rollback that is held beyond its window says so by itself, and then in growing intervals."""
    run = await held(lab)
    await lab.clock.advance(29 * 60 + 30)
    run = await lab.after(run)
    drafted: events.ExtensionDrafted = run.last(events.ExtensionDrafted)
    assert drafted.window == timedelta(minutes=30)
    await lab.clock.advance(60)
    run = await lab.after(run)
    extended: events.Extended = run.last(events.Extended)
    assert (extended.exceeded, extended.who, extended.window) == (True, "policy", timedelta(minutes=30))
    assert extended.estimate > timedelta(minutes=60)
    assert run.state is State.HELD
    run = await lab.service().go_on(run.id, MANAGER, reason="ten more minutes")
    assert run.last(events.ContinuationChosen).name == "J. Smith"


async def test_the_window_of_a_running_step(lab: Lab) -> None:
    """While a step runs the worker watches the window: it drafts the extension, and sends it when it is over."""
    lab.estate.script("stop", endless)
    window = timedelta(seconds=8)
    run = await lab.approved(two().model_copy(update={"window": window}))
    worker = lab.worker()
    async with meanwhile(worker.advance(run)) as advancing:
        await until(lambda: "append extension_drafted" in worker.wire.calls)
        await lab.clock.advance(7)
        assert "append extended" not in worker.wire.calls
        await lab.clock.advance(1)
        await until(lambda: "append extended" in worker.wire.calls)
        advancing.cancel()
    run = await lab.runs.load(run.id)
    extended: events.Extended = run.last(events.Extended)
    assert extended.exceeded
    assert extended.at - run.last(events.ExecutionBegan).at == window


async def test_extend(lab: Lab) -> None:
    """A person extends as drafted by one click, or by a time of one's own; both are sent with their reason."""
    run = await held(lab)
    service = lab.service()
    with pytest.raises(RefusedError, match="No extension of rb-0001 is drafted"):
        await service.extend(run.id, ON_CALL, by=None, reason="")
    with pytest.raises(RefusedError, match="extended by up to"):
        await service.extend(run.id, ON_CALL, by=timedelta(days=2), reason="r")
    with pytest.raises(RefusedError, match="needs a reason"):
        await service.extend(run.id, ON_CALL, by=timedelta(minutes=10), reason="")
    run = await service.extend(run.id, ON_CALL, by=timedelta(minutes=10), reason="slow disk")
    assert run.last(events.Extended).estimate == timedelta(minutes=40)
    await lab.clock.advance(39 * 60 + 30)
    run = await lab.after(run)
    drafted: events.ExtensionDrafted = run.last(events.ExtensionDrafted)
    run = await service.extend(run.id, ON_CALL, by=None, reason="")
    extended: events.Extended = run.last(events.Extended)
    assert (extended.estimate, extended.why) == (drafted.estimate, drafted.why)


async def test_hand_over(lab: Lab) -> None:
    """The lead goes to somebody who may operate the rollback, and is shown from then on."""
    run = await held(lab)
    with pytest.raises(RefusedError, match="cannot lead this rollback"):
        await lab.service().hand_over(run.id, ON_CALL, to=plans.STRANGER, reason="r")
    run = await lab.service().hand_over(run.id, ON_CALL, to=plans.MANAGER, reason="end of shift")
    assert run.lead == plans.MANAGER
    run = await lab.after(await lab.decide(run, "drain", Choice.RETRY))
    with pytest.raises(RefusedError, match="closed now"):
        await lab.service().hand_over(run.id, ON_CALL, to=plans.MANAGER, reason="r")


LOSS = Loss("412 rows of transactions", since=plans.at("14:30"), rows=412)


def one_swap() -> Plan:
    """Return a plan that destroys data."""
    return plans.plan_of([[plans.swap("swap")]], verification=[plans.probe("health")])


async def test_a_loss_is_confirmed_by_a_second_person(lab: Lab) -> None:
    """Beyond the point of no return nothing begins before somebody else than the authoriser confirmed the loss."""
    lab.estate.losses["swap"] = LOSS
    run = await lab.asked(one_swap())
    await lab.clock.advance(29 * 60)
    run = await lab.after(await lab.approve(run))
    asked = run.open_confirmation
    assert asked is not None
    assert (run.state, lab.estate.effects) == (State.AUTHORISED, {})
    assert asked.losses[0].words == "412 rows of transactions"
    assert "past the point of no return" in asked.why
    service = lab.service()
    with pytest.raises(RefusedError, match="a second person must confirm"):
        await service.confirm_loss(run.id, MANAGER, version=None, reason="r")
    with pytest.raises(RefusedError, match="out of date"):
        await service.confirm_loss(run.id, ON_CALL, version=1, reason="r")
    run = await service.confirm_loss(run.id, ON_CALL, version=run.seq, reason="they are in the queue")
    assert run.last(events.LossConfirmed).words == "postgres.swap on payments-db: 412 rows of transactions"
    run = await lab.after(run)
    assert run.state is State.CLOSED
    with pytest.raises(RefusedError, match="out of date"):
        await service.confirm_loss(run.id, ON_CALL, version=None, reason="r")


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (
            Loss("9 rows", since=plans.at("14:30"), rows=9, beyond="9 rows written, the plan allows 0"),
            "9 rows written",
        ),
        (ActuatorError("The database does not answer."), "The database does not answer"),
        (RuntimeError("boom"), "RuntimeError"),
    ],
)
async def test_a_loss_beyond_the_limit(lab: Lab, loss: Loss | Exception, why: str) -> None:
    """Data beyond the plan's limit, or data that nobody could count, need the second person whatever the time."""
    lab.estate.losses["swap"] = loss
    run = await lab.after(await lab.approved(one_swap()))
    assert run.open_confirmation is not None
    assert why in run.open_confirmation.why
    run = await lab.service().abort(run.id, ON_CALL, reason="we fix forward")
    assert run.state is State.STOOD_DOWN


async def test_a_confirmation_that_does_not_come(lab: Lab) -> None:
    """When nobody confirms in time the approval is void, and nothing was run."""
    lab.estate.losses["swap"] = Loss("9 rows", since=plans.at("14:30"), beyond="9 rows")
    run = await lab.after(await lab.approved(one_swap()))
    await lab.clock.advance(3600)
    run = await lab.after(run)
    assert run.state is State.REFUSED
    assert lab.estate.effects == {}


async def test_the_checks_show_the_loss(lab: Lab) -> None:
    """Whoever approves sees what would be lost, and whether a second person will be asked."""
    lab.estate.losses["swap"] = Loss("9 rows", since=plans.at("14:30"), rows=9, beyond="9 rows are above 0")
    run = await lab.asked(one_swap())
    found = {f.subject: f for f in run.last(events.Checked).findings}
    assert found["Data lost by swap"].words == "9 rows (backup of 2024-01-15 14:30 UTC)"
    assert "a second person must confirm the loss" in found["Data lost by swap"].resolution
    lab.estate.losses["swap"] = Loss("nothing", since=plans.at("14:30"), rows=0)
    await lab.service().abort(run.id, ON_CALL, reason="r")
    run = await lab.asked(one_swap())
    assert run.last(events.Checked).findings[-1].verdict.value == "ok"


async def test_return_passes_while_it_is_held(lab: Lab) -> None:
    """A step that would destroy data after the point of no return passed on the way waits for a second person."""
    plan = plans.plan_of([[plans.act("stop")], [plans.swap("swap")]], verification=[plans.probe("health")])
    run = await held(lab, plan, "stop")
    await lab.clock.advance(40 * 60)
    run = await lab.after(await lab.decide(run, "stop", Choice.RETRY))
    assert (run.state, run.status("swap").state) == (State.HELD, StepState.HELD)
    assert run.last(events.Held).why.startswith("swap: the point of no return passed")
    with pytest.raises(RefusedError, match="a second person must confirm"):
        await lab.service().decide(run.id, MANAGER, version=None, step="swap", choice=Choice.RETRY, reason="go")
    run = await lab.after(await lab.decide(run, "swap", Choice.RETRY))
    assert run.state is State.CLOSED


async def test_deployments_are_blocked(lab: Lab) -> None:
    """From its beginning a rollback blocks deployments of its service until somebody lifts that with a reason."""
    assert await lab.service().blocking("payments") == ()
    run = await held(lab)
    service = lab.service()
    assert [each.id for each in await service.blocking("payments")] == [run.id]
    with pytest.raises(RefusedError, match="is still held: deployments of payments stay blocked"):
        await service.lift(run.id, MANAGER, reason="r")
    run = await lab.after(await lab.decide(run, "drain", Choice.RETRY))
    assert [each.id for each in await service.blocked()] == [run.id]
    with pytest.raises(RefusedError, match="You hold no role here"):
        await service.lift(run.id, STRANGER, reason="r")
    run = await service.lift(run.id, MANAGER, reason="v2.4.1 is ready")
    assert await service.blocking("payments") == ()
    with pytest.raises(RefusedError, match="blocks no deployments"):
        await service.lift(run.id, MANAGER, reason="again")


async def test_a_service_that_nobody_knows(lab: Lab) -> None:
    """Whether an unknown service may be deployed is no question that is answered with yes."""
    for name, words in (("paymets", "Did you mean payments?"), ("x", "that the inventory knows")):
        with pytest.raises(UnknownServiceError) as told:
            await lab.service().blocking(name)
        assert words in told.value.resolution


async def test_unknown_targets_are_surveyed_as_unknown(lab: Lab) -> None:
    """A target that does not answer is said to be unknown when the rollback is given up."""

    async def away() -> Observation:
        raise ActuatorError("app02 does not answer.")

    run = await held(lab)
    lab.estate.looks["drain"] = away
    run = await lab.after(await lab.service().abort(run.id, ON_CALL, reason="r"))
    (found,) = run.last(events.Surveyed).found
    assert (found.presence, found.words) == (Presence.UNKNOWN, "app02 does not answer.")


async def test_another_cause(lab: Lab) -> None:
    """Errors that persist for another reason get an incident of their own, linked to the rollback's, once."""
    lab.estate.script("health", breaks, works)
    run = await lab.after(await lab.approved(two()))
    assert run.state is State.HELD
    run = await lab.service().report_cause(run.id, ON_CALL, reason="the card scheme is down")
    with pytest.raises(RefusedError, match="reported already"):
        await lab.service().report_cause(run.id, ON_CALL, reason="again")
    run = await lab.after(run)
    filed: events.CauseFiled = run.last(events.CauseFiled)
    kind, fields, links = await lab.register.get(filed.incident)
    assert (kind.value, fields["Suspected cause"]) == ("cause", "the card scheme is down")
    assert ("relates to", run.last(events.IncidentOpened).incident) in links
    assert run.state is State.HELD


async def test_another_cause_while_records_are_away(lab: Lab) -> None:
    """A record system that is down keeps nobody from deciding; the incident is written in the end."""
    lab.estate.script("health", breaks, works)
    run = await lab.after(await lab.approved(two()))
    await lab.service().report_cause(run.id, ON_CALL, reason="the card scheme is down")

    async def away(_call: str) -> None:
        raise RuntimeError("Jira is down")

    lab.register.trouble = away
    run = await lab.after(run)
    assert (run.state, run.unfiled_cause is not None) == (State.HELD, True)
    run = await lab.after(await lab.decide(run, "health", Choice.RETRY))
    assert run.state is State.COMPLETE
    lab.register.trouble = None
    run = await lab.after(run)
    assert run.state is State.CLOSED
    assert run.last(events.CauseFiled).incident


class _Away:
    """A history that cannot be read."""

    async def paces(self, plan: Plan) -> Any:
        """Fail."""
        raise StoreUnavailableError(plan.change)


async def test_without_history_the_plan_counts(lab: Lab) -> None:
    """When earlier rollbacks cannot be read, the plan's own durations make the forecast, and nothing stops."""
    run = await lab.approved(two())
    world = replace(lab.worker().world, history=_Away())
    await Executor(world).advance(run.id)
    assert (await lab.runs.load(run.id)).state is State.CLOSED


async def test_a_loss_that_nobody_measures(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An actuator that cannot tell what its step destroys adds nothing to the checks."""
    monkeypatch.setattr(plans.StartServers, "destroys", True)
    run = await lab.asked(two())
    assert all(not f.subject.startswith("Data lost") for f in run.last(events.Checked).findings)
