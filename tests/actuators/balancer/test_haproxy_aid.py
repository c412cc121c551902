"""What helps when a switch of HAProxy has no effect: the table, and taking the old side out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actuators import balancer as actuators_balancer
from actuators.balancer import HaproxyIsolate, HaproxyStat, HaproxyWeights
from actuators.balancer.haproxy import HaproxyWeightsActuator
from actuators.metrics import MetricsSource
from bot.domain.actuation import Context, Fault, KnowsRemedies, Presence, Registry
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.support.actuation import FakeClock, RealClock, fails, make_context, make_plan
from tests.support.haproxy import COOKIE, Haproxy, Side, balancer, real_haproxy

pytestmark = real_haproxy
REGISTRY = Registry(*actuators_balancer.register(MetricsSource({}, clock=RealClock())))
GREEN = HaproxyWeights(id="switch", target="lb", backend="payments", weights={"green": 100, "blue": 0})
STAT = HaproxyStat(id="stat", target="lb", backend="payments", over="50ms")
ISOLATE = HaproxyIsolate(id="isolate", target="lb", backend="payments", servers=("blue",))


def world(step: Step, target: dict[str, Any], *, clock: FakeClock | None = None) -> Context:
    """Return the context of a run of one step, with a CDN behind the balancer."""
    edge = {
        "service": "payments",
        "names": ["payments.example.org"],
        "purge": {"url": "https://cdn.example.org/purge"},
    }
    inventory = {"load_balancers": {"lb": {**target, "downstream": "edge"}}, "downstreams": {"edge": edge}}
    return make_context(make_plan(step), inventory, clock=clock)


async def apply(step: Step, haproxy: Haproxy, **how: Any) -> Any:
    """Apply a step."""
    return await REGISTRY.actuator(step).apply(step, world(step, haproxy.target(), **how))


async def remedies(haproxy: Haproxy) -> list[str]:
    """Return the ids of the remedies of the switch."""
    actuator = REGISTRY.actuator(GREEN)
    assert isinstance(actuator, KnowsRemedies)
    return [remedy.id for remedy in await actuator.remedies(GREEN, Fault(""), world(GREEN, haproxy.target()))]


async def test_table_of_the_servers(haproxy: Haproxy) -> None:
    """`show stat` as a table: status, weight, sessions, new ones and rate of each server, and what it means."""
    await haproxy.requests(7)
    outcome = await apply(STAT, haproxy)
    lines = outcome.output.splitlines()
    assert lines[0] == "lb payments"
    assert lines[1].split() == ["server", "status", "weight", "sessions", "new", "rate/s", "5xx", "check"]
    assert lines[2].split()[:5] == ["blue", "UP", "100", "0", "0"]
    assert lines[3].split()[:3] == ["green", "UP", "0"]
    assert outcome.words.endswith("No traffic reaches this balancer at all.")
    assert outcome.facts["servers"]["lb"]["blue"]["weight"] == 100


async def test_the_diagnosis_points_behind_a_balancer_that_is_right(haproxy: Haproxy) -> None:
    """Where all new sessions go to green, what clients still see of blue comes from further down."""
    await apply(GREEN, haproxy)

    async def meanwhile() -> None:
        await haproxy.requests(6)

    outcome = await apply_with_traffic(STAT, haproxy, meanwhile)
    assert "new sessions of payments in 0.05s: blue 0, green 6." in outcome.words
    assert "look behind the balancer (DNS, CDN)" in outcome.words


async def apply_with_traffic(step: Step, haproxy: Haproxy, meanwhile: Any) -> Any:
    """Apply a diagnosis; traffic comes in while it waits."""

    class Clock(RealClock):
        async def sleep(self, seconds: float) -> None:
            del seconds
            await meanwhile()

    context = world(step, haproxy.target())
    sent = Context(context.rollback_id, context.plan, context.inventory, Clock(), context.report)
    return await REGISTRY.actuator(step).apply(step, sent)


async def test_clients_that_stick_are_found_and_moved(tmp_path: Path, pair: tuple[Side, Side]) -> None:
    """A cookie keeps clients with blue whatever its weight; the diagnosis says so, and isolation moves them."""
    async with balancer(tmp_path, pair, persistence=COOKIE) as haproxy:
        await apply(GREEN, haproxy)
        sticky = {"SIDE": "blue"}
        assert await haproxy.requests(5, cookies=sticky) == {"blue": 5}

        async def meanwhile() -> None:
            await haproxy.requests(4, cookies=sticky)

        outcome = await apply_with_traffic(STAT, haproxy, meanwhile)
        assert "blue has weight 0 and still serves clients, by the cookie SIDE." in outcome.words
        assert await remedies(haproxy) == ["show-stat", "isolate", "dns-ttl", "cdn-purge"]
        seen = await REGISTRY.actuator(ISOLATE).observe(ISOLATE, world(ISOLATE, haproxy.target()))
        assert seen.presence is Presence.ABSENT
        await apply(ISOLATE, haproxy)
        assert await haproxy.requests(5, cookies=sticky) == {"green": 5}
        seen = await REGISTRY.actuator(ISOLATE).observe(ISOLATE, world(ISOLATE, haproxy.target()))
        assert seen.presence is Presence.PRESENT
        await apply(ISOLATE, haproxy)
        await haproxy.reload()
        assert await haproxy.requests(5, cookies=sticky) == {"green": 5}


async def test_open_sessions_are_ended(haproxy: Haproxy, pair: tuple[Side, Side]) -> None:
    """A session that is under way on blue is closed, and the outcome counts it."""
    async with haproxy.held(pair[0]) as request:
        await apply(GREEN, haproxy)
        outcome = await apply(ISOLATE, haproxy)
    assert outcome.words == "In maintenance; sessions ended: blue 1"
    assert await request != "blue"


async def test_nobody_is_isolated_when_no_one_is_left(haproxy: Haproxy) -> None:
    """While blue alone has a weight, it cannot be taken out; nothing is changed."""
    assert "nobody would take the traffic" in fails(
        await REGISTRY.actuator(ISOLATE).check(ISOLATE, world(ISOLATE, haproxy.target()))
    )
    with pytest.raises(ActuatorError, match="nobody would take the traffic"):
        await apply(ISOLATE, haproxy)
    assert await haproxy.requests(5) == {"blue": 5}


async def test_isolated_side_comes_back_with_the_way_back(haproxy: Haproxy) -> None:
    """Switching back to what the facts recorded takes blue out of maintenance as well."""
    outcome = await apply(GREEN, haproxy)
    await apply(ISOLATE, haproxy)
    back = HaproxyWeights.model_validate({**GREEN.model_dump(mode="json"), **outcome.facts["before"]})
    await apply(back, haproxy)
    assert await haproxy.requests(5) == {"blue": 5}


async def test_balancers_that_cannot_be_read(tmp_path: Path) -> None:
    """Without a balancer the diagnosis fails with the reason, in the check as in the step."""
    target = {"service": "payments", "flavour": "haproxy", "socket": str(tmp_path / "none.sock")}
    for step in (STAT, ISOLATE):
        context = world(step, target)
        assert "cannot be reached" in fails(await REGISTRY.actuator(step).check(step, context))
        with pytest.raises(ActuatorError, match="cannot be reached"):
            await REGISTRY.actuator(step).apply(step, context)
    seen = await REGISTRY.actuator(ISOLATE).observe(ISOLATE, world(ISOLATE, target))
    assert seen.presence is Presence.UNKNOWN


async def test_remedies_of_a_switch_without_trouble(haproxy: Haproxy) -> None:
    """Before the switch only the table helps; after it, what lies behind the balancer."""
    assert await remedies(haproxy) == ["show-stat"]
    await apply(GREEN, haproxy)
    assert await remedies(haproxy) == ["show-stat", "dns-ttl", "cdn-purge"]
    assert isinstance(HaproxyWeightsActuator(), KnowsRemedies)
