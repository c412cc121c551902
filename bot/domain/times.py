"""How times and durations are read from plans and written in messages.

All times are aware UTC; messages show them to the minute, as the specification does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)")
DURATION_PATTERN = r"^(\d+(\.\d+)?\s*(ms|s|min|m|h|d)\s*)+$"


def parse_duration(value: Any) -> timedelta:
    """Read ``90s``, ``25m`` or ``1h 30m``.

    Raises:
        ValueError: If the text is no duration; the message shows the accepted form.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise ValueError(f"a duration cannot be negative: {value.total_seconds():g} s")
        return value
    text = str(value).strip()
    if re.match(DURATION_PATTERN, text):
        try:
            return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text)))
        except OverflowError as error:
            raise ValueError(f"{text[:40]!r} is longer than any duration can be") from error
    raise ValueError(f"{text!r} is not a duration; write it like 90s, 25m or 1h 30m")


def format_duration(value: timedelta) -> str:
    """Write a duration exactly, in the form that `parse_duration` reads."""
    rest, micros = divmod(value // timedelta(microseconds=1), 1_000_000)
    if micros:
        # Digits, never an exponent: a journal must be able to read back what was measured.
        return f"{rest}.{micros:06d}".rstrip("0") + "s"
    parts: list[str] = []
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def in_words(value: timedelta) -> str:
    """Write a duration for a person: ``25 minutes``, ``1 minute``, ``42 seconds``."""
    seconds = round(value.total_seconds())
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds} second{'s' if seconds != 1 else ''}"
    minutes = round(seconds / 60)
    return f"{minutes} minute{'s' if minutes != 1 else ''}"


def utc_minute(value: datetime) -> str:
    """Write a time as the specification does: ``2024-01-15 15:47 UTC``."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def utc_second(value: datetime) -> str:
    """Write a time to the second: ``2024-01-15 15:47:03 UTC``."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(value: Any) -> Any:
    """Let a time be written as the messages write it, with UTC behind it."""
    return value.removesuffix("UTC").rstrip() if isinstance(value, str) else value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value.isoformat()} is beyond the times that can be told in UTC") from error


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["90s", "25m", "1h 30m"]}),
]
"""A duration as plans and settings write it."""

Moment = Annotated[datetime, BeforeValidator(_plain), AfterValidator(_utc)]
"""A point in time, kept as aware UTC; one without a zone is UTC."""
