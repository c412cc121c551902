"""What the demo's tests share: real time and real PostgreSQL servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bot.demo.estate import PgServer
from tests.support.pgserver import running_server


class WallClock:
    """Real time: the service, its traffic and the database live in it too."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)  # noqa: TID251 - this is the Clock

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let that time pass."""
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the Clock


@pytest.fixture(scope="session")
def clock() -> WallClock:
    """Real time."""
    return WallClock()


@pytest.fixture(scope="module")
def server() -> Iterator[PgServer]:
    """A PostgreSQL server for one module: the estate's role names are taken once a server."""
    with running_server() as running:
        yield PgServer(
            host="127.0.0.1",
            port=running.port,
            user=running.user,
            password=running.password,
            bin_dir=running.bin_dir,
        )
