"""The specification's own example, word for word."""

from datetime import timedelta

import pytest

from bot.domain import announcements, events, records
from bot.domain.announcements import Place, Standard
from bot.domain.criteria import Reading
from bot.domain.lifecycle import State
from bot.domain.run import Run
from tests.support import plans, stories
from tests.support.plans import at
from tests.support.stories import happened, run_in

IN_PROGRESS = f"""\
ROLLBACK IN PROGRESS
Change: CHG0012345 - Payment service v2.4.0 deployment
Trigger: Error rate 12.3% (threshold: 10%)
Started: 2024-01-15 15:47 UTC
Expected duration: 25 minutes
Bridge: https://meet.example.org/incident-bridge
Lead: <@{plans.ON_CALL}>"""

COMPLETE = """\
✅ ROLLBACK COMPLETE
Change: CHG0012345 - Payment service v2.4.0 deployment
Rollback completed: 2024-01-15 16:12 UTC
Duration: 25 minutes
Service status: Restored to v2.3.1
Error rate: 0.3% (baseline: 0.2%)
Response time: 180ms p95 (baseline: 175ms)
Incident record: INC0056789
Post-incident review: Scheduled 2024-01-17 10:00 UTC"""

AUTHORISATION = """\
Rollback authorised by: J. Smith (Change Manager)
Authorisation time: 2024-01-15 15:45 UTC
Reason: Transaction error rate exceeds 5% threshold (current: 12.3%)"""

INCIDENT = """\
Incident: INC0056789
Related change: CHG0012345
Summary: Payment service v2.4.0 deployment caused elevated error rate requiring rollback
Impact: 27 minutes of degraded service (12.3% error rate)
Resolution: Rolled back to v2.3.1
Root cause: Pending investigation (PRB0003456)"""

PROBLEM = """\
Problem: PRB0003456
Related incident: INC0056789
Related change: CHG0012345
Summary: Payment service v2.4.0 deployment failure - root cause unknown
Status: Open - Assigned to development team"""

CHANGE = """\
Change: CHG0012345
Status: Failed - Rolled back
Rollback executed: 2024-01-15 15:47-16:12 UTC
Rollback reason: Error rate exceeded 10% threshold
Linked incident: INC0056789
Linked problem: PRB0003456
Post-implementation review: Required"""


@pytest.fixture
def run() -> Run:
    """The example's rollback, complete and closed."""
    return run_in(State.CLOSED)


def _posted(run: Run, title: str) -> list[announcements.Announcement]:
    found = announcements.announcements(run, plans.policy())
    return [a for a in found if isinstance(a.content, Standard) and a.content.title.endswith(title)]


def test_in_progress(run: Run) -> None:
    """ROLLBACK IN PROGRESS has the specification's lines, and Lead mentions the person."""
    content = _posted(run, "ROLLBACK IN PROGRESS")[0].content
    assert isinstance(content, Standard)
    assert content.text() == IN_PROGRESS


def test_complete(run: Run) -> None:
    """ROLLBACK COMPLETE has the specification's lines."""
    content = _posted(run, "ROLLBACK COMPLETE")[0].content
    assert isinstance(content, Standard)
    assert content.text() == COMPLETE


@pytest.mark.parametrize("title", ["ROLLBACK IN PROGRESS", "ROLLBACK COMPLETE"])
def test_both_ways(run: Run, title: str) -> None:
    """The standard messages go to the channel, and to each person on the escalation path directly."""
    where = [(a.place, a.user) for a in _posted(run, title)]
    assert where == [(Place.CHANNEL, ""), (Place.DIRECT, plans.OWNER), (Place.DIRECT, plans.MANAGER)]


def test_authorisation(run: Run) -> None:
    """An authorisation is documented by the specification's three lines."""
    assert "\n".join(records.authorisation_lines(run.last(events.Authorised))) == AUTHORISATION


def test_authorisation_is_shown(run: Run) -> None:
    """The recorded authorisation stands in the thread as it stands in the record."""
    (shown,) = _posted(run, "AUTHORISATION RECORDED")
    assert shown.place is Place.THREAD
    assert isinstance(shown.content, Standard)
    assert "\n".join(shown.content.lines) == AUTHORISATION


@pytest.mark.parametrize("text", [INCIDENT, PROBLEM, CHANGE])
def test_records(run: Run, text: str) -> None:
    """Incident, problem and change closure stand in the thread with the specification's fields and links."""
    (shown,) = _posted(run, text.splitlines()[0])
    assert shown.place is Place.THREAD
    assert isinstance(shown.content, Standard)
    assert shown.content.text() == text


def test_not_complete() -> None:
    """Nothing claims that a rollback is complete which is not."""
    with pytest.raises(ValueError, match="rb-0004 is not complete"):
        announcements.complete(run_in(State.VERIFYING))


def test_unmeasured() -> None:
    """What nobody measured is called unknown in ROLLBACK COMPLETE, never zero."""
    run = stories.unstarted()
    told = [event for event in stories.story(run) if not isinstance(event, events.StepSucceeded)]
    text = announcements.complete(happened(run, *told)).text()
    assert "Error rate: unknown (baseline: 0.2%)" in text
    assert "Response time: unknown p95 (baseline: 175ms)" in text


def test_reported_trigger() -> None:
    """Without an exceeded threshold the trigger, and the closed change, tell the requester's own reason."""
    run = stories.unstarted()
    calm = Reading(error_rate=0.001, p95=timedelta(milliseconds=170))
    told = [stories.checked(e.at, calm) if isinstance(e, events.Checked) else e for e in stories.story(run)]
    run = happened(run, *told)
    content = _posted(run, "ROLLBACK IN PROGRESS")[0].content
    assert isinstance(content, Standard)
    assert "Trigger: Card payments fail" in content.lines
    closure = records.change_closure(run, incident_number="INC1", problem_number="PRB1")
    assert closure.fields["Rollback reason"] == "Card payments fail"


def test_complete_needs_numbers() -> None:
    """ROLLBACK COMPLETE waits until the incident's number and the time of the review are known."""
    run = stories.unstarted()
    until = next(n for n, e in enumerate(stories.story(run), 1) if isinstance(e, events.Completed))
    early = happened(run, *stories.story(run)[:until])
    assert early.state is State.COMPLETE
    assert _posted(early, "ROLLBACK COMPLETE") == []
    assert _posted(happened(early, stories.review_scheduled(at("16:12"), at("+2 10:00"))), "ROLLBACK COMPLETE")
