"""The bot, killed by itself at a chosen point of every step, once each: for tests of what a crash leaves.

Usage: killing_bot.py MODE FOLDER. MODE is ``before`` (STARTED is written, the effect is not there) or ``after``
(the effect is there, its outcome is not written). FOLDER keeps a mark for each step that has had its crash, and
``calls.log`` with a line before and after each act.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from bot.domain.actuation import Actuator, Check, Context, Observation, Outcome
from bot.domain.plan import Step
from bot.main import compose
from bot.main.clock import SystemClock
from bot.main.settings import Settings


class Killing:
    """An actuator whose process dies once at each step."""

    def __init__(self, inner: Actuator[Any], mode: str, folder: Path) -> None:
        self._inner = inner
        self._mode = mode
        self._folder = folder

    async def check(self, step: Step, context: Context) -> tuple[Check, ...]:
        """Check as usual."""
        return await self._inner.check(step, context)

    async def observe(self, step: Step, context: Context) -> Observation:
        """Observe as usual."""
        return await self._inner.observe(step, context)

    async def apply(self, step: Step, context: Context) -> Outcome:
        """Act, and die before or after it the first time."""
        if self._mode == "before":
            self._die_once(step)
        self._log(f"begin {step.id}")
        outcome = await self._inner.apply(step, context)
        self._log(f"end {step.id}")
        if self._mode == "after":
            self._die_once(step)
        return outcome

    def _log(self, line: str) -> None:
        descriptor = os.open(self._folder / "calls.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def _die_once(self, step: Step) -> None:
        mark = self._folder / f"{step.id}.killed"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


async def main(mode: str, folder: Path) -> None:
    """Run the bot until it dies or is told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await compose.serve(
        Settings(),
        clock=SystemClock(),
        stop=stop,
        ready=lambda _bot: None,
        amend=lambda registry: registry.wrapped(lambda inner: Killing(inner, mode, folder)),
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
