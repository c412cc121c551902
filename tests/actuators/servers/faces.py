"""The HTTP face of the service on each host: it answers for the release and the process that are really there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.hosts import Estate, Folder
from tests.support.pgserver import free_port


@dataclass
class Face:
    """What one host answers.

    Attributes:
        folder: What lies on the host.
        says: What is said instead of the truth, field by field.
        asked: How often it was asked.
        status: The HTTP status while the service runs.
        alive: Whether only a running service answers well.
    """

    folder: Folder
    says: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    status: int = 200
    alive: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as the service does."""
        del request
        self.asked += 1
        up = not self.alive or runs(self.folder)
        document = {"status": "healthy" if up else "down", "version": self.version(), **self.says}
        return web.json_response(document, status=self.status if up else 503)

    def version(self) -> str:
        """Return the release that lies there."""
        app = self.folder.root / "app"
        return (app / "app").read_text() if app.is_dir() else self.folder.release()


def runs(folder: Folder) -> bool:
    """Return whether the service of a host runs."""
    if not folder.has("pid"):
        return False
    stat = Path(f"/proc/{folder.read('pid').strip()}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@asynccontextmanager
async def faces(
    estate: Estate, *, alive: bool = False, only: tuple[str, ...] = ()
) -> AsyncIterator[dict[str, Face]]:
    """Let every host answer at its own address, all at one port, and say so in the inventory.

    Args:
        estate: The hosts.
        alive: Whether only a running service answers well.
        only: The hosts that answer; empty: all.
    """
    port = free_port()
    estate.group["health"] = {"port": port}
    found: dict[str, Face] = {}
    async with AsyncExitStack() as stack:
        for host in estate.group["hosts"]:
            name = host["name"]
            found[name] = Face(estate.folders[name], alive=alive)
            if only and name not in only:
                continue
            app = web.Application()
            app.router.add_get("/health", found[name].answer)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, host.get("address", "127.0.0.1"), port).start()
        yield found
