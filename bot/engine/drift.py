"""Whether a plan or its targets are still what was checked and approved."""

from __future__ import annotations

import logging
from typing import Any

from bot.domain import ports
from bot.domain.errors import PlanInvalidError, PlanUnavailableError
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan
from bot.domain.run import Run

_log = logging.getLogger(__name__)
_SHOWN = 6


async def difference(run: Run, *, plans: ports.PlanSource, inventory: Inventory) -> tuple[str, ...]:
    """Return what is different now, one line a change; empty when all is as it was checked."""
    try:
        plan = await plans.find(run.plan.change)
    except PlanUnavailableError:
        return ("the plan is gone",)
    except PlanInvalidError as error:
        return (f"the plan is unusable now: {error.problems[0] if error.problems else error.brief}",)
    except Exception as error:  # noqa: BLE001 - a plan that cannot be read now is not the plan that was approved
        _log.exception("the plan of %s could not be read again", run.plan.change)
        return (f"the plan cannot be read now ({type(error).__name__})",)
    current = inventory.only(run.plan.all_targets())
    lines = [*_differences("plan", run.plan, plan), *_differences("inventory", run.inventory, current)]
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"]
    return tuple(lines)


def _differences(what: str, before: Plan | Inventory, after: Plan | Inventory) -> list[str]:
    """Return what is different. The digests decide: to Python 1 and True are equal, to a target they are not."""
    old, new = before.digest(), after.digest()
    if old == new:
        return []
    lines = _compare(what, before.model_dump(mode="json"), after.model_dump(mode="json"))
    return lines or [f"{what}: digest {old[:12]} → {new[:12]}"]


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
