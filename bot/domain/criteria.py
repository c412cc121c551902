"""The specification's decision criteria: when to roll back at once, when to assess, when to watch.

No data is not zero errors: every comparison answers above, below or unknown, and unknown never triggers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bot.domain.plan import Baseline
from bot.domain.times import Duration, parse_duration


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(_Value):
    """When the impact mandates or suggests a rollback. The defaults are the specification's.

    Attributes:
        availability: Below this share the rollback is immediate.
        error_rate: Above this share of failed transactions it is immediate.
        assess_error_rate: From this share on it must be assessed.
        slowdown: Above this factor over the baseline's response time it must be assessed.
        delegation_error_rate: Above this share the on-call engineer holds delegated authority out of hours.
    """

    availability: float = Field(default=0.95, ge=0, le=1)
    error_rate: float = Field(default=0.10, ge=0, le=1)
    assess_error_rate: float = Field(default=0.02, ge=0, le=1)
    slowdown: float = Field(default=1.5, ge=1)
    delegation_error_rate: float = Field(default=0.05, ge=0, le=1)


class Reading(_Value):
    """What the metrics say of a service now. None means that nobody knows.

    Attributes:
        error_rate: Share of failed transactions, 0..1.
        p95: 95th percentile of the response time.
        availability: Share of time the service answered, 0..1.
        window: The time the values stand for.
        source: The target or query that was read.
    """

    error_rate: float | None = None
    p95: Duration | None = None
    availability: float | None = None
    window: Duration = parse_duration("0s")
    source: str = ""

    @field_validator("error_rate", "availability", mode="before")
    @classmethod
    def _unknown(cls, value: Any) -> Any:
        # A rate over no requests is 0/0, which Prometheus answers as NaN: that is no data, not zero errors.
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def known(self) -> bool:
        """Return whether anything at all is known."""
        return not (self.error_rate is None and self.p95 is None and self.availability is None)


class Advice(StrEnum):
    """What the decision tree says."""

    IMMEDIATE = "immediate rollback"
    ASSESS = "assess: rollback vs forward-fix"
    MONITOR = "monitor and consider forward-fix"
    UNKNOWN = "unknown: no data"


class Decision(_Value):
    """The advice, and how it was reached.

    Attributes:
        advice: What to do.
        trigger: The reason in one line, e.g. ``Error rate 12.3% (threshold: 10%)``.
        trace: Each question with its answer.
        exceeded: The same as the closed change tells it, e.g. ``Error rate exceeded 10% threshold``; empty if no
            threshold is exceeded.
    """

    advice: Advice
    trigger: str
    trace: tuple[str, ...]
    exceeded: str = ""


def percent(share: float) -> str:
    """Write a share as the specification does: ``12.3%``, ``10%``, ``0.2%``."""
    return f"{round(share * 100, 1):g}%"


def milliseconds(value: timedelta) -> str:
    """Write a response time as the specification does: ``180ms``."""
    return f"{value.total_seconds() * 1000:.0f}ms"


@dataclass(frozen=True)
class _Question:
    words: str
    shown: str
    answer: bool | None
    advice: Advice
    trigger: str
    exceeded: str

    def answered(self) -> str:
        if self.answer is None:
            return f"{self.words} unknown"
        return f"{self.words} {self.shown}: {'yes' if self.answer else 'no'}"


def decide(reading: Reading, baseline: Baseline, thresholds: Thresholds, *, corruption: bool = False) -> Decision:
    """Walk the specification's decision tree over one reading.

    Args:
        reading: What the metrics say; how long a value must last is the reading's window, set by who measures.
        baseline: What was measured before the deployment.
        thresholds: When to act.
        corruption: Whether data corruption was reported.
    """
    trace: list[str] = []
    for question in _questions(reading, baseline, thresholds, corruption=corruption):
        trace.append(question.answered())
        if question.answer:
            return Decision(
                advice=question.advice, trigger=question.trigger, trace=tuple(trace), exceeded=question.exceeded
            )
    if reading.known():
        return Decision(advice=Advice.MONITOR, trigger="No threshold exceeded", trace=tuple(trace))
    return Decision(advice=Advice.UNKNOWN, trigger="Metrics unknown", trace=tuple(trace))


def _questions(
    reading: Reading, baseline: Baseline, thresholds: Thresholds, *, corruption: bool
) -> Iterator[_Question]:
    """Yield the questions of the specification's flowchart, in its order."""
    availability, rate = reading.availability, reading.error_rate
    limit = percent(thresholds.availability)
    shown = "" if availability is None else percent(availability)
    yield _Question(
        words=f"availability below {limit}?",
        shown=shown,
        answer=None if availability is None else availability < thresholds.availability,
        advice=Advice.IMMEDIATE,
        trigger=f"Availability {shown} (threshold: {limit})",
        exceeded=f"Availability fell below {limit} threshold",
    )
    limit = percent(thresholds.error_rate)
    above = None if rate is None else rate > thresholds.error_rate
    yield _failing(rate, limit, words=f"error rate above {limit}?", answer=above, advice=Advice.IMMEDIATE)
    yield _Question(
        words="data corruption detected?",
        shown="reported" if corruption else "not reported",
        answer=corruption,
        advice=Advice.IMMEDIATE,
        trigger="Data corruption detected",
        exceeded="Data corruption detected",
    )
    limit = percent(thresholds.assess_error_rate)
    within = None if rate is None else rate >= thresholds.assess_error_rate
    yield _failing(rate, limit, words=f"error rate {limit} or more?", answer=within, advice=Advice.ASSESS)
    yield _slowdown(reading, baseline, thresholds)


def _failing(rate: float | None, limit: str, *, words: str, answer: bool | None, advice: Advice) -> _Question:
    shown = "" if rate is None else percent(rate)
    return _Question(
        words=words,
        shown=shown,
        answer=answer,
        advice=advice,
        trigger=f"Error rate {shown} (threshold: {limit})",
        exceeded=f"Error rate exceeded {limit} threshold",
    )


def _slowdown(reading: Reading, baseline: Baseline, thresholds: Thresholds) -> _Question:
    took = "" if reading.p95 is None else milliseconds(reading.p95)
    worse = percent(thresholds.slowdown - 1)
    return _Question(
        words=f"p95 more than {worse} over baseline?",
        shown=took,
        answer=None if reading.p95 is None else reading.p95 > thresholds.slowdown * baseline.p95,
        advice=Advice.ASSESS,
        trigger=f"Response time {took} p95 (baseline: {milliseconds(baseline.p95)})",
        exceeded=f"Response time exceeded baseline by more than {worse}",
    )
