"""Asking an actuator what it knows beyond acting, as the engine does."""

from __future__ import annotations

from bot.domain.actuation import Context, Fault, KnowsLoss, KnowsRemedies, Loss, Outcome, Registry, Remedy
from bot.domain.plan import Step


async def remedies_of(registry: Registry, step: Step, context: Context, brief: str = "") -> tuple[Remedy, ...]:
    """Return what may help after a step has failed with these words."""
    actuator = registry.actuator(step)
    assert isinstance(actuator, KnowsRemedies)
    return await actuator.remedies(step, Fault(brief), context)


async def loss_of(registry: Registry, step: Step, context: Context) -> Loss | None:
    """Return what a step would destroy now."""
    actuator = registry.actuator(step)
    assert isinstance(actuator, KnowsLoss)
    return await actuator.loss(step, context)


async def run_remedy(registry: Registry, remedy: Remedy, context: Context) -> Outcome:
    """Run a remedy from what a journal holds of it, under the kind of id that the engine gives it."""
    step = registry.read({**remedy.step.model_dump(mode="json"), "id": f"remedy.{remedy.id}.7.0"})
    return await registry.actuator(step).apply(step, context)
