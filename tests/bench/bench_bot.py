"""The bot with two actuators that do nothing, so that what is measured is the bot: for the benchmarks.

Usage: bench_bot.py FOLDER. FOLDER holds ``store-url``, the address of the store. The bot writes ``door.json`` there
(where it listens and the console's signing secret), and ``calls.log`` with a line for each beginning and end of an
act: nanoseconds of the monotonic clock, begin or end, rollback, step.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import SecretStr

from bot.domain.actuation import (
    Check,
    Context,
    Observation,
    Outcome,
    Presence,
    Registered,
    Registry,
    Verdict,
)
from bot.domain.plan import Step
from bot.main import compose, heap
from bot.main.clock import SystemClock
from bot.main.settings import Settings


class Noop(Step):
    """A step whose effect is a mark in memory."""

    kind: Literal["bench.noop"] = "bench.noop"


class NoProbe(Step):
    """A probe that is content at once; plans must end with one that reads metrics."""

    reads_only: ClassVar[bool] = True

    kind: Literal["metrics.bench"] = "metrics.bench"


class NoopActuator:
    """Notes when it is called.

    Args:
        log: An open file for the lines.
    """

    def __init__(self, log: int) -> None:
        self._log = log
        self._done: set[str] = set()

    async def check(self, step: Step, context: Context) -> tuple[Check, ...]:
        """Find nothing wrong."""
        del context
        return (Check(f"{step.kind} on {step.target}", Verdict.OK, "there is nothing to look at"),)

    async def observe(self, step: Step, context: Context) -> Observation:
        """Tell whether the mark is there."""
        there = context.token(step) in self._done
        return Observation(Presence.PRESENT if there else Presence.ABSENT, "the mark was looked up")

    async def apply(self, step: Step, context: Context) -> Outcome:
        """Make the mark."""
        self._note("begin", step, context)
        self._done.add(context.token(step))
        self._note("end", step, context)
        return Outcome("the mark was made")

    def _note(self, word: str, step: Step, context: Context) -> None:
        os.write(self._log, f"{time.monotonic_ns()} {word} {context.rollback_id} {step.id}\n".encode())


def amend(registry: Registry, log: int) -> Registry:
    """Add the actuators that do nothing."""
    kept = (
        Registered(model, registry.actuator(model.model_construct(id="any", target="any", kind=kind)))
        for kind, model in registry.catalogue().items()
    )
    return Registry(*kept, Registered(Noop, NoopActuator(log)), Registered(NoProbe, NoopActuator(log)))


def open_door(bot: compose.Bot, folder: Path) -> None:
    """Write down how to get in; the file appears whole, and nobody else can read it."""
    if bot.seat is None:
        raise RuntimeError("the benchmarks' bot serves the console")
    partial = folder / "door.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump({"url": bot.seat.url, "signing_secret": bot.seat.settings.signing_secret}, stream)
    partial.replace(folder / "door.json")


def ready(bot: compose.Bot, folder: Path) -> None:
    """Do what `rollback serve` does when the bot is ready, then let the benchmark in."""
    heap.settle()
    open_door(bot, folder)


async def main(folder: Path) -> None:
    """Run the bot until it is told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = os.open(folder / "calls.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    url = (folder / "store-url").read_text(encoding="utf-8")
    await compose.serve(
        Settings(database_url=SecretStr(url)),
        clock=SystemClock(),
        stop=stop,
        ready=lambda bot: ready(bot, folder),
        amend=lambda registry: amend(registry, log),
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    asyncio.run(main(Path(sys.argv[1])))
