"""One rollback as its journal tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bot.domain import events
from bot.domain.events import AnyEvent, Choice, RemedyOffered
from bot.domain.inventory import DEFAULT_ZONE, Inventory
from bot.domain.lifecycle import State, permitted
from bot.domain.plan import Plan
from bot.domain.steps import SETTLED, StepState, StepStatus, statuses_after

__all__ = ["SETTLED", "Run", "StepState", "StepStatus", "apply", "fold", "state_after"]


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

    def after(self, kind: type[events.Event], *others: type[events.Event]) -> tuple[AnyEvent, ...]:
        """Return what was written after the newest event of these classes; everything, if there is none."""
        newest = max(
            (number for number, event in enumerate(self.history, 1) if isinstance(event, (kind, *others))),
            default=0,
        )
        return self.history[newest:]

    def fact(self, name: str) -> Any:
        """Return the newest measured value of that name among the plan's steps, or None."""
        found = None
        newest: datetime | None = None
        for step in self.plan.steps():
            status = self.status(step.id)
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
    def lead(self) -> str:
        """User id of who leads the rollback: the requester, until it was handed over."""
        handed: events.LeadHandedOver | None = self.last(events.LeadHandedOver)
        return handed.to if handed else self.requester

    @property
    def pause(self) -> events.HoldAsked | None:
        """The word of a person that holds the rollback, None if nobody's does."""
        asked: events.HoldAsked | None = self.last(events.HoldAsked)
        ended = any(isinstance(event, events.ResumeAsked) for event in self.after(events.HoldAsked))
        return None if ended else asked

    @property
    def giving_up(self) -> events.AbortAsked | events.Decided | None:
        """The word of a person that ends the rollback, None if nobody's does."""
        for event in reversed(self.history):
            if isinstance(event, events.AbortAsked):
                return event
            if isinstance(event, events.Decided) and event.choice is Choice.ABORT:
                return event
        return None

    @property
    def open_confirmation(self) -> events.ConfirmationAsked | None:
        """The loss that a second person must confirm before anything is run, None if there is none."""
        asked: events.ConfirmationAsked | None = self.last(events.ConfirmationAsked)
        if asked is None or any(isinstance(e, events.LossConfirmed) for e in self.after(events.ConfirmationAsked)):
            return None
        return asked

    @property
    def unfiled_cause(self) -> events.CauseReported | None:
        """The report of another cause whose incident is not written yet, None if there is none."""
        reported: events.CauseReported | None = self.last(events.CauseReported)
        return None if reported is None or self.last(events.CauseFiled) else reported

    @property
    def blocks_deployments(self) -> bool:
        """Whether deployments of the service are held back because of this rollback."""
        began: events.ExecutionBegan | None = self.last(events.ExecutionBegan)
        return began is not None and began.blocks and self.last(events.DeploymentsReleased) is None

    def remedies(self, step_id: str) -> tuple[RemedyOffered, ...]:
        """Return what was offered for the step after its latest failed attempt."""
        status = self.status(step_id)
        offered = [e for e in self.history if isinstance(e, events.RemediesOffered) and e.step == step_id]
        return offered[-1].remedies if offered and status.offered == status.attempt else ()

    def remedy(self, step_id: str) -> tuple[str, RemedyOffered] | None:
        """Return the remedy that runs as the step of that id, with the step that it helps, or None."""
        for event in self.history:
            if isinstance(event, events.RemediesOffered):
                for offered in event.remedies:
                    if offered.step["id"] == step_id:
                        return event.step, offered
        return None

    def words_of(self, step_id: str) -> str:
        """Return a step of the plan, or a remedy, in words."""
        helping = self.remedy(step_id)
        return helping[1].title if helping else self.plan.step(step_id).words()

    def zone_of(self, target: str) -> str:
        """Return the network zone of a target."""
        found = self.inventory.find(target)
        return found.zone if found else DEFAULT_ZONE

    @property
    def approved(self) -> dict[str, str]:
        """The seals that the authorisation binds to, by step; empty before it was given."""
        checked: events.Checked | None = self.last(events.Checked)
        if checked is None or self.last(events.Authorised) is None:
            return {}
        return {found.step: found.seal for found in checked.findings if found.seal}

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
        steps=statuses_after(run.steps, event),
    )


def fold(run: Run, history: tuple[AnyEvent, ...]) -> Run:
    """Apply events in order."""
    for event in history:
        run = apply(run, event)
    return run
