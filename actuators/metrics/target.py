"""The metrics target of a step."""

from __future__ import annotations

from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import MetricsPage, MetricsTarget, PrometheusQueries
from bot.domain.plan import Step


def metrics_target(step: Step, context: Context) -> MetricsTarget:
    """Return what the step reads.

    Raises:
        ActuatorError: If its target is not in the inventory, or has no metrics.
    """
    target = context.inventory.find(step.target)
    if isinstance(target, MetricsPage | PrometheusQueries):
        return target
    raise ActuatorError(
        f"Step {step.id}: {step.target} is {'no metrics target' if target else 'not in the inventory'}.",
        untouched="Nothing was asked.",
        resolution="Name a target of the inventory's section `metrics` in the plan.",
    )
