"""What must be said about a rollback."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.actuation import Presence, Verdict
from bot.domain.announcements import CARD, Announcement, HeldQuestion, Note, Place, Standard, announcements, ask_of
from bot.domain.authority import may_approve
from bot.domain.events import AnyEvent, CheckFinding, Choice
from bot.domain.lifecycle import State
from bot.domain.run import Run
from tests.support import plans, stories
from tests.support.plans import MODERATE, at
from tests.support.stories import happened, run_in

NOW = at("15:50")
POLICY = plans.policy()


def _difficult() -> Run:
    """Return a rollback with everything that can go wrong and still end in CLOSED."""
    run = run_in(State.EXECUTING)
    trouble: list[AnyEvent] = [
        stories.incident_opened(NOW),
        stories.started(NOW, "stop"),
        stories.failed(NOW, "stop", presence=Presence.UNKNOWN, seen="1 of 3 hosts unreachable"),
        stories.held(NOW, "stop", "drain"),
        stories.decided(NOW, "stop", Choice.MARK_DONE),
        stories.decided(NOW, "drain", Choice.RETRY),
        stories.resumed(NOW),
        stories.started(NOW, "drain", 2),
        stories.succeeded(NOW, "drain", 2, found=True),
        stories.verification_began(NOW),
        stories.completed(at("16:12")),
        stories.review_scheduled(at("16:12"), at("+2 10:00")),
        stories.closed(at("16:12")),
    ]
    return happened(run, *trouble)


LIVES = {
    "straight": run_in(State.CLOSED),
    "difficult": _difficult(),
    "aborted": happened(
        run_in(State.EXECUTING), stories.aborted(NOW), stories.incident_opened(NOW), stories.closed(NOW)
    ),
    "refused": happened(run_in(State.CHECKING), stories.checked(NOW), stories.refused(NOW)),
    "rejected": happened(run_in(State.AWAITING_AUTHORITY), stories.rejected(NOW)),
    "expired": happened(run_in(State.AWAITING_AUTHORITY), stories.expired(at("16:45"))),
}
_lives = st.sampled_from(list(LIVES.values()))


def _until(run: Run, number: int) -> Run:
    return happened(stories.unstarted(), *run.history[:number])


def _all(run: Run) -> tuple[Announcement, ...]:
    return announcements(run, POLICY)


def _told(run: Run) -> list[str]:
    """Return every note in the thread."""
    return [a.content.text for a in _all(run) if isinstance(a.content, Note)]


@pytest.mark.parametrize("name", LIVES)
def test_keys_are_unique(name: str) -> None:
    """No two messages of a rollback share a key: one of them would never be posted."""
    keys = [a.key for a in _all(LIVES[name])]
    assert len(set(keys)) == len(keys)


@MODERATE
@given(run=_lives, data=st.data())
def test_keys_are_stable(run: Run, data: st.DataObject) -> None:
    """What was said of a shorter history is said of the longer one by the same key, in the same words and order."""
    long = data.draw(st.integers(0, len(run.history)))
    short = data.draw(st.integers(0, long))
    before, after = _all(_until(run, short)), _all(_until(run, long))
    later = {a.key: a for a in after}
    assert [a.key for a in after if a.key in {b.key for b in before}] == [b.key for b in before]
    assert all(later[a.key] == a for a in before)


@MODERATE
@given(run=_lives, number=st.integers(0, 60))
def test_direct_messages_name_their_reader(run: Run, number: int) -> None:
    """Direct messages have a reader, others have none; the card is the first message, and the only one."""
    found = _all(_until(run, number))
    assert all(bool(a.user) is (a.place is Place.DIRECT) for a in found)
    assert [a for a in found if a.key == CARD.key] == [found[0]] == [CARD]


@pytest.mark.parametrize(
    ("when", "requester", "readers"),
    [
        ("15:45", plans.ON_CALL, [plans.MANAGER, plans.OWNER]),
        ("15:45", plans.MANAGER, [plans.OWNER]),
        ("23:10", plans.COMMANDER, [plans.MANAGER, plans.OWNER, plans.ON_CALL]),
        ("23:10", plans.ON_CALL, [plans.MANAGER, plans.OWNER]),
    ],
)
def test_who_is_asked(when: str, requester: str, readers: list[str]) -> None:
    """Who may authorise at that time is asked directly, and the requester is not."""
    assert [a.user for a in _asked(at(when), requester)[1]] == readers


def _asked(now: datetime, requester: str, **touch: tuple[str, ...]) -> tuple[Run, list[Announcement]]:
    run = stories.unstarted(targets=plans.inventory(**touch))
    run = happened(
        run,
        stories.requested(now, who=requester),
        stories.checking_began(now),
        stories.checked(now),
        stories.asked(now, run),
    )
    found = [a for a in _all(run) if a.key.startswith("0004-authority_asked-")]
    return run, found


_REQUESTERS = [plans.MANAGER, plans.OWNER, plans.ON_CALL, plans.COMMANDER]


@MODERATE
@given(
    later=st.timedeltas(timedelta(0), timedelta(days=7)),
    requester=st.sampled_from(_REQUESTERS),
    touch=st.sampled_from([{}, {"payments_db": ("change_manager",)}, {"payments_db": ("on_call_engineer",)}]),
)
def test_only_who_may_approve_is_asked(later: timedelta, requester: str, touch: dict[str, tuple[str, ...]]) -> None:
    """The question for authority goes to everybody who may approve at that moment, and to nobody else."""
    now = plans.DAY + later
    run, found = _asked(now, requester, **touch)
    may = {p.id for p in POLICY.people if may_approve(POLICY, ask_of(run), p.id, now=now).granted}
    assert {a.user for a in found} == may


def test_question() -> None:
    """The question for authority tells what is asked, why, by whom and until when."""
    content = _asked(at("15:45"), plans.ON_CALL)[1][0].content
    assert isinstance(content, Standard)
    assert content.text().splitlines() == [
        "ROLLBACK NEEDS AUTHORITY",
        "Change: CHG0012345 - Payment service v2.4.0 deployment",
        "Trigger: Error rate 12.3% (threshold: 10%)",
        f"Requested by: <@{plans.ON_CALL}>",
        "Expires: 2024-01-15 16:45 UTC",
        "Approve or reject with the buttons in the operations channel.",
    ]


def test_checks() -> None:
    """The checks are told with their verdict, what to do about them, and how the decision was reached."""
    findings = (
        CheckFinding(subject="Backup db", verdict=Verdict.FAIL, words="gone.", resolution="Look elsewhere."),
        CheckFinding(subject="Metrics", verdict=Verdict.WARN, words="unknown"),
        CheckFinding(subject="Plan", verdict=Verdict.OK, words="complete"),
    )
    run = happened(
        stories.unstarted(),
        stories.requested(NOW),
        stories.checking_began(NOW),
        stories.checked(NOW, plans.READING, *findings),
    )
    content = _all(run)[-1].content
    assert isinstance(content, Standard)
    assert content.text().splitlines() == [
        "CHECKS",
        "❌ Backup db: gone. Look elsewhere.",
        "⚠️ Metrics: unknown",
        "✅ Plan: complete",
        "Decision: availability below 95%? 99.8%: no → error rate above 10%? 12.3%: yes → immediate rollback",
    ]


def test_thread() -> None:
    """The thread tells each outcome and each decision in words."""
    assert _told(LIVES["difficult"]) == [
        "Incident record INC0056789 is linked to CHG0012345.",
        (
            "servers.stop on payments-servers, attempt 1: The host refused the connection. The service was left "
            "stopped. Seen afterwards: 1 of 3 hosts unreachable. Start sshd, then retry."
        ),
        "J. Smith decided: mark done stop. seen on the host",
        "J. Smith decided: retry drain. seen on the host",
        "postgres.drain on payments-db: done (found so when looking)",
        "Complete, every probe is green.",
        "Records written and linked: INC0056789, PRB0003456, CHG0012345.",
    ]


def test_who_is_responsible_hears_directly_that_it_stands_still() -> None:
    """The lead and the escalation path are told by direct message when a rollback is held or given up."""
    for name, title in (("difficult", "ROLLBACK HELD"), ("aborted", "ROLLBACK ABORTED")):
        told = [a for a in _all(LIVES[name]) if isinstance(a.content, Standard) and a.content.title == title]
        assert {a.place for a in told} == {Place.DIRECT}
        lead = LIVES[name].requester
        assert {a.user for a in told} == {lead, *(c.user for c in plans.plan().communication.escalation)}


def test_unseen() -> None:
    """A failure after which nobody looked claims nothing about what was seen."""
    run = happened(run_in(State.EXECUTING), stories.started(NOW, "stop"), stories.failed(NOW, "stop"))
    assert "Seen afterwards" not in _told(run)[-1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refused", "Refused. Backup db-before: file not found. Nothing was changed."),
        ("rejected", "Stood down. we fix forward"),
        ("expired", "Expired. nobody authorised it in time"),
        ("aborted", "Aborted; forward-fix is the way now. we fix forward"),
    ],
)
def test_endings(name: str, words: str) -> None:
    """Each end aside is told with its reason, and set off as bad news."""
    (note,) = [a.content for a in _all(LIVES[name]) if isinstance(a.content, Note) and a.content.text == words]
    assert note.tone == "bad"


def test_held() -> None:
    """Each held step has a question of its own, with buttons."""
    found = [a for a in _all(LIVES["difficult"]) if isinstance(a.content, HeldQuestion)]
    assert [(a.place, a.content) for a in found] == [
        (Place.THREAD, HeldQuestion("stop")),
        (Place.THREAD, HeldQuestion("drain")),
    ]


def test_held_again() -> None:
    """A step that is held a second time is asked about a second time."""
    run = happened(
        run_in(State.EXECUTING),
        stories.held(NOW, "stop"),
        stories.decided(NOW, "stop", Choice.RETRY),
        stories.resumed(NOW),
        stories.held(NOW, "stop"),
    )
    keys = [a.key for a in _all(run) if isinstance(a.content, HeldQuestion)]
    assert len(set(keys)) == 2


def test_quiet() -> None:
    """What the machinery does by itself (look, start, resume) is shown by the card, not told one by one."""
    quiet = {"requested", "checking_began", "step_started", "resumed", "verification_began", "review_scheduled"}
    told = {a.key.split("-")[1] for run in LIVES.values() for a in _all(run) if a is not CARD}
    assert not told & quiet


def test_escalated_once() -> None:
    """A person who stands twice on the escalation path hears of each thing once."""
    twice = [{"role": "service owner", "user": plans.OWNER}, {"role": "change manager", "user": plans.OWNER}]
    run = run_in(State.EXECUTING, run=stories.unstarted(plans.plan(communication={"escalation": twice})))
    assert [a.user for a in _all(run) if a.key.endswith(f"execution_began-{plans.OWNER}")] == [plans.OWNER]


def test_what_would_change_is_shown() -> None:
    """A check that has something to show is told once more in the thread, with its detail."""
    told = CheckFinding(subject="Files", verdict=Verdict.OK, words="1 of 2 would change", detail="-a\n+b")
    plain = CheckFinding(subject="Backup", verdict=Verdict.OK, words="readable")
    run = happened(run_in(State.CHECKING), stories.checked(NOW, plans.READING, plain, told))
    notes = [a for a in announcements(run, POLICY) if isinstance(a.content, Note)]
    assert [(a.place, a.content) for a in notes] == [
        (Place.THREAD, Note("Files: 1 of 2 would change", detail="-a\n+b"))
    ]
