"""Whether a plan or its targets are still what was checked and approved."""

from __future__ import annotations

from typing import Any

from bot.domain import ports
from bot.domain.errors import PlanInvalidError, PlanUnavailableError
from bot.domain.inventory import Inventory
from bot.domain.run import Run

_SHOWN = 6


async def difference(run: Run, *, plans: ports.PlanSource, inventory: Inventory) -> tuple[str, ...]:
    """Return what is different now, one line a change; empty when all is as it was checked."""
    try:
        plan = await plans.find(run.plan.change)
    except PlanUnavailableError:
        return ("the plan is gone",)
    except PlanInvalidError as error:
        return (f"the plan is unusable now: {error.problems[0] if error.problems else error.brief}",)
    lines: list[str] = []
    if plan.digest() != run.plan.digest():
        lines += _compare("plan", run.plan.model_dump(mode="json"), plan.model_dump(mode="json"))
    current = inventory.only(run.plan.all_targets())
    if current.digest() != run.inventory.digest():
        lines += _compare("inventory", run.inventory.model_dump(mode="json"), current.model_dump(mode="json"))
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"]
    return tuple(lines)


def _compare(path: str, before: Any, after: Any) -> list[str]:
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys((*before, *after)))
        return [line for key in keys for line in _compare(f"{path}.{key}", before.get(key), after.get(key))]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for i, (old, new) in pairs for line in _compare(f"{path}[{i}]", old, new)]
    return [f"{path}: {_short(before)} → {_short(after)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004 - one line of a card
