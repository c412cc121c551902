"""The fixtures of network devices: a router, its entry in the inventory, and runs of a step on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from actuators import network
from bot.domain.actuation import Check, Context, Registry, Verdict
from bot.domain.plan import Step
from tests.actuators.network.cisco import Cisco
from tests.actuators.network.juniper import Juniper
from tests.actuators.network.worlds import REACH, cisco, juniper
from tests.support.actuation import Reports, make_context, make_plan
from tests.support.routers import Router, running

REGISTRY = Registry(*network.register())
R = TypeVar("R", bound=Router)


@dataclass
class Site(Generic[R]):
    """A router and the way to it.

    Attributes:
        router: The double.
        entry: The inventory's entry.
        reports: Progress of every run.
    """

    router: R
    entry: dict[str, Any]
    reports: Reports

    def context(self, step: Step, **fields: Any) -> Context:
        """Return the context of a run, with fields of the entry changed."""
        devices = {"devices": {"edge": {**self.entry, **fields}}}
        return make_context(make_plan(step), devices, clock=self.router.clock, reports=self.reports)

    def later(self, seconds: float) -> None:
        """Let time go by."""
        self.router.clock.seconds += seconds


def told(checks: tuple[Check, ...], verdict: Verdict) -> str:
    """Return the words of the checks of a verdict."""
    return "\n".join(check.words for check in checks if check.verdict is verdict)


@pytest.fixture
async def ios(tmp_path: Path) -> AsyncIterator[Site[Cisco]]:
    """Give a Cisco router."""
    router, folder = cisco(), tmp_path / "ios"
    folder.mkdir()
    async with running(router, folder, platform="ios", **REACH) as entry:
        yield Site(router, entry, Reports())


@pytest.fixture
async def junos(tmp_path: Path) -> AsyncIterator[Site[Juniper]]:
    """Give a Juniper router."""
    router, folder = juniper(), tmp_path / "junos"
    folder.mkdir()
    async with running(router, folder, platform="junos", **REACH) as entry:
        yield Site(router, entry, Reports())
