"""metrics.baseline: the service's error rate and response time are back at what they were before the deployment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field

from actuators.causes import likely_causes
from actuators.metrics.source import MetricsSource
from actuators.metrics.target import metrics_target
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Outcome, Progress, Remedy, Verdict
from bot.domain.criteria import Reading, milliseconds, percent
from bot.domain.errors import ActuatorError
from bot.domain.inventory import MetricsPage
from bot.domain.plan import Baseline, Step
from bot.domain.times import Duration, format_duration, parse_duration


class BackAtBaseline(Step):
    """Error rate and p95 stay within their limits for a while that begins after the step has started.

    The error rate passes below `max_error_rate` (the specification's 1 %), or at the baseline's own if that is
    higher. The p95 passes up to `p95_tolerance` above the baseline: the default is the specification's threshold of
    50 % for a degraded service, since a p95 read from histogram buckets is as coarse as these. Unknown never
    passes.

    Attributes:
        settle: How long the values must stay within their limits.
        within: Time until they must have done so.
        every: Time between two looks.
        max_error_rate: Share of failed requests that is no longer good, 0..1.
        p95_tolerance: Share of the baseline's p95 that may come on top of it.
        min_availability: Share of looks at the page that must be answered, 0..1; for queries, of their own value.
    """

    reads_only: ClassVar[bool] = True

    kind: Literal["metrics.baseline"] = "metrics.baseline"
    settle: Duration = parse_duration("30s")
    within: Duration = parse_duration("3m")
    every: Duration = parse_duration("1s")
    max_error_rate: float = Field(default=0.01, gt=0, le=1)
    p95_tolerance: float = Field(default=0.5, ge=0)
    min_availability: float = Field(default=0.95, ge=0, le=1)

    def deadline(self) -> timedelta:
        """Return how long one attempt may take: never less than `within`."""
        return max(super().deadline(), self.within + timedelta(seconds=30))

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Metrics of {self.target} are back at the baseline"


def shortfalls(reading: Reading, baseline: Baseline, step: BackAtBaseline) -> tuple[str, ...]:
    """Say where a reading misses the baseline; unknown misses it."""
    found = []
    rate, p95, availability = reading.error_rate, reading.p95, reading.availability
    limit = max(step.max_error_rate, baseline.error_rate)
    if rate is None:
        found.append("error rate unknown (no traffic or no data)")
    elif not (rate < step.max_error_rate or rate <= baseline.error_rate):
        found.append(f"error rate {percent(rate)} (limit: {percent(limit)})")
    longest = baseline.p95 * (1 + step.p95_tolerance)
    if p95 is None:
        found.append("p95 unknown (no traffic or no data)")
    elif p95 > longest:
        found.append(f"{milliseconds(p95)} p95 (limit: {milliseconds(longest)})")
    if availability is not None and availability < step.min_availability:
        found.append(f"availability {percent(availability)} (limit: {percent(step.min_availability)})")
    return tuple(found)


@dataclass
class Settling:
    """How long the values have been good.

    A page's window is cut at the step's start and slides, so it is good as a whole or not. A query has a window of
    its own that may reach back before the start, so its values must stay good from look to look.

    Attributes:
        settle: Seconds that are needed.
        windowed: Whether readings are of a window of ours.
    """

    settle: float
    windowed: bool
    good_since: float | None = None

    def update(self, *, now: float, window: timedelta, good: bool) -> float:
        """Take a reading; return the seconds that have settled."""
        if not good:
            self.good_since = None
            return 0.0
        if self.windowed:
            return min(window.total_seconds(), self.settle)
        if self.good_since is None:
            self.good_since = now
        return min(now - self.good_since, self.settle)


class BaselineActuator(LeavesNothing):
    """A probe: watches until the values have settled.

    Args:
        source: Where the metrics come from.
    """

    def __init__(self, source: MetricsSource) -> None:
        self._source = source

    async def check(self, step: BackAtBaseline, context: Context) -> tuple[Check, ...]:
        """Look whether the metrics can be read. The service may be down, so that is a warning only."""
        subject = f"Metrics {step.target}"
        try:
            target = metrics_target(step, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        problem = await self._source.sampler.problem(step.target, target)
        if problem:
            resolution = (
                "Without metrics the rollback cannot be confirmed: correct the target, or be ready to override."
            )
            return (Check(subject, Verdict.WARN, f"Cannot be read now: {problem}", resolution),)
        return (Check(subject, Verdict.OK, f"{target.url} can be read"),)

    async def apply(self, step: BackAtBaseline, context: Context) -> Outcome:
        """Watch until the values have settled or the time is up."""
        target = metrics_target(step, context)
        baseline = context.plan.baseline
        clock, sampler = context.clock, self._source.sampler
        started = clock.monotonic()
        settle, every = step.settle.total_seconds(), step.every.total_seconds()
        # A window of exactly `settle` would hardly ever hold samples that lie that far apart.
        longest = settle + 2 * max(every, sampler.interval.total_seconds())
        settling = Settling(settle=settle, windowed=isinstance(target, MetricsPage))
        while True:
            if isinstance(target, MetricsPage):
                # Else the window would begin and end with samples of the background, up to two intervals shorter.
                await sampler.sample(step.target, target)
            window = timedelta(seconds=min(clock.monotonic() - started, longest))
            reading = await sampler.read(step.target, target, window=window)
            wrong = shortfalls(reading, baseline, step)
            now = clock.monotonic()
            settled = settling.update(now=now, window=reading.window, good=not wrong)
            words = _words(reading, baseline)
            context.report(Progress(round(settled, 1), settle, "seconds", words))
            if not wrong and settled >= settle:
                return Outcome(words, _facts(reading))
            if now - started + every > step.within.total_seconds():
                problem = await sampler.problem(step.target, target)
                raise _missed(step, reading, baseline, (*wrong, problem) if problem else wrong)
            await clock.sleep(every)

    async def remedies(self, step: BackAtBaseline, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return where else to look: the deployment may not have been the cause, or something was left behind."""
        del step, fault
        return likely_causes(context)


def _words(reading: Reading, baseline: Baseline) -> str:
    rate = "unknown" if reading.error_rate is None else percent(reading.error_rate)
    took = "unknown" if reading.p95 is None else milliseconds(reading.p95)
    return (
        f"error rate {rate} (baseline: {percent(baseline.error_rate)}), "
        f"{took} p95 (baseline: {milliseconds(baseline.p95)})"
    )


def _facts(reading: Reading) -> dict[str, Any]:
    return {
        "error_rate": reading.error_rate,
        "p95_seconds": None if reading.p95 is None else reading.p95.total_seconds(),
        "availability": reading.availability,
    }


def _missed(step: BackAtBaseline, reading: Reading, baseline: Baseline, wrong: tuple[str, ...]) -> ActuatorError:
    why = "; ".join(wrong) or f"good, but not yet for {format_duration(step.settle)}"
    return ActuatorError(
        f"Metrics of {step.target} are not back at the baseline within {format_duration(step.within)}: {why}.",
        untouched="The metrics were only read.",
        resolution="Look for another cause (configuration, dependencies, caches), or override with a reason.",
        output=_words(reading, baseline),
    )
