"""Calls into code that is not ours: bounded in time, and what it answers made fit for the journal.

An actuator may hang, cancel itself, or report what no journal can hold. None of that may stop the rollback, or
make an event differ from what is read back: an event whose write was not acknowledged is known again by equality.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from bot.domain.actuation import Check, Observation, Outcome, Presence, Progress, Verdict

LONGEST_DETAIL = 40_000
"""Characters of a check's detail that are kept."""

T = TypeVar("T")


class NoAnswerError(Exception):
    """It did not end in time and was stopped."""


class StrayCancellationError(Exception):
    """It ended as if it had been cancelled, and nobody had cancelled it."""


async def call(answer: Awaitable[T], *, limit: timedelta) -> T:
    """Return the answer if it comes in time.

    Raises:
        NoAnswerError: If it did not; the call was cancelled.
        StrayCancellationError: If the call cancelled itself. Taken for our own end it would stop the rollback.
    """
    try:
        async with asyncio.timeout(limit.total_seconds()) as patience:
            return await answer
    except TimeoutError as error:
        if patience.expired():
            raise NoAnswerError from error
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise StrayCancellationError from error


def leaves(error: Exception) -> tuple[Exception, ...]:
    """Return the errors that a group consists of, or the error itself."""
    if isinstance(error, ExceptionGroup):
        return tuple(leaf for inner in error.exceptions for leaf in leaves(inner))
    return (error,)


def text(value: object) -> str:
    """Return the value as text without what PostgreSQL or UTF-8 cannot hold."""
    sound = str(value).encode(errors="replace").decode()
    return sound.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return measured values as JSON gives them back; what is not a number becomes None, odd objects text."""
    try:
        read = json.loads(
            json.dumps(dict(values), default=str, skipkeys=True), parse_constant=lambda _constant: None
        )
    except (ValueError, RecursionError):
        return {"unreadable": "the measured values contain themselves"}
    found: dict[str, Any] = _sound(read)
    return found


def outcome(reported: Outcome) -> Outcome:
    """Return what an actuator reported, fit for the journal."""
    return Outcome(text(reported.words), facts(reported.facts), text(reported.output))


def observation(seen: Observation) -> Observation:
    """Return what was seen, fit for the journal."""
    return Observation(Presence(seen.presence), text(seen.words), facts(seen.facts))


def measurable(reported: Progress) -> bool:
    """Return whether what an actuator reports of its progress are numbers that a forecast can be made from."""
    values: tuple[object, ...] = (reported.done, 0 if reported.total is None else reported.total)
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def check(found: Check) -> Check:
    """Return what was found, fit for the journal."""
    return Check(
        subject=text(found.subject),
        verdict=Verdict(found.verdict),
        words=text(found.words).strip(),
        resolution=text(found.resolution),
        detail=_shortened(text(found.detail).strip("\n")),
        seal=text(found.seal),
    )


def _shortened(detail: str) -> str:
    """Return as many whole lines as a journal entry may hold, and say how many were left out."""
    if len(detail) <= LONGEST_DETAIL:
        return detail
    kept = detail[:LONGEST_DETAIL].rpartition("\n")[0] or detail[:LONGEST_DETAIL]
    left = detail[len(kept) :].strip("\n").count("\n") + 1
    return f"{kept}\n… {left} more {'line' if left == 1 else 'lines'}"


def _sound(value: Any) -> Any:
    match value:
        case str():
            return text(value)
        case list():
            return [_sound(item) for item in value]
        case dict():
            return {text(key): _sound(item) for key, item in value.items()}
        case _:
            return value
