"""Reads what the traffic saw: error rate and p95 of a stretch of time."""

import json
import math
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

SERVER_ERROR = 500


class Measured(BaseModel):
    """What the service's callers experienced over a stretch of time.

    Attributes:
        count: requests sent.
        failed: requests answered by a 5xx or not at all.
        unanswered: those of `failed` that got no answer (refused, cut off, timed out).
        error_rate: failed / count, 0 to 1; None when nothing was sent, because no data is not zero errors.
        p95_seconds: 95th percentile of the time to an answer, in seconds; None when nothing was answered.
    """

    model_config = ConfigDict(frozen=True)

    count: int
    failed: int
    unanswered: int
    error_rate: float | None
    p95_seconds: float | None


def measure(path: Path, since: datetime, until: datetime) -> Measured:
    """Measure the requests sent from `since` up to, and without, `until`.

    Args:
        path: the traffic's JSON-lines file; it may be growing. A file that is not there yet holds no requests.
        since: aware start.
        until: aware end. The last requests before the file's end may still be under way and missing.

    Returns:
        The measured values of that stretch.
    """
    first, last = since.timestamp(), until.timestamp()
    count = failed = unanswered = 0
    answered: list[float] = []
    for at, seconds, status in _requests(path):
        if first <= at < last:
            count += 1
            failed += status is None or status >= SERVER_ERROR
            if status is None:
                unanswered += 1
            else:
                answered.append(seconds)
    return Measured(
        count=count,
        failed=failed,
        unanswered=unanswered,
        error_rate=failed / count if count else None,
        p95_seconds=_percentile(answered, 0.95) if answered else None,
    )


def _requests(path: Path) -> list[tuple[float, float, int | None]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    # A line without its end is being written at this moment.
    complete = text[: text.rfind("\n") + 1]
    lines = [json.loads(line) for line in complete.splitlines()]
    return [(line["at"], line["seconds"], line["status"]) for line in lines]


def _percentile(values: list[float], fraction: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * fraction) - 1]
