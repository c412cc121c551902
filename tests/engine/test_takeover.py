from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from bot.domain import events
from bot.domain.actuation import Outcome
from bot.domain.errors import ActuatorError
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act, meanwhile, turn, until, works
from tests.support.wires import Passing, Trouble, lost_answer, no_trouble, outage

HOUR = timedelta(hours=1)


def two() -> Plan:
    """Return a plan of two steps, one after the other, and a probe."""
    steps = [plans.act("stop"), plans.act("start", needs=["stop"])]
    return plans.plan_of([steps], verification=[plans.probe("health")])


class Slow:
    """A script that acts when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, act: Act) -> Outcome:
        """Wait, then act."""
        await self.go.wait()
        return await works(act)


async def passes(lab: Lab, seconds: int) -> None:
    """Let the workers' time pass in small steps."""
    for _ in range(2 * seconds):
        await lab.clock.advance(0.5)


async def running(lab: Lab) -> None:
    """Wait until the second step's actuator is at work."""
    await until(lambda: "start" in lab.estate.acting)


async def opened(lab: Lab, run: Run) -> None:
    """Wait until the incident, which is opened beside the steps, is in the worker's journal."""
    async with asyncio.timeout(20):
        while not (await lab.runs.load(run.id)).last(events.IncidentOpened):
            await turn()
    await turn()


async def test_a_lapsed_lease_stops_the_actuator(lab: Lab) -> None:
    """When another worker takes over, the actuator that still runs is stopped, and its worker writes nothing."""
    run, slow = await lab.approved(two()), Slow()
    lab.estate.script("start", slow)
    first = lab.worker("worker-1")
    async with meanwhile(first.advance(run)):
        await running(lab)
        await lab.lapse(run)
        second = lab.worker("worker-2")
        async with meanwhile(second.advance(run)):
            await until(lambda: lab.estate.count("apply start") == 2)
            await lab.clock.advance(1)
            await until(lambda: lab.estate.stopped)
            slow.go.set()
    run = await lab.runs.load(run.id)
    assert run.state is State.CLOSED
    assert lab.estate.effects == dict.fromkeys(("stop", "start", "health"), 1)
    assert {e.who for e in run.history if isinstance(e, events.StepStarted) and e.attempt == 2} == {"worker-2"}
    assert {e.who for e in run.history if isinstance(e, events.StepSucceeded) and e.step == "start"} == {"worker-2"}


async def test_ten_seconds_without_the_store(lab: Lab) -> None:
    """A store that is away for ten seconds while a step runs stops nothing: the run waits and goes on."""
    run, slow = await lab.approved(two()), Slow()
    lab.estate.script("start", slow)
    worker = lab.worker()
    async with meanwhile(worker.advance(run)):
        await running(lab)
        worker.wire.trouble = outage()
        await passes(lab, 6)
        slow.go.set()
        await until(lambda: lab.estate.effects["start"])
        await passes(lab, 4)
        worker.wire.trouble = no_trouble
        while lab.clock.sleeping(0.5):
            await lab.clock.advance(0.5)
    run = await lab.runs.load(run.id)
    assert run.state is State.CLOSED
    assert (lab.estate.stopped, lab.estate.effects["start"]) == ([], 1)


async def test_a_store_away_for_longer(lab: Lab) -> None:
    """A store that is away for longer than the lease stops the actuators; later the target is looked at first."""
    run, slow = await lab.approved(two()), Slow()
    lab.estate.script("start", slow, works)
    worker = lab.worker()
    async with meanwhile(worker.advance(run)):
        await running(lab)
        worker.wire.trouble = outage()
        await passes(lab, 12)
    assert lab.estate.stopped == ["start"]
    assert (await lab.runs.load(run.id)).status("start").state is StepState.STARTED
    await lab.lapse(run)
    run = await lab.after(run)
    assert run.state is State.CLOSED
    calls = [call for call in lab.estate.calls if call.endswith("start")]
    assert calls == ["check start", "apply start", "observe start", "apply start", "observe start"]
    assert lab.estate.effects["start"] == 1


async def test_a_graceful_stop(lab: Lab) -> None:
    """A worker that is stopped stops its actuator and gives the lease back; the next one looks, then goes on."""
    run, slow = await lab.approved(two()), Slow()
    lab.estate.script("start", slow, works)
    worker = lab.worker()
    async with meanwhile(worker.advance(run)) as advancing:
        await running(lab)
        advancing.cancel()
    assert lab.estate.stopped == ["start"]
    assert (await lab.lease(run))[0] is None
    assert await lab.sweep().once() == (run.id,)
    run = await lab.after(run, lab.worker("worker-2"))
    assert run.state is State.CLOSED
    assert lab.estate.effects["start"] == 1
    assert run.status("start").attempt == 2


async def test_a_stop_while_an_outcome_is_written(lab: Lab) -> None:
    """A worker that is stopped while it writes an outcome ends the write, then gives the lease back."""
    run = await lab.approved(two())
    worker = lab.worker()
    hanging, go = asyncio.Event(), asyncio.Event()

    async def slow(passing: Passing) -> None:
        if passing.label == "append step_succeeded stop":
            hanging.set()
            await go.wait()

    worker.wire.trouble = slow
    async with meanwhile(worker.advance(run)) as advancing:
        await hanging.wait()
        for _ in range(2):
            advancing.cancel()
            await lab.sql("SELECT 1")
        assert not advancing.done()
        go.set()
    run = await lab.runs.load(run.id)
    assert run.status("stop").state is StepState.DONE
    assert (await lab.lease(run))[0] is None
    assert (await lab.after(run)).state is State.CLOSED
    assert lab.estate.count("apply stop") == 1


async def test_a_stop_in_an_outage(lab: Lab) -> None:
    """A worker that is stopped while the store is away leaves its lease to lapse; nothing is lost."""
    run, slow = await lab.approved(two()), Slow()
    lab.estate.script("start", slow, works)
    worker = lab.worker()
    async with meanwhile(worker.advance(run)) as advancing:
        await running(lab)
        await opened(lab, run)  # a write under way would be brought to its end, or to the lapse of the lease
        worker.wire.trouble = outage()
        advancing.cancel()
    assert (await lab.lease(run))[0] == "worker-1"
    assert await lab.sweep().once() == ()
    assert await lab.sweep(["worker-1"]).once() == (run.id,)
    assert (await lab.after(run, lab.worker("worker-2"))).state is State.CLOSED


async def test_a_stop_while_waiting_for_people(lab: Lab) -> None:
    """A worker that is stopped while it gives back the lease of a waiting rollback does not lose the expiry."""
    run = await lab.asked(two())
    worker = lab.worker()
    giving = asyncio.Event()

    async def slow(passing: Passing) -> None:
        if passing.label == "release" and not giving.is_set():
            giving.set()
            await asyncio.Event().wait()

    worker.wire.trouble = slow
    async with meanwhile(worker.advance(run)) as advancing:
        await giving.wait()
        advancing.cancel()
    assert await lab.sweep().once() == (run.id,)
    assert await lab.lease(await lab.after(run)) == (None, plans.at("16:47"))


async def test_an_actuator_that_fails_to_stop(lab: Lab) -> None:
    """An actuator that answers a stop with a fault is looked at, its outcome written, and the lease given back."""
    run = await lab.approved(two())

    async def stubborn(act: Act) -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            act.effect()
            raise ActuatorError("The child would not die.") from error
        raise AssertionError

    lab.estate.script("start", stubborn)
    worker = lab.worker()
    async with meanwhile(worker.advance(run)) as advancing:
        await running(lab)
        advancing.cancel()
    run = await lab.runs.load(run.id)
    assert run.status("start").words == "start is there (reported: The child would not die.)"
    assert (await lab.lease(run))[0] is None


async def test_a_worker_frozen_before_the_effect(lab: Lab) -> None:
    """A worker that freezes after it wrote STARTED, and comes to after its lease ran out, does not act any more."""
    run = await lab.approved(two())
    worker = lab.worker(renew=HOUR)

    async def freezes(passing: Passing) -> None:
        if passing.label == "append step_started stop: done":
            lab.clock.jump(12)

    worker.wire.trouble = freezes
    async with meanwhile(worker.advance(run)):
        await until(lambda: "append step_started stop" in worker.wire.calls)
        await lab.sql("SELECT 1")
        await lab.sql("SELECT 1")
        await lab.clock.advance(0)
    assert lab.estate.count("apply stop") == 0
    await lab.lapse(run)
    run = await lab.after(run, lab.worker("worker-2"))
    assert run.state is State.CLOSED
    assert lab.estate.effects["stop"] == 1


@pytest.mark.parametrize(
    "kind", ["execution_began", "step_started", "step_succeeded", "held", "resumed", "completed"]
)
async def test_lost_answers(lab: Lab, kind: str) -> None:
    """Whichever answer is lost after its event was committed, the event stands once and no effect comes twice."""
    run = await lab.approved(two())
    worker = lab.worker(renew=HOUR)
    worker.wire.trouble = lost_answer(kind, times=9)
    if kind in ("held", "resumed"):
        lab.estate.script("stop", _full)
    async with meanwhile(worker.advance(run)) as advancing:
        await _flow(lab, advancing)
    if kind in ("held", "resumed"):
        lab.estate.script("stop", works)
        run = await lab.decide(run, "stop", events.Choice.RETRY)
        async with meanwhile(worker.advance(run)) as advancing:
            await _flow(lab, advancing)
    run = await lab.runs.load(run.id)
    assert run.state is State.CLOSED
    assert set(lab.estate.effects.values()) == {1}
    assert len({event.model_dump_json() for event in run.history}) == run.seq


async def _full(_act: Act) -> Outcome:
    raise ActuatorError("The disk is full.")


async def _flow(lab: Lab, task: asyncio.Task[None]) -> None:
    """Let half seconds pass whenever the worker waits for the store."""
    while not task.done():
        await until(lambda: task.done() or lab.clock.sleeping(0.5))
        await lab.clock.advance(0.5)


def between(lab: Lab, run: Run, label: str, event: Callable[[], events.AnyEvent]) -> Trouble:
    """Return the trouble of somebody who writes an event just before that call, once."""
    done: list[str] = []

    async def write(passing: Passing) -> None:
        if passing.label == label and not done:
            done.append(label)
            await lab.runs.append(await lab.runs.load(run.id), event(), lease=None)

    return write


async def test_a_person_comes_before_the_step(lab: Lab) -> None:
    """A person who gives up just before a step would begin is obeyed: the step does not begin."""
    run = await lab.approved(two())
    worker = lab.worker()
    aborted = events.Aborted(at=lab.clock.now(), who=plans.MANAGER, why="fix forward")
    worker.wire.trouble = between(lab, run, "append step_started start", lambda: aborted)
    run = await lab.after(run, worker)
    assert run.state is State.CLOSED
    assert lab.estate.count("apply start") == 0
    assert "step_started" not in kinds(run)[kinds(run).index("aborted") :]


async def test_other_news_do_not_stop_a_step(lab: Lab) -> None:
    """What others write that has no bearing on a step does not keep it from beginning, and it begins once."""
    run = await lab.approved(two())
    worker = lab.worker()
    note = events.IncidentOpened(at=lab.clock.now(), who=plans.MANAGER, why="known", incident="INC0000042")
    worker.wire.trouble = between(lab, run, "append step_started start", lambda: note)
    run = await lab.after(run, worker)
    assert run.state is State.CLOSED
    assert kinds(run).count("step_started") == 3


async def test_a_decision_about_the_step_wins(lab: Lab) -> None:
    """A person who skips a step just before its retry would begin is obeyed, and what follows goes on."""
    run = await lab.approved(two())
    worker = lab.worker()
    skipped = events.Decided(
        at=lab.clock.now(),
        who=plans.MANAGER,
        why="done by hand",
        choice=events.Choice.SKIP,
        step="start",
        name="J.",
    )
    worker.wire.trouble = between(lab, run, "append step_started start", lambda: skipped)
    run = await lab.after(run, worker)
    assert run.state is State.CLOSED
    assert run.status("start").state is StepState.SKIPPED
    assert lab.estate.count("apply start") == 0


async def test_a_stopping_worker_leaves_after_its_step(lab: Lab) -> None:
    """A worker that is to stop lets the running step end, begins no other, and another one goes on at once."""
    plan = plans.plan_of([[plans.act("stop")], [plans.act("start")]], verification=[plans.probe("health")])
    stop, go = asyncio.Event(), asyncio.Event()

    async def waits(act: Act) -> Outcome:
        await go.wait()
        return await works(act)

    lab.estate.script("stop", waits)
    run = await lab.approved(plan)
    async with meanwhile(lab.worker(stop=stop).advance(run)):
        await until(lambda: "stop" in lab.estate.acting)
        stop.set()
        go.set()
    run = await lab.runs.load(run.id)
    assert (run.status("stop").state, run.status("start").state) == (StepState.DONE, StepState.PENDING)
    assert await lab.runs.due() == ((run.id, "default"),)
    assert (await lab.after(run, lab.worker("worker-2"))).state is State.CLOSED
    assert lab.estate.effects == {"stop": 1, "start": 1, "health": 1}
