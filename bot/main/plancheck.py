"""`rollback plan check` and `rollback plan schema`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import actuators.metrics
from bot.domain.errors import PlanInvalidError
from bot.domain.inventory import Inventory
from bot.domain.plan import StepCatalogue
from bot.domain.ports import Clock
from bot.domain.times import in_words
from bot.main.compose import build_registry, read_site
from bot.main.settings import Settings
from storage import plans


@dataclass(frozen=True)
class Report:
    """How a plan was found.

    Attributes:
        file: The plan.
        problems: Every problem, one line each; empty if it is sound.
        summary: The plan in one line.
    """

    file: Path
    problems: tuple[str, ...]
    summary: str = ""


def check(files: Iterable[Path], settings: Settings, clock: Clock) -> Iterator[Report]:
    """Check plans against their form and the inventory."""
    inventory = read_site(settings).inventory
    catalogue = _catalogue(inventory, clock)
    for file in files:
        yield _check(file, catalogue, inventory)


def schema(clock: Clock) -> dict[str, Any]:
    """Return the JSON Schema of plans with the steps of the registered actuators."""
    return plans.plan_schema(_catalogue(Inventory(), clock))


def _catalogue(inventory: Inventory, clock: Clock) -> StepCatalogue:
    return build_registry(actuators.metrics.MetricsSource(inventory.metrics, clock=clock)).catalogue()


def _check(file: Path, catalogue: StepCatalogue, inventory: Inventory) -> Report:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Report(file, (f"{file}: cannot be read: {error}",))
    try:
        plan = plans.read_plan(text, file=str(file), catalogue=catalogue, inventory=inventory)
    except PlanInvalidError as error:
        return Report(file, error.problems or (error.brief,))
    steps = sum(1 for _ in plan.steps())
    took = in_words(plan.expected())
    return Report(file, (), f"{plan.title_line()}, {steps} steps, about {took}, digest {plan.digest()[:12]}")
