"""The preconditions: plan, backups, access, point of no return, metrics. All of it read only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta

from bot.domain import criteria, events
from bot.domain.actuation import Check, Context, Loss, Verdict
from bot.domain.announcements import ask_of
from bot.domain.authority import may_do
from bot.domain.errors import RollbackError
from bot.domain.events import CheckFinding
from bot.domain.manual import ManualStep
from bot.domain.plan import Step
from bot.domain.run import Run
from bot.domain.times import in_words, utc_minute
from bot.engine import outside
from bot.engine.aid import Aid
from bot.engine.drift import difference
from bot.engine.world import World

_log = logging.getLogger(__name__)
_SHORTEST_WINDOW = timedelta(seconds=5)
_AVAILABILITY_NEEDS = timedelta(seconds=30)
"""In a shorter time a single look that got no answer would count as an outage."""
_ORDER = (Verdict.FAIL, Verdict.WARN, Verdict.OK)


class Checks:
    """Looks at everything that must hold before a rollback may ask for authority.

    Args:
        world: What the engine works with.
        aid: Measures what would be lost.
    """

    def __init__(self, world: World, *, aid: Aid) -> None:
        self._world = world
        self._aid = aid
        self._registry = world.registry
        self._clock = world.clock
        self._settings = world.settings

    async def look(self, run: Run, *, last: bool) -> events.Checked | events.PartlyChecked:
        """Make all checks of this zone at once and return what was found, what blocks first.

        Args:
            run: The rollback.
            last: Whether the other zones have looked already: then their findings are part of the answer.
        """
        zone = self._settings.zone
        limit = asyncio.Semaphore(self._settings.parallel_checks)
        context = self._aid.context(run)
        mine = [step for step in run.plan.steps() if run.zone_of(step.target) == zone]
        async with asyncio.TaskGroup() as group:
            steps = [group.create_task(self._step(run, step, context, limit)) for step in mine]
            losses = group.create_task(self._aid.losses(run, mine))
            reading = group.create_task(self._read(run)) if run.zone_of(run.plan.metrics) == zone else None
            plan = group.create_task(self._plan(run))
        found = [*map(_finding, self._lost(losses.result())), *(check for step in steps for check in step.result())]
        if not last:
            return self._part(zone, found, reading.result() if reading else None)
        mine_and_all = [_finding(plan.result()), _finding(self._no_return(run)), *found]
        return self._whole(run, mine_and_all, reading.result() if reading else None)

    def _part(self, zone: str, found: list[CheckFinding], reading: criteria.Reading | None) -> events.PartlyChecked:
        return events.PartlyChecked(
            at=self._clock.now(),
            who=self._settings.owner,
            why=f"preconditions of the rollback in zone {zone}",
            zone=zone,
            findings=_ordered(found),
            reading=reading,
        )

    def _whole(self, run: Run, found: list[CheckFinding], reading: criteria.Reading | None) -> events.Checked:
        parts = [event for event in run.history if isinstance(event, events.PartlyChecked)]
        readings = [*(part.reading for part in parts), reading]
        known = next((each for each in readings if each), criteria.Reading(source=run.plan.metrics))
        decision = criteria.decide(known, run.plan.baseline, self._world.policy.thresholds)
        elsewhere = [finding for part in parts for finding in part.findings]
        return events.Checked(
            at=self._clock.now(),
            who=self._settings.owner,
            why="preconditions of the rollback",
            findings=_ordered([*found, *elsewhere, _finding(_metrics_check(known, decision))]),
            reading=known,
            decision=decision,
        )

    def _lost(self, losses: tuple[tuple[Step, Loss], ...]) -> list[Check]:
        """Return what would be lost, for whoever approves: it is never a reason to refuse by itself."""
        return [
            Check(
                f"Data lost by {step.id}",
                Verdict.WARN if loss.rows or loss.rows is None or loss.beyond else Verdict.OK,
                f"{loss.words} (backup of {utc_minute(loss.since)})",
                f"{loss.beyond}: a second person must confirm the loss." if loss.beyond else "",
            )
            for step, loss in losses
        ]

    async def _step(
        self, run: Run, step: Step, context: Context, limit: asyncio.Semaphore
    ) -> tuple[CheckFinding, ...]:
        found = await self._checks(step, context, limit)
        people = (self._people(run, step),) if isinstance(step, ManualStep) else ()
        return tuple(_finding(check, step.id) for check in (*found, *people))

    def _people(self, run: Run, step: ManualStep) -> Check:
        """Name who may do a step that a person does: without anybody it would wait for ever."""
        policy, ask = self._world.policy, ask_of(run)
        may = [p.name for p in policy.people if may_do(policy, ask, p.id, roles=step.roles).granted]
        subject = f"People for {step.id}"
        if may:
            words = f"the rollback will wait for one of: {', '.join(may)}."
            return Check(subject, Verdict.WARN, words, "Have one of them ready.")
        words = f"nobody may confirm it: the policy has no {step.who_may()} for these targets. Nothing was changed."
        return Check(subject, Verdict.FAIL, words, "Enter somebody in the policy, or other `roles` in the plan.")

    async def _checks(self, step: Step, context: Context, limit: asyncio.Semaphore) -> tuple[Check, ...]:
        async with limit:
            patience = step.looking or self._settings.check_timeout
            try:
                looking = self._registry.actuator(step).check(step, context)
                found = await outside.call(looking, limit=patience)
                return tuple(outside.check(check) for check in found)
            except outside.NoAnswerError:
                words = f"no answer within {in_words(patience)}. Nothing was changed."
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
            asked = self._world.metrics.read(run.plan.metrics, window=window)
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
        changes = await difference(run, plans=self._world.plans, inventory=self._world.inventory)
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
        destroys = any(step.destroys for step in run.plan.steps())
        needed = "; a second person must confirm the loss after you" if destroys else ""
        return Check("Point of no return", Verdict.WARN, words, f"Weigh forward-fix before you approve{needed}.")


def _subject(step: Step) -> str:
    return f"{step.kind} on {step.target}"


def _metrics_check(reading: criteria.Reading, decision: criteria.Decision) -> Check:
    if not reading.known():
        words = "unknown; no data is neither good nor bad"
        return Check("Metrics", Verdict.WARN, words, f"Look at {reading.source or 'the source'} yourself.")
    return Check("Metrics", Verdict.OK, f"{decision.advice.value}: {decision.trigger}")


def _finding(check: Check, step: str = "") -> CheckFinding:
    """Return a check for the journal. Only a seal belongs to one step: many steps may find the same otherwise."""
    return CheckFinding(
        subject=check.subject,
        verdict=check.verdict,
        words=check.words,
        resolution=check.resolution,
        detail=check.detail,
        seal=check.seal,
        step=step if check.seal else "",
    )


def _ordered(found: Iterable[CheckFinding]) -> tuple[CheckFinding, ...]:
    """Return each finding once, what blocks first."""
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: _ORDER.index(finding.verdict)))
