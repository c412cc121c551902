"""Reads the plans and targets beside it by the code released with the schema 0001, with all its actuators.

It is run by `tests.upgrade.make` within the tree of that release.
"""

# mypy: ignore-errors
# The release's own names are meant, which today's code need not have.

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import actuators.metrics
from bot.domain.plan import plan_model
from bot.main.clock import SystemClock
from bot.main.compose import build_registry
from storage import plans


def main() -> None:
    """Write ``documents.json``: of each plan the stored forms and the digests that an approval binds to."""
    folder = Path(sys.argv[1])
    documents = folder / "documents"
    inventory = plans.read_inventory(documents / "inventory.yaml")
    registry = build_registry(actuators.metrics.MetricsSource(inventory.metrics, clock=SystemClock()))
    shelf = plans.PlanFolder(documents / "plans", catalogue=registry.catalogue(), inventory=inventory)
    found = {}
    for summary in asyncio.run(shelf.list()):
        plan = asyncio.run(shelf.find(summary.change))
        targets = inventory.only(plan.all_targets())
        stored = plan.model_dump_json()
        assert plan_model(registry.catalogue()).model_validate_json(stored).digest() == plan.digest()
        found[plan.change] = {
            "plan": stored,
            "canonical": plan.canonical(),
            "plan_digest": plan.digest(),
            "inventory": targets.model_dump_json(),
            "targets_digest": targets.digest(),
        }
    kinds = {
        json.loads(step.model_dump_json())["kind"] for c in found for step in asyncio.run(shelf.find(c)).steps()
    }
    assert kinds == set(registry.catalogue()), sorted(set(registry.catalogue()) - kinds)
    out = folder / "documents.json"
    out.write_text(json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
