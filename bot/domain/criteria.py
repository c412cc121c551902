"""The specification's decision criteria: when to roll back at once, when to assess, when to watch.

No data is not zero errors: every comparison answers above, below or unknown, and unknown never triggers.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from bot.domain.plan import Baseline
from bot.domain.times import Duration, parse_duration


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(_Value):
    """When the impact mandates or suggests a rollback. The defaults are the specification's.

    Attributes:
        availability: Below this share the rollback is immediate.
        error_rate: Above this share of failed transactions it is immediate.
        assess_error_rate: Above this share it must be assessed.
        slowdown: Above this factor over the baseline's response time it must be assessed.
        delegation_error_rate: Above this share the on-call engineer holds delegated authority out of hours.
    """

    availability: float = 0.95
    error_rate: float = 0.10
    assess_error_rate: float = 0.02
    slowdown: float = 1.5
    delegation_error_rate: float = 0.05


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
    """

    advice: Advice
    trigger: str
    trace: tuple[str, ...]


def percent(share: float) -> str:
    """Write a share as the specification does: ``12.3%``, ``10%``, ``0.2%``."""
    return f"{round(share * 100, 1):g}%"


def milliseconds(value: timedelta) -> str:
    """Write a response time as the specification does: ``180ms``."""
    return f"{value.total_seconds() * 1000:.0f}ms"


def decide(reading: Reading, baseline: Baseline, thresholds: Thresholds, *, corruption: bool = False) -> Decision:
    """Walk the specification's decision tree over one reading.

    Args:
        reading: What the metrics say; how long a value must last is the reading's window, set by who measures.
        baseline: What was measured before the deployment.
        thresholds: When to act.
        corruption: Whether data corruption was reported.
    """
    trace: list[str] = []

    def ask(question: str, value: str, *, answer: bool | None) -> bool:
        trace.append(f"{question} {'unknown' if answer is None else f'{value}: yes' if answer else f'{value}: no'}")
        return answer is True

    limit = percent(thresholds.availability)
    availability = reading.availability
    shown = "" if availability is None else percent(availability)
    if ask(
        f"availability below {limit}?",
        shown,
        answer=None if availability is None else availability < thresholds.availability,
    ):
        return Decision(
            advice=Advice.IMMEDIATE, trigger=f"Availability {shown} (threshold: {limit})", trace=tuple(trace)
        )
    rate = reading.error_rate
    limit = percent(thresholds.error_rate)
    shown = "" if rate is None else percent(rate)
    if ask(f"error rate above {limit}?", shown, answer=None if rate is None else rate > thresholds.error_rate):
        return Decision(
            advice=Advice.IMMEDIATE, trigger=f"Error rate {shown} (threshold: {limit})", trace=tuple(trace)
        )
    if ask("data corruption detected?", "reported" if corruption else "not reported", answer=corruption):
        return Decision(advice=Advice.IMMEDIATE, trigger="Data corruption detected", trace=tuple(trace))
    limit = percent(thresholds.assess_error_rate)
    if ask(
        f"error rate above {limit}?",
        shown,
        answer=None if rate is None else rate >= thresholds.assess_error_rate,
    ):
        return Decision(
            advice=Advice.ASSESS, trigger=f"Error rate {shown} (threshold: {limit})", trace=tuple(trace)
        )
    slow = None if reading.p95 is None else reading.p95 > thresholds.slowdown * baseline.p95
    took = "" if reading.p95 is None else milliseconds(reading.p95)
    worse = percent(thresholds.slowdown - 1)
    if ask(f"p95 more than {worse} over baseline?", took, answer=slow):
        trigger = f"Response time {took} p95 (baseline: {milliseconds(baseline.p95)})"
        return Decision(advice=Advice.ASSESS, trigger=trigger, trace=tuple(trace))
    if reading.known():
        return Decision(advice=Advice.MONITOR, trigger="No threshold exceeded", trace=tuple(trace))
    return Decision(advice=Advice.UNKNOWN, trigger="Metrics unknown", trace=tuple(trace))
