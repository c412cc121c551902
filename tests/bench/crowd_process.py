"""A bot or a worker as `rollback serve` runs it, with the actuators that do nothing: for the benchmarks of many.

Usage: python -m tests.bench.crowd_process FOLDER ROLE. Everything else comes from the environment, as usual. FOLDER
takes ``calls.log`` (see `tests.bench.bench_bot`), and ``ready-PID`` when the process can be used.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from bot.main import compose, heap
from bot.main.clock import SystemClock
from bot.main.settings import Role, Settings
from tests.bench.bench_bot import amend


async def main(folder: Path, role: Role) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = os.open(folder / "calls.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def ready(_bot: compose.Bot) -> None:
        heap.settle()
        (folder / f"ready-{os.getpid()}").touch()

    await compose.serve(
        Settings(role=role),
        clock=SystemClock(),
        stop=stop,
        ready=ready,
        amend=lambda registry: amend(registry, log),
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    asyncio.run(main(Path(sys.argv[1]), Role(sys.argv[2])))
