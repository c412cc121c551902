"""A worker of a chaos run: what `rollback serve --role worker` runs, with the steps of the chaos run added.

Usage: python -m tests.chaos.worker FOLDER ZONE. FOLDER holds ``store-url``, the site, and in ``witness`` the
address of the witness. Leases, renewals and every other interval are the defaults. ``ready-PID`` appears when the
worker is ready.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from pydantic import SecretStr

from bot.demo import scenario
from bot.main import compose, heap, identity
from bot.main.clock import SystemClock
from bot.main.settings import Role, Settings
from tests.chaos.steps import register

_PR_SET_PDEATHSIG = 1


def settings_of(folder: Path, zone: str) -> Settings:
    """Return the settings of a worker."""
    files = scenario.site_files(folder / "site")
    return Settings(
        role=Role.WORKER,
        zone=zone,
        database_url=SecretStr((folder / "store-url").read_text(encoding="utf-8")),
        plans=files.plans,
        inventory=files.inventory,
        policy=files.policy,
    )


async def main(folder: Path, zone: str) -> None:
    """Work until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    clock, settings = SystemClock(), settings_of(folder, zone)
    witness = Path((folder / "witness").read_text(encoding="utf-8"))
    worker = identity.own_name(settings.instance)

    def ready(_bot: compose.Bot) -> None:
        heap.settle()
        (folder / f"ready-{os.getpid()}").touch()

    await compose.serve(
        settings,
        clock=clock,
        stop=stop,
        ready=ready,
        amend=lambda registry: register(registry, socket=witness, worker=worker),
    )


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no run leaves a worker behind
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
