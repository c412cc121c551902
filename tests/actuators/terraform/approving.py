"""What the tests of an approved plan share: the approval, and what lies around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from actuators.terraform import TerraformApply
from actuators.terraform.apply import ApplyActuator
from bot.domain.actuation import Check, Context
from tests.support.actuation import Reports
from tests.support.terraform import Stack


def sealed(checks: tuple[Check, ...]) -> Check:
    """Return the one finding that the approval binds to."""
    (found,) = [check for check in checks if check.seal]
    return found


async def approved(stack: Stack, step: TerraformApply, *, reports: Reports | None = None) -> Context:
    """Let the plan be shown, and return the run as it is after somebody has approved that."""
    context = stack.context(step, reports=reports)
    seal = sealed(await ApplyActuator().check(step, context)).seal
    return replace(context, approved={step.id: seal})


def waiting(stack: Stack) -> list[Path]:
    """Return the saved plans that lie on the worker."""
    return sorted(stack.folder.rglob("saved.tfplan"))


def outside(stack: Stack) -> object:
    """Return all that a step could change but the plans that wait for their approval, which are the bot's own."""
    kept = [name for name in stack.files() if not name.startswith("runs/")]
    return stack.server.state, dict(stack.server.lock), stack.code.looks(), kept
