"""How the steps of a rollback stand, folded from its journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from bot.domain import events
from bot.domain.events import AnyEvent, Choice

Statuses = Mapping[str, "StepStatus"]
"""The status of each step that anything was said about, by its id; chosen remedies are steps as well."""


class StepState(StrEnum):
    """Where a step stands: STARTED is what a worker is at, ASKED what a person was asked to do."""

    PENDING = "pending"
    STARTED = "started"
    ASKED = "asked"
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
        offered: The attempt after which its actuator was asked for remedies; 0: it was not asked.
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
    offered: int = 0


def statuses_after(before: Statuses, event: AnyEvent) -> Statuses:
    """Return how the steps stand after one more event."""
    match event:
        case events.Held():
            held = {step: replace(_of(before, step), state=StepState.HELD) for step in event.steps}
            return {**before, **held}
        case events.RemedyChosen():
            fresh = replace(_of(before, event.remedy), state=StepState.PENDING, tries=0, interrupted=0)
            return {**before, event.remedy: fresh}
        case events.RemediesOffered():
            status = _of(before, event.step)
            return {**before, event.step: replace(status, offered=status.attempt)}
        case events.ManualAsked():
            fresh = _begun(_of(before, event.step), event)
            return {**before, event.step: replace(fresh, state=StepState.ASKED)}
        case events.StepStarted() | events.StepSucceeded() | events.StepFailed() | events.Decided():
            return {**before, event.step: _after(_of(before, event.step), event)}
        case _:
            return before


def _of(statuses: Statuses, step: str) -> StepStatus:
    return statuses.get(step, StepStatus())


def _begun(before: StepStatus, event: events.StepStarted | events.ManualAsked) -> StepStatus:
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


def _after(
    before: StepStatus, event: events.StepStarted | events.StepSucceeded | events.StepFailed | events.Decided
) -> StepStatus:
    match event:
        case events.StepStarted():
            return _begun(before, event)
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
