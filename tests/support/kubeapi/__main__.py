"""The double as a process of its own: ``python -m tests.support.kubeapi FOLDER [POD_SECONDS]``.

FOLDER/kubeconfig, the administrator's, appears when it listens. FOLDER/complete.log gets a line for each rollout of
a Deployment that has become complete, before anybody is told: nanoseconds of the machine's monotonic clock,
``complete``, the Deployment as NAMESPACE/NAME, and its generation. SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tests.support.kubeapi import running


async def main(folder: Path, pod_seconds: float) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    log = os.open(folder / "complete.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def completed(deployment: dict[str, Any]) -> None:
        found = deployment["metadata"]
        line = f"{time.monotonic_ns()} complete {found['namespace']}/{found['name']} {found['generation']}\n"
        os.write(log, line.encode())

    async with running(pod_seconds=pod_seconds, completed=completed) as double:
        fresh = folder / "kubeconfig.new"
        fresh.touch(mode=0o600)
        fresh.write_text(yaml.safe_dump(double.kubeconfig()), encoding="utf-8")
        fresh.rename(folder / "kubeconfig")
        await stop.wait()
    os.close(log)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.01))
