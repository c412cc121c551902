"""A rollback's states and the transitions between them, as data."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a rollback is in its life."""

    REQUESTED = "requested"
    CHECKING = "checking"
    AWAITING_AUTHORITY = "awaiting_authority"
    AUTHORISED = "authorised"
    EXECUTING = "executing"
    HELD = "held"
    VERIFYING = "verifying"
    COMPLETE = "complete"
    CLOSED = "closed"
    REFUSED = "refused"
    EXPIRED = "expired"
    STOOD_DOWN = "stood_down"
    ABORTED = "aborted"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.REQUESTED: frozenset({State.CHECKING, State.STOOD_DOWN}),
    State.CHECKING: frozenset({State.AWAITING_AUTHORITY, State.AUTHORISED, State.REFUSED, State.STOOD_DOWN}),
    State.AWAITING_AUTHORITY: frozenset({State.AUTHORISED, State.STOOD_DOWN, State.EXPIRED, State.REFUSED}),
    State.AUTHORISED: frozenset({State.EXECUTING, State.STOOD_DOWN, State.REFUSED}),
    State.EXECUTING: frozenset({State.HELD, State.VERIFYING, State.ABORTED}),
    State.HELD: frozenset({State.EXECUTING, State.VERIFYING, State.ABORTED}),
    State.VERIFYING: frozenset({State.HELD, State.COMPLETE, State.ABORTED}),
    State.COMPLETE: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
    State.REFUSED: frozenset(),
    State.EXPIRED: frozenset(),
    State.STOOD_DOWN: frozenset(),
    State.ABORTED: frozenset({State.CLOSED}),
}
"""Every permitted transition; anything else is a defect or a stale click."""

FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""States in which nothing more happens."""

LOCKING = frozenset(State) - FINAL - {State.COMPLETE, State.ABORTED}
"""States in which the targets are locked: waiting for approval included."""


def permitted(before: State, after: State) -> bool:
    """Return whether a rollback may go from one state to the other."""
    return after in TRANSITIONS[before]
