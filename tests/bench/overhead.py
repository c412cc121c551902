"""The engine's overhead per step: journal writes and scheduling, without the actuator."""

from __future__ import annotations

import psycopg

from bot.domain import events
from bot.domain.ports import Clock
from tests.bench import machine
from tests.bench.figures import Figure
from tests.bench.rollbacks import approve, ask_for
from tests.bench.site import step_id
from tests.bench.stage import BenchBot, Workshop, bench_bot
from tests.bench.statistics import median, spread

ROLLBACKS = 9
STEPS = 20
PAIRS = 200
GOAL_MS = 30.0
_PAUSE = 1.5
"""Seconds after a rollback, for its messages to be written before the next one begins."""


async def measure(shop: Workshop) -> list[Figure]:
    """Return the median over rollbacks of (wall time - actuator time) / steps."""
    async with bench_bot(shop, "overhead", changes=ROLLBACKS, steps=STEPS) as bot:
        shop.say(f"{ROLLBACKS} rollbacks of {STEPS} steps in a row that do nothing, one after the other")
        found = []
        for rollback, card in (await ask_for(bot, ROLLBACKS, shop.clock)).items():
            await approve(bot, card)
            await bot.calls.wait("end", rollback, "content", seconds=60)
            await shop.clock.sleep(_PAUSE)
            found.append((await _wall(bot.store, rollback) - _acting(bot, rollback)) / STEPS)
        load = machine.load()
        shop.say("two committed INSERTs on the same server, over and over")
        plain = await plain_steps(bot.store, shop.clock)
    return [
        Figure(
            name="Engine overhead per step, median",
            measured=median(found) * 1000,
            goal=GOAL_MS,
            unit="ms",
            plain=median(plain) * 1000,
            plain_tool="two committed INSERTs",
            detail=f"{ROLLBACKS} rollbacks of {STEPS} steps: {spread(found, scale=1000, unit='ms')}",
            load=load,
        )
    ]


async def _wall(store: str, rollback: str) -> float:
    """Return seconds from the first STARTED to the event behind the last SUCCEEDED.

    An event's time is taken before it is written, so only the event behind it shows that it stands.
    """
    async with await psycopg.AsyncConnection.connect(store) as connection:
        cursor = await connection.execute(
            b"SELECT body::text FROM journal WHERE rollback_id = %s ORDER BY seq", [rollback]
        )
        history = [events.EVENT.validate_json(row[0]) for row in await cursor.fetchall()]
    first = next(event for event in history if isinstance(event, events.StepStarted))
    behind = next(event for event in history if isinstance(event, events.VerificationBegan))
    return (behind.at - first.at).total_seconds()


def _acting(bot: BenchBot, rollback: str) -> float:
    """Return the seconds inside of the actuators' `apply`."""
    seconds = 0.0
    for number in range(STEPS):
        begin = bot.calls.at("begin", rollback, step_id(number))
        end = bot.calls.at("end", rollback, step_id(number))
        if begin is None or end is None:
            raise RuntimeError(f"{rollback} went on without {step_id(number)}")
        seconds += end - begin
    return seconds


async def plain_steps(store: str, clock: Clock) -> list[float]:
    """Return the seconds of each pair of INSERTs; each one is a transaction of its own."""
    took = []
    async with await psycopg.AsyncConnection.connect(store, autocommit=True) as connection:
        await connection.execute(b"CREATE TABLE plain_step (id bigserial PRIMARY KEY, body json NOT NULL)")
        for number in range(PAIRS):
            began = clock.monotonic()
            for word in ("started", "succeeded"):
                await connection.execute(
                    b"INSERT INTO plain_step (body) VALUES (json_build_object('kind', %s::text, 'step', %s::int))",
                    [word, number],
                )
            took.append(clock.monotonic() - began)
    return took
