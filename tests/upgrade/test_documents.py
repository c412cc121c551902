from __future__ import annotations

import pytest

import actuators.metrics
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, plan_model
from bot.main.clock import SystemClock
from bot.main.compose import build_registry
from storage import plans
from tests.upgrade.release import RELEASED

CHANGES = sorted(RELEASED.documents)
_FOLDER = RELEASED.folder / "documents"


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    """The release's inventory, read from its file by today's program."""
    return plans.read_inventory(_FOLDER / "inventory.yaml")


@pytest.fixture(scope="module")
def shelf(inventory: Inventory) -> plans.PlanFolder:
    """The release's plans, read from their files by today's program with all its actuators."""
    registry = build_registry(actuators.metrics.MetricsSource(inventory.metrics, clock=SystemClock()))
    return plans.PlanFolder(_FOLDER / "plans", catalogue=registry.catalogue(), inventory=inventory)


@pytest.fixture(scope="module")
def model(inventory: Inventory) -> type[Plan]:
    """Today's model of plans with all actuators."""
    registry = build_registry(actuators.metrics.MetricsSource(inventory.metrics, clock=SystemClock()))
    return plan_model(registry.catalogue())


@pytest.mark.parametrize("change", CHANGES)
async def test_a_plans_file_keeps_its_digest(shelf: plans.PlanFolder, inventory: Inventory, change: str) -> None:
    """An upgrade changes no plan: the file that the release read has the same canonical form and digest today.

    What a plan does not say must not stand in its canonical form: a field that is new since needs
    ``exclude_if``, or every approval that was given before the upgrade is void after it.
    """
    released, plan = RELEASED.documents[change], await shelf.find(change)
    assert plan.canonical() == released["canonical"]
    assert plan.digest() == released["plan_digest"]
    assert inventory.only(plan.all_targets()).digest() == released["targets_digest"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_stored_plan_keeps_its_digest(model: type[Plan], change: str) -> None:
    """A plan and its targets as the release stored them have the digests by which they were approved."""
    released = RELEASED.documents[change]
    plan = model.model_validate_json(released["plan"])
    assert plan.digest() == released["plan_digest"]
    assert Inventory.model_validate_json(released["inventory"]).digest() == released["targets_digest"]
