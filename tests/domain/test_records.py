"""Incident, problem and change closure beside the straight way."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain import records
from bot.domain.criteria import Reading
from bot.domain.lifecycle import State
from bot.domain.records import review_time
from bot.domain.run import Run
from tests.support import plans, stories
from tests.support.plans import MODERATE, at
from tests.support.stories import happened, run_in

_moments = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year < 9000)


@pytest.mark.parametrize(
    ("after", "days", "review"),
    [
        ("2024-01-15 16:12", 2, "2024-01-17 10:00"),
        ("2024-01-18 16:12", 2, "2024-01-22 10:00"),
        ("2024-01-19 16:12", 1, "2024-01-22 10:00"),
        ("2024-01-20 16:12", 1, "2024-01-22 10:00"),
        ("2024-01-21 23:59", 5, "2024-01-26 10:00"),
    ],
)
def test_review(after: str, days: int, review: str) -> None:
    """The post-incident review is at 10:00 UTC that many working days later; weekends do not count."""
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert review_time(moment, working_days=days) == datetime.fromisoformat(review).replace(tzinfo=UTC)


@MODERATE
@given(after=_moments, days=st.integers(1, 30))
def test_review_is_on_a_working_day(after: datetime, days: int) -> None:
    """The review is never on a weekend, always later than the rollback, and further off with each day more."""
    review = review_time(after, working_days=days)
    assert review.isoweekday() <= 5
    assert review > after
    assert review < review_time(after, working_days=days + 1)


def test_incident_in_progress() -> None:
    """While the rollback runs, the incident says so, and that the problem record is still to come."""
    fields = records.incident(run_in(State.EXECUTING)).fields
    assert fields["Resolution"] == "Rollback in progress"
    assert fields["Root cause"] == "Pending investigation (problem record follows)"


def _aborted(*, closed: bool) -> Run:
    run = happened(run_in(State.EXECUTING), stories.aborted(at("15:57")))
    # The register was down for three days: the records are written long after the end.
    later = (stories.incident_opened(at("+3 09:00")), stories.review_scheduled(at("+3 09:00"), at("+4 10:00")))
    return happened(run, *later, stories.closed(at("+3 09:01"))) if closed else run


@pytest.mark.parametrize("closed", [False, True])
def test_aborted(*, closed: bool) -> None:
    """An aborted rollback is recorded with the time it was given up, however late that is written."""
    run = _aborted(closed=closed)
    incident = records.incident(run).fields
    assert incident["Resolution"] == "Rollback aborted - forward-fix"
    assert incident["Impact"] == "12 minutes of degraded service (12.3% error rate)"
    closure = records.change_closure(run, incident_number="INC1", problem_number="PRB1").fields
    assert closure["Status"] == "Failed - Rollback aborted"
    assert closure["Rollback executed"] == "2024-01-15 15:47-15:57 UTC"


def test_over_midnight() -> None:
    """A rollback that ends on another day is recorded with both days."""
    run = happened(run_in(State.VERIFYING), stories.completed(at("+1 00:05")))
    closure = records.change_closure(run, incident_number="INC1", problem_number="PRB1").fields
    assert closure["Rollback executed"] == "2024-01-15 15:47-2024-01-16 00:05 UTC"


def test_not_executed() -> None:
    """A rollback that never began is recorded as not executed."""
    closure = records.change_closure(run_in(State.AUTHORISED), incident_number="INC1", problem_number="PRB1")
    assert closure.fields["Rollback executed"] == "not executed"


@pytest.mark.parametrize(
    ("reading", "summary", "impact"),
    [
        (
            Reading(p95=timedelta(seconds=1)),
            "Payment service v2.4.0 deployment caused service degradation requiring rollback",
            "0 seconds of degraded service (error rate unknown)",
        ),
        (
            Reading(error_rate=0.03),
            "Payment service v2.4.0 deployment caused elevated error rate requiring rollback",
            "0 seconds of degraded service (3% error rate)",
        ),
    ],
)
def test_trouble(reading: Reading, summary: str, impact: str) -> None:
    """The incident blames the error rate only if that was measured, and tells what is unknown."""
    run = happened(
        stories.unstarted(),
        stories.requested(at("15:45")),
        stories.checking_began(at("15:45")),
        stories.checked(at("15:45"), reading),
    )
    fields = records.incident(run).fields
    assert (fields["Summary"], fields["Impact"]) == (summary, impact)


def test_unchecked() -> None:
    """Before anything was measured, the incident claims nothing about the error rate."""
    run = happened(stories.unstarted(), stories.requested(at("15:50")))
    fields = records.incident(run).fields
    assert fields["Impact"] == "5 minutes of degraded service (error rate unknown)"
    assert fields["Summary"] == "Payment service v2.4.0 deployment caused service degradation requiring rollback"
    closure = records.change_closure(run, incident_number="INC1", problem_number="PRB1")
    assert closure.fields["Rollback reason"] == "Card payments fail"


def test_same_change() -> None:
    """Every record of a rollback names its change."""
    run = run_in(State.COMPLETE)
    assert records.incident(run).fields["Related change"] == plans.CHANGE
    assert records.problem(run, incident_number="INC1").fields["Related change"] == plans.CHANGE


def test_kinds() -> None:
    """Each record says which kind of record it is."""
    run = run_in(State.COMPLETE)
    written = (
        records.incident(run),
        records.problem(run, incident_number="INC1"),
        records.change_closure(run, incident_number="INC1", problem_number="PRB1"),
        records.cause(run, stories.cause_reported(at("16:20"))),
    )
    assert [record.kind for record in written] == list(records.RecordKind)
