"""The preconditions: plan, backups, access, point of no return, metrics. All of it read only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta

from bot.domain import criteria, events, ports
from bot.domain.actuation import Check, Context, Registry, Verdict
from bot.domain.authority import Policy
from bot.domain.errors import RollbackError
from bot.domain.events import CheckFinding
from bot.domain.inventory import Inventory
from bot.domain.plan import Step
from bot.domain.run import Run
from bot.domain.times import in_words
from bot.engine import outside
from bot.engine.drift import difference
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
_SHORTEST_WINDOW = timedelta(seconds=5)
_AVAILABILITY_NEEDS = timedelta(seconds=30)
"""In a shorter time a single look that got no answer would count as an outage."""
_ORDER = (Verdict.FAIL, Verdict.WARN, Verdict.OK)


class Checks:
    """Looks at everything that must hold before a rollback may ask for authority.

    Args:
        registry: The actuators.
        plans: Where plans come from.
        inventory: All targets as they stand now.
        metrics: What the services' metrics say.
        policy: Holds the thresholds.
        clock: The time.
        settings: Timeouts.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        plans: ports.PlanSource,
        inventory: Inventory,
        metrics: ports.Metrics,
        policy: Policy,
        clock: ports.Clock,
        settings: EngineSettings,
    ) -> None:
        self._registry = registry
        self._plans = plans
        self._inventory = inventory
        self._metrics = metrics
        self._policy = policy
        self._clock = clock
        self._settings = settings

    async def look(self, run: Run) -> events.Checked:
        """Make all checks at once and return what was found, what blocks first."""
        limit = asyncio.Semaphore(self._settings.parallel_checks)
        context = Context(
            rollback_id=run.id,
            plan=run.plan,
            inventory=run.inventory,
            clock=self._clock,
            report=lambda _progress: None,
            why=run.reason,
        )
        async with asyncio.TaskGroup() as group:
            steps = [group.create_task(self._step(step, context, limit)) for step in run.plan.steps()]
            reading = group.create_task(self._read(run))
            plan = group.create_task(self._plan(run))
        found = [plan.result(), self._no_return(run), *(check for step in steps for check in step.result())]
        decision = criteria.decide(reading.result(), run.plan.baseline, self._policy.thresholds)
        found.append(_metrics_check(reading.result(), decision))
        return events.Checked(
            at=self._clock.now(),
            who=self._settings.owner,
            why="preconditions of the rollback",
            findings=_findings(found),
            reading=reading.result(),
            decision=decision,
        )

    async def _step(self, step: Step, context: Context, limit: asyncio.Semaphore) -> tuple[Check, ...]:
        async with limit:
            try:
                looking = self._registry.actuator(step).check(step, context)
                found = await outside.call(looking, limit=self._settings.check_timeout)
                return tuple(outside.check(check) for check in found)
            except outside.NoAnswerError:
                words = f"no answer within {in_words(self._settings.check_timeout)}. Nothing was changed."
                return (Check(_subject(step), Verdict.FAIL, words, "See whether the target is reachable."),)
            except RollbackError as error:
                failed = Check(_subject(step), Verdict.FAIL, f"{error.brief} {error.untouched}", error.resolution)
                return (outside.check(failed),)
            except Exception as error:  # noqa: BLE001 - an actuator of somebody else's may raise anything
                _log.exception("the check of step %s failed", step.id)
                words = f"the check itself failed ({type(error).__name__}). Nothing was changed."
                return (Check(_subject(step), Verdict.FAIL, words, "See the bot's log."),)

    async def _read(self, run: Run) -> criteria.Reading:
        try:
            window = self._window(run)
            asked = self._metrics.read(run.plan.metrics, window=window)
            reading = await outside.call(asked, limit=self._settings.check_timeout)
        except Exception:  # noqa: BLE001 - no data is an answer of its own
            _log.exception("the metrics of %s could not be read", run.plan.metrics)
            return criteria.Reading(source=run.plan.metrics)
        if window < _AVAILABILITY_NEEDS:
            return reading.model_copy(update={"availability": None})
        return reading

    def _window(self, run: Run) -> timedelta:
        """Return the time to look back over; what was before the deployment says nothing about it."""
        since = self._clock.now() - run.plan.deployed_at
        return min(self._settings.metrics_window, max(since, _SHORTEST_WINDOW))

    async def _plan(self, run: Run) -> Check:
        changes = await difference(run, plans=self._plans, inventory=self._inventory)
        if changes:
            words = f"changed while it was being checked: {'; '.join(changes)}. Nothing was run."
            return Check("Rollback plan", Verdict.FAIL, words, "Ask again.")
        return Check("Rollback plan", Verdict.OK, f"complete, digest {run.plan.digest()[:12]}")

    def _no_return(self, run: Run) -> Check:
        point = run.plan.point_of_no_return
        left = run.plan.deployed_at + point.after - self._clock.now()
        if left.total_seconds() > 0:
            return Check("Point of no return", Verdict.OK, f"{in_words(left)} left ({point.reason})")
        words = f"passed {in_words(-left)} ago: {point.reason}."
        return Check("Point of no return", Verdict.WARN, words, "Weigh forward-fix before you approve.")


def _subject(step: Step) -> str:
    return f"{step.kind} on {step.target}"


def _metrics_check(reading: criteria.Reading, decision: criteria.Decision) -> Check:
    if not reading.known():
        words = "unknown; no data is neither good nor bad"
        return Check("Metrics", Verdict.WARN, words, f"Look at {reading.source or 'the source'} yourself.")
    return Check("Metrics", Verdict.OK, f"{decision.advice.value}: {decision.trigger}")


def _findings(found: Iterable[Check]) -> tuple[CheckFinding, ...]:
    unique = dict.fromkeys(found)
    ordered = sorted(unique, key=lambda check: _ORDER.index(check.verdict))
    return tuple(
        CheckFinding(subject=check.subject, verdict=check.verdict, words=check.words, resolution=check.resolution)
        for check in ordered
    )
