"""Starting the double as a process of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_START_SECONDS = 30.0
_LOOK = 0.02


@asynccontextmanager
async def alone(folder: Path, *, pod_seconds: float = 0.01) -> AsyncIterator[Path]:
    """Yield the administrator's kubeconfig of a double in a process of its own; it is ended afterwards.

    Args:
        folder: For its files; ``complete.log`` says when rollouts became complete.
        pod_seconds: How long a pod takes to start, or to go.

    Raises:
        TimeoutError: It does not listen in time.
    """
    argv = [sys.executable, "-m", "tests.support.kubeapi", str(folder), str(pod_seconds)]
    process = await asyncio.create_subprocess_exec(*argv)
    try:
        async with asyncio.timeout(_START_SECONDS):
            while not (folder / "kubeconfig").exists():
                if process.returncode is not None:
                    raise RuntimeError(f"the double ended with exit code {process.returncode}")
                await asyncio.sleep(_LOOK)  # noqa: TID251 - a process of its own, by the machine's clock
        yield folder / "kubeconfig"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
