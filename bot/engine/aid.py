"""Looking on behalf of people: what may help a failed step, how the targets stand, what data would be lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from bot.domain import events, manual, ports
from bot.domain.actuation import (
    Context,
    Facts,
    Fault,
    KnowsLoss,
    KnowsRemedies,
    Loss,
    Observation,
    Presence,
    Registry,
    Remedy,
)
from bot.domain.errors import RollbackError
from bot.domain.plan import Step
from bot.domain.run import Run
from bot.domain.times import in_words
from bot.engine import outside
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
_LONGEST_TITLE = 60
_NAME = 40
T = TypeVar("T")


class Aid:
    """Asks the actuators, read only; whatever they raise becomes words.

    Args:
        registry: The actuators.
        clock: The time.
        settings: Timeouts.
    """

    def __init__(self, *, registry: Registry, clock: ports.Clock, settings: EngineSettings) -> None:
        self._registry = registry
        self._clock = clock
        self._settings = settings

    def helpful(self, run: Run) -> frozenset[str]:
        """Return the ids of the plan's steps whose actuators know remedies."""
        return frozenset(s.id for s in run.plan.steps() if isinstance(self._registry.actuator(s), KnowsRemedies))

    async def remedies(self, run: Run, step_id: str) -> events.RemediesOffered:
        """Return what may help a held step, for the journal; nothing, if its actuator cannot tell."""
        step, failure = run.plan.step(step_id), run.status(step_id).failure
        fault = Fault(failure.brief, failure.output, failure.presence) if failure else Fault("")
        found: tuple[Remedy, ...] = ()
        actuator: Any = self._registry.actuator(step)
        try:
            asked = actuator.remedies(step, fault, self.context(run))
            found = await outside.call(asked, limit=self._settings.check_timeout)
        except Exception:  # noqa: BLE001 - a person decides without remedies then
            _log.exception("%s: the remedies of step %s could not be found out", run.id, step_id)
        offered = tuple(_offered(run, remedy, n) for n, remedy in enumerate(found))
        return events.RemediesOffered(
            at=self._clock.now(), who=self._settings.owner, why="what may help", step=step_id, remedies=offered
        )

    async def survey(self, run: Run, step_ids: tuple[str, ...]) -> events.Surveyed:
        """Look how the targets of these steps stand."""
        steps = [run.plan.step(step_id) for step_id in step_ids]
        seen = await self._all(steps, lambda step: self._observe(run, step))
        found = tuple(
            events.TargetFound(step=step.id, target=step.target, presence=o.presence, words=o.words)
            for step, o in zip(steps, seen, strict=True)
        )
        why = "the rollback is given up: how every target stands"
        return events.Surveyed(at=self._clock.now(), who=self._settings.owner, why=why, found=found)

    async def losses(self, run: Run, among: Iterable[Step]) -> tuple[tuple[Step, Loss], ...]:
        """Measure what these steps would destroy now; what cannot be measured counts as beyond return."""
        steps = [step for step in among if step.destroys]
        found = await self._all(steps, lambda step: self._loss(run, step))
        return tuple((step, loss) for step, loss in zip(steps, found, strict=True) if loss)

    def context(self, run: Run) -> Context:
        """Return the world as an actuator that only looks sees it."""
        return Context(
            rollback_id=run.id,
            plan=run.plan,
            inventory=run.inventory,
            clock=self._clock,
            report=lambda _progress: None,
            facts=facts_of(run),
            why=run.reason,
            approved=run.approved,
        )

    async def _all(self, steps: list[Step], look: Callable[[Step], Awaitable[T]]) -> list[T]:
        limit = asyncio.Semaphore(self._settings.parallel_checks)

        async def one(step: Step) -> T:
            async with limit:
                return await look(step)

        async with asyncio.TaskGroup() as group:
            looking = [group.create_task(one(step)) for step in steps]
        return [task.result() for task in looking]

    async def _observe(self, run: Run, step: Step) -> Observation:
        if isinstance(step, manual.ManualStep):
            return manual.seen(run, step)
        return await observed(self._registry, step, self.context(run), settings=self._settings)

    async def _loss(self, run: Run, step: Step) -> Loss | None:
        actuator = self._registry.actuator(step)
        if not isinstance(actuator, KnowsLoss):
            return None
        try:
            asked = actuator.loss(step, self.context(run))
            return await outside.call(asked, limit=self._settings.check_timeout)
        except RollbackError as error:
            why = outside.text(error.brief)
        except Exception as error:  # noqa: BLE001 - an actuator of somebody else's may raise anything
            _log.exception("%s: the loss by step %s could not be measured", run.id, step.id)
            why = type(error).__name__
        words = f"not known what would be lost ({why})"
        return Loss(words, since=run.plan.deployed_at, beyond=words)


def facts_of(run: Run) -> dict[str, Facts]:
    """Return what each step has measured so far."""
    return {step: status.facts for step, status in run.steps.items()}


async def observed(registry: Registry, step: Step, context: Context, *, settings: EngineSettings) -> Observation:
    """Look whether a step's effect is there; whatever goes wrong with looking is UNKNOWN, with its words."""
    limit = step.looking or settings.check_timeout
    try:
        looking = registry.actuator(step).observe(step, context)
        return outside.observation(await outside.call(looking, limit=limit))
    except outside.NoAnswerError:
        return Observation(Presence.UNKNOWN, f"no answer within {in_words(limit)}")
    except RollbackError as error:
        return Observation(Presence.UNKNOWN, outside.text(error.brief))
    except Exception as error:  # noqa: BLE001 - an actuator of somebody else's may raise anything
        _log.exception("looking at step %s failed", step.id)
        return Observation(Presence.UNKNOWN, f"looking failed ({type(error).__name__})")


def _offered(run: Run, remedy: Remedy, number: int) -> events.RemedyOffered:
    """Return the remedy for the journal; its step gets an id that no other step of the rollback has."""
    document = remedy.step.model_dump(mode="json")
    document["id"] = f"remedy.{remedy.id[:_NAME]}.{run.seq}.{number}"
    return events.RemedyOffered(
        id=remedy.id,
        title=outside.text(remedy.title)[:_LONGEST_TITLE],
        words=outside.text(remedy.words),
        acts=not remedy.step.reads_only,
        settles=remedy.settles,
        step=document,
    )
