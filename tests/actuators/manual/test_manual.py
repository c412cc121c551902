"""What an approver reads of a step that a person does, and that no worker does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actuators.manual import ByPerson, register
from bot.domain.actuation import Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.manual import ManualStep
from tests.support.hosts import local_estate


def step(**more: Any) -> ManualStep:
    """Return a step of a person."""
    base = {"id": "key", "target": "payments-app", "title": "Turn the key", "instructions": "Left.\nIt clicks."}
    return ManualStep.model_validate({**base, **more})


async def test_the_approver_is_told(tmp_path: Path) -> None:
    """The check warns that a person is needed, says who may confirm, and shows the instructions."""
    (entry,) = register()
    wanted = step(roles=["service_owner"], evidence="required")
    (check,) = await entry.actuator.check(wanted, local_estate(tmp_path / "host").context(wanted))
    assert check.verdict is Verdict.WARN
    assert check.words == (
        "a person must do this on payments-app and confirm it, with evidence; who may: Service Owner."
    )
    assert check.detail == "Left.\nIt clicks."


async def test_a_target_that_nobody_knows(tmp_path: Path) -> None:
    """A step on a target that the inventory lacks is refused before the approval."""
    wanted = step(target="nobody")
    (check,) = await ByPerson().check(wanted, local_estate(tmp_path / "host").context(wanted))
    assert check.verdict is Verdict.FAIL
    assert "no target nobody" in check.words


async def test_no_worker_does_it(tmp_path: Path) -> None:
    """Looking tells nothing, and applying is refused: only the person knows, and only the person acts."""
    wanted = step()
    context = local_estate(tmp_path / "host").context(wanted)
    assert (await ByPerson().observe(wanted, context)).presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match="done by a person"):
        await ByPerson().apply(wanted, context)
