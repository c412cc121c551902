from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from bot.domain import events
from bot.domain.actuation import Observation, Outcome, Presence, Progress
from bot.domain.errors import ActuatorError, RollbackError
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act, Script, meanwhile, until, works
from tests.support.wires import lost_answer

HOUR = timedelta(hours=1)

NOT_THERE = "start is not there"


def one(*, attempts: int = 3, timeout: str = "1m") -> Plan:
    """Return a plan with one step that acts and one probe."""
    step = {**plans.act("start", attempts=attempts), "timeout": timeout}
    return plans.plan_of([[step]], verification=[{**plans.probe("health"), "timeout": timeout}])


def raises(error: BaseException | Callable[[], Exception], *, effect: bool = False) -> Script:
    """Return a script that fails, with or without the effect."""

    async def fail(act: Act) -> Outcome:
        if effect:
            act.effect()
        raise error() if callable(error) else error

    return fail


def says(outcome: Any, *, effect: bool = True) -> Script:
    """Return a script that reports this, with or without the effect."""

    async def report(act: Act) -> Outcome:
        if effect:
            act.effect()
        return outcome  # type: ignore[no-any-return] # somebody else's actuator returns anything

    return report


async def forever(_act: Act) -> Outcome:
    """Never end."""
    await asyncio.Event().wait()
    raise AssertionError


def look(answer: Any) -> Callable[[], Any]:
    """Return an observer that answers this, or raises it."""

    async def observe() -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return observe


def busy(*, transient: bool = True) -> ActuatorError:
    """Return a fault as an actuator reports it."""
    return ActuatorError(
        "The host refused.", untouched="It runs.", resolution="Try it.", transient=transient, output="line 1"
    )


async def end(lab: Lab, plan: Plan | None = None) -> Run:
    """Return the rollback after a worker's visit."""
    return await lab.after(await lab.approved(plan or one()))


def failure(run: Run, step: str = "start") -> events.StepFailed:
    """Return the step's failure, for which the rollback is held."""
    assert run.state is State.HELD
    failed = run.status(step).failure
    assert failed is not None
    return failed


async def test_facts_are_kept(lab: Lab) -> None:
    """What was measured when acting and when reading back is in the journal; what the actuator says goes first."""
    lab.estate.script("start", says(Outcome("started", {"version": "v2.3.1", "hosts": 3}, "all good")))
    lab.estate.looks["start"] = look(Observation(Presence.PRESENT, "seen", {"version": "?", "pid": 7}))
    run = await end(lab)
    done = next(e for e in run.history if isinstance(e, events.StepSucceeded) and e.step == "start")
    assert (done.words, done.output, done.found) == ("started", "all good", False)
    assert done.facts == {"version": "v2.3.1", "hosts": 3, "pid": 7}


async def test_a_passing_fault_is_tried_again(lab: Lab) -> None:
    """A passing fault whose effect is known to be absent is tried again after growing pauses, thrice in all."""
    run = await lab.approved(one())
    lab.estate.script("start", raises(busy()), raises(busy()), works)
    async with meanwhile(lab.worker(renew=HOUR).advance(run)):
        for pause in (1.0, 2.0):
            await until(partial(lab.clock.sleeping, pause))
            await lab.clock.advance(pause)
    run = await lab.runs.load(run.id)
    assert run.state is State.CLOSED
    assert run.status("start").attempt == 3
    assert lab.estate.effects["start"] == 1


async def test_tries_are_bounded(lab: Lab) -> None:
    """When all attempts are used up a person is asked, with what happened, what was left and what to do."""
    lab.estate.script("start", raises(busy()))
    run = await end(lab, one(attempts=1))
    failed = failure(run)
    assert (failed.brief, failed.untouched, failed.resolution) == ("The host refused.", "It runs.", "Try it.")
    assert (failed.output, failed.transient, failed.presence) == ("line 1", True, Presence.ABSENT)
    assert failed.seen == NOT_THERE


async def test_a_lasting_fault_is_held_at_once(lab: Lab) -> None:
    """A fault that does not pass by itself is not tried again."""
    lab.estate.script("start", raises(busy(transient=False)))
    assert failure(await end(lab)).attempt == 1


async def test_an_unknown_outcome_is_not_tried_again(lab: Lab) -> None:
    """Even a passing fault is not tried again while nobody can tell whether the effect is there."""
    lab.estate.script("start", raises(busy()))
    lab.estate.looks["start"] = look(Observation(Presence.UNKNOWN, "1 of 3 hosts does not answer"))
    run = await end(lab)
    assert failure(run).presence is Presence.UNKNOWN
    assert run.last(events.Held).why == "start: outcome unknown (1 of 3 hosts does not answer)"
    assert lab.estate.count("apply start") == 1


async def test_a_failure_that_worked_counts(lab: Lab) -> None:
    """An actuator that says it failed while the effect is there is not believed, and nothing is repeated."""
    lab.estate.script("start", raises(busy(), effect=True))
    run = await end(lab)
    assert run.state is State.CLOSED
    done = next(e for e in run.history if isinstance(e, events.StepSucceeded))
    assert (done.found, done.output) == (True, "line 1")
    assert done.words == "start is there (reported: The host refused.)"
    assert lab.estate.effects["start"] == 1


@pytest.mark.parametrize(
    ("presence", "words"), [(Presence.ABSENT, "is not there: gone"), (Presence.UNKNOWN, "cannot be told: gone")]
)
async def test_a_success_that_did_not_work_is_held(lab: Lab, presence: Presence, words: str) -> None:
    """An actuator that says it succeeded while the effect cannot be read back is not believed."""
    lab.estate.script("start", says(Outcome("done", output="ok"), effect=False))
    lab.estate.looks["start"] = look(Observation(presence, "gone"))
    failed = failure(await end(lab))
    assert failed.brief == f"The step reported success, and when read back its effect {words}"
    assert (failed.output, failed.presence, failed.transient) == ("ok", presence, False)


@pytest.mark.parametrize(
    ("error", "brief"),
    [
        (RollbackError("No such target.", resolution="Add it."), "No such target."),
        (KeyError("password"), "An unexpected fault in the actuator (KeyError)."),
        (TimeoutError("socket"), "An unexpected fault in the actuator (TimeoutError)."),
        (asyncio.CancelledError(), "An unexpected fault in the actuator (StrayCancellationError)."),
        (ActuatorError("\ud800 and \x00"), "? and \N{REPLACEMENT CHARACTER}"),
    ],
)
async def test_every_fault_becomes_an_outcome(lab: Lab, error: Any, brief: str) -> None:
    """Whatever an actuator raises is an outcome that people are asked about, without details that may be secret."""
    lab.estate.script("start", raises(error))
    assert failure(await end(lab)).brief == brief


@pytest.mark.parametrize(("second", "transient"), [(busy(), True), (busy(transient=False), False)])
async def test_faults_side_by_side(lab: Lab, second: Exception, *, transient: bool) -> None:
    """An actuator that works on several hosts may report several faults; they pass only if all of them do."""
    other = ActuatorError("Host two is down.", transient=True, output="line 2")
    lab.estate.script(
        "start", raises(lambda: ExceptionGroup("hosts", [second, ExceptionGroup("", [other, busy()])]))
    )
    failed = failure(await end(lab, one(attempts=1)))
    assert failed.brief == "The host refused. Host two is down."
    assert (failed.untouched, failed.resolution) == ("It runs.", "Try it.")
    assert (failed.output, failed.transient) == ("line 1\nline 2", transient)


async def test_a_step_is_stopped_at_its_deadline(lab: Lab) -> None:
    """A step that takes longer than it may is stopped, looked at, and held."""
    lab.estate.script("start", forever)
    failed = failure(await end(lab, one(timeout="30ms")))
    assert failed.brief == "It did not end within 0 seconds and was stopped."
    assert lab.estate.stopped == ["start"]
    assert failed.seen == NOT_THERE


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (RollbackError("No route to host."), "No route to host."),
        (ZeroDivisionError(), "looking failed (ZeroDivisionError)"),
        (asyncio.CancelledError(), "looking failed (StrayCancellationError)"),
        (None, "looking failed (AttributeError)"),
        (Observation("maybe", ""), "looking failed (ValueError)"),  # type: ignore[arg-type] # somebody else's
    ],
)
async def test_who_cannot_look_knows_nothing(lab: Lab, answer: Any, words: str) -> None:
    """An observer that fails, whatever it does, leaves the outcome unknown."""
    lab.estate.looks["start"] = look(answer)
    failed = failure(await end(lab))
    assert (failed.presence, failed.seen) == (Presence.UNKNOWN, words)


async def test_an_observer_that_hangs_knows_nothing(lab: Lab) -> None:
    """An observer that does not answer in time leaves the outcome unknown."""

    async def hang() -> Observation:
        await asyncio.Event().wait()
        raise AssertionError

    lab.estate.looks["start"] = hang
    run = await lab.approved(one())
    run = await lab.after(run, lab.worker(check_timeout=timedelta(milliseconds=20)))
    assert failure(run).seen == "no answer within 0 seconds"


@pytest.mark.parametrize("reported", [None, "done", Outcome("done", facts=7)])  # type: ignore[arg-type] # not ours
async def test_an_actuator_that_reports_nonsense(lab: Lab, reported: Any) -> None:
    """An actuator that breaks its contract does not stop the rollback: what was read back counts."""
    lab.estate.script("start", says(reported))
    run = await end(lab)
    assert run.state is State.CLOSED
    assert lab.estate.effects["start"] == 1


async def test_what_no_journal_can_hold(lab: Lab) -> None:
    """Odd values in words, facts and output are written as text, and an event is written once for a lost answer."""
    odd: dict[Any, Any] = {
        "nul": "a\x00b",
        "tuple": (1, 2),
        5: {"x": float("nan")},
        "bytes": b"\xff",
        "half": "\ud800",
    }
    lab.estate.script("start", says(Outcome("a\x00b \ud800", odd, "\x00")))
    run = await lab.approved(one())
    worker = lab.worker(renew=HOUR)
    worker.wire.trouble = lost_answer("step_succeeded")
    async with meanwhile(worker.advance(run)):
        await until(lambda: lab.clock.sleeping(0.5))
        await lab.clock.advance(0.5)
    run = await lab.runs.load(run.id)
    done = [e for e in run.history if isinstance(e, events.StepSucceeded) and e.step == "start"]
    assert len(done) == 1
    assert done[0].words == "a\N{REPLACEMENT CHARACTER}b ?"
    assert done[0].facts == {
        "nul": "a\N{REPLACEMENT CHARACTER}b",
        "tuple": [1, 2],
        "5": {"x": None},
        "bytes": "b'\\xff'",
        "half": "?",
    }


async def test_facts_that_contain_themselves(lab: Lab) -> None:
    """Values that have no end are left out with a word, and the step's success stands."""
    endless: dict[str, Any] = {}
    endless["self"] = endless
    lab.estate.script("start", says(Outcome("done", endless)))
    run = await end(lab)
    assert run.status("start").facts == {"unreadable": "the measured values contain themselves"}


async def test_probes_are_not_observed(lab: Lab) -> None:
    """A probe only looks: its answer is its outcome, it is tried again while the fault passes, and then held."""
    lab.estate.script("health", raises(busy()), raises(busy(transient=False)))
    run = await lab.approved(one())
    async with meanwhile(lab.worker().advance(run)):
        await until(lambda: lab.clock.sleeping(1.0) == 2)  # the pause, and the renewal of the lease
        await lab.clock.advance(1.0)
    run = await lab.runs.load(run.id)
    assert failure(run, "health").presence is Presence.ABSENT
    assert (run.status("health").attempt, run.status("health").state) == (2, StepState.HELD)
    assert "observe health" not in lab.estate.calls
    assert "observe start" in lab.estate.calls


@pytest.mark.parametrize(("step", "seen"), [("start", NOT_THERE), ("look", "it only looks")])
async def test_interrupted_too_often(lab: Lab, step: str, seen: str) -> None:
    """A step whose workers keep dying is not begun for ever: after ten more beginnings a person is asked."""
    steps = [plans.act("start", attempts=2) if step == "start" else plans.probe("look", attempts=2)]
    run = await lab.approved(plans.plan_of([steps], verification=[plans.probe("health")]))
    lease, run = await _began(lab, run)
    for attempt in range(1, 12):
        started = events.StepStarted(at=lab.clock.now(), who="w", why="", step=step, attempt=attempt)
        run = await lab.runs.append(run, started, lease=lease)
    await lab.lapse(run)
    failed = failure(await lab.after(run), step)
    assert failed.brief == f"Its worker was lost 11 times during the step: {seen}"
    assert lab.estate.count(f"apply {step}") == 0


async def _began(lab: Lab, run: Run) -> tuple[Any, Run]:
    taken = await lab.runs.acquire(run.id, "dead")
    assert taken is not None
    began = events.ExecutionBegan(at=lab.clock.now(), who=plans.MANAGER, why="")
    return taken[0], await lab.runs.append(run, began, lease=taken[0])


async def test_a_retry_decided_by_a_person_counts_anew(lab: Lab) -> None:
    """After a person decided to retry, a passing fault has all its attempts again, and the numbers go on."""
    lab.estate.script("start", raises(busy()), raises(busy()), works)
    run = await end(lab, one(attempts=1))
    for attempt in (2, 3):
        run = await lab.after(await lab.decide(run, "start", Choice.RETRY))
        assert run.status("start").attempt == attempt
    assert run.state is State.CLOSED
    assert kinds(run).count("step_started") == 4


async def test_progress_is_shown(lab: Lab) -> None:
    """What a running step reports is on the board, the newest, at most twice a second."""
    run = await lab.approved(one())
    going = asyncio.Event()

    async def reports(act: Act) -> Outcome:
        act.context.report(Progress(1, 3, "hosts"))
        act.context.report(Progress(2, 3, "hosts"))
        await until(lambda: lab.clock.sleeping(0.5))
        act.context.report(Progress(3, 3, "hosts"))
        await going.wait()
        return await works(act)

    lab.estate.script("start", reports)
    async with meanwhile(lab.worker().advance(run)):
        await until(lambda: lab.clock.sleeping(0.5))
        assert (await lab.board.read(run.id))["start"].done == 2
        await lab.clock.advance(0.5)
        await until(lambda: lab.clock.sleeping(0.5))
        assert (await lab.board.read(run.id))["start"].done == 3
        going.set()
    assert (await lab.runs.load(run.id)).state is State.CLOSED


async def test_lost_progress_stops_nothing(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A board that cannot be written to is no reason to stop a step."""
    run = await lab.approved(one())

    async def reports(act: Act) -> Outcome:
        act.context.report(Progress("much", 3, "hosts"))  # type: ignore[arg-type] # somebody else's actuator
        await until(lambda: "could not be written" in caplog.text)
        return await works(act)

    lab.estate.script("start", reports)
    assert (await lab.after(run)).state is State.CLOSED


async def test_the_context_of_a_step(lab: Lab) -> None:
    """An actuator sees the approved plan and targets, the reason, and a name that is unique to step and run."""
    run = await lab.approved(one())
    seen = []

    async def look_around(act: Act) -> Outcome:
        context = act.context
        seen.append((context.rollback_id, context.why, context.token(act.step)))
        assert (context.plan, context.inventory) == (run.plan, run.inventory)
        return await works(act)

    lab.estate.script("start", look_around)
    await lab.after(run)
    assert seen == [("rb-0001", "Card payments fail", "rb-0001-start")]
