"""balancer.watch: after a switch of traffic the error rate comes back to the baseline in time, or somebody decides.

A step that switches traffic records what stood before as the fact ``before``: those of its own fields that would
bring it back. The watch offers exactly that step as a remedy, of whatever kind the switch was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal, Protocol

from pydantic import Field, ValidationError

from actuators.metrics import MetricsSource, metrics_target
from actuators.metrics.baseline import Settling
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Outcome, Progress, Remedy, Verdict
from bot.domain.criteria import Reading, percent
from bot.domain.errors import ActuatorError
from bot.domain.inventory import MetricsPage, MetricsTarget, Name
from bot.domain.plan import Plan, Step
from bot.domain.times import Duration, format_duration, in_words, parse_duration

BEFORE = "before"
"""The fact under which a switch records what it replaced."""


class BalancerWatch(Step):
    """The error rate is back at the baseline, and stays there for a while, within minutes of a switch.

    It passes below `max_error_rate`, or at the plan's baseline if that is higher. Unknown never passes.

    Attributes:
        switch: The step that switched the traffic.
        within: Time from the beginning until it must have settled; the specification expects 2-3 minutes.
        settle: How long it must stay good.
        every: Time between two looks.
        max_error_rate: Share of failed requests that is no longer good, 0..1.
    """

    reads_only: ClassVar[bool] = True

    kind: Literal["balancer.watch"] = "balancer.watch"
    switch: Name
    within: Duration = parse_duration("3m")
    settle: Duration = parse_duration("30s")
    every: Duration = parse_duration("1s")
    max_error_rate: float = Field(default=0.01, gt=0, le=1)

    def deadline(self) -> timedelta:
        """Return how long one attempt may take: never less than `within`."""
        return max(super().deadline(), self.within + timedelta(seconds=30))

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Error rate of {self.target} falls after {self.switch}"

    def good(self, rate: float | None, baseline: float) -> bool:
        """Return whether a rate is back at the baseline; unknown is not."""
        return rate is not None and (rate < self.max_error_rate or rate <= baseline)


class SwitchAid(Protocol):
    """What knows how a kind of switch may come to have no effect."""

    async def no_effect(self, step: Any, context: Context) -> tuple[Remedy, ...]:
        """Return what may help when the switch stands and the errors go on; read only."""
        ...


class WatchActuator(LeavesNothing):
    """A probe: watches the error rate until it has settled.

    Args:
        source: Where the metrics come from.
        aids: Who knows the switches, by their kind of step.
    """

    def __init__(self, source: MetricsSource, aids: Mapping[str, SwitchAid]) -> None:
        self._source = source
        self._aids = aids

    async def check(self, step: BalancerWatch, context: Context) -> tuple[Check, ...]:
        """Look whether the switch is one that comes before, and the metrics can be read."""
        subject = f"Error rate of {step.target}"
        try:
            target = metrics_target(step, context)
            _must_come_before(step, context.plan)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        problem = await self._source.sampler.problem(step.target, target)
        if problem:
            resolution = "Without it nobody can tell whether the switch helped: correct the target."
            return (Check(subject, Verdict.WARN, f"Cannot be read now: {problem}", resolution),)
        return (Check(subject, Verdict.OK, f"{target.url} can be read"),)

    async def apply(self, step: BalancerWatch, context: Context) -> Outcome:
        """Watch until the rate has settled at the baseline, or the time is up."""
        target, clock = metrics_target(step, context), context.clock
        baseline = context.plan.baseline.error_rate
        settle, every = step.settle.total_seconds(), step.every.total_seconds()
        settling = Settling(settle=settle, windowed=isinstance(target, MetricsPage))
        started, highest = clock.monotonic(), 0.0
        while True:
            reading = await self._read(step, target, since=started, context=context)
            now, rate = clock.monotonic(), reading.error_rate
            good = step.good(rate, baseline)
            highest = max(highest, rate or 0.0)
            settled = settling.update(now=now, window=reading.window, good=good)
            words = f"error rate {_shown(rate)} (baseline: {percent(baseline)})"
            context.report(Progress(round(settled, 1), settle, "seconds", words))
            if good and settled >= settle:
                # A page's window is good as a whole, so the errors had gone where it begins.
                since = now - reading.window.total_seconds() if settling.windowed else settling.good_since or now
                after = max(0.0, round(since - started, 1))
                told = f"{words}, back after {in_words(timedelta(seconds=after))}; highest {percent(highest)}"
                return Outcome(told, {"error_rate": rate, "back_after_seconds": after})
            if now - started + every > step.within.total_seconds():
                problem = await self._source.sampler.problem(step.target, target)
                raise _missed(step, words, good=good, problem=problem)
            await clock.sleep(every)

    async def remedies(self, step: BalancerWatch, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what shows where the traffic goes, what may still hold the old side, and the way back."""
        del fault
        try:
            switch = context.plan.step(step.switch)
        except KeyError:
            return ()
        aid = self._aids.get(switch.kind)
        found = await aid.no_effect(switch, context) if aid is not None else ()
        back = _back(switch, context)
        return (*found, back) if back is not None else found

    async def _read(self, step: BalancerWatch, target: MetricsTarget, *, since: float, context: Context) -> Reading:
        sampler = self._source.sampler
        if isinstance(target, MetricsPage):
            # Else the window would begin and end with samples of the background, up to two intervals shorter.
            await sampler.sample(step.target, target)
        pause = max(step.every.total_seconds(), sampler.interval.total_seconds())
        longest = step.settle.total_seconds() + 2 * pause
        window = timedelta(seconds=min(context.clock.monotonic() - since, longest))
        return await sampler.read(step.target, target, window=window)


def _back(switch: Step, context: Context) -> Remedy | None:
    """Return the way back to what stood before the switch, None if that was not recorded."""
    before = context.facts.get(switch.id, {}).get(BEFORE)
    if not isinstance(before, Mapping):
        return None
    document = {**switch.model_dump(mode="json"), "id": "back", "needs": [], "title": "", **before}
    try:
        step = type(switch).model_validate(document)
    except ValidationError:
        return None
    words = (
        f"{step.words()}, as it stood before {switch.id}. The side that the rollback leaves gets its traffic back."
    )
    return Remedy("switch-back", "Switch back", words, step)


def _must_come_before(step: BalancerWatch, plan: Plan) -> None:
    """Check that the plan has the switch, as an acting step that has always ended when the watch begins.

    Raises:
        ActuatorError: If it has not.
    """
    if any(earlier.id == step.switch and not earlier.reads_only for earlier in _before(step, plan)):
        return
    raise ActuatorError(
        f"Step {step.id}: {step.switch} is no step that acts and has ended before it.",
        untouched="Nothing was asked.",
        resolution="Name the switching step in `switch`; it stands in an earlier phase, or in `needs`.",
    )


def _before(step: Step, plan: Plan) -> Iterator[Step]:
    """Yield the steps that have always ended when this one begins."""
    for phase in plan.phases:
        within = {other.id: other for other in phase.steps}
        if step.id in within:
            waiting = list(step.needs)
            while waiting:
                needed = within.get(waiting.pop())
                if needed is not None:
                    yield needed
                    waiting += needed.needs
            return
        yield from phase.steps


def _shown(rate: float | None) -> str:
    return "unknown (no traffic or no data)" if rate is None else percent(rate)


def _missed(step: BalancerWatch, words: str, *, good: bool, problem: str) -> ActuatorError:
    why = f"{words}, good but not yet for {format_duration(step.settle)}" if good else words
    return ActuatorError(
        f"The errors of {step.target} have not gone within {format_duration(step.within)} of the switch: {why}"
        f"{f'; {problem}' if problem else ''}.",
        untouched=f"The metrics were only read; {step.switch} stands as it is.",
        resolution="See where the traffic goes; purge what caches; or switch back, if this side is the worse one.",
    )
