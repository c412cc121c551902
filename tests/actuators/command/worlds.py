"""A host with a program that the inventory allows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest

from actuators.command import RunCommand
from actuators.command_look import LookAtCommand
from bot.domain.plan import Step
from tests.actuators.command.conftest import allow
from tests.actuators.servers.worlds import contents
from tests.support.contract import Case, Cases, Ground
from tests.support.pgserver import free_port
from tests.support.ssh import ssh_estate

GROUP = "payments-app"
SIDE = {"side": "green"}
STEPS: tuple[Step, ...] = (
    RunCommand(id="flip", target=GROUP, command="flip", parameters=SIDE),
    LookAtCommand(id="look", target=GROUP, command="flip", parameters=SIDE, run_as="flip"),
)


@asynccontextmanager
async def host(ground: Ground, *, step: Step) -> Cases:
    """One host over SSH."""
    if sys.platform != "linux":
        pytest.skip("hosts over SSH are Linux hosts; this machine is not")
    async with ssh_estate(ground.folder, hosts=1) as estate:
        allow(estate)
        near = estate.context(step)
        (where,) = estate.group["hosts"]
        estate.group["hosts"] = [{**where, "port": free_port()}]
        away = estate.context(step)
        yield Case(step, near, away, state=lambda: contents(estate.only))


WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    step.kind: partial(host, step=step) for step in STEPS
}
