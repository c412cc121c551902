"""A process that builds an estate and is killed: `python -m tests.demo.estate_child`, a JSON line on its input."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from bot.demo.estate import Estate, PgServer
from tests.demo.conftest import WallClock


async def main() -> None:
    """Create, start, say so, and wait for the end."""
    given = json.loads(sys.stdin.readline())
    estate = await Estate.create(Path(given["root"]), PgServer(**given["server"]), clock=WallClock())
    await estate.start_old()
    sys.stdout.write("up\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    asyncio.run(main())
