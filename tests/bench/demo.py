"""The demo's rollback against its bare commands, and the memory that the bot keeps after it."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from bot.demo import performance, play, scenario
from bot.demo.estate import OLD_SCHEMA
from bot.domain import events
from bot.domain.events import AnyEvent
from storage.embedded import EmbeddedPostgres
from tests.bench import machine
from tests.bench.bare import ByHand
from tests.bench.figures import Figure
from tests.bench.stage import Workshop
from tests.bench.statistics import median

REPETITIONS = 3
GOAL_RATIO = 1.15
GOAL_MB = 200.0


@dataclass(frozen=True)
class Rolled:
    """One rollback.

    Attributes:
        seconds: The whole of it: by the bot from ExecutionBegan to Completed.
        steps: Seconds of each step by its id.
        memory: Resident memory of the bot after it, MB; 0 by hand.
    """

    seconds: float
    steps: dict[str, float]
    memory: float = 0.0


async def measure(shop: Workshop) -> list[Figure]:
    """Return the ratio of both wall times (medians), and the bot's largest resident memory."""
    by_bot: list[Rolled] = []
    by_hand: list[Rolled] = []
    loads = []
    for number in range(1, REPETITIONS + 1):
        # In turn, so that a machine that is busy for a while is busy for both.
        by_bot.append(await _by_bot(shop, shop.folder / f"demo-{number}"))
        by_hand.append(await _by_hand(shop, shop.folder / f"hand-{number}"))
        loads.append(machine.load())
        shop.say(f"{number}: by the bot {by_bot[-1].seconds:.2f} s, by hand {by_hand[-1].seconds:.2f} s")
    shop.out.print(_steps(by_bot, by_hand))
    bot, hand = median([one.seconds for one in by_bot]), median([one.seconds for one in by_hand])
    memory = max(one.memory for one in by_bot)
    return [
        Figure(
            name="Demo's rollback / its bare commands",
            measured=bot / hand,
            goal=GOAL_RATIO,
            unit="",
            detail=f"median of {REPETITIONS}: by the bot {bot:.2f} s, the bare commands {hand:.2f} s, "
            f"of both {scenario.SETTLE.total_seconds():g} s for the metrics to settle",
            load=max(loads),
        ),
        Figure(
            name="Resident memory of the bot after the demo",
            measured=memory,
            goal=GOAL_MB,
            unit="MB",
            detail=f"the largest of {REPETITIONS}; its PostgreSQL not included",
            load=max(loads),
        ),
    ]


async def _by_bot(shop: Workshop, folder: Path) -> Rolled:
    """Perform the demo, and read in the journal how long the rollback took."""
    story, shown = performance.Story(), io.StringIO()
    code = await play.perform(folder, live=False, keep=True, out=Console(file=shown, width=140), story=story)
    if code:
        raise RuntimeError(f"the demo failed:\n{shown.getvalue()}")
    async with EmbeddedPostgres(folder / "bot" / "postgres", clock=shop.clock) as server:
        history = await _history(server.url("rollback"))
    shutil.rmtree(folder)
    began = next(event for event in history if isinstance(event, events.ExecutionBegan))
    completed = next(event for event in history if isinstance(event, events.Completed))
    return Rolled((completed.at - began.at).total_seconds(), _durations(history), (story.memory or 0) / 1e6)


async def _by_hand(shop: Workshop, folder: Path) -> Rolled:
    """Deploy the same release on an equal estate, and roll it back by hand."""
    folder = play.usable(folder)
    async with play.stage(folder, shop.clock) as (_, estate):
        shown = Console(file=io.StringIO())
        story, patience = performance.Story(), timedelta(minutes=5)
        acting = performance.Performance(
            folder, estate, out=shown, live=False, patience=patience, clock=shop.clock, story=story
        )
        await acting.deploy()
        hand = ByHand(estate, shop.clock)
        seconds = await hand.roll_back()
        if await estate.schema_version() != OLD_SCHEMA:
            raise RuntimeError("the bare commands did not bring the earlier schema back")
    shutil.rmtree(folder)
    return Rolled(seconds, hand.took)


async def _history(store: str) -> list[AnyEvent]:
    async with await psycopg.AsyncConnection.connect(store) as connection:
        cursor = await connection.execute(b"SELECT body::text FROM journal ORDER BY rollback_id, seq")
        return [events.EVENT.validate_json(row[0]) for row in await cursor.fetchall()]


def _durations(history: list[AnyEvent]) -> dict[str, float]:
    started = {event.step: event.at for event in history if isinstance(event, events.StepStarted)}
    return {
        event.step: (event.at - started[event.step]).total_seconds()
        for event in history
        if isinstance(event, events.StepSucceeded)
    }


def _steps(by_bot: list[Rolled], by_hand: list[Rolled]) -> Table:
    shown = Table("step", "by the bot, s", "bare, s", title="Steps, medians", title_justify="left")
    for step in by_bot[0].steps:
        bare = [one.steps[step] for one in by_hand if step in one.steps]
        shown.add_row(
            step, f"{median([one.steps[step] for one in by_bot]):.3f}", f"{median(bare):.3f}" if bare else "-"
        )
    return shown
