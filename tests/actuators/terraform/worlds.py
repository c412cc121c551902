"""A stack whose failed version was deployed by the real core."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from actuators import terraform
from actuators.terraform.apply import ApplyActuator
from actuators.terraform.places import digest
from actuators.terraform.steps import Expect
from bot.domain.plan import Step
from tests.actuators.terraform.approving import outside, sealed
from tests.support.contract import Case, Cases, Ground, World
from tests.support.terraform import EXISTS, MISSING, REQUIRED, Code, Stack, build_code, state_server

_NAME = "payments-infra"
_REFUSED = f"Error: creating\n\n  with terraform_data.logs,\n  on main.tf line 1:\n\n{EXISTS}\n"
_STOPPED = "The state of payments-infra is locked: deploy@ci-7 (apply), lock id 8d5f-01."


@functools.cache
def _code() -> Code:
    folder = tempfile.mkdtemp(prefix="rollback-terraform-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build_code(Path(folder))


@functools.cache
def _seals() -> dict[str, str]:
    return {}


async def _approved(stack: Stack, step: Step) -> dict[str, str]:
    """Return the seal of what the step would do; it is the same in every world, so it is looked for once."""
    if isinstance(step, terraform.TerraformApply) and step.id not in _seals():
        _seals()[step.id] = sealed(await ApplyActuator().check(step, stack.context(step))).seal
    return _seals()


def world(make: Callable[[Code], Step], *, locked: bool = False, damaged: bool = False) -> World:
    """Return a world in which a step has something to do."""

    @asynccontextmanager
    async def built(ground: Ground) -> Cases:
        if MISSING and not REQUIRED:
            pytest.skip(MISSING)
        code = _code()
        with state_server(code.state) as server:
            stack, step = Stack(code, server, ground.folder / "bot"), make(code)
            if locked:
                server.left_locked("8d5f-01")
            if damaged:
                server.state = json.dumps({**json.loads(code.state), "serial": 40, "resources": []}).encode()
            faults, seals = (_REFUSED, _STOPPED), await _approved(stack, step)
            context, away = (replace(each.context(step), approved=seals) for each in (stack, stack.away()))
            yield Case(step, context, away, lambda: outside(stack), faults)

    return built


def _apply(code: Code) -> Step:
    limits = Expect(add=1, change=1, destroy=1)
    return terraform.TerraformApply(id="infra", target=_NAME, commit=code.good, expect=limits)


def _restore(code: Code) -> Step:
    file = code.repository.with_name("good.tfstate")
    file.write_bytes(code.state)
    lineage = json.loads(code.state)["lineage"]
    return terraform.TerraformStateRestore(
        id="s", target=_NAME, commit=code.good, lineage=lineage, file=str(file), sha256=digest(code.state)
    )


WORLDS = {
    "terraform.state_restore": world(_restore, damaged=True),
    "terraform.state_versions": world(
        lambda code: terraform.TerraformStateVersions(id="v", target=_NAME, commit=code.good)
    ),
    "terraform.apply": world(_apply),
    "terraform.refresh": world(lambda code: terraform.TerraformRefresh(id="r", target=_NAME, commit=code.good)),
    "terraform.state_list": world(
        lambda code: terraform.TerraformStateList(id="l", target=_NAME, commit=code.good)
    ),
    "terraform.import": world(
        lambda code: terraform.TerraformImport(
            id="i", target=_NAME, commit=code.good, address="terraform_data.logs", identity="payments-logs"
        )
    ),
    "terraform.state_rm": world(
        lambda code: terraform.TerraformStateRm(
            id="rm", target=_NAME, commit=code.good, address="terraform_data.extra"
        )
    ),
    "terraform.unlock": world(
        lambda code: terraform.TerraformUnlock(id="u", target=_NAME, commit=code.good, lock="8d5f-01"), locked=True
    ),
}
