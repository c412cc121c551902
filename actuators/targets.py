"""The target that a step acts on, as its actuator needs it."""

from __future__ import annotations

from typing import TypeVar

from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import TargetBase
from bot.domain.plan import Step

T = TypeVar("T", bound=TargetBase)


def target_of(
    step: Step,
    context: Context,
    kind: type[T],
    *,
    called: str,
    section: str,
    untouched: str = "Nothing was contacted.",
) -> T:
    """Return the target that the step acts on.

    Args:
        step: The step.
        context: The run.
        kind: What the target must be.
        called: That in words, e.g. ``Terraform stack``.
        section: Where the inventory has such targets, e.g. ``stacks``.
        untouched: What was left as it was.

    Raises:
        ActuatorError: If the inventory has none of that name and kind.
    """
    target = context.inventory.find(step.target)
    if isinstance(target, kind):
        return target
    raise ActuatorError(
        f"Step {step.id}: {step.target} is {f'no {called}' if target else 'not in the inventory'}.",
        untouched=untouched,
        resolution=f"Name a target of the inventory's section `{section}` in the plan.",
    )
