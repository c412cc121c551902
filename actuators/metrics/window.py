"""A short memory of a service's counters, and what they say of a window of it.

Each sample holds running totals of our own instead of the service's counters: what came on top since the scrape
before, summed up. A counter that starts anew (the service was restarted) or appears adds its whole value, so the
totals only grow, and a window's increase is one subtraction.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from actuators.metrics.page import Scrape
from bot.domain.criteria import Reading

QUANTILE = 0.95
_FEWEST = 2
"""Samples without which nothing can be said of a change."""


@dataclass(frozen=True)
class Sample:
    """Running totals at one moment.

    Attributes:
        at: Monotonic seconds.
        answered: Whether the page could be read; if not, the totals are those of the sample before.
        requests: Requests.
        failed: Failed ones among them.
        buckets: Requests by upper bound in seconds, each including the ones below.
    """

    at: float
    answered: bool
    requests: float = 0.0
    failed: float = 0.0
    buckets: Mapping[float, float] = field(default_factory=dict)


class Window:
    """The samples of one page.

    Args:
        keep: Seconds of memory.
        limit: Samples of memory; the oldest go first.
    """

    def __init__(self, *, keep: float, limit: int) -> None:
        self._keep = keep
        self._samples: deque[Sample] = deque(maxlen=limit)
        self._before: Scrape | None = None

    @property
    def newest(self) -> float | None:
        """When the newest sample was taken, answered or not; None if there is none."""
        return self._samples[-1].at if self._samples else None

    def add(self, at: float, scrape: Scrape | None) -> None:
        """Remember a scrape; None if the page could not be read."""
        last = self._samples[-1] if self._samples else Sample(at=at, answered=False)
        if scrape is None:
            sample = Sample(at, answered=False, requests=last.requests, failed=last.failed, buckets=last.buckets)
        else:
            sample = _advance(last, self._before, scrape, at=at)
            self._before = scrape
        self._samples.append(sample)
        while self._samples[0].at < at - self._keep:
            self._samples.popleft()

    def read(self, *, now: float, window: timedelta, source: str) -> Reading:
        """Return what the last `window` says; None where nobody knows."""
        seen = [sample for sample in self._samples if sample.at >= now - window.total_seconds()]
        answered = [sample for sample in seen if sample.answered]
        availability = len(answered) / len(seen) if len(seen) >= _FEWEST else None
        if len(answered) < _FEWEST:
            return Reading(availability=availability, source=source)
        first, last = answered[0], answered[-1]
        requests = last.requests - first.requests
        return Reading(
            error_rate=(last.failed - first.failed) / requests if requests > 0 else None,
            p95=_p95(answered),
            availability=availability,
            window=timedelta(seconds=last.at - first.at),
            source=source,
        )


def _advance(last: Sample, before: Scrape | None, scrape: Scrape, *, at: float) -> Sample:
    """Add to the totals what came on top since the scrape before."""
    if before is None:
        return Sample(at, answered=True, buckets=dict.fromkeys(_bounds(scrape), 0.0))
    if before.started != scrape.started:
        before = Scrape()
    requests, failed = last.requests, last.failed
    for series, value in scrape.requests.items():
        more = _increase(before.requests.get(series, 0.0), value)
        requests += more
        failed += more if series in scrape.failed else 0.0
    buckets = dict.fromkeys(_bounds(scrape), 0.0)
    if buckets.keys() == last.buckets.keys():
        buckets |= last.buckets
    for key, value in scrape.buckets.items():
        buckets[key[1]] += _increase(before.buckets.get(key, 0.0), value)
    return Sample(at, answered=True, requests=requests, failed=failed, buckets=buckets)


def _increase(before: float, now: float) -> float:
    """A counter never goes back, so a smaller value has been counted since a restart."""
    return now - before if now >= before else now


def _bounds(scrape: Scrape) -> list[float]:
    return sorted({bound for _, bound in scrape.buckets})


def _p95(answered: list[Sample]) -> timedelta | None:
    """Take from the newest totals those of the oldest sample that has the same bounds.

    Another release may have other bounds; its buckets and the older ones' cannot be added. Its totals have begun at
    zero then, as they do when the first requests make a histogram appear.
    """
    last = answered[-1].buckets
    first = last
    for sample in reversed(answered):
        if sample.buckets.keys() != last.keys():
            first = dict.fromkeys(last, 0.0)
            break
        first = sample.buckets
    grown = {bound: value - first[bound] for bound, value in last.items()}
    seconds = quantile(QUANTILE, grown)
    return None if seconds is None else timedelta(seconds=seconds)


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """Estimate a quantile from a cumulative histogram, as Prometheus' histogram_quantile does.

    Args:
        share: 0..1.
        buckets: Observations up to each upper bound, in any order; infinity holds them all.

    Returns:
        The value, interpolated within its bucket; the highest finite bound if it lies above; None without
        observations, or without the bucket that holds them all.
    """
    bounds = sorted(buckets)
    if len(bounds) < _FEWEST or not math.isinf(bounds[-1]):
        return None
    counts: list[float] = []
    for bound in bounds:
        # Scraped in the middle of an observation, a histogram may be off by one.
        counts.append(max(buckets[bound], counts[-1] if counts else 0.0))
    total = counts[-1]
    if total <= 0:
        return None
    rank = share * total
    place = next(index for index, count in enumerate(counts) if count >= rank)
    if place == len(bounds) - 1:
        return bounds[-2]
    if place == 0 and bounds[0] <= 0:
        return bounds[0]
    lower = bounds[place - 1] if place else 0.0
    below = counts[place - 1] if place else 0.0
    inside = counts[place] - below
    return lower + (bounds[place] - lower) * ((rank - below) / inside if inside else 1.0)
