"""The journal's facts as JSON."""

from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.domain import events
from bot.domain.actuation import Presence
from bot.domain.criteria import Reading
from bot.domain.events import EVENT, AnyEvent, Choice
from bot.domain.lifecycle import State
from tests.support import plans, stories
from tests.support.plans import MODERATE, at

NOW = at("15:50")
RUN = stories.run_in(State.CLOSED)
EVERY: list[AnyEvent] = [
    *{event.kind: event for event in RUN.history}.values(),
    stories.refused(NOW),
    stories.rejected(NOW),
    stories.expired(NOW),
    stories.failed(NOW, "stop", presence=Presence.UNKNOWN, seen="1 host unreachable"),
    stories.held(NOW, "stop", "drain"),
    *(stories.decided(NOW, "stop", choice) for choice in Choice),
    stories.resumed(NOW),
    stories.aborted(NOW),
    stories.partly_checked(NOW, "dmz"),
    stories.confirmation_asked(NOW),
    stories.loss_confirmed(NOW),
    stories.offered(NOW, "stop", stories.remedy("stop")),
    stories.chosen(NOW, "stop"),
    stories.hold_asked(NOW),
    stories.resume_asked(NOW),
    stories.abort_asked(NOW, stop=True, confirmed="the old state is back"),
    stories.surveyed(NOW, "stop"),
    stories.handed_over(NOW),
    stories.extension_drafted(NOW),
    stories.extended(NOW, exceeded=True),
    stories.continuation_chosen(NOW),
    stories.deployments_released(NOW),
    stories.cause_reported(NOW),
    stories.worker_missing(NOW),
    stories.cause_filed(NOW),
    stories.manual_asked(NOW, "stop"),
    stories.done_by_hand(NOW, "stop", evidence="https://vault.example.org/audit/7"),
    stories.cannot(NOW, "stop"),
]
KINDS = get_args(get_args(events.AnyEvent)[0])


def test_every_kind() -> None:
    """The union knows every event once, by a kind of its own, and these tests hold them all."""
    kinds = [kind.model_fields["kind"].default for kind in KINDS]
    assert len(set(kinds)) == len(kinds)
    assert {type(event) for event in EVERY} == set(KINDS) == set(events.Event.__subclasses__())


@pytest.mark.parametrize("event", EVERY, ids=lambda event: event.kind)
def test_round_trip(event: AnyEvent) -> None:
    """An event that was written as JSON is read back as the same event of the same class."""
    assert EVENT.validate_json(EVENT.dump_json(event)) == event
    assert EVENT.validate_python(event.model_dump(mode="json")) == event


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@MODERATE
@given(
    facts=st.dictionaries(st.text(max_size=5), _json, max_size=3), later=st.timedeltas(timedelta(0), timedelta(9))
)
def test_facts_round_trip(facts: dict[str, Any], later: timedelta) -> None:
    """Whatever JSON a step measured, at whatever microsecond, is read back as it was."""
    event = stories.succeeded(NOW + later, "metrics", facts=facts)
    assert EVENT.validate_json(EVENT.dump_json(event)) == event


@MODERATE
@given(
    rate=st.none() | st.floats(0, 1),
    p95=st.none() | st.timedeltas(timedelta(0), timedelta(minutes=10)),
    availability=st.none() | st.floats(0, 1),
)
def test_readings_round_trip(rate: float | None, p95: timedelta | None, availability: float | None) -> None:
    """Whatever was measured before the rollback, microseconds included, is read back as it was."""
    event = stories.checked(NOW, Reading(error_rate=rate, p95=p95, availability=availability))
    assert EVENT.validate_json(EVENT.dump_json(event)) == event


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "exploded"},
        {"kind": None},
        {"kind": "requested", "colour": "blue"},
        {"kind": "step_started", "step": "stop"},
        {"kind": "requested", "at": "soon"},
        {"kind": "decided", "step": "stop", "name": "J. Smith", "choice": "give_up"},
    ],
)
def test_refused(wrong: dict[str, Any]) -> None:
    """What is not an event of a known kind with exactly its fields is never taken for one."""
    with pytest.raises(ValidationError):
        EVENT.validate_python({"at": NOW, "who": plans.ON_CALL, "why": "x", **wrong})


def test_older_journal() -> None:
    """A journal whose decisions were written without the words for the closed change can still be read."""
    written = stories.checked(NOW).model_dump(mode="json")
    del written["decision"]["exceeded"]
    found = EVENT.validate_python(written)
    assert isinstance(found, events.Checked)
    assert found.decision.trigger == "Error rate 12.3% (threshold: 10%)"
