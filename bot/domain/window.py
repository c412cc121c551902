"""The rollback window's clock: when an extension must be drafted, when it sends itself, and when to look again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from textwrap import shorten

from bot.domain import events
from bot.domain.actuation import Progress
from bot.domain.lifecycle import State
from bot.domain.pace import NO_PROGRESS, Delay, Paces, Reckoning, forecast, reckon, slowest
from bot.domain.run import SETTLED, Run, StepState
from bot.domain.times import in_words, utc_minute

UNDER_WAY = frozenset({State.EXECUTING, State.HELD, State.VERIFYING})
"""States in which the window's clock runs."""

_STEP = timedelta(minutes=5)
"""People are told round numbers, and an extension by less is not worth a message."""

_GROWTH = 1.25
"""An extension reaches at least so many times the time taken already: what was wrong once is trusted less."""

_GROWTH_HELD = 2
"""While people decide nobody can say when it ends: the messages become rare instead of regular."""

_POLL = timedelta(seconds=3)
"""How often the clock is looked at while a step may report its progress: an overrun is drafted within 5 s."""

_TELLING = timedelta(minutes=1)
_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996
_EXACT = timedelta(milliseconds=100)
_LONGEST = timedelta(days=36500)
_REASON_LENGTH = 300
_NONE = timedelta(0)


@dataclass(frozen=True)
class Draft:
    """An extension of the window as it would be sent now.

    Attributes:
        window: The window in force, from the beginning of execution.
        estimate: The new one, whole 5 minutes and at least 5 minutes more.
        reason: Why, in words that can be sent.
        share: Part of the work that is done, 0..1.
    """

    window: timedelta
    estimate: timedelta
    reason: str
    share: float


def window(run: Run) -> timedelta:
    """Return the window in force, from the beginning of execution: the plan's, or the newest extension's."""
    extended: events.Extended | None = run.last(events.Extended)
    return extended.estimate if extended else run.plan.window


def window_ends(run: Run) -> datetime | None:
    """Return when the window in force ends; None before execution began."""
    # A window that was written too long by orders of magnitude must not lead beyond the times that there are.
    return run.started_at + min(window(run), _LONGEST) if run.started_at else None


def overrun(
    run: Run, *, now: datetime, paces: Paces, progress: Mapping[str, Progress] = NO_PROGRESS
) -> Draft | None:
    """Return the extension to draft, if the rollback will not end within its window and none was drafted for it.

    None as well once the window is over: then `exceeded` has the word.

    Args:
        run: The rollback.
        now: The time.
        paces: How long its steps took in earlier rollbacks.
        progress: How far its running steps have come, by id.
    """
    ends = _clock_end(run)
    if ends is None or now >= ends or _drafted(run):
        return None
    late = now + reckon(run, paces=paces, progress=progress).rest(now) > ends
    return draft(run, now=now, paces=paces, progress=progress) if late else None


def exceeded(
    run: Run, *, now: datetime, paces: Paces, progress: Mapping[str, Progress] = NO_PROGRESS
) -> Draft | None:
    """Return the extension to send, if the window is over and the rollback is not.

    Args:
        run: The rollback.
        now: The time.
        paces: How long its steps took in earlier rollbacks.
        progress: How far its running steps have come, by id.
    """
    ends = _clock_end(run)
    return None if ends is None or now < ends else draft(run, now=now, paces=paces, progress=progress)


def next_look(
    run: Run, *, now: datetime, paces: Paces, progress: Mapping[str, Progress] | None = None
) -> datetime | None:
    """Return the earliest moment after `now` at which `overrun` or `exceeded` has something new to say.

    If nothing else happens, that is: exact to a tenth of a second, and never before the moment. For what is due now
    ask them first; if nobody acts upon it, the answer is a few seconds away.

    Args:
        run: The rollback.
        now: The time.
        paces: How long its steps took in earlier rollbacks.
        progress: How far its running steps have come, by id. If it is given, even empty, the answer is at most a
            few seconds away while a step runs, whose progress may bring an overrun forward; None: nobody reports.

    Returns:
        The moment; None if there is none.
    """
    ends = _clock_end(run)
    if ends is None:
        return None
    if now >= ends:
        return now + _POLL
    if _drafted(run):
        return ends
    reckoning, soon = reckon(run, paces=paces, progress=progress or NO_PROGRESS), min(ends, now + _POLL)

    def late(at: datetime) -> bool:
        return at + reckoning.rest(at) > ends

    if late(now):
        return soon  # never `now`: who reckons with other progress than this would ask again without a pause
    watched = progress is not None and any(work.state is StepState.STARTED for work in reckoning.works())
    if watched and not late(soon):
        return soon
    return _first(late, since=now, until=soon if watched else ends)


def draft(run: Run, *, now: datetime, paces: Paces, progress: Mapping[str, Progress] = NO_PROGRESS) -> Draft:
    """Return the extension as it would be sent now, whether there is need of one or not.

    Args:
        run: The rollback.
        now: The time.
        paces: How long its steps took in earlier rollbacks.
        progress: How far its running steps have come, by id.

    Raises:
        ValueError: If execution has not begun: there is no window to extend.
    """
    began = run.started_at
    if began is None:
        raise ValueError(f"{run.id} has not begun")
    found = forecast(run, now=now, paces=paces, progress=progress)
    least = max(found.late_at - began, _GROWTH * (now - began), window(run) + _STEP)
    if run.state is State.HELD:
        least = max(least, _GROWTH_HELD * (now - began))
    return Draft(
        window=window(run),
        estimate=-(-least // _STEP) * _STEP,
        reason=_reason(run, reckon(run, paces=paces, progress=progress), now=now),
        share=found.share,
    )


def _clock_end(run: Run) -> datetime | None:
    """Return when the window ends; None if its clock does not run: nothing is left to do, or it is given up."""
    if run.state not in UNDER_WAY or run.giving_up:
        return None
    done = all(run.status(step.id).state in SETTLED for step in run.plan.steps())
    return None if done and run.state is not State.HELD else window_ends(run)


def _drafted(run: Run) -> bool:
    """Return whether an extension of the window in force was drafted."""
    since = run.after(events.Extended)
    return any(isinstance(event, events.ExtensionDrafted) and event.window == window(run) for event in since)


def _first(due: Callable[[datetime], bool], *, since: datetime, until: datetime) -> datetime:
    """Return the first moment at which it is due, not at `since`, at `until` at the latest; it stays due."""
    while until - since > _EXACT:
        middle = since + (until - since) / 2
        since, until = (since, middle) if due(middle) else (middle, until)
    return until


def _reason(run: Run, reckoning: Reckoning, *, now: datetime) -> str:
    """Return in words that can be sent what the window is not enough for."""
    if run.state is State.HELD:
        held = run.history[run.state_seq - 1]
        return shorten(f"held since {hour(held.at, now=now)}: {held.why}", _REASON_LENGTH, placeholder=" …")
    slow, waited = slowest(run, reckoning, now=now), _held_before(run)
    if waited >= _TELLING and waited > (slow.over if slow else _NONE):
        return f"held for {in_words(waited)} until people had decided"
    if slow and in_words(slow.work.expected + slow.over) != in_words(slow.work.expected):
        return _slow(run, slow, now=now)
    return _much(run, reckoning, now=now)


def _held_before(run: Run) -> timedelta:
    """Return how long the rollback was held in all, until it went on."""
    waited, since = _NONE, None
    for event in run.history:
        if isinstance(event, events.Held):
            since = since or event.at
        elif isinstance(event, events.Resumed) and since:
            waited, since = waited + max(_NONE, event.at - since), None
    return waited


def hour(at: datetime, *, now: datetime) -> str:
    """Write a time of today without its date: ``15:58 UTC``; any other with it."""
    written = utc_minute(at)
    date, _, time = written.partition(" ")
    return time if utc_minute(now).startswith(date) else written


def _slow(run: Run, slow: Delay, *, now: datetime) -> str:
    work, spent, norm = slow.work, in_words(slow.spent), in_words(slow.work.expected)
    words, than = work.step.words(), "usual" if work.runs else "planned"
    norm = f"{norm} in the median of {work.runs} earlier rollbacks" if work.runs else f"{norm} planned"
    if work.state in SETTLED:
        return f"{words} took longer than {than}: {spent}, {norm}"
    attempt = run.status(work.step.id).attempt
    if work.since is None:
        so_far = f"{spent} spent on {attempt} failed attempt{'s' if attempt != 1 else ''}"
    elif work.reported is not None:
        so_far = f"{per_cent(work.done(now))} done after {spent}"
    else:
        so_far = f"{spent} so far"
    again = f", attempt {attempt}" if work.since and attempt > 1 else ""
    return f"{words} taking longer than {than}: {so_far}{again}, {norm}"


def _much(run: Run, reckoning: Reckoning, *, now: datetime) -> str:
    """Return what is left, where no step is to blame: the plan was tight, or time was lost between its steps."""
    ends = window_ends(run)
    left, basis = in_words(reckoning.rest(now)), reckoning.basis()
    if ends is None or now >= ends:
        return f"{left} of work left by {basis}, and the window is over"
    return f"{left} of work left by {basis}, {in_words(ends - now)} left of the window"


def per_cent(share: float) -> str:
    """Write a part of the work as the specification does, ``65%``; 100% only when nothing is left."""
    return f"{math.floor(share * 100 + _ROUNDING)}%"
