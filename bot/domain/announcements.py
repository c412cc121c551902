"""What must be said about a rollback, derived from its journal alone.

The chat is brought in line with this list: what is missing is posted, once, and the card is edited in place. So a
message survives the death of whoever was about to send it.
"""

from __future__ import annotations

from collections.abc import Iterator

from bot.domain import audience, events, records, steering
from bot.domain.actuation import Verdict
from bot.domain.audience import ask_of
from bot.domain.authority import Policy
from bot.domain.criteria import milliseconds, percent
from bot.domain.events import AnyEvent
from bot.domain.messages import (
    CARD,
    Announcement,
    Asks,
    Card,
    Content,
    HeldQuestion,
    Note,
    Place,
    Question,
    Standard,
)
from bot.domain.run import Run
from bot.domain.times import in_words, utc_minute

__all__ = [
    "CARD",
    "Announcement",
    "Asks",
    "Card",
    "Content",
    "HeldQuestion",
    "Note",
    "Place",
    "Question",
    "Standard",
    "announcements",
    "ask_of",
    "complete",
    "in_progress",
]


def announcements(run: Run, policy: Policy) -> tuple[Announcement, ...]:
    """Return every message that must exist by now, in the order in which they became due."""
    found: list[Announcement] = [CARD]
    for number, event in enumerate(run.history, start=1):
        found += _of_event(run, policy, event, number)
    return tuple(found)


def _of_event(  # noqa: C901, PLR0912 - one case an event
    run: Run, policy: Policy, event: AnyEvent, number: int
) -> Iterator[Announcement]:
    key = f"{number:04d}-{event.kind}"
    match event:
        case events.Checked():
            yield Announcement(key, Place.THREAD, _checks(event))
            yield from _details(key, event)
        case events.AuthorityAsked():
            yield from _direct(key, audience.to_ask(run, policy, event), _please_decide(run, event))
        case events.Authorised():
            lines = records.authorisation_lines(event)
            yield Announcement(key, Place.THREAD, Standard("AUTHORISATION RECORDED", lines, "good"))
        case events.ExecutionBegan():
            yield from _to_everybody(run, key, in_progress(run, event))
        case events.Completed():
            yield from _of_completion(run, key, event)
        case events.Closed():
            yield from _books(run, key, event)
        case events.Held() | events.Aborted():
            yield from _of_stop(run, key, event, number)
        case events.WorkerMissing():
            yield Announcement(key, Place.THREAD, Note(f"Stands still: {event.why}.", tone="bad"))
            yield from _direct(key, audience.responsible(run), _stopped(run, "ROLLBACK STANDS STILL", event.why))
        case events.ManualAsked():
            yield Announcement(key, Place.THREAD, Question(Asks.MANUAL, number, event.step))
            yield from _direct(key, audience.to_do(run, policy, event), steering.please_do(run, event))
        case events.ConfirmationAsked():
            yield Announcement(key, Place.THREAD, Question(Asks.LOSS, number))
            yield from _direct(key, audience.to_confirm(run, policy), steering.please_confirm(run, event))
        case events.Extended():
            yield from _to_everybody(run, key, steering.extension(run, event))
            if event.exceeded:
                yield Announcement(f"{key}-question", Place.THREAD, Question(Asks.WINDOW, number))
        case _:
            content = steering.content_of(run, event, number) or _note(run, event)
            if content:
                yield Announcement(key, Place.THREAD, content)


def _of_completion(run: Run, key: str, event: events.Completed) -> Iterator[Announcement]:
    if run.last(events.ReviewScheduled) and run.last(events.IncidentOpened):
        yield from _to_everybody(run, key, complete(run))
        yield from _deployments(run, key)
        if run.overrides:
            yield Announcement(f"{key}-overrides", Place.THREAD, Note(f"Complete, {event.why}.", tone="warn"))


def _of_stop(run: Run, key: str, event: events.Held | events.Aborted, number: int) -> Iterator[Announcement]:
    if isinstance(event, events.Held):
        yield from (Announcement(f"{key}-{step}", Place.THREAD, HeldQuestion(step)) for step in event.steps)
        if not event.steps:
            yield Announcement(key, Place.THREAD, Question(Asks.PAUSE, number))
        yield from _direct(key, audience.responsible(run), _stopped(run, "ROLLBACK HELD", event.why))
        return
    yield Announcement(key, Place.THREAD, Note(f"{_ENDINGS[event.kind]} {event.why}", tone="bad"))
    found = steering.targets(run)
    if found:
        yield Announcement(f"{key}-targets", Place.THREAD, found)
    yield from _deployments(run, key)
    yield from _direct(key, audience.responsible(run), _stopped(run, "ROLLBACK ABORTED", event.why, found))


def _deployments(run: Run, key: str) -> Iterator[Announcement]:
    """Say, with the button that lifts it, that deployments of the service are blocked from now on."""
    for number, event in enumerate(run.history, start=1):
        if isinstance(event, events.ExecutionBegan) and event.blocks:
            yield Announcement(f"{key}-deployments", Place.THREAD, Question(Asks.DEPLOYMENTS, number))


def _books(run: Run, key: str, event: events.Closed) -> Iterator[Announcement]:
    incident, problem, change = event.incident, event.problem, run.plan.change
    closure = records.change_closure(run, incident_number=incident, problem_number=problem)
    written = (
        (f"Incident: {incident}", records.incident(run, problem=problem)),
        (f"Problem: {problem}", records.problem(run, incident_number=incident)),
        (f"Change: {change}", closure),
    )
    for title, record in written:
        lines = tuple(f"{name}: {value}" for name, value in record.fields.items())
        yield Announcement(f"{key}-{record.kind.value}", Place.THREAD, Standard(title, lines))
    words = f"Records written and linked: {incident}, {problem}, {change}."
    yield Announcement(key, Place.THREAD, Note(words, tone="good"))


def _to_everybody(run: Run, key: str, content: Standard) -> Iterator[Announcement]:
    yield Announcement(key, Place.CHANNEL, content)
    yield from _direct(key, audience.escalation(run), content)


def _direct(key: str, users: list[str], content: Standard) -> Iterator[Announcement]:
    yield from (Announcement(f"{key}-{user}", Place.DIRECT, content, user) for user in users)


def _note(run: Run, event: AnyEvent) -> Note | None:
    match event:
        case events.StepSucceeded():
            how = " (found so when looking)" if event.found else ""
            shown = f" — evidence: {event.evidence}" if event.evidence else ""
            return Note(f"{run.words_of(event.step)}: {event.words}{how}{shown}", event.output, "good")
        case events.StepFailed():
            parts = (event.brief, event.untouched, f"Seen afterwards: {event.seen}." if event.seen else "")
            words = " ".join(part for part in (*parts, event.resolution) if part)
            return Note(f"{run.words_of(event.step)}, attempt {event.attempt}: {words}", event.output, "bad")
        case events.Refused() | events.Rejected() | events.Expired():
            return Note(f"{_ENDINGS[event.kind]} {event.why}", tone="bad")
        case events.Decided():
            return Note(f"{event.name} decided: {event.choice.value.replace('_', ' ')} {event.step}. {event.why}")
        case events.IncidentOpened():
            return Note(f"Incident record {event.incident} is linked to {run.plan.change}.")
        case _:
            return None


_ENDINGS = {
    "refused": "Refused.",
    "rejected": "Stood down.",
    "expired": "Expired.",
    "aborted": "Aborted; forward-fix is the way now.",
}


def _checks(event: events.Checked) -> Standard:
    marks = {Verdict.OK: "✅", Verdict.WARN: "⚠️", Verdict.FAIL: "❌"}
    lines = tuple(
        f"{marks[f.verdict]} {f.subject}: {f.words}{f' {f.resolution}' if f.resolution else ''}"
        for f in event.findings
    )
    return Standard("CHECKS", (*lines, f"Decision: {' → '.join((*event.decision.trace, event.decision.advice))}"))


def _details(key: str, event: events.Checked) -> Iterator[Announcement]:
    """Show what an approver may want to read before the click: what would change, line by line."""
    shown = [finding for finding in event.findings if finding.detail]
    for number, finding in enumerate(shown, start=1):
        words = f"{finding.subject}: {finding.words}"
        yield Announcement(f"{key}-detail-{number}", Place.THREAD, Note(words, detail=finding.detail))


def _please_decide(run: Run, event: events.AuthorityAsked) -> Standard:
    return Standard(
        "ROLLBACK NEEDS AUTHORITY",
        (
            f"Change: {run.plan.title_line()}",
            f"Trigger: {run.trigger}",
            f"Requested by: <@{run.requester}>",
            f"Expires: {utc_minute(event.expires_at)}",
            "Approve or reject with the buttons in the operations channel.",
        ),
        "warn",
    )


def _stopped(run: Run, title: str, why: str, found: Standard | None = None) -> Standard:
    lines = (
        f"Change: {run.plan.title_line()}",
        f"Reason: {why}",
        *(found.lines if found else ()),
        f"Bridge: {run.plan.bridge.url}",
        "See the rollback's thread in the operations channel.",
    )
    return Standard(title, lines, "bad")


def _lead_then(run: Run, event: events.ExecutionBegan) -> str:
    """Return who led when execution began: what was posted does not change with a later hand-over."""
    before = run.history[: run.history.index(event)] if event in run.history else run.history
    handed = [e.to for e in before if isinstance(e, events.LeadHandedOver)]
    return handed[-1] if handed else run.requester


def in_progress(run: Run, event: events.ExecutionBegan) -> Standard:
    """Return ROLLBACK IN PROGRESS with the specification's lines."""
    return Standard(
        "ROLLBACK IN PROGRESS",
        (
            f"Change: {run.plan.title_line()}",
            f"Trigger: {run.trigger}",
            f"Started: {utc_minute(event.at)}",
            f"Expected duration: {in_words(run.plan.expected())}",
            f"Bridge: {run.plan.bridge.url}",
            f"Lead: <@{_lead_then(run, event)}>",
        ),
        "warn",
    )


def complete(run: Run) -> Standard:
    """Return ROLLBACK COMPLETE with the specification's lines.

    Raises:
        ValueError: If the run is not complete.
    """
    done, took = run.completed_at, run.duration
    if done is None or took is None:
        raise ValueError(f"{run.id} is not complete")
    baseline = run.plan.baseline
    rate, p95 = run.fact("error_rate"), run.fact("p95_seconds")
    failing = "unknown" if rate is None else percent(rate)
    speed = "unknown" if p95 is None else f"{p95 * 1000:.0f}ms"
    review: events.ReviewScheduled = run.last(events.ReviewScheduled)
    opened: events.IncidentOpened = run.last(events.IncidentOpened)
    return Standard(
        "✅ ROLLBACK COMPLETE",
        (
            f"Change: {run.plan.title_line()}",
            f"Rollback completed: {utc_minute(done)}",
            f"Duration: {in_words(took)}",
            f"Service status: Restored to {run.plan.versions.restored}",
            f"Error rate: {failing} (baseline: {percent(baseline.error_rate)})",
            f"Response time: {speed} p95 (baseline: {milliseconds(baseline.p95)})",
            f"Incident record: {opened.incident}",
            f"Post-incident review: Scheduled {utc_minute(review.review_at)}",
        ),
        "good",
    )
