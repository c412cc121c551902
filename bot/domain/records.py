"""Incident, problem and change closure, with the specification's fields in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from bot.domain import events
from bot.domain.criteria import percent
from bot.domain.lifecycle import State
from bot.domain.run import Run
from bot.domain.times import in_words, utc_minute


class RecordKind(StrEnum):
    """The kinds of record that a rollback touches."""

    INCIDENT = "incident"
    PROBLEM = "problem"
    CHANGE = "change"
    CAUSE = "cause"
    """The incident of the actual cause, when the deployment was not it."""


@dataclass(frozen=True)
class Record:
    """One record as it should stand.

    Attributes:
        kind: What it is.
        fields: Field names and values, in the specification's order.
    """

    kind: RecordKind
    fields: Mapping[str, str]


_LAST_WORKDAY = 5
REVIEW_HOUR = time(10, 0, tzinfo=UTC)
"""When post-incident reviews begin."""


def review_time(after: datetime, *, working_days: int) -> datetime:
    """Return 10:00 UTC on that working day after the given time."""
    day = after.astimezone(UTC).date()
    left = working_days
    while left:
        day += timedelta(days=1)
        if day.isoweekday() <= _LAST_WORKDAY:
            left -= 1
    return datetime.combine(day, REVIEW_HOUR)


def authorisation_lines(authorised: events.Authorised) -> tuple[str, ...]:
    """Return the three lines by which the specification documents an authorisation."""
    return (
        f"Rollback authorised by: {authorised.name} ({authorised.role})",
        f"Authorisation time: {utc_minute(authorised.at)}",
        f"Reason: {authorised.why}",
    )


def impact(run: Run, *, until: datetime) -> str:
    """Return the incident's impact: how long, and how bad as it was measured before the rollback."""
    checked: events.Checked | None = run.last(events.Checked)
    rate = checked.reading.error_rate if checked else None
    shown = "error rate unknown" if rate is None else f"{percent(rate)} error rate"
    return f"{in_words(until - run.plan.deployed_at)} of degraded service ({shown})"


def incident(run: Run, *, problem: str | None = None) -> Record:
    """Return the incident as the run stands now; before the end the resolution is still open."""
    if run.completed_at is not None:
        resolution = f"Rolled back to {run.plan.versions.restored}"
    elif run.state is State.ABORTED or run.last(events.Aborted):
        resolution = "Rollback aborted - forward-fix"
    else:
        resolution = "Rollback in progress"
    return Record(
        RecordKind.INCIDENT,
        {
            "Related change": run.plan.change,
            "Summary": f"{run.plan.title} caused {_trouble(run)} requiring rollback",
            "Impact": impact(run, until=_ended(run)),
            "Resolution": resolution,
            "Root cause": f"Pending investigation ({problem or 'problem record follows'})",
        },
    )


def cause(run: Run, reported: events.CauseReported) -> Record:
    """Return the incident of the actual cause, which a person found while errors persisted after the rollback."""
    opened: events.IncidentOpened | None = run.last(events.IncidentOpened)
    return Record(
        RecordKind.CAUSE,
        {
            "Summary": f"{run.plan.service}: errors persist after the rollback of {run.plan.change}",
            "Reported by": f"{reported.name}, {utc_minute(reported.at)}",
            "Suspected cause": reported.why,
            "Related change": run.plan.change,
            "Related incident": opened.incident if opened else "follows",
            "Status": "Open",
        },
    )


def problem(run: Run, *, incident_number: str) -> Record:
    """Return the problem record that asks why the deployment failed."""
    return Record(
        RecordKind.PROBLEM,
        {
            "Related incident": incident_number,
            "Related change": run.plan.change,
            "Summary": f"{run.plan.title} failure - root cause unknown",
            "Status": "Open - Assigned to development team",
        },
    )


def change_closure(run: Run, *, incident_number: str, problem_number: str) -> Record:
    """Return how the change is closed."""
    done = run.completed_at is not None
    return Record(
        RecordKind.CHANGE,
        {
            "Status": "Failed - Rolled back" if done else "Failed - Rollback aborted",
            "Rollback executed": _executed(run),
            "Rollback reason": _reason(run),
            "Linked incident": incident_number,
            "Linked problem": problem_number,
            "Post-implementation review": "Required",
        },
    )


def _trouble(run: Run) -> str:
    checked: events.Checked | None = run.last(events.Checked)
    if checked and checked.reading.error_rate is not None and checked.decision.trigger.startswith("Error rate"):
        return "elevated error rate"
    return "service degradation"


def _reason(run: Run) -> str:
    checked: events.Checked | None = run.last(events.Checked)
    return (checked.decision.exceeded if checked else "") or run.trigger


def _ended(run: Run) -> datetime:
    """Return when the service was restored or given up, else the latest event: records may be written later."""
    aborted: events.Aborted | None = run.last(events.Aborted)
    return run.completed_at or (aborted or run.history[-1]).at


def _executed(run: Run) -> str:
    start = run.started_at
    end = _ended(run)
    if start is None:
        return "not executed"
    if start.astimezone(UTC).date() == end.astimezone(UTC).date():
        return f"{start.astimezone(UTC):%Y-%m-%d %H:%M}-{end.astimezone(UTC):%H:%M} UTC"
    return f"{start.astimezone(UTC):%Y-%m-%d %H:%M}-{end.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
