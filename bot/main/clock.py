"""The real clock: the one place that asks the machine for the time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `bot.domain.ports.Clock` by the machine's clock."""

    def now(self) -> datetime:
        """Return the time of day, aware UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock that everybody else takes

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the clock that everybody else takes
