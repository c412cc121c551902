"""The rollback window as the engine and the messages see it: its forecast, its clock, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from bot.domain import events
from bot.domain.actuation import Progress
from bot.domain.lifecycle import State
from bot.domain.messages import Standard
from bot.domain.pace import ENOUGH_RUNS, NO_PROGRESS, Forecast, Pace, Paces, forecast
from bot.domain.run import Run
from bot.domain.times import in_words, utc_minute
from bot.domain.window import (
    UNDER_WAY,
    Draft,
    draft,
    exceeded,
    hour,
    next_look,
    overrun,
    per_cent,
    window,
    window_ends,
)

__all__ = [
    "ENOUGH_RUNS",
    "NO_PROGRESS",
    "UNDER_WAY",
    "Draft",
    "Forecast",
    "Pace",
    "Paces",
    "countdown",
    "draft",
    "exceeded",
    "extension",
    "forecast",
    "next_look",
    "overrun",
    "window",
    "window_ends",
]

_TITLE = "ROLLBACK WINDOW"
_MINUTE = timedelta(minutes=1)
_NONE = timedelta(0)
_ENDINGS = {
    State.REFUSED: "refused",
    State.EXPIRED: "expired",
    State.STOOD_DOWN: "stood down",
}


def extension(run: Run, event: events.Extended) -> Standard:
    """Return ROLLBACK EXTENSION with the specification's lines.

    Args:
        run: The rollback.
        event: Its extension.
    """
    return Standard(
        "ROLLBACK EXTENSION",
        (
            f"Original window: {in_words(run.plan.window)}",
            f"New estimate: {in_words(event.estimate)}",
            f"Reason: {event.why}",
            f"Current status: {per_cent(event.share)} complete",
        ),
        "warn",
    )


def countdown(
    run: Run, *, now: datetime, paces: Paces, progress: Mapping[str, Progress] = NO_PROGRESS
) -> Standard | None:
    """Return how the window and the point of no return stand: a message to be edited in place.

    Its text changes with the journal, at full minutes, and when a limit passes; never otherwise.

    Args:
        run: The rollback.
        now: The time.
        paces: How long its steps took in earlier rollbacks.
        progress: How far its running steps have come, by id.

    Returns:
        The message; the last one for a rollback that has ended; None before anybody was asked for authority.
    """
    began, ends = run.started_at, window_ends(run)
    if run.state in UNDER_WAY and began and ends:
        found = forecast(run, now=_full_minute(now), paces=paces, progress=progress)
        return _under_way(run, found, began=began, ends=ends, now=now)
    if run.state in (State.AWAITING_AUTHORITY, State.AUTHORISED):
        lines = (*_no_return(run, now=now), *_approval(run, now=now))
        return Standard(_TITLE, lines, "warn" if now >= run.plan.no_return_at() else "info")
    final = _final(run)
    return Standard(_TITLE, (final,)) if final else None


def _under_way(run: Run, found: Forecast, *, began: datetime, ends: datetime, now: datetime) -> Standard:
    held = " if it goes on at once" if run.state is State.HELD else ""
    late = f", nine times in ten by {hour(found.late_at, now=now)}" if found.late_at > found.ends_at else ""
    lines = (
        f"Window: {_used(run, began, found.at)}, {_until('ends', 'ended', ends, now=now)}",
        f"Forecast: ends {hour(found.ends_at, now=now)}{held}{late} ({found.basis})",
        f"Done: {per_cent(found.share)} of the work",
        *_no_return(run, now=now),
    )
    if now >= ends:
        return Standard(_TITLE, lines, "bad")
    worrying = found.ends_at > ends or now >= run.plan.no_return_at()
    return Standard(_TITLE, lines, "warn" if worrying else "info")


def _used(run: Run, began: datetime, until: datetime) -> str:
    """Return how much of the window is or was used, e.g. ``12 minutes of 30 minutes used``."""
    used = max(_NONE, until - began)
    extended = "" if window(run) == run.plan.window else f" ({in_words(run.plan.window)} planned)"
    return f"{_minutes(used)} of {in_words(window(run))}{extended} used"


def _no_return(run: Run, *, now: datetime) -> Iterator[str]:
    """Yield how far the points of no return are: the plan's, and those of the steps that have begun."""
    yield f"Point of no return: {_plans_point(run, now=now)}: {_line(run.plan.point_of_no_return.reason)}"
    confirmed: events.LossConfirmed | None = run.last(events.LossConfirmed)
    if confirmed:
        yield f"Loss confirmed by {confirmed.name}: {_line(confirmed.words)}"
    for step in run.plan.steps():
        begun = _first_start(run, step.id)
        if step.point_of_no_return and begun:
            yield f"Passed at {hour(begun, now=now)} with {step.words()}: {_line(step.point_of_no_return)}"


def _plans_point(run: Run, *, now: datetime) -> str:
    point, limit = run.plan.point_of_no_return, run.plan.no_return_at()
    asked: events.ConfirmationAsked | None = run.last(events.ConfirmationAsked)
    if asked and now < limit:
        return f"passed at {hour(asked.at, now=now)}, {_line(asked.why)}"
    when = _until("comes", "passed", limit, now=now)
    written_to = sorted({other.target for other in (point.rows, point.query) if other})
    if written_to and now < limit:
        when += f", earlier if too much is written to {' and '.join(written_to)}"
    return when


def _approval(run: Run, *, now: datetime) -> Iterator[str]:
    asked: events.AuthorityAsked | None = run.last(events.AuthorityAsked)
    authorised: events.Authorised | None = run.last(events.Authorised)
    if asked and authorised:
        lapses = authorised.at + (asked.expires_at - asked.at)
        yield f"Approval: {_until('lapses', 'lapsed', lapses, now=now)}, unless execution begins"
    elif asked:
        yield f"Approval: {_until('expires', 'expired', asked.expires_at, now=now)}"


def _final(run: Run) -> str:
    """Return the line that stays when a rollback has ended; empty if nobody was ever asked for authority."""
    began = run.started_at
    if began:
        completed: events.Completed | None = run.last(events.Completed)
        aborted: events.Aborted | None = run.last(events.Aborted)
        ending, words = (completed, "complete") if completed else (aborted, "given up")
        return f"{_used(run, began, ending.at)}, {words} {utc_minute(ending.at)}" if ending else ""
    if run.state in _ENDINGS and (run.last(events.AuthorityAsked) or run.last(events.Authorised)):
        return f"Not begun: {_ENDINGS[run.state]} {utc_minute(run.history[run.state_seq - 1].at)}"
    return ""


def _first_start(run: Run, step: str) -> datetime | None:
    begins = (events.StepStarted, events.ManualAsked)
    return next((event.at for event in run.history if isinstance(event, begins) and event.step == step), None)


def _until(ahead: str, behind: str, limit: datetime, *, now: datetime) -> str:
    """Return how far a limit is, e.g. ``ends in 18 minutes, 16:17 UTC`` or ``ended 3 minutes ago, 16:17 UTC``.

    Whether it is passed is told to the moment, how far it is in full minutes.
    """
    at, minute = hour(limit, now=now), _full_minute(now)
    if now < limit:
        return f"{ahead} in {_minutes(limit - minute)}, {at}"
    return f"{behind} {_minutes(max(_NONE, minute - limit))} ago, {at}"


def _minutes(value: timedelta) -> str:
    return in_words(value // _MINUTE * _MINUTE) if value >= _MINUTE else "less than a minute"


def _full_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _line(text: str) -> str:
    """Return a text that people wrote as one line."""
    return " ".join(text.split())
