from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bot.domain import events
from bot.domain.actuation import Check, Outcome, Verdict
from bot.domain.authority import Role
from bot.domain.errors import ActuatorError
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import StepState
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act, meanwhile, until, works
from tests.support.wires import Passing, lost_answer, outage


def small() -> Plan:
    """Return a plan of two steps side by side, one after them, and a probe."""
    first = [plans.act("stop"), plans.act("save"), plans.act("restore", needs=["stop", "save"])]
    return plans.plan_of([first, [plans.act("start")]], verification=[plans.probe("health")])


async def breaks(act: Act) -> Outcome:
    """Fail for good, the effect not there."""
    raise ActuatorError(
        f"{act.step.id}: the disk is full.", untouched="Nothing was changed.", resolution="Make room."
    )


async def test_the_straight_way(lab: Lab) -> None:
    """A rollback goes from the request to closed records in two visits of a worker, each effect once."""
    run = await lab.requested(small())
    assert lab.jobs.queued == [(run.id, "default")]
    run = await lab.after(run)
    assert kinds(run) == ["requested", "checking_began", "checked", "authority_asked"]
    assert await lab.lease(run) == (None, plans.at("16:47"))
    run = await lab.after(await lab.approve(run))
    assert run.state is State.CLOSED
    assert lab.estate.effects == dict.fromkeys(("stop", "save", "restore", "start", "health"), 1)
    assert await lab.lease(run) == (None, None)
    assert (await lab.register.get("INC0000001"))[1]["Resolution"] == "Rolled back to v2.3.1"


async def test_write_ahead(lab: Lab) -> None:
    """Before an actuator acts its start is in the journal, and before the next one needs it its end is."""
    run = await lab.approved(small())

    async def looks(act: Act) -> Outcome:
        now = await lab.runs.load(run.id)
        status = now.status(act.step.id)
        assert (status.state, status.attempt) == (StepState.STARTED, 1)
        assert all(now.status(needed).state is StepState.DONE for needed in act.step.needs)
        return await works(act)

    for step in run.plan.steps():
        lab.estate.script(step.id, looks)
    assert (await lab.after(run)).state is State.CLOSED


async def test_steps_side_by_side(lab: Lab) -> None:
    """Steps that need nothing of each other run at the same time."""
    run = await lab.approved(small())

    both = asyncio.Barrier(2)

    async def waits_for_the_other(act: Act) -> Outcome:
        await both.wait()
        return await works(act)

    lab.estate.script("stop", waits_for_the_other)
    lab.estate.script("save", waits_for_the_other)
    assert (await lab.after(run)).state is State.CLOSED


async def test_failed_checks_refuse(lab: Lab) -> None:
    """What blocks stands first in the reason of the refusal; nothing is acted upon, the targets are free again."""

    async def two() -> tuple[Check, ...]:
        missing = Check("Backup db-before", Verdict.FAIL, "file not found.", "Name another backup.")
        return (Check("Disk", Verdict.WARN, "90 % full"), missing)

    lab.estate.checks["stop"] = two
    run = await lab.requested(small())
    run = await lab.after(run)
    assert run.state is State.REFUSED
    why = "Backup db-before: file not found. Name another backup. Nothing was changed."
    assert run.history[-1].why == why
    assert [call for call in lab.estate.calls if not call.startswith("check")] == []
    assert (await lab.requested(small())).id != run.id


async def test_refusal_counts_the_others(lab: Lab) -> None:
    """With several blocking findings the refusal names the first and counts the others."""

    async def fails() -> tuple[Check, ...]:
        return tuple(Check(subject, Verdict.FAIL, "missing.") for subject in ("One", "Two", "Three"))

    lab.estate.checks["stop"] = fails
    run = await lab.after(await lab.requested(small()))
    assert run.history[-1].why == "One: missing. 2 more checks failed, see the thread. Nothing was changed."


@pytest.mark.parametrize(
    ("approvers", "words"),
    [
        (
            (Role.CHANGE_MANAGER, Role.SERVICE_OWNER),
            "J. Smith, A. Okafor (business hours: change manager or service",
        ),
        ((Role.ON_CALL_ENGINEER,), "nobody (business hours: on-call engineer)"),
    ],
)
async def test_who_may_is_told(lab: Lab, approvers: tuple[Role, ...], words: str) -> None:
    """The question for authority names the people who may answer now; the requester is not among them."""
    lab.policy = plans.policy(approvers=approvers)
    run = await lab.asked(small())
    assert run.last(events.AuthorityAsked).who_may.startswith(words)


async def test_expiry(lab: Lab) -> None:
    """A request that nobody answered expires at its minute, not a moment before, and can be approved no more."""
    run = await lab.asked(small())
    await lab.clock.advance(59 * 60 + 59)
    run = await lab.after(run)
    assert run.state is State.AWAITING_AUTHORITY
    assert await lab.lease(run) == (None, plans.at("16:47"))
    await lab.clock.advance(1)
    run = await lab.after(run)
    assert run.state is State.EXPIRED
    assert lab.estate.effects == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": "Another title"}, "plan.title: Payment service v2.4.0 deployment → Another title"),
        ({"window": "45m"}, "plan.window: 30m → 45m"),
    ],
)
async def test_a_changed_plan_voids_the_approval(lab: Lab, change: dict[str, str], words: str) -> None:
    """When the plan changes between approval and start, nothing runs and the difference is told."""
    run = await lab.approved()
    lab.shelf.plans[run.plan.change] = plans.plan(**change)
    run = await lab.after(run)
    assert run.state is State.REFUSED
    assert words in run.history[-1].why
    assert lab.estate.effects == {}


async def test_changed_targets_void_the_approval(lab: Lab) -> None:
    """When a target changes between approval and start, nothing runs."""
    run = await lab.approved(small())
    lab.inventory = plans.inventory(payments_servers=("change_manager",))
    run = await lab.after(run)
    assert run.state is State.REFUSED
    assert "inventory.server_groups.payments-servers.touch" in run.history[-1].why


async def test_an_approval_for_another_plan_is_void(lab: Lab) -> None:
    """An approval counts only for the digests that it names, whatever the plan's source says now."""
    run = await lab.asked(small())
    given = events.Authorised(
        at=lab.clock.now(),
        who=plans.MANAGER,
        why="because",
        name="J. Smith",
        role="Change Manager",
        grounds="Change Manager",
        plan_digest="a" * 64,
        targets_digest=run.inventory.digest(),
    )
    run = await lab.after(await lab.runs.append(run, given, lease=None, wake=True))
    assert run.state is State.REFUSED
    assert "it was given for another plan or other targets" in run.history[-1].why


@pytest.mark.parametrize(("late", "state"), [(-1, State.CLOSED), (0, State.REFUSED)])
async def test_an_approval_does_not_last(lab: Lab, late: int, state: State) -> None:
    """An approval that no worker could act upon in time is void: nobody expects the rollback any more."""
    run = await lab.approved(small())
    await lab.clock.advance(3600 + late)
    run = await lab.after(run)
    assert run.state is state
    assert late or "no worker could begin within 60 minutes of it" in run.history[-1].why


async def test_a_held_step_and_its_decisions(lab: Lab) -> None:
    """A step that failed for good is held once all others have ended; what a person decides is carried out."""
    lab.estate.script("stop", breaks, works)
    run = await lab.after(await lab.approved(small()))
    assert run.state is State.HELD
    assert run.status("save").state is StepState.DONE
    assert lab.estate.count("apply restore") == 0
    owner, wake_at = await lab.lease(run)
    assert owner is None
    assert wake_at > lab.clock.now()  # the window's clock runs while it is held
    assert (await lab.after(run)).seq == run.seq
    run = await lab.decide(run, "stop", Choice.RETRY)
    assert lab.jobs.queued[-1] == (run.id, "default")
    run = await lab.after(run)
    assert run.state is State.CLOSED
    assert run.status("stop").attempt == 2
    assert lab.estate.effects["stop"] == 1


@pytest.mark.parametrize(
    ("choice", "state"), [(Choice.SKIP, StepState.SKIPPED), (Choice.MARK_DONE, StepState.DONE)]
)
async def test_a_step_is_passed_over(lab: Lab, choice: Choice, state: StepState) -> None:
    """A held step that a person skips or marks done is not touched again, and what needs it goes on."""
    lab.estate.script("stop", breaks)
    run = await lab.after(await lab.approved(small()))
    run = await lab.after(await lab.decide(run, "stop", choice))
    assert run.state is State.CLOSED
    assert run.status("stop").state is state
    assert lab.estate.count("apply stop") == 1


async def test_abort(lab: Lab) -> None:
    """An aborted rollback begins nothing more, frees its targets, and its records say forward-fix."""
    lab.estate.script("stop", breaks)
    run = await lab.after(await lab.approved(small()))
    run = await lab.after(await lab.decide(run, "stop", Choice.ABORT))
    assert kinds(run)[-5:] == ["abort_asked", "surveyed", "aborted", "review_scheduled", "closed"]
    assert run.last(events.Aborted).who == plans.ON_CALL
    assert "apply restore" not in lab.estate.calls
    assert (await lab.register.get("INC0000001"))[1]["Resolution"] == "Rollback aborted - forward-fix"
    assert (await lab.requested(small())).id != run.id


async def test_a_red_probe_holds_in_verification(lab: Lab) -> None:
    """COMPLETE is refused while a probe is red; a named person may override it, and verification goes on."""
    lab.estate.script("health", breaks)
    run = await lab.after(await lab.approved(small()))
    assert run.state is State.HELD
    run = await lab.after(await lab.decide(run, "health", Choice.MARK_DONE))
    assert kinds(run)[-6:] == ["held", "decided", "resumed", "completed", "review_scheduled", "closed"]


async def test_a_second_job_is_harmless(lab: Lab) -> None:
    """Of two workers that get the same job one advances the rollback, and the other leaves it alone."""
    run = await lab.approved(small())
    first, second = lab.worker("worker-1"), lab.worker("worker-2")
    await asyncio.gather(first.advance(run), first.advance(run), second.advance(run))
    run = await lab.runs.load(run.id)
    assert run.state is State.CLOSED
    assert set(lab.estate.effects.values()) == {1}
    await lab.worker().executor.advance("rb-9999")
    await lab.worker().advance(run)
    assert await lab.runs.load(run.id) == run


async def test_a_store_that_is_away_at_the_job(lab: Lab) -> None:
    """A job that comes while the store is away ends quietly; the sweep queues the next one."""
    run = await lab.approved(small())
    worker = lab.worker()
    worker.wire.trouble = outage()
    await worker.advance(run)
    assert worker.wire.calls == ["acquire"]
    assert await lab.sweep().once() == (run.id,)


@pytest.mark.parametrize(
    "kind",
    ["checking_began", "checked", "authority_asked", "refused"],
)
async def test_lost_answers_at_the_checks(lab: Lab, kind: str) -> None:
    """An event that was committed while its answer was lost is written once, and what follows follows."""
    if kind == "refused":
        lab.gauge.reading = RuntimeError("no answer")

        async def fails() -> tuple[Check, ...]:
            return (Check("Backup", Verdict.FAIL, "missing"),)

        lab.estate.checks["stop"] = fails
    run = await lab.requested(small())
    worker = lab.worker()
    worker.wire.trouble = lost_answer(kind)
    async with meanwhile(worker.advance(run)):
        await until(lambda: lab.clock.sleeping(0.5))
        await lab.clock.advance(0.5)
    last = "refused" if kind == "refused" else "authority_asked"
    assert kinds(await lab.runs.load(run.id)) == ["requested", "checking_began", "checked", last]


async def test_what_others_wrote_is_decided_upon(lab: Lab) -> None:
    """What was decided upon a journal that has moved on meanwhile is not written; the worker decides anew."""
    run = await lab.requested(small())
    worker = lab.worker()
    stood_down = events.Rejected(at=lab.clock.now(), who=plans.MANAGER, why="no", name="J. Smith")

    async def between(passing: Passing) -> None:
        if passing.label == "append checked":
            await lab.runs.append(await lab.runs.load(run.id), stood_down, lease=None)

    worker.wire.trouble = between
    run = await lab.after(run, worker)
    assert kinds(run) == ["requested", "checking_began", "rejected"]


async def test_execution_that_was_stood_down_does_not_begin(lab: Lab) -> None:
    """A person's event between approval and beginning wins: nothing runs, no incident is opened."""
    run = await lab.approved(small())
    worker = lab.worker()
    stood_down = events.Rejected(at=lab.clock.now(), who=plans.MANAGER, why="no", name="J. Smith")

    async def between(passing: Passing) -> None:
        if passing.label == "append execution_began":
            await lab.runs.append(run, stood_down, lease=None)

    worker.wire.trouble = between
    run = await lab.after(run, worker)
    assert run.state is State.STOOD_DOWN
    assert lab.register.calls == []
    assert lab.estate.effects == {}


async def test_a_fault_of_the_engine_leaves_the_lease(lab: Lab) -> None:
    """A fault that nobody foresaw ends the visit and stops everything; the lease calls for the next worker."""
    run = await lab.approved(small())
    worker = lab.worker()

    async def broken(passing: Passing) -> None:
        if passing.label == "append step_started stop":
            raise ZeroDivisionError

    worker.wire.trouble = broken
    with pytest.raises(ExceptionGroup):
        await worker.advance(run)
    assert (await lab.lease(run))[0] == "worker-1"
    await lab.lapse(run)
    assert (await lab.after(run)).state is State.CLOSED
    assert lab.settings().lease == timedelta(seconds=12)
