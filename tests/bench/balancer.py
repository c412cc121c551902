"""A switch of traffic on HAProxy: set, saved for a reload, read back and looked at, as the engine does it."""

from __future__ import annotations

import asyncio
from typing import Any

from actuators.balancer import HaproxyWeights
from actuators.balancer.haproxy import HaproxyWeightsActuator
from bot.domain.actuation import Context, Presence
from bot.domain.inventory import Inventory
from bot.domain.ports import Clock
from tests.bench import machine
from tests.bench.figures import Figure
from tests.bench.stage import Workshop
from tests.bench.statistics import percentile, spread
from tests.support.actuation import make_plan
from tests.support.haproxy import Haproxy, balancer, sides

SWITCHES = 100
GOAL_MS = 50.0
_BY_HAND = 20


async def measure(shop: Workshop) -> list[Figure]:
    """Return the p95 of switches to and fro, beside the specification's own commands."""
    folder = shop.folder / "haproxy"
    folder.mkdir()
    async with sides() as pair, balancer(folder, pair) as running:
        shop.say(f"{SWITCHES} switches to and fro, each one saved and read back")
        found = [await _switch(running, number, shop.clock) for number in range(SWITCHES)]
        load = machine.load()
        shop.say("the specification's two commands by socat")
        plain = [await _by_hand(running, number, shop.clock) for number in range(_BY_HAND)]
    return [
        Figure(
            name="HAProxy switch confirmed, p95",
            measured=percentile(found, 0.95) * 1000,
            goal=GOAL_MS,
            unit="ms",
            plain=percentile(plain, 0.95) * 1000,
            plain_tool="two calls of socat, unconfirmed",
            detail=f"{SWITCHES} switches by the runtime socket: {spread(found, scale=1000, unit='ms')}",
            load=load,
        )
    ]


def _weights(number: int) -> dict[str, int]:
    return {"blue": 100, "green": 0} if number % 2 else {"green": 100, "blue": 0}


async def _switch(running: Haproxy, number: int, clock: Clock) -> float:
    """Return the seconds until the effect was seen from outside.

    Raises:
        RuntimeError: The switch was not seen.
    """
    step = HaproxyWeights(id="switch", target="lb", backend="payments", weights=_weights(number))
    inventory: dict[str, Any] = {"load_balancers": {"lb": running.target()}}
    context = Context(
        "rb-0001", make_plan(step), Inventory.model_validate(inventory), clock, lambda _progress: None
    )
    actuator = HaproxyWeightsActuator()
    began = clock.monotonic()
    await actuator.apply(step, context)
    seen = await actuator.observe(step, context)
    took = clock.monotonic() - began
    if seen.presence is not Presence.PRESENT:
        raise RuntimeError(f"switch {number} was not seen: {seen.words}")
    return took


async def _by_hand(running: Haproxy, number: int, clock: Clock) -> float:
    """Return the seconds of the specification's two commands, which nobody reads back."""
    lines = [f"set server payments/{name} weight {weight}" for name, weight in _weights(number).items()]
    began = clock.monotonic()
    for line in lines:
        process = await asyncio.create_subprocess_exec(
            "socat", "stdio", str(running.socket), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        await process.communicate(f"{line}\n".encode())
        if process.returncode:
            raise RuntimeError("socat failed")
    return clock.monotonic() - began
