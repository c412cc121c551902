"""One look at a service's own page of metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from bot.domain.inventory import MetricsPage

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A counter's name and labels."""

_STARTED = "process_start_time_seconds"


@dataclass(frozen=True)
class Scrape:
    """The counters of one moment.

    Attributes:
        requests: Requests counted so far, by series.
        failed: The series of `requests` whose status is 5xx.
        buckets: Requests counted so far by series of the histogram and upper bound in seconds.
        started: When the process started, as it says; None if it does not.
    """

    requests: Mapping[Series, float] = field(default_factory=dict)
    failed: frozenset[Series] = frozenset()
    buckets: Mapping[tuple[Series, float], float] = field(default_factory=dict)
    started: float | None = None


class UnreadableError(ValueError):
    """The page answered, but with something else than metrics."""


def read_page(text: str, page: MetricsPage) -> Scrape:
    """Read a page in Prometheus' text format.

    Only the lines that are needed are parsed: a page may hold thousands of others.

    Raises:
        UnreadableError: If a line is no metric, or the counter is not on the page.
    """
    # OpenMetrics names the family without the suffix that its samples bear.
    counter = page.requests if page.requests.endswith("_total") else f"{page.requests}_total"
    wanted = (counter, page.requests, f"{page.duration}_bucket", _STARTED)
    lines = [line for line in text.splitlines() if line.startswith(wanted)]
    requests: dict[Series, float] = {}
    failed: set[Series] = set()
    buckets: dict[tuple[Series, float], float] = {}
    started: float | None = None
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                labels = dict(sample.labels)
                if math.isnan(sample.value):
                    continue
                if sample.name in {counter, page.requests}:
                    series = _series(sample.name, labels)
                    requests[series] = sample.value
                    if labels.get(page.failed_label, "").startswith("5"):
                        failed.add(series)
                elif sample.name == f"{page.duration}_bucket":
                    bound = float(labels.pop("le"))
                    buckets[_series(sample.name, labels), bound] = sample.value
                elif sample.name == _STARTED:
                    started = sample.value
    except (ValueError, KeyError, IndexError) as error:
        raise UnreadableError(f"no metrics in the text format: {error}") from None
    if not _looks_like_metrics(text):
        raise UnreadableError("no metrics in the text format")
    return Scrape(requests=requests, failed=frozenset(failed), buckets=buckets, started=started)


def _looks_like_metrics(text: str) -> bool:
    """A freshly started service may have an empty page, but a page of HTML is none."""
    return not text.lstrip().startswith(("<", "{", "["))


def _series(name: str, labels: Mapping[str, str]) -> Series:
    return name, tuple(sorted(labels.items()))
