"""Commands and people's steps in plans: what can be told to be wrong before anything runs."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field

from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, Step, plan_model
from bot.domain.plan_rules import check_plan
from tests.support import plans


class Run(Step):
    """A step that has a command run."""

    kind: Literal["command.run"] = "command.run"
    command: str
    parameters: dict[str, str] = Field(default_factory=dict)


MODEL = plan_model({**plans.CATALOGUE, "command.run": Run})


def inventory() -> Inventory:
    """Return the example's targets; the servers allow one command."""
    document = plans.inventory().model_dump(mode="json")
    flip = {"argv": ["/opt/flip", "{side}"], "parameters": {"side": "green|blue"}, "markers": "/var/lib/markers"}
    document["server_groups"]["payments-servers"]["commands"] = {"flip": flip}
    return Inventory.model_validate(document)


def plan(**more: Any) -> Plan:
    """Return a plan whose only step flips."""
    base = {"id": "a", "kind": "command.run", "target": "payments-servers", "command": "flip"}
    step = {**base, "parameters": {"side": "green"}, **more}
    return MODEL.model_validate(plans.document(phases=[{"name": "Only", "expected": "5m", "steps": [step]}]))


def test_a_command_that_is_allowed_is_sound() -> None:
    """What the inventory allows, filled in as it allows, is no problem."""
    assert check_plan(plan(), inventory()) == ()


@pytest.mark.parametrize(
    ("more", "path", "says", "suggests"),
    [
        ({"command": "flop"}, "command", "allows no command 'flop' on payments-servers", "did you mean 'flip'?"),
        ({"command": "reboot"}, "command", "allows no command 'reboot'", "allowed: flip"),
        ({"parameters": {}}, "parameters", "the parameter side is missing", "see `parameters`"),
        (
            {"parameters": {"side": "red"}},
            "parameters",
            "'red' does not match green|blue in full",
            "see `parameters`",
        ),
        ({"target": "payments-db"}, "target", "is a database, which command.run cannot act on", ""),
        ({"target": "nobody"}, "target", "is not in the inventory", ""),
    ],
)
def test_what_is_not_allowed_is_found_before_anything_runs(
    more: dict[str, Any], path: str, says: str, suggests: str
) -> None:
    """A plan's check names the field, what is wrong and what is allowed."""
    (problem,) = [each for each in check_plan(plan(**more), inventory()) if each.path[0] == "phases"]
    assert problem.path == ("phases", 0, "steps", 0, path)
    assert says in problem.message
    assert suggests in problem.suggestion


def test_nothing_is_allowed_where_the_inventory_names_nothing() -> None:
    """Without a list of commands none may be run."""
    (problem,) = check_plan(plan(), plans.inventory())
    assert problem.suggestion == "allowed: none"


def test_a_person_verifies_nothing() -> None:
    """A step that a person does acts, so it cannot stand among the probes."""
    probes = [plans.by_hand("look"), plans.probe("metrics")]
    found = check_plan(plans.plan(verification={"expected": "5m", "steps": probes}), plans.inventory())
    assert [problem.message for problem in found] == ["manual.do changes its target; verification only reads"]
