"""Any plan comes to its end, in the right order."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from bot.domain import actions, execution
from bot.domain import run as runs
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from tests.support import stories
from tests.support.dags import any_plan, group_of, may_begin
from tests.support.plans import MODERATE, at


def _ready(run: Run) -> set[str]:
    """Return every step that could begin now; probes of the verification wait until the verification has begun."""
    last = len(run.plan.phases)
    return {
        step.id
        for step in run.plan.steps()
        if run.status(step.id).state is StepState.PENDING
        and may_begin(run, step)
        and (group_of(run, step.id) == last) is (run.state is State.VERIFYING)
    }


def _simulate(plan: Plan, order: Random) -> tuple[Run, list[str]]:
    """Carry a plan out with steps that all succeed, and return the complete run and its steps as they began."""
    run = stories.run_in(State.EXECUTING, run=stories.unstarted(plan))
    began: list[str] = []
    running: list[str] = []
    while run.state is not State.COMPLETE:
        match execution.next_action(run, actions.View(at("15:50"), running)):
            case actions.RunSteps(start, observe_first):
                assert (set(start), observe_first) == (_ready(run), ())
                run = runs.fold(run, tuple(stories.started(at("15:50"), step) for step in start))
                began += start
                running += start
            case actions.Await():
                ended = running.pop(order.randrange(len(running)))
                run = runs.apply(run, stories.succeeded(at("15:51"), ended))
            case actions.BeginVerification():
                run = runs.apply(run, stories.verification_began(at("16:00")))
            case action:
                assert action == actions.Complete()
                run = runs.apply(run, stories.completed(at("16:12")))
    return run, began


@MODERATE
@given(plan=any_plan(), seed=st.integers())
def test_every_plan_ends(plan: Plan, seed: int) -> None:
    """If every step succeeds, any plan ends, each step began once, and all that could begin together did."""
    run, began = _simulate(plan, Random(seed))  # noqa: S311 - which of the running steps ends first
    assert sorted(began) == sorted(step.id for step in plan.steps())
    assert {status.state for status in run.steps.values()} == {StepState.DONE}


@MODERATE
@given(plan=any_plan(), seed=st.integers())
def test_order(plan: Plan, seed: int) -> None:
    """Every step began after those it needs, and every phase after the one before it."""
    run, began = _simulate(plan, Random(seed))  # noqa: S311 - which of the running steps ends first
    assert [group_of(run, step) for step in began] == sorted(group_of(run, step) for step in began)
    ends = {event.step: n for n, event in enumerate(run.history) if event.kind == "step_succeeded"}
    starts = {event.step: n for n, event in enumerate(run.history) if event.kind == "step_started"}
    assert all(ends[need] < starts[step.id] for step in plan.steps() for need in step.needs)
