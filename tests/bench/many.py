"""Many rollbacks at once: what a step costs then, and what it costs to let a thousand of them wait for people."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from rich.table import Table

from bot.demo import scenario
from bot.domain import events
from bot.domain.announcements import CARD
from bot.domain.events import AnyEvent
from bot.domain.lifecycle import State
from bot.engine.service import Actor
from tests.bench import machine
from tests.bench.crowd import Crowd, crowd
from tests.bench.figures import Figure
from tests.bench.overhead import plain_steps
from tests.bench.site import step_id
from tests.bench.stage import Workshop
from tests.bench.statistics import median, percentile, spread

ROLLBACKS, STEPS = 200, 10
WAITING = 1000
WARM_UP = 50
GOAL_STEP_MS, GOAL_SESSIONS, GOAL_WAITING_MB = 50.0, 20, 20.0
_SETTLE_SECONDS = 10.0
_SAMPLE_SECONDS = 0.25
_TELLING_SECONDS = 240.0
_CARDS = f"SELECT count(*) FROM message WHERE key = '{CARD.key}' AND ts IS NOT NULL"  # noqa: S608 - our own key


@dataclass(frozen=True)
class _Rush:
    """What came of the rollbacks that were all approved at once.

    Attributes:
        finished: How many were completed.
        wall: Seconds from the first approval to the last completion.
        steps: Seconds of overhead of each step.
        sessions: The most sessions on the server at any time, by process.
        used: Processor seconds of all processes together.
    """

    finished: int
    wall: float
    steps: tuple[float, ...]
    sessions: dict[str, int]
    used: float


async def at_once(shop: Workshop) -> list[Figure]:
    """Return the overhead of a step, and the connections, of 200 rollbacks that are approved at once."""
    roles = ("worker", "worker")
    async with crowd(shop, "at-once", roles=roles, changes=ROLLBACKS, steps=STEPS) as many:
        shop.say(f"{ROLLBACKS} rollbacks of {STEPS} steps that do nothing are asked for and checked")
        rollbacks = await many.ask_for(range(ROLLBACKS))
        shop.say("all of them are approved at once, two workers carry them out")
        rush = await _rush(many, rollbacks)
        load = machine.load()
        plain = await plain_steps(many.store, shop.clock)
    shop.out.print(_table(rush))
    size = f"{ROLLBACKS} rollbacks of {STEPS} steps on 2 workers"
    return [
        Figure(
            name=f"Step overhead with {ROLLBACKS} rollbacks at once, p50",
            measured=percentile(rush.steps, 0.5) * 1000,
            goal=GOAL_STEP_MS,
            unit="ms",
            plain=median(plain) * 1000,
            plain_tool="two committed INSERTs",
            detail=f"{size} in {rush.wall:.1f} s: {spread(rush.steps, scale=1000, unit='ms')}; the workers used "
            f"{rush.used / ROLLBACKS / STEPS * 1000:.1f} ms of a core for each step",
            load=load,
        ),
        Figure(
            name="Rollbacks that did not finish",
            measured=ROLLBACKS - rush.finished,
            goal=0,
            unit="",
            detail=size,
            load=load,
        ),
        Figure(
            name="Database connections of one process",
            measured=max(rush.sessions.values()),
            goal=GOAL_SESSIONS,
            unit="",
            detail=", ".join(f"{name}: {count}" for name, count in rush.sessions.items()),
            load=load,
        ),
    ]


async def _rush(many: Crowd, rollbacks: Sequence[str]) -> _Rush:
    """Approve everything at once, and wait until all of it has ended."""
    most = dict.fromkeys(many.pids, 0)
    used = _used(many)
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(_sample(many, most))
        for run in await many.service.status():
            await many.service.approve(run.id, Actor(scenario.MANAGER), version=run.state_seq)
        await many.until({State.CLOSED.value}, list(rollbacks))
        sampling.cancel()
    journals = await _journals(many.store)
    authorised = [event.at for history in journals.values() for event in history if event.kind == "authorised"]
    completed = [event.at for history in journals.values() for event in history if event.kind == "completed"]
    return _Rush(
        finished=len(completed),
        wall=(max(completed) - min(authorised)).total_seconds(),
        steps=tuple(seconds for run, history in journals.items() for seconds in _overheads(many, run, history)),
        sessions=most,
        used=_used(many) - used,
    )


def _used(many: Crowd) -> float:
    return sum(machine.processor_seconds(pid) or 0.0 for pid in many.pids.values())


async def _sample(many: Crowd, most: dict[str, int]) -> None:
    while True:
        for name, count in (await many.sessions()).items():
            most[name] = max(most[name], count)
        await many.clock.sleep(_SAMPLE_SECONDS)


async def _journals(store: str) -> dict[str, list[AnyEvent]]:
    found: dict[str, list[AnyEvent]] = {}
    async with await psycopg.AsyncConnection.connect(store) as connection:
        cursor = await connection.execute(b"SELECT rollback_id, body::text FROM journal ORDER BY rollback_id, seq")
        for run, body in await cursor.fetchall():
            found.setdefault(run, []).append(events.EVENT.validate_json(body))
    return found


def _overheads(many: Crowd, run: str, history: Sequence[AnyEvent]) -> list[float]:
    """Return for each step the seconds from the outcome before it to its own, without those inside of its `apply`.

    The first step comes after the beginning of execution. An event's time is taken before it is written, so the
    write of the outcome before counts, and that of its own counts for the step behind: one for each.
    """
    began = next(event for event in history if isinstance(event, events.ExecutionBegan))
    outcomes = {event.step: event.at for event in history if isinstance(event, events.StepSucceeded)}
    found, before = [], began.at
    for number in range(STEPS):
        begin, end = (many.calls.at(word, run, step_id(number)) for word in ("begin", "end"))
        if begin is None or end is None:
            raise RuntimeError(f"{run} went on without {step_id(number)}")
        outcome = outcomes[step_id(number)]
        found.append((outcome - before).total_seconds() - (end - begin))
        before = outcome
    return found


def _table(rush: _Rush) -> Table:
    shown = Table(title=f"{ROLLBACKS} rollbacks of {STEPS} steps on two workers", title_justify="left")
    for heading in ("finished", "wall, s", "step overhead p50, ms", "p99, ms", *rush.sessions):
        shown.add_column(heading, justify="right")
    shown.add_row(
        f"{rush.finished} of {ROLLBACKS}",
        f"{rush.wall:.1f}",
        *(f"{percentile(rush.steps, share) * 1000:.1f}" for share in (0.5, 0.99)),
        *(f"{count} connections" for count in rush.sessions.values()),
    )
    return shown


async def waiting(shop: Workshop) -> list[Figure]:
    """Return the memory and the connections that 1,000 rollbacks take while they wait for approval."""
    roles = ("bot", "worker", "worker")
    async with crowd(shop, "waiting", roles=roles, changes=WARM_UP + WAITING, steps=STEPS) as many:
        shop.say(f"{WARM_UP} rollbacks go through everything before, so that all code has been used once")
        rush = await _rush(many, await many.ask_for(range(WARM_UP)))
        await _told(many, WARM_UP)
        before = many.memory()
        known = {name: max(rush.sessions[name], count) for name, count in (await many.sessions()).items()}
        shop.say(f"{WAITING} rollbacks are asked for, and wait for approval")
        await many.ask_for(range(WARM_UP, WARM_UP + WAITING))
        await _told(many, WARM_UP + WAITING)
        after, more = many.memory(), await many.sessions()
        load = machine.load()
    grown = {name: after[name] - before[name] for name in after}
    # A pool keeps what it once opened, so what matters is whether it ever had to open more than for 50 at work.
    opened = {name: max(0, count - known[name]) for name, count in more.items()}
    return [
        Figure(
            name=f"Memory of {WAITING:,} rollbacks that wait for approval",
            measured=sum(grown.values()),
            goal=GOAL_WAITING_MB,
            unit="MB",
            detail=", ".join(f"{name}: {mb:+.1f} of {before[name]:.0f} MB" for name, mb in grown.items()),
            load=load,
        ),
        Figure(
            name=f"Connections added by {WAITING:,} rollbacks that wait for approval",
            measured=sum(opened.values()),
            goal=0,
            unit="",
            detail=", ".join(f"{name}: {count}, {known[name]} before" for name, count in more.items()),
            load=load,
        ),
    ]


async def _told(many: Crowd, cards: int) -> None:
    """Wait until the bot has posted the cards of all of them, and a while more.

    Raises:
        TimeoutError: It has not within four minutes.
    """
    deadline = many.clock.monotonic() + _TELLING_SECONDS
    while (told := await many.count(_CARDS)) < cards:
        if many.clock.monotonic() > deadline:
            raise TimeoutError(f"{told} of {cards} cards were posted in {_TELLING_SECONDS:g} s")
        await many.clock.sleep(0.5)
    await many.clock.sleep(_SETTLE_SECONDS)
