"""What holds of every journal, whatever happened to its rollback."""

from __future__ import annotations

from bot.domain import events
from bot.domain import run as folding
from bot.domain.lifecycle import State
from bot.domain.run import Run, StepState
from tests.support import dags

_ONCE = ("requested", "checking_began", "authorised", "execution_began", "incident_opened", "completed", "closed")


def assert_legal(run: Run) -> None:
    """Each step began only when it might, its attempts count up, each attempt ended at most once, and well once."""
    before = Run(id=run.id, plan=run.plan, inventory=run.inventory)
    for event in run.history:
        match event:
            case events.StepStarted():
                status = before.status(event.step)
                assert before.state in (State.EXECUTING, State.VERIFYING)
                assert dags.may_begin(before, run.plan.step(event.step))
                assert event.attempt == status.attempt + 1
                assert status.state in (StepState.PENDING, StepState.STARTED, StepState.FAILED)
            case events.ManualAsked():
                status = before.status(event.step)
                assert before.state is State.EXECUTING
                assert dags.may_begin(before, run.plan.step(event.step))
                assert (status.state, event.attempt) == (StepState.PENDING, status.attempt + 1)
            case events.StepSucceeded() | events.StepFailed():
                status = before.status(event.step)
                begun = StepState.ASKED if event.name else StepState.STARTED
                assert (status.state, status.attempt) == (begun, event.attempt)
            case _:
                pass
        before = folding.apply(before, event)
    assert before.state is run.state
    found = [event.kind for event in run.history if event.kind in _ONCE]
    assert len(found) == len(set(found))
