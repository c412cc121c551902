"""The inventory's stacks: what they say, where they stand, and what plans may do to them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from actuators.terraform.steps import TerraformApply
from bot.domain.inventory import Inventory, TerraformStack
from bot.domain.plan_rules import check_plan
from tests.support.actuation import make_plan

STACK = {"service": "payments", "repository": "/srv/code", "folder": "/var/lib/bot"}


def test_inventories_without_stacks_keep_their_digest() -> None:
    """The section is left out of the canonical inventory where it is not used, so approvals stay valid."""
    assert "stacks" not in Inventory().model_dump(mode="json")
    used = Inventory.model_validate({"stacks": {"infra": STACK}})
    assert used.digest() != Inventory().digest()


def test_a_stack_is_a_target_like_others() -> None:
    """It is found by its name, kept by a plan's part of the inventory, and left out of others."""
    inventory = Inventory.model_validate({"stacks": {"infra": STACK, "other": STACK}})
    found = inventory.only(["infra"])
    assert isinstance(found.find("infra"), TerraformStack)
    assert found.find("other") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "../other"},
        {"path": "/etc"},
        {"var_files": ["../../secret.tfvars"]},
        {"repository": "code"},
        {"folder": "runs"},
        {"binary": "terraform -chdir=/"},
        {"env": {"A-B": {"env": "X"}}},
        {"env": {"AWS_SECRET_ACCESS_KEY": "plain"}},
        {"workspace": "a b"},
    ],
)
def test_a_stack_stays_within_its_repository_and_holds_no_secret(fields: dict[str, Any]) -> None:
    """Paths that lead out, relative places, words that a shell would read and plain secrets are refused."""
    with pytest.raises(ValidationError):
        TerraformStack.model_validate({**STACK, **fields})


def test_steps_of_terraform_act_on_stacks_alone() -> None:
    """Another kind of target is a problem of the plan, which names a stack that fits."""
    endpoint = {"service": "payments", "url": "http://127.0.0.1"}
    inventory = Inventory.model_validate({"stacks": {"infra": STACK}, "endpoints": {"infro": endpoint}})
    limits = {"add": 0, "change": 0, "destroy": 0}
    step = TerraformApply.model_validate({"id": "a", "target": "infro", "commit": "f" * 40, "expect": limits})
    problems = [p for p in check_plan(make_plan(step), inventory) if "terraform.apply" in p.message]
    assert problems[0].message == "target 'infro' is a endpoint, which terraform.apply cannot act on"
    assert "infra" in problems[0].suggestion
