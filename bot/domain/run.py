"""One rollback as its journal tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from bot.domain import events
from bot.domain.events import AnyEvent, Choice
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State, permitted
from bot.domain.plan import Plan


class StepState(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    HELD = "held"
    SKIPPED = "skipped"


SETTLED = frozenset({StepState.DONE, StepState.SKIPPED})
"""States of a step that let the ones after it begin."""


@dataclass(frozen=True)
class StepStatus:
    """A step as the journal tells it.

    Attributes:
        state: Where it stands.
        attempt: The latest attempt, 0 before the first.
        tries: Attempts since a person last decided to retry, those that were interrupted counted once; bounded by
            the step's `attempts`.
        interrupted: How many of these were begun again because their worker was lost.
        words: The latest finding for people.
        facts: What was measured.
        started_at: When the latest attempt began.
        ended_at: When it ended.
        failure: The latest failed attempt.
    """

    state: StepState = StepState.PENDING
    attempt: int = 0
    tries: int = 0
    interrupted: int = 0
    words: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: events.StepFailed | None = None


@dataclass(frozen=True)
class Run:
    """A rollback: its plan and what its journal folds to.

    Attributes:
        id: ``rb-`` and a number.
        plan: The plan as it stood at the request.
        inventory: The plan's targets as they were read at the request, and no others.
        requester: User id of who asked, or ``policy``.
        state: Where it is in its life.
        seq: Number of the last event.
        state_seq: Number of the event that brought it into `state`; buttons carry it.
        history: Every event with its number's order.
        steps: Status by step id.
    """

    id: str
    plan: Plan
    inventory: Inventory
    requester: str = ""
    state: State = State.REQUESTED
    seq: int = 0
    state_seq: int = 0
    history: tuple[AnyEvent, ...] = ()
    steps: Mapping[str, StepStatus] = field(default_factory=dict)

    def status(self, step_id: str) -> StepStatus:
        """Return how the step stands."""
        return self.steps.get(step_id, StepStatus())

    def last(self, kind: type[events.Event]) -> Any:
        """Return the newest event of that class, or None."""
        return next((event for event in reversed(self.history) if isinstance(event, kind)), None)

    def fact(self, name: str) -> Any:
        """Return the newest measured value of that name among the steps, or None."""
        found = None
        newest: datetime | None = None
        for status in self.steps.values():
            if name in status.facts and (newest is None or (status.ended_at and status.ended_at >= newest)):
                found, newest = status.facts[name], status.ended_at
        return found

    @property
    def started_at(self) -> datetime | None:
        """When execution began."""
        event: events.ExecutionBegan | None = self.last(events.ExecutionBegan)
        return event.at if event else None

    @property
    def completed_at(self) -> datetime | None:
        """When every probe was green."""
        event: events.Completed | None = self.last(events.Completed)
        return event.at if event else None

    @property
    def duration(self) -> timedelta | None:
        """From the beginning of execution to completion."""
        if self.started_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.started_at

    @property
    def overrides(self) -> tuple[events.Decided, ...]:
        """The decisions by which a step counts as settled although nobody saw its effect."""
        waived = (Choice.MARK_DONE, Choice.SKIP)
        return tuple(e for e in self.history if isinstance(e, events.Decided) and e.choice in waived)

    @property
    def trigger(self) -> str:
        """The reason in one line for ROLLBACK IN PROGRESS: measured if a threshold is exceeded, else as given."""
        checked: events.Checked | None = self.last(events.Checked)
        if (
            checked
            and checked.decision.trigger
            and checked.decision.advice.value.startswith(("immediate", "assess"))
        ):
            return checked.decision.trigger
        return self.reason

    @property
    def reason(self) -> str:
        """The reason that the requester gave."""
        event: events.Requested | None = self.last(events.Requested)
        return event.why if event else ""


_STATE_AFTER: dict[str, State] = {
    "checking_began": State.CHECKING,
    "refused": State.REFUSED,
    "authority_asked": State.AWAITING_AUTHORITY,
    "authorised": State.AUTHORISED,
    "rejected": State.STOOD_DOWN,
    "expired": State.EXPIRED,
    "execution_began": State.EXECUTING,
    "held": State.HELD,
    "verification_began": State.VERIFYING,
    "completed": State.COMPLETE,
    "aborted": State.ABORTED,
    "closed": State.CLOSED,
}


def state_after(run: Run, event: AnyEvent) -> State:
    """Return the state that the event leads to; most leave it as it is.

    Raises:
        ValueError: If the lifecycle does not permit the transition.
    """
    if isinstance(event, events.Resumed):
        after = State.VERIFYING if run.last(events.VerificationBegan) else State.EXECUTING
    else:
        after = _STATE_AFTER.get(event.kind, run.state)
    if after is not run.state and not permitted(run.state, after):
        raise ValueError(f"{run.id}: {event.kind} is not permitted in state {run.state}")
    return after


def apply(run: Run, event: AnyEvent) -> Run:
    """Return the run with one more event.

    Raises:
        ValueError: If the lifecycle does not permit it.
    """
    after = state_after(run, event)
    seq = run.seq + 1
    return replace(
        run,
        state=after,
        seq=seq,
        state_seq=seq if after is not run.state or run.seq == 0 else run.state_seq,
        requester=event.who if isinstance(event, events.Requested) else run.requester,
        history=(*run.history, event),
        steps=_steps_after(run, event),
    )


def fold(run: Run, history: tuple[AnyEvent, ...]) -> Run:
    """Apply events in order."""
    for event in history:
        run = apply(run, event)
    return run


def _steps_after(run: Run, event: AnyEvent) -> Mapping[str, StepStatus]:
    if isinstance(event, events.Held):
        held = {step: replace(run.status(step), state=StepState.HELD) for step in event.steps}
        return {**run.steps, **held}
    if isinstance(event, events.StepStarted | events.StepSucceeded | events.StepFailed | events.Decided):
        return {**run.steps, event.step: _step_after(run.status(event.step), event)}
    return run.steps


def _step_after(
    before: StepStatus, event: events.StepStarted | events.StepSucceeded | events.StepFailed | events.Decided
) -> StepStatus:
    match event:
        case events.StepStarted():
            again = before.state is StepState.STARTED
            return replace(
                before,
                state=StepState.STARTED,
                attempt=event.attempt,
                tries=before.tries + (not again),
                interrupted=before.interrupted + again,
                started_at=event.at,
                ended_at=None,
            )
        case events.StepSucceeded():
            return replace(
                before, state=StepState.DONE, words=event.words, facts=event.facts, ended_at=event.at, failure=None
            )
        case events.StepFailed():
            return replace(before, state=StepState.FAILED, words=event.brief, ended_at=event.at, failure=event)
        case events.Decided(choice=Choice.RETRY):
            return replace(
                before, state=StepState.PENDING, tries=0, interrupted=0, words=f"{event.name} decided to retry"
            )
        case events.Decided(choice=Choice.MARK_DONE):
            return replace(before, state=StepState.DONE, words=f"marked done by {event.name}: {event.why}")
        case events.Decided(choice=Choice.SKIP):
            return replace(before, state=StepState.SKIPPED, words=f"skipped by {event.name}: {event.why}")
        case _:
            return before  # giving up says nothing about the step that was held
