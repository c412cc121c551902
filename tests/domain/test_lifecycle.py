"""A rollback's states and the transitions between them."""

import pytest

from bot.domain.lifecycle import FINAL, LOCKING, TRANSITIONS, State, permitted

ASIDE = {State.REFUSED, State.EXPIRED, State.STOOD_DOWN, State.ABORTED}
TOUCHED = {State.EXECUTING, State.HELD, State.VERIFYING}
"""States in which targets may have been changed already."""


def _reachable(start: State) -> set[State]:
    seen, left = {start}, [start]
    while left:
        new = TRANSITIONS[left.pop()] - seen
        seen |= new
        left += new
    return seen


def test_every_state_has_its_transitions() -> None:
    """The table says for every state where it leads."""
    assert set(TRANSITIONS) == set(State)


def test_every_state_is_reachable() -> None:
    """Every state can be reached from the request."""
    assert _reachable(State.REQUESTED) == set(State)


@pytest.mark.parametrize("state", State)
def test_every_life_ends(state: State) -> None:
    """From every state a final one can be reached."""
    assert _reachable(state) & FINAL


def test_final() -> None:
    """Nothing leads out of the final states, and no other state is without a way on."""
    assert {State.CLOSED, State.REFUSED, State.EXPIRED, State.STOOD_DOWN} == FINAL
    assert all(not permitted(before, after) for before in FINAL for after in State)


@pytest.mark.parametrize("state", State)
def test_no_transition_to_itself(state: State) -> None:
    """A state is entered once, so that the version on a button tells which time it was."""
    assert not permitted(state, state)


def test_complete_only_by_verifying() -> None:
    """COMPLETE is reached from VERIFYING alone, and VERIFYING from a run that was executing."""
    assert [before for before in State if permitted(before, State.COMPLETE)] == [State.VERIFYING]
    assert {before for before in State if permitted(before, State.VERIFYING)} == {State.EXECUTING, State.HELD}


def test_execution_only_with_authority() -> None:
    """Execution begins from AUTHORISED alone; HELD only goes back to it."""
    assert {before for before in State if permitted(before, State.EXECUTING)} == {State.AUTHORISED, State.HELD}


@pytest.mark.parametrize("state", TOUCHED)
def test_touched_is_never_dropped(state: State) -> None:
    """A rollback that may have changed something ends with its records written, by COMPLETE or ABORTED."""
    assert not TRANSITIONS[state] & FINAL
    assert _reachable(state) & FINAL == {State.CLOSED}


def test_nothing_goes_back() -> None:
    """Once execution began, no state before it comes again."""
    before = {State.REQUESTED, State.CHECKING, State.AWAITING_AUTHORITY, State.AUTHORISED}
    assert not any(_reachable(state) & before for state in TOUCHED)


def test_locked() -> None:
    """The targets are locked from the request, the wait for authority included, until nothing is done to them."""
    assert set(State) - FINAL - {State.COMPLETE, State.ABORTED} == LOCKING
    assert State.AWAITING_AUTHORITY in LOCKING
    assert LOCKING >= TOUCHED


@pytest.mark.parametrize("state", [State.REQUESTED, State.CHECKING, State.AWAITING_AUTHORITY, State.AUTHORISED])
def test_can_be_stood_down(state: State) -> None:
    """As long as nothing was done, a rollback can be stood down."""
    assert permitted(state, State.STOOD_DOWN)


def test_aside() -> None:
    """A rollback that was left aside never comes to COMPLETE."""
    assert not any(State.COMPLETE in _reachable(state) for state in ASIDE)
