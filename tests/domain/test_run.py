"""What a journal folds to."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from bot.domain import events
from bot.domain import run as runs
from bot.domain.events import AnyEvent, Choice
from bot.domain.lifecycle import FINAL, State, permitted
from bot.domain.run import Run, StepState, StepStatus
from tests.support import plans, stories
from tests.support.plans import at
from tests.support.stories import happened, run_in

NOW = at("15:50")


def test_empty() -> None:
    """A run without a journal knows nothing: no requester, no times, no reason, every step pending."""
    run = stories.unstarted()
    assert (run.state, run.seq, run.requester, run.reason, run.trigger) == (State.REQUESTED, 0, "", "", "")
    assert (run.started_at, run.completed_at, run.duration) == (None, None, None)
    assert all(run.status(step.id) == StepStatus() for step in run.plan.steps())
    assert run.last(events.Requested) is None


def test_straight_way() -> None:
    """The example's journal leads through the states in their order to CLOSED."""
    run = stories.unstarted()
    seen: list[State] = []
    for event in stories.story(run):
        run = runs.apply(run, event)
        if not seen or seen[-1] is not run.state:
            seen.append(run.state)
    assert seen == [
        *(State.REQUESTED, State.CHECKING, State.AWAITING_AUTHORITY, State.AUTHORISED),
        *(State.EXECUTING, State.VERIFYING, State.COMPLETE, State.CLOSED),
    ]
    assert {status.state for status in run.steps.values()} == {StepState.DONE}
    assert run.seq == len(run.history) == len(stories.story(run))


def test_times() -> None:
    """A rollback lasts from the beginning of its execution to its completion, whatever was before or after."""
    run = run_in(State.CLOSED)
    assert (run.started_at, run.completed_at) == (at("15:47"), at("16:12"))
    assert run.duration == timedelta(minutes=25)
    assert run_in(State.VERIFYING).duration is None


def test_requester() -> None:
    """The requester is who asked, also after others acted."""
    assert run_in(State.CLOSED).requester == plans.ON_CALL


def test_fold_is_apply() -> None:
    """Folding a journal at once or event by event gives the same run."""
    run = stories.unstarted()
    one_by_one = run
    for event in stories.story(run):
        one_by_one = runs.apply(one_by_one, event)
    assert one_by_one == runs.fold(run, stories.story(run))


@pytest.mark.parametrize(
    ("state", "version"), [(State.REQUESTED, 1), (State.CHECKING, 2), (State.AWAITING_AUTHORITY, 4)]
)
def test_version(state: State, version: int) -> None:
    """The version on a button is the number of the event that brought the run into its state."""
    assert run_in(state).state_seq == version


def test_version_stays() -> None:
    """Events that leave the state as it is leave the version of the buttons as it is."""
    run = run_in(State.EXECUTING)
    assert happened(run, stories.started(NOW, "stop"), stories.succeeded(NOW, "stop")).state_seq == run.state_seq


EVENTS: list[Callable[[Run], AnyEvent]] = [
    lambda _run: stories.checking_began(NOW),
    lambda _run: stories.refused(NOW),
    lambda run: stories.asked(NOW, run),
    lambda run: stories.authorised(NOW, run),
    lambda _run: stories.rejected(NOW),
    lambda _run: stories.expired(NOW),
    lambda _run: stories.began(NOW),
    lambda _run: stories.held(NOW, "stop"),
    lambda _run: stories.resumed(NOW),
    lambda _run: stories.verification_began(NOW),
    lambda _run: stories.completed(NOW),
    lambda _run: stories.aborted(NOW),
    lambda _run: stories.closed(NOW),
]
PLACES = {
    **{state: run_in(state) for state in (State.REQUESTED, State.CHECKING, State.AWAITING_AUTHORITY)},
    **{state: run_in(state) for state in (State.AUTHORISED, State.EXECUTING, State.VERIFYING)},
    **{state: run_in(state) for state in (State.COMPLETE, State.CLOSED)},
    State.HELD: happened(run_in(State.EXECUTING), stories.held(NOW, "stop")),
    State.ABORTED: happened(run_in(State.EXECUTING), stories.aborted(NOW)),
    State.REFUSED: happened(run_in(State.CHECKING), stories.refused(NOW)),
    State.STOOD_DOWN: happened(run_in(State.AWAITING_AUTHORITY), stories.rejected(NOW)),
    State.EXPIRED: happened(run_in(State.AWAITING_AUTHORITY), stories.expired(NOW)),
}
LEADS_TO = {
    "checking_began": State.CHECKING,
    "refused": State.REFUSED,
    "asked": State.AWAITING_AUTHORITY,
    "authority_asked": State.AWAITING_AUTHORITY,
    "authorised": State.AUTHORISED,
    "rejected": State.STOOD_DOWN,
    "expired": State.EXPIRED,
    "execution_began": State.EXECUTING,
    "held": State.HELD,
    "resumed": State.EXECUTING,
    "verification_began": State.VERIFYING,
    "completed": State.COMPLETE,
    "aborted": State.ABORTED,
    "closed": State.CLOSED,
}


@pytest.mark.parametrize("state", State)
def test_only_permitted_transitions(state: State) -> None:
    """An event whose transition the lifecycle does not permit is refused, in every state."""
    run = PLACES[state]
    assert run.state is state
    for make in EVENTS:
        event = make(run)
        wanted = LEADS_TO[event.kind]
        if event.kind == "resumed" and run.last(events.VerificationBegan):
            wanted = State.VERIFYING
        if wanted is state or permitted(state, wanted):
            assert runs.apply(run, event).state is wanted
        else:
            with pytest.raises(ValueError, match=f"rb-0004: {event.kind} is not permitted in state {state}"):
                runs.apply(run, event)


@pytest.mark.parametrize("state", FINAL)
def test_final_stays(state: State) -> None:
    """What is noted about an ended rollback does not bring it back to life."""
    assert runs.apply(PLACES[state], stories.incident_opened(NOW)).state is state


def test_resumed_while_verifying() -> None:
    """A probe that was held resumes the verification, not the execution."""
    run = happened(run_in(State.VERIFYING), stories.held(NOW, "health"))
    assert happened(run, stories.resumed(NOW)).state is State.VERIFYING


def _status(*history: AnyEvent) -> StepStatus:
    return happened(run_in(State.EXECUTING), *history).status("stop")


def test_started() -> None:
    """A started step counts its attempts and its tries, and has no end."""
    status = _status(stories.started(at("15:48"), "stop"), stories.failed(at("15:49"), "stop"))
    assert (status.state, status.attempt, status.tries, status.ended_at) == (StepState.FAILED, 1, 1, at("15:49"))
    again = _status(
        stories.started(at("15:48"), "stop"),
        stories.failed(at("15:49"), "stop"),
        stories.started(at("15:50"), "stop", 2),
    )
    assert (again.state, again.attempt, again.tries) == (StepState.STARTED, 2, 2)
    assert (again.started_at, again.ended_at) == (at("15:50"), None)


def test_started_again_after_its_worker_was_lost() -> None:
    """A step that is begun again without an end has not used up a try: nothing speaks against the step itself."""
    status = _status(stories.started(at("15:48"), "stop"), stories.started(at("15:50"), "stop", 2))
    assert (status.attempt, status.tries, status.interrupted) == (2, 1, 1)


def test_interrupted() -> None:
    """An attempt that is begun again because its worker was lost is no further try, but counted as interrupted."""
    lost = (stories.started(NOW, "stop"), stories.started(NOW, "stop", 2), stories.started(NOW, "stop", 3))
    status = _status(*lost)
    assert (status.attempt, status.tries, status.interrupted) == (3, 1, 2)
    status = _status(*lost, stories.failed(NOW, "stop", 3), stories.started(NOW, "stop", 4))
    assert (status.attempt, status.tries, status.interrupted) == (4, 2, 2)
    decision = (stories.held(NOW, "stop"), stories.decided(NOW, "stop", Choice.RETRY))
    status = _status(*lost, stories.failed(NOW, "stop", 3), *decision)
    assert (status.tries, status.interrupted) == (0, 0)


def test_succeeded() -> None:
    """A step that succeeded after a failure is done, with what was measured and no failure left."""
    status = _status(
        stories.started(NOW, "stop"),
        stories.failed(NOW, "stop"),
        stories.started(NOW, "stop", 2),
        stories.succeeded(at("15:51"), "stop", 2, facts={"version": "v2.3.1"}),
    )
    assert (status.state, status.failure, status.words) == (StepState.DONE, None, "done")
    assert (status.facts, status.ended_at) == ({"version": "v2.3.1"}, at("15:51"))


@pytest.mark.parametrize(
    ("choice", "state", "words", "tries"),
    [
        (Choice.RETRY, StepState.PENDING, "J. Smith decided to retry", 0),
        (Choice.MARK_DONE, StepState.DONE, "marked done by J. Smith: seen on the host", 1),
        (Choice.SKIP, StepState.SKIPPED, "skipped by J. Smith: seen on the host", 1),
        (Choice.ABORT, StepState.HELD, "The host refused the connection.", 1),
    ],
)
def test_decided(choice: Choice, state: StepState, words: str, tries: int) -> None:
    """A held step becomes what a person decided, with name and reason; retrying counts the tries anew."""
    status = _status(
        stories.started(NOW, "stop"),
        stories.failed(NOW, "stop"),
        stories.held(NOW, "stop"),
        stories.decided(NOW, "stop", choice),
    )
    assert (status.state, status.words, status.tries, status.attempt) == (state, words, tries, 1)


def test_newest_fact() -> None:
    """Of several steps that measured the same, the one that ended last counts, in whatever order they began."""
    run = happened(
        run_in(State.VERIFYING),
        stories.succeeded(at("16:11"), "metrics", facts={"error_rate": 0.003}),
        stories.succeeded(at("16:09"), "health", facts={"error_rate": 0.2, "version": "v2.3.1"}),
    )
    assert run.fact("error_rate") == 0.003
    assert run.fact("version") == "v2.3.1"
    assert run.fact("p95_seconds") is None


def test_fact_without_an_end() -> None:
    """A value of a step that is running again counts only as long as no other step has measured it."""
    run = happened(
        run_in(State.VERIFYING),
        stories.succeeded(at("16:09"), "health", facts={"error_rate": 0.2}),
        stories.started(at("16:10"), "health", 2),
    )
    assert run.fact("error_rate") == 0.2
    run = happened(run, stories.succeeded(at("16:08"), "metrics", facts={"error_rate": 0.003}))
    assert run.fact("error_rate") == 0.003


def test_trigger() -> None:
    """The trigger is what was measured beyond a threshold, and else the requester's own words."""
    assert run_in(State.CHECKING).trigger == "Card payments fail"
    assert run_in(State.AUTHORISED).trigger == "Error rate 12.3% (threshold: 10%)"
