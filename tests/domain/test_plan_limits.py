"""Limits at the point of no return, dependencies and diagnoses: what a plan must say of them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest

from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, plan_model
from bot.domain.plan_rules import Problem, check_plan
from tests.support import plans

CACHE = {"service": "payments", "host": "127.0.0.1", "keys": "payments:*"}
INVENTORY = Inventory.model_validate({**plans.inventory().model_dump(), "caches": {"payments-cache": CACHE}})
POINT = plans.document()["point_of_no_return"]


class Shown(plans.Health):
    """A diagnosis."""

    diagnoses: ClassVar[bool] = True
    kind: Literal["http.shown"] = "http.shown"  # type: ignore[assignment]  # a kind of its own


def limited(**limits: Any) -> Plan:
    """Return the example's plan with limits."""
    return plans.plan(point_of_no_return={**POINT, **limits})


@pytest.mark.parametrize(
    "limits",
    [
        {"rows": {"target": "payments-db"}},
        {"rows": {"target": "payments-db", "tables": ["users"], "above": 10}},
        {"query": {"target": "payments-db", "sql": "SELECT 1"}},
    ],
)
def test_limits_that_can_be_measured(limits: dict[str, Any]) -> None:
    """A limit on a database, with tables that have a baseline, is sound."""
    assert check_plan(limited(**limits), INVENTORY) == ()


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        pytest.param(
            {"query": {"target": "payments-api", "sql": "SELECT 1"}},
            Problem(
                ("point_of_no_return", "query", "target"),
                "target 'payments-api' is a endpoint, not a database",
                "did you mean 'payments-db'?",
            ),
            id="a query on no database",
        ),
        pytest.param(
            {"query": {"target": "ledger", "sql": "SELECT 1"}},
            Problem(
                ("point_of_no_return", "query", "target"),
                "target 'ledger' is not in the inventory",
                "known: payments-db",
            ),
            id="a query on an unknown target",
        ),
        pytest.param(
            {"rows": {"target": "payments-db", "tables": ["users", "transaction"]}},
            Problem(
                ("point_of_no_return", "rows", "tables", 1),
                "the baseline has no row count of 'transaction' to compare with",
                "did you mean 'transactions'?",
            ),
            id="a table without a baseline",
        ),
    ],
)
def test_limits_that_cannot_be_measured(limits: dict[str, Any], problem: Problem) -> None:
    """A limit that nobody can measure would count as passed in the middle of an incident: so it is refused."""
    assert check_plan(limited(**limits), INVENTORY) == (problem,)


def test_rows_without_a_table_to_count() -> None:
    """Neither the plan nor the inventory names a table: nothing could be counted."""
    baseline = {**plans.document()["baseline"], "row_counts": {}}
    databases = {
        name: {**target.model_dump(), "count_tables": ()} for name, target in plans.inventory().databases.items()
    }
    inventory = Inventory.model_validate({**plans.inventory().model_dump(), "databases": databases})
    plan = plans.plan(point_of_no_return={**POINT, "rows": {"target": "payments-db"}}, baseline=baseline)
    (problem,) = check_plan(plan, inventory)
    assert problem.path == ("point_of_no_return", "rows", "tables")
    assert problem.message == "neither the plan nor the inventory names a table to count"


def test_tables_of_the_inventory_need_a_baseline() -> None:
    """Where the plan names no tables, those that the inventory counts are compared."""
    baseline = {**plans.document()["baseline"], "row_counts": {"users": 1200}}
    plan = plans.plan(point_of_no_return={**POINT, "rows": {"target": "payments-db"}}, baseline=baseline)
    (problem,) = check_plan(plan, INVENTORY)
    assert problem.path == ("point_of_no_return", "rows", "tables")
    assert "no row count of 'transactions'" in problem.message


def test_a_limit_that_no_step_would_measure() -> None:
    """Without a step that takes live data away, a limit on data has no meaning."""
    phases = [{"name": "Only", "expected": "5m", "steps": [plans.act("start")]}]
    plan = plans.plan(
        phases=phases, point_of_no_return={**POINT, "query": {"target": "payments-db", "sql": "SELECT 1"}}
    )
    (problem,) = check_plan(plan, INVENTORY)
    assert problem.message.startswith("no step of the plan takes live data away")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("payments-api", None),
        ("payments-cache", None),
        ("payments-db", "target 'payments-db' is a database, not an endpoint or a cache"),
        ("gateway", "target 'gateway' is not in the inventory"),
    ],
)
def test_dependencies_are_endpoints_and_caches(name: str, problem: str | None) -> None:
    """What is looked at when errors persist must be something that can be asked for its health or its keys."""
    found = [each.message for each in check_plan(plans.plan(dependencies=[name]), INVENTORY)]
    assert found == ([problem] if problem else [])


def test_dependencies_are_read_with_the_plans_targets() -> None:
    """They stand in the approval; a plan that names none has the digest that it always had."""
    assert "payments-cache" in plans.plan(dependencies=["payments-cache"]).all_targets()
    assert "dependencies" not in plans.plan().model_dump(mode="json")
    assert "caches" not in plans.inventory().model_dump(mode="json")
    assert "payments-cache" in INVENTORY.only(["payments-cache"]).caches
    assert "sudo_if_denied" not in str(plans.inventory().model_dump(mode="json"))


def test_a_diagnosis_verifies_nothing() -> None:
    """A step that never fails for what it finds would let every rollback count as complete."""
    model = plan_model({**plans.CATALOGUE, "http.shown": Shown})
    steps = [{"id": "shown", "kind": "http.shown", "target": "payments-api"}, plans.probe("metrics")]
    plan = model.model_validate(plans.document(verification={"expected": "5m", "steps": steps}))
    (problem,) = check_plan(plan, INVENTORY)
    assert problem.path == ("verification", "steps", 0, "kind")
    assert "so it verifies nothing" in problem.message
