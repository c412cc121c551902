"""Approval click to the first call of an actuator."""

from __future__ import annotations

import aiohttp

from tests.bench import machine
from tests.bench.figures import Figure
from tests.bench.rollbacks import approve, ask_for
from tests.bench.site import step_id
from tests.bench.stage import Calls, Workshop, bench_bot, plain_server
from tests.bench.statistics import percentile, spread

ROLLBACKS = 40
GOAL_MS = 300.0
_PAUSE = 0.5
"""Seconds from one rollback's first act to the next click: the rest of the one before goes on beside it."""


async def measure(shop: Workshop) -> list[Figure]:
    """Return the p95 from sending a click to the beginning of the actuator's `apply`."""
    async with bench_bot(shop, "click", changes=ROLLBACKS, steps=1) as bot:
        shop.say(f"{ROLLBACKS} rollbacks are asked for and checked")
        cards = await ask_for(bot, ROLLBACKS, shop.clock)
        await shop.clock.sleep(2 * _PAUSE)
        shop.say("each one is approved in the console")
        took = []
        for rollback, card in cards.items():
            clicked = shop.clock.monotonic()
            await approve(bot, card)
            took.append(await bot.calls.wait("begin", rollback, step_id(0)) - clicked)
            await shop.clock.sleep(_PAUSE)
        load = machine.load()
    async with plain_server(shop, "click", secret="unused") as (url, calls):
        plain = await _plain(shop, url, calls)
    return [
        Figure(
            name="Approval click to first actuator call, p95",
            measured=percentile(took, 0.95) * 1000,
            goal=GOAL_MS,
            unit="ms",
            plain=percentile(plain, 0.95) * 1000,
            plain_tool="HTTP request, one committed row, NOTIFY heard on another connection",
            detail=f"{ROLLBACKS} clicks in the console: {spread(took, scale=1000, unit='ms')}",
            load=load,
        )
    ]


async def _plain(shop: Workshop, url: str, calls: Calls) -> list[float]:
    took = []
    async with aiohttp.ClientSession() as session:
        for number in range(1, ROLLBACKS + 1):
            clicked = shop.clock.monotonic()
            async with session.post(f"{url}/click", data=f"click {number}") as response:
                response.raise_for_status()
            took.append(await calls.wait("begin", str(number), "plain") - clicked)
            await shop.clock.sleep(_PAUSE / 5)
    return took
