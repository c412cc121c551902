"""Blue-green as a whole: the documented plan, and its steps with real traffic through a real HAProxy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actuators import balancer, http
from actuators.balancer import BalancerWatch, HaproxyWeights
from actuators.http import Health
from actuators.metrics import MetricsSource
from bot.domain.actuation import Context, Fault, KnowsRemedies, Outcome, Presence, Registry
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Inventory
from bot.domain.plan import Baseline, Step
from bot.main.clock import SystemClock
from bot.main.compose import build_registry
from storage import plans
from tests.actuators.balancer.test_watch import telling
from tests.support.actuation import RealClock, make_context, make_plan
from tests.support.haproxy import Haproxy, Side, needs_haproxy
from tests.support.pgserver import free_port

DOCUMENT = Path(__file__).parents[3] / "docs" / "actuators" / "blue-green.md"
SWITCH = HaproxyWeights(id="switch", target="lb", backend="payments", weights={"green": 100, "blue": 0})
STANDBY = Health(id="standby", target="green", within="200ms", every="50ms")
WATCH = BalancerWatch(
    id="watch", target="page", switch="switch", needs=("switch",), settle="400ms", within="1500ms", every="100ms"
)


def test_the_documented_plan_is_one(tmp_path: Path) -> None:
    """Inventory and plan of the document can be used, and the plan keeps the order of the three steps."""
    inventory_text, plan_text = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text, encoding="utf-8")
    inventory = plans.read_inventory(file)
    registry = build_registry(MetricsSource({}, clock=SystemClock()))
    plan = plans.read_plan(plan_text, file="plan.yaml", catalogue=registry.catalogue(), inventory=inventory)
    assert [step.kind for phase in plan.phases for step in phase.steps] == [
        "http.health",
        "haproxy.weights",
        "balancer.watch",
    ]
    assert inventory.only(plan.all_targets()).find("payments-edge") is not None


@dataclass
class Stage:
    """Clients, balancer and metrics.

    Attributes:
        haproxy: The balancer.
        registry: The actuators.
        inventory: All targets.
        counts: Requests and failed ones, as the clients saw them.
    """

    haproxy: Haproxy
    registry: Registry
    inventory: dict[str, Any]
    counts: dict[str, int]

    def context(self) -> Context:
        """Return the context of the run."""
        baseline = Baseline(error_rate=0.0, p95=timedelta(seconds=1))
        return make_context(make_plan(STANDBY, SWITCH, WATCH, baseline=baseline, metrics="page"), self.inventory)

    async def apply(self, step: Step, context: Context | None = None) -> Outcome:
        """Apply a step."""
        return await self.registry.actuator(step).apply(step, context or self.context())

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[None]:
        """Let clients come while the block runs."""
        going = True

        async def come() -> None:
            while going:
                for who, number in (await self.haproxy.requests(3)).items():
                    self.counts["200" if who in {"blue", "green"} else "500"] += number

        async with asyncio.TaskGroup() as group:
            group.create_task(come())
            yield
            going = False


@pytest.fixture
async def stage(haproxy: Haproxy) -> AsyncIterator[Stage]:
    """Give the stage: all traffic goes to blue, and blue fails."""
    haproxy.sides[0].failing = True
    counts = {"200": 0, "500": 0}

    async def page(_request: web.Request) -> web.Response:
        lines = [f'http_requests_total{{status="{status}"}} {number}' for status, number in counts.items()]
        return web.Response(text="# TYPE http_requests_total counter\n" + "\n".join(lines) + "\n")

    port = free_port()
    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    metrics = {"kind": "metrics_page", "service": "payments", "url": f"http://127.0.0.1:{port}/metrics"}
    green = {"service": "payments", "url": f"http://127.0.0.1:{haproxy.sides[1].port}"}
    inventory = {
        "metrics": {"page": metrics},
        "endpoints": {"green": green},
        "load_balancers": {"lb": haproxy.target()},
    }
    source = MetricsSource(
        dict(Inventory.model_validate(inventory).metrics), clock=RealClock(), interval=timedelta(milliseconds=50)
    )
    try:
        yield Stage(haproxy, Registry(*http.register(), *balancer.register(source)), inventory, counts)
    finally:
        await runner.cleanup()


@needs_haproxy
async def test_errors_go_with_the_switch(stage: Stage) -> None:
    """Standby healthy, traffic switched, and the error rate that the clients see comes back to the baseline."""
    async with stage.clients():
        await stage.apply(STANDBY)
        async with asyncio.timeout(20):
            while stage.counts["500"] < 20:
                await stage.haproxy.requests(1)
        await stage.apply(SWITCH)
        outcome = await stage.apply(WATCH)
    # What was under way at the switch may still fail in the watch's window.
    assert outcome.facts["error_rate"] < WATCH.max_error_rate


@needs_haproxy
async def test_an_unhealthy_standby_halts(stage: Stage, pair: tuple[Side, Side]) -> None:
    """The probe of an ill standby fails, and so would the switch; blue keeps the traffic."""
    pair[1].healthy = False
    await stage.haproxy.until(lambda text: "L7STS" in text, "show stat payments 4 -1")
    with pytest.raises(ActuatorError, match="not as expected"):
        await stage.apply(STANDBY)
    with pytest.raises(ActuatorError, match="no traffic may be sent there"):
        await stage.apply(SWITCH)
    assert await stage.haproxy.weight("blue") == 100


@needs_haproxy
async def test_the_way_back_brings_the_old_side_back(stage: Stage, pair: tuple[Side, Side]) -> None:
    """Green fails as well, so the watch fails, and its remedy sets exactly what stood before the switch."""
    pair[1].failing = True
    switched = await stage.apply(SWITCH)
    async with stage.clients():
        with pytest.raises(ActuatorError, match="error rate 100%"):
            await stage.apply(WATCH)
    actuator = stage.registry.actuator(WATCH)
    assert isinstance(actuator, KnowsRemedies)
    context = telling(stage.context(), {"switch": switched.facts})
    found = {remedy.id: remedy for remedy in await actuator.remedies(WATCH, Fault("errors"), context)}
    assert list(found) == ["show-stat", "switch-back"]
    pair[0].failing = False
    await stage.apply(found["switch-back"].step, context)
    assert await stage.haproxy.requests(5) == {"blue": 5}
    seen = await stage.registry.actuator(SWITCH).observe(SWITCH, context)
    assert seen.presence is Presence.ABSENT
