"""Blue-green as a whole: the documented plan, and its steps with real traffic through a real HAProxy."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator
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
from bot.domain.errors import ActuatorError, RefusedError
from bot.domain.events import StepStarted
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.plan import Baseline, Plan, Step, plan_model
from bot.engine.books import Books
from bot.engine.executor import Executor, World
from bot.engine.service import Actor
from bot.main.clock import SystemClock
from bot.main.compose import build_registry
from storage import plans
from storage.database import Database
from storage.history import SqlHistory
from storage.migrations import upgrade
from storage.runs import SqlRuns
from tests.actuators.balancer.test_watch import telling
from tests.support import plans as examples
from tests.support.actuation import RealClock, make_context, make_plan
from tests.support.engine import Lab, Worker
from tests.support.haproxy import Haproxy, Side, needs_haproxy
from tests.support.pgserver import PgServer, free_port, running_server
from tests.support.wires import Wire

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
        source: Where the metrics come from.
        registry: The actuators.
        inventory: All targets.
        counts: Requests and failed ones, as the clients saw them.
    """

    haproxy: Haproxy
    source: MetricsSource
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
        yield Stage(haproxy, source, Registry(*http.register(), *balancer.register(source)), inventory, counts)
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


class Engine(Lab):
    """The engine over the stage: its steps, its metrics, its targets, and the machine's clock.

    Args:
        database: The store, empty.
        stage: What it acts on.
    """

    def __init__(self, database: Database, stage: Stage) -> None:
        super().__init__(database)
        self.stage = stage
        self.time = RealClock()
        self.model = plan_model(stage.registry.catalogue())
        self.runs = SqlRuns(database, plan_model=self.model, clock=self.time)
        document = self.inventory.model_dump(mode="json")
        merged = {name: {**document.get(name, {}), **targets} for name, targets in stage.inventory.items()}
        self.inventory = Inventory.model_validate({**document, **merged})

    def worker(self, name: str = "worker-1", **_how: Any) -> Worker:
        """Start a worker with the actuators of the stage."""
        wire = Wire(self.runs)
        world = World(
            runs=wire,
            plans=self.shelf,
            inventory=self.inventory,
            registry=self.stage.registry,
            metrics=self.stage.source,
            policy=self.policy,
            books=Books(self.register),
            board=self.board,
            history=SqlHistory(self.database),
            carrier=self.jobs,
            clock=self.time,
            settings=self.settings(name),
        )
        return Worker(wire, Executor(world), world)

    def plan(self) -> Plan:
        """Return a plan of the three steps, each in a phase of its own."""
        steps = (STANDBY, SWITCH, WATCH.model_copy(update={"needs": ()}))
        phases = [
            {"name": step.id, "expected": "1m", "steps": [{**step.model_dump(mode="json"), "attempts": 1}]}
            for step in steps
        ]
        after = {"id": "after", "kind": "http.health", "target": "green"}
        return self.model.model_validate(
            examples.document(phases=phases, metrics="page", verification={"expected": "1m", "steps": [after]})
        )


@pytest.fixture(scope="module")
def server() -> Iterator[PgServer]:
    """A PostgreSQL server for the stores."""
    with running_server() as started:
        yield started


@pytest.fixture
async def engine(server: PgServer, stage: Stage) -> AsyncIterator[Engine]:
    """The engine over the stage, with a store of its own."""
    name = f"store_{uuid.uuid4().hex[:8]}"
    server.execute(f"CREATE DATABASE {name}")
    url = f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{name}"
    await upgrade(url)
    database = Database(url)
    try:
        yield Engine(database, stage)
    finally:
        await database.close()


@needs_haproxy
async def test_standby_that_falls_ill_after_the_approval_halts_the_rollback(
    engine: Engine, pair: tuple[Side, Side]
) -> None:
    """The checks were good; now the standby is ill: the rollback is held before the switch is begun."""
    run = await engine.approved(engine.plan())
    pair[1].healthy = False
    run = await engine.after(run)
    assert run.state is State.HELD
    begun = {event.step for event in run.history if isinstance(event, StepStarted)}
    assert begun == {"standby"}
    assert await engine.stage.haproxy.weight("blue") == 100


@needs_haproxy
async def test_switch_that_does_not_help_is_held_and_can_be_switched_back(
    engine: Engine, pair: tuple[Side, Side]
) -> None:
    """Errors that do not go hold the rollback; the way back is offered, and a person's word carries it out."""
    pair[1].failing = True
    async with engine.stage.clients():
        run = await engine.after(await engine.approved(engine.plan()))
        assert run.state is State.HELD
        assert await engine.stage.haproxy.weight("green") == 100
        assert [offered.id for offered in run.remedies("watch")] == ["show-stat", "switch-back"]
        with pytest.raises(RefusedError):
            await engine.service().remedy(
                run.id, Actor(examples.ON_CALL), step="watch", remedy="switch-back", reason="green fails too"
            )
        chosen = await engine.service().remedy(
            run.id, Actor(examples.MANAGER), step="watch", remedy="switch-back", reason="green fails too"
        )
        run = await engine.after(chosen)
    assert run.state is State.HELD
    pair[0].failing = False
    assert await engine.stage.haproxy.requests(5) == {"blue": 5}
