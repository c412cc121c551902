"""How times and durations are read from plans and written in messages.

All times are aware UTC; messages show them to the minute, as the specification does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)")
DURATION_PATTERN = r"^(\d+(\.\d+)?\s*(ms|s|min|m|h|d)\s*)+$"


def parse_duration(value: Any) -> timedelta:
    """Read ``90s``, ``25m`` or ``1h 30m``.

    Raises:
        ValueError: If the text is no duration; the message shows the accepted form.
    """
    if isinstance(value, timedelta):
        return value
    text = str(value).strip()
    if re.match(DURATION_PATTERN, text):
        return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text)))
    raise ValueError(f"{text!r} is not a duration; write it like 90s, 25m or 1h 30m")


def format_duration(value: timedelta) -> str:
    """Write a duration exactly, in the form that `parse_duration` reads."""
    seconds = value.total_seconds()
    if seconds != int(seconds):
        return f"{seconds:g}s"
    parts: list[str] = []
    rest = int(seconds)
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


def _aware(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?( ?UTC)?", value):
        return datetime.fromisoformat(value.removesuffix("UTC").strip()).replace(tzinfo=UTC)
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["90s", "25m", "1h 30m"]}),
]
"""A duration as plans and settings write it."""

Moment = Annotated[datetime, BeforeValidator(_aware)]
"""A point in time; one without a zone is UTC."""
