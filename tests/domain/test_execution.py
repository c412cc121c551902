"""What to do next with a rollback."""

from collections.abc import Collection
from datetime import datetime

import pytest

from bot.domain.actions import (
    Abort,
    Action,
    Await,
    BeginExecution,
    BeginVerification,
    CheckPlan,
    Complete,
    Done,
    Expire,
    Hold,
    Resume,
    RunSteps,
    Survey,
    View,
    Wait,
    WriteRecords,
)
from bot.domain.actuation import Presence
from bot.domain.events import AnyEvent, Choice
from bot.domain.execution import may_retry, next_action
from bot.domain.lifecycle import State
from bot.domain.run import Run
from tests.support import plans, stories
from tests.support.plans import act, at, probe
from tests.support.stories import happened, run_in

NOW = at("15:50")


def _next(run: Run, *, now: datetime = NOW, running: Collection[str] = ()) -> Action:
    """Return the next action; when the window's clock is to be looked at is another test's matter."""
    action = next_action(run, View(now, running))
    match action:
        case Await(stop=stop):
            return Await(stop=stop)
        case Wait() if run.state is State.HELD:
            return Wait()
        case _:
            return action


def _started_run(*history: AnyEvent, attempts: int = 3) -> Run:
    """Return a run in execution: `a` and `b` first, `c` after both, `d` in the next phase, and the probe `m`."""
    plan = plans.plan_of(
        [
            [act("a", attempts=attempts), act("b"), act("c", needs=["a", "b"])],
            [act("d")],
        ],
        verification=[probe("m", attempts=attempts), probe("n", needs=["m"])],
    )
    return happened(run_in(State.EXECUTING, run=stories.unstarted(plan)), *history)


def _done(*steps: str) -> list[AnyEvent]:
    return [event for step in steps for event in (stories.started(NOW, step), stories.succeeded(NOW, step))]


def _verifying(*history: AnyEvent, attempts: int = 3) -> Run:
    before = (*_done("a", "b", "c", "d"), stories.verification_began(NOW))
    return _started_run(*before, *history, attempts=attempts)


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (State.REQUESTED, CheckPlan()),
        (State.CHECKING, CheckPlan()),
        (State.AWAITING_AUTHORITY, Wait(until=at("16:45"))),
        (State.AUTHORISED, BeginExecution()),
        (State.EXECUTING, RunSteps(start=("stop",), observe_first=())),
        (State.VERIFYING, RunSteps(start=("health", "version", "schema"), observe_first=())),
        (State.COMPLETE, WriteRecords()),
        (State.CLOSED, Done()),
    ],
)
def test_straight_way(state: State, action: Action) -> None:
    """Each state of the straight way has its next action."""
    assert _next(run_in(state)) == action


@pytest.mark.parametrize(
    ("run", "action"),
    [
        (happened(run_in(State.EXECUTING), stories.aborted(NOW)), WriteRecords()),
        (happened(run_in(State.CHECKING), stories.refused(NOW)), Done()),
        (happened(run_in(State.AWAITING_AUTHORITY), stories.rejected(NOW)), Done()),
        (happened(run_in(State.AWAITING_AUTHORITY), stories.expired(NOW)), Done()),
    ],
)
def test_aside(run: Run, action: Action) -> None:
    """An aborted rollback still has its records to be written; one that never acted has nothing left to do."""
    assert _next(run) == action


@pytest.mark.parametrize(
    ("now", "action"),
    [
        (at("16:44:59"), Wait(until=at("16:45"))),
        (at("16:45"), Expire()),
        (at("+1 16:45"), Expire()),
    ],
)
def test_expiry(now: datetime, action: Action) -> None:
    """The wait for authority ends at the very moment that was announced."""
    assert _next(run_in(State.AWAITING_AUTHORITY), now=now) == action


@pytest.mark.parametrize(
    ("history", "running", "action"),
    [
        pytest.param([], [], RunSteps(("a", "b"), ()), id="all steps without needs begin at once"),
        pytest.param([stories.started(NOW, "a")], ["a"], RunSteps(("b",), ()), id="beside a running step"),
        pytest.param([stories.started(NOW, "a")], ["a", "b"], Await(), id="nothing can begin before one ends"),
        pytest.param(_done("a"), ["b"], Await(), id="a step waits for all of its needs"),
        pytest.param(_done("a", "b"), [], RunSteps(("c",), ()), id="a step begins when its needs are done"),
        pytest.param([stories.started(NOW, "a")], [], RunSteps(("b",), ("a",)), id="an unknown end is looked at"),
        pytest.param(_done("a", "b", "c"), [], RunSteps(("d",), ()), id="the next phase begins"),
        pytest.param(_done("a", "b"), ["c"], Await(), id="the next phase waits for the whole one before"),
        pytest.param(_done("a", "b", "c", "d"), [], BeginVerification(), id="all phases are done"),
    ],
)
def test_execution(history: list[AnyEvent], running: list[str], action: Action) -> None:
    """Steps begin as soon as phase and needs allow, in parallel; one whose end nobody knows is looked at first."""
    assert _next(_started_run(*history), running=running) == action


@pytest.mark.parametrize(
    ("history", "running", "action"),
    [
        ([], [], RunSteps(("m",), ())),
        ([stories.started(NOW, "m")], ["m"], Await()),
        ([stories.started(NOW, "m")], [], RunSteps((), ("m",))),
        (_done("m"), [], RunSteps(("n",), ())),
        (_done("m", "n"), [], Complete()),
    ],
)
def test_verification(history: list[AnyEvent], running: list[str], action: Action) -> None:
    """The probes run as the steps of a phase do, and only when all are settled the rollback is complete."""
    assert _next(_verifying(*history), running=running) == action


def _failing(step: str, *, transient: bool, presence: Presence, times: int = 1) -> list[AnyEvent]:
    return [
        event
        for attempt in range(1, times + 1)
        for event in (
            stories.started(NOW, step, attempt),
            stories.failed(NOW, step, attempt, transient=transient, presence=presence, seen="cut off"),
        )
    ]


@pytest.mark.parametrize(
    ("transient", "presence", "times", "retried"),
    [
        (True, Presence.ABSENT, 1, True),
        (True, Presence.ABSENT, 2, True),
        (True, Presence.ABSENT, 3, False),
        (True, Presence.UNKNOWN, 1, False),
        (False, Presence.ABSENT, 1, False),
        (False, Presence.UNKNOWN, 1, False),
    ],
)
def test_retry(*, transient: bool, presence: Presence, times: int, retried: bool) -> None:
    """A step is tried again unasked only after a passing fault, with its effect absent and tries left."""
    run = _started_run(*_failing("a", transient=transient, presence=presence, times=times), *_done("b"))
    assert may_retry(run, run.plan.step("a")) is retried
    if retried:
        assert _next(run) == RunSteps(("a",), ())
    else:
        assert isinstance(_next(run), Hold)


@pytest.mark.parametrize("presence", Presence)
def test_retry_of_a_probe(presence: Presence) -> None:
    """A probe changes nothing, so a passing fault is enough to repeat it, as long as tries are left."""
    run = _verifying(*_failing("m", transient=True, presence=presence))
    assert _next(run) == RunSteps(("m",), ())
    run = _verifying(*_failing("m", transient=True, presence=presence), attempts=1)
    assert _next(run) == Hold(("m",), "m: The host refused the connection.")


def test_no_failure() -> None:
    """A step that has not failed is not tried again."""
    run = _started_run()
    assert not may_retry(run, run.plan.step("a"))


@pytest.mark.parametrize(
    ("presence", "seen", "reason"),
    [
        (Presence.ABSENT, "cut off", "a: The host refused the connection."),
        (Presence.UNKNOWN, "cut off", "a: outcome unknown (cut off)"),
        (Presence.UNKNOWN, "", "a: outcome unknown (The host refused the connection.)"),
    ],
)
def test_hold(presence: Presence, seen: str, reason: str) -> None:
    """A step that cannot go on by itself is held, and the reason says whether its outcome is known."""
    run = _started_run(stories.started(NOW, "a"), stories.failed(NOW, "a", presence=presence, seen=seen))
    assert _next(run) == Hold(("a",), reason)


def test_hold_both() -> None:
    """Several stuck steps are asked about together."""
    run = _started_run(
        *_failing("a", transient=False, presence=Presence.ABSENT),
        *_failing("b", transient=False, presence=Presence.UNKNOWN),
    )
    assert _next(run) == Hold(("a", "b"), "a: The host refused the connection.; b: outcome unknown (cut off)")


def test_hold_waits() -> None:
    """Beside a stuck step nothing new begins; what runs may end before a person is asked."""
    run = _started_run(
        *_failing("a", transient=False, presence=Presence.ABSENT),
        stories.started(NOW, "b"),
    )
    assert _next(run, running=["b"]) == Await()
    run = _started_run(*_failing("a", transient=False, presence=Presence.ABSENT))
    assert _next(run) == Hold(("a",), "a: The host refused the connection.")


HELD = (
    *_failing("a", transient=False, presence=Presence.ABSENT),
    *_failing("b", transient=False, presence=Presence.ABSENT),
    stories.held(NOW, "a", "b"),
)


@pytest.mark.parametrize(
    ("decisions", "action"),
    [
        ([], Wait()),
        ([("a", Choice.RETRY)], Wait()),
        ([("a", Choice.RETRY), ("b", Choice.SKIP)], Resume()),
        ([("a", Choice.MARK_DONE), ("b", Choice.MARK_DONE)], Resume()),
        ([("a", Choice.ABORT)], Survey(("a", "b", "c", "d"))),
        ([("a", Choice.RETRY), ("b", Choice.ABORT)], Survey(("a", "b", "c", "d"))),
    ],
)
def test_held(decisions: list[tuple[str, Choice]], action: Action) -> None:
    """A held rollback waits until each held step is decided, or until a person gives up: then all is looked at."""
    run = _started_run(*HELD, *(stories.decided(NOW, step, choice) for step, choice in decisions))
    assert _next(run) == action


def test_given_up() -> None:
    """When every target was looked at, a rollback that was given up ends, in the name of who said so."""
    run = _started_run(*HELD, stories.decided(NOW, "a", Choice.ABORT), stories.surveyed(NOW, "a", "b", "c", "d"))
    assert _next(run) == Abort(who=plans.MANAGER, reason="seen on the host")


@pytest.mark.parametrize(
    ("choice", "action"),
    [
        (Choice.RETRY, RunSteps(("a", "b"), ())),
        (Choice.MARK_DONE, RunSteps(("c",), ())),
        (Choice.SKIP, RunSteps(("c",), ())),
    ],
)
def test_after_the_decision(choice: Choice, action: Action) -> None:
    """After a retry the step begins anew; after «done» or «skip» those that needed it begin."""
    decisions = (stories.decided(NOW, "a", choice), stories.decided(NOW, "b", choice))
    assert _next(_started_run(*HELD, *decisions, stories.resumed(NOW))) == action


def test_held_anew() -> None:
    """A decision counts for the hold it was made in: a step that is held again waits for a new one."""
    first = (stories.decided(NOW, "a", Choice.RETRY), stories.decided(NOW, "b", Choice.RETRY))
    again = _failing("a", transient=False, presence=Presence.UNKNOWN)
    run = _started_run(*HELD, *first, stories.resumed(NOW), *again, stories.held(NOW, "a"))
    assert _next(run) == Wait()


def test_held_without_decision() -> None:
    """A step that is still held while the rollback executes is asked about, never started."""
    run = _started_run(stories.held(NOW, "a"), stories.resumed(NOW))
    assert _next(run) == Hold(("a",), "a: somebody must decide")


def test_skipped_probe() -> None:
    """A named person may override a probe that does not turn green; then the rollback can complete."""
    run = _verifying(
        *_done("m"),
        *_failing("n", transient=False, presence=Presence.ABSENT),
        stories.held(NOW, "n"),
        stories.decided(NOW, "n", Choice.SKIP),
        stories.resumed(NOW),
    )
    assert _next(run) == Complete()
