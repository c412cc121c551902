"""balancer.watch: when a switch counts as having helped, and what is offered when it has not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from actuators import balancer
from actuators.balancer import BalancerWatch, HaproxyIsolate, HaproxyWeights
from actuators.mesh import Destination, MeshWeights
from actuators.metrics import MetricsSource
from bot.domain.actuation import Context, Fault, KnowsRemedies, Outcome, Presence, Registry, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Inventory
from bot.domain.plan import Baseline, Plan
from tests.actuators.metrics.conftest import Page
from tests.support.actuation import FakeClock, RealClock, Reports, fails, make_context, make_plan

SWITCH = HaproxyWeights(id="switch", target="lb", backend="payments", weights={"green": 100, "blue": 0})
WATCH = BalancerWatch(id="watch", target="page", switch="switch", needs=("switch",), settle="10s", within="60s")
BASELINE = Baseline(error_rate=0.002, p95="175ms")
BEFORE = {"weights": {"green": 0, "blue": 100}, "ready": True}


def telling(context: Context, facts: Mapping[str, Mapping[str, Any]]) -> Context:
    """Return the context with what earlier steps measured."""
    return replace(context, facts=facts)


def world(page: Page, *, clock: Any = None, reports: Reports | None = None, plan: Plan | None = None) -> Context:
    """Return the context of a run of switch and watch; there is no balancer at its address."""
    edge = {
        "service": "payments",
        "names": ["payments.example.org"],
        "purge": {"url": "https://cdn.example.org/purge"},
    }
    lb = {"service": "payments", "flavour": "haproxy", "socket": "/nowhere/admin.sock", "downstream": "edge"}
    inventory = {**page.inventory(), "load_balancers": {"lb": lb}, "downstreams": {"edge": edge}}
    return make_context(
        plan or make_plan(SWITCH, WATCH, baseline=BASELINE), inventory, clock=clock, reports=reports
    )


def registry(page: Page, clock: Any) -> Registry:
    """Return the actuators with a source of metrics."""
    source = MetricsSource(dict(Inventory.model_validate(page.inventory()).metrics), clock=clock)
    return Registry(*balancer.register(source))


async def watch(
    page: Page, traffic: Callable[[float], None], *, reports: Reports | None = None
) -> tuple[Outcome, Any]:
    """Watch while a second's traffic is served in each second."""
    clock = FakeClock(on_sleep=traffic)
    context = world(page, clock=clock, reports=reports)
    return await registry(page, clock).actuator(WATCH).apply(WATCH, context), clock


async def remedies(page: Page, context: Context) -> dict[str, Remedy]:
    """Return what is offered."""
    actuator = registry(page, RealClock()).actuator(WATCH)
    assert isinstance(actuator, KnowsRemedies)
    return {remedy.id: remedy for remedy in await actuator.remedies(WATCH, Fault("errors"), context)}


async def test_errors_that_go_are_awaited(page: Page) -> None:
    """Errors of the first seconds slide out of the window; the words say how high they were and when they went."""
    reports = Reports()
    outcome, clock = await watch(
        page, lambda second: page.live.serve(100, failed=30 if second < 20 else 0), reports=reports
    )
    assert outcome.facts["error_rate"] == 0
    assert outcome.facts["back_after_seconds"] == pytest.approx(20, abs=2)
    assert outcome.words.startswith("error rate 0% (baseline: 0.2%), back after ")
    assert outcome.words.endswith("; highest 30%")
    assert 29 <= clock.seconds <= 33
    assert reports.seen[-1].done == reports.seen[-1].total == 10


@pytest.mark.parametrize(
    ("failed", "words"),
    [(12, "error rate 12% (baseline: 0.2%)"), (1, "error rate 1% (baseline: 0.2%)")],
)
async def test_errors_that_stay_fail_the_watch(page: Page, failed: int, words: str) -> None:
    """A rate that is not back in time fails, with the value; the switch stands as it is."""
    with pytest.raises(ActuatorError, match="have not gone within 1m of the switch") as caught:
        await watch(page, lambda _second: page.live.serve(100, failed=failed))
    assert words in caught.value.brief
    assert caught.value.untouched == "The metrics were only read; switch stands as it is."


async def test_no_data_is_not_zero_errors(page: Page) -> None:
    """Without traffic, or without a page, the rate is unknown and never passes."""
    with pytest.raises(ActuatorError, match="error rate unknown"):
        await watch(page, lambda _second: None)
    page.release = None
    with pytest.raises(ActuatorError, match="HTTP 503"):
        await watch(page, lambda _second: None)


async def test_good_but_not_for_long_enough(page: Page) -> None:
    """Errors that end just before the time is up are told as what they are."""
    step = WATCH.model_copy(update={"within": WATCH.settle / 2})
    clock = FakeClock(on_sleep=lambda _second: page.live.serve(100))
    with pytest.raises(ActuatorError, match="good but not yet for 10s"):
        await registry(page, clock).actuator(step).apply(step, world(page, clock=clock))


@pytest.mark.parametrize(
    ("rate", "baseline", "good"), [(0.009, 0, True), (0.01, 0, False), (0.05, 0.05, True), (None, 1, False)]
)
def test_back_at_the_baseline(rate: float | None, baseline: float, *, good: bool) -> None:
    """Below 1 %, or at the baseline if that is higher; unknown is never good."""
    assert WATCH.good(rate, baseline) is good


def test_the_deadline_leaves_time_to_watch() -> None:
    """An attempt is not stopped before `within` is over, however short the step is expected to be."""
    assert WATCH.model_copy(update={"within": 10 * WATCH.within}).deadline() > 10 * WATCH.within


async def test_the_switch_must_come_before(page: Page) -> None:
    """A watch names a step that acts and has always ended when it begins: an earlier phase, or `needs`."""
    actuator = registry(page, RealClock()).actuator(WATCH)
    assert not fails(await actuator.check(WATCH, world(page)))
    for step in (
        WATCH.model_copy(update={"needs": ()}),
        WATCH.model_copy(update={"switch": "watch"}),
        WATCH.model_copy(update={"switch": "nothing"}),
    ):
        plan = make_plan(SWITCH, step, baseline=BASELINE)
        failed = fails(await actuator.check(step, world(page, plan=plan)))
        assert "no step that acts and has ended before it" in failed
    earlier = make_plan(SWITCH, WATCH.model_copy(update={"needs": ()}), baseline=BASELINE)
    (phase,) = earlier.phases
    phases = tuple(phase.model_copy(update={"steps": (step,)}) for step in phase.steps)
    plan = earlier.model_copy(update={"phases": phases})
    assert not fails(await actuator.check(plan.step("watch"), world(page, plan=plan)))


async def test_metrics_that_cannot_be_read_are_told_in_advance(page: Page) -> None:
    """The service may be ill, so a page that does not answer is a warning; a wrong target is a failure."""
    page.release = None
    actuator = registry(page, RealClock()).actuator(WATCH)
    (check,) = await actuator.check(WATCH, world(page))
    assert check.verdict is Verdict.WARN
    wrong = WATCH.model_copy(update={"target": "lb"})
    assert "lb is no metrics target" in fails(await actuator.check(wrong, world(page)))
    assert (await actuator.observe(WATCH, world(page))).presence is Presence.ABSENT


async def test_what_is_offered(page: Page) -> None:
    """Diagnoses first, then what lies behind the balancer, then the way back to exactly what was recorded."""
    found = await remedies(page, telling(world(page), {"switch": {"before": BEFORE}}))
    assert list(found) == ["show-stat", "dns-ttl", "cdn-purge", "switch-back"]
    assert [remedy.id for remedy in found.values() if remedy.step.reads_only] == ["show-stat", "dns-ttl"]
    back = found["switch-back"]
    assert isinstance(back.step, HaproxyWeights)
    assert (back.step.weights, back.step.ready, back.settles) == ({"green": 0, "blue": 100}, True, False)
    assert "Shift payments on lb to green 0, blue 100, as it stood before switch." in back.words
    assert all(len(remedy.title) <= 60 for remedy in found.values())


@pytest.mark.parametrize(
    "facts", [{}, {"switch": {}}, {"switch": {"before": {"weights": {}}}}, {"switch": {"before": 1}}]
)
async def test_no_way_back_without_a_record(page: Page, facts: dict[str, Any]) -> None:
    """Where nothing usable was recorded, nobody guesses what to go back to."""
    assert "switch-back" not in await remedies(page, telling(world(page), facts))
    assert "switch-back" not in await remedies(page, world(page))


async def test_a_switch_of_another_kind_has_its_way_back(page: Page) -> None:
    """A switch that the watch knows nothing of still has the way back, in its own form."""
    other = HaproxyIsolate(id="switch", target="lb", backend="payments", servers=("blue",))
    plan = make_plan(other, WATCH, baseline=BASELINE)
    found = await remedies(page, telling(world(page, plan=plan), {"switch": {"before": {"servers": ["green"]}}}))
    assert list(found) == ["switch-back"]
    assert isinstance(found["switch-back"].step, HaproxyIsolate)
    assert found["switch-back"].step.servers == ("green",)


async def test_a_switch_of_the_mesh_has_its_way_back(page: Page) -> None:
    """The split that a VirtualService had before is offered as it was recorded."""
    green = (Destination(host="web-green", weight=100), Destination(host="web-blue", weight=0))
    switch = MeshWeights(id="switch", target="shop", virtual_service="web", destinations=green)
    recorded = [
        {"host": "web-green", "subset": None, "port": 80, "weight": 0},
        {"host": "web-blue", "subset": None, "port": 80, "weight": 100},
    ]
    plan = make_plan(switch, WATCH, baseline=BASELINE)
    found = await remedies(
        page, telling(world(page, plan=plan), {"switch": {"before": {"destinations": recorded}}})
    )
    back = found["switch-back"]
    assert isinstance(back.step, MeshWeights)
    assert [part.model_dump() for part in back.step.destinations] == recorded
    assert "Split the traffic of web: web-green 0%, web-blue 100%, as it stood before switch." in back.words
