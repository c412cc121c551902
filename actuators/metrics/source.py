"""Keeps watching the pages of metrics, so that a window of them is there when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from actuators.metrics.sampler import INTERVAL, KEEP, Sampler
from bot.domain.clock import Clock
from bot.domain.criteria import Reading
from bot.domain.inventory import MetricsPage, MetricsTarget


class MetricsSource:
    """Samples every page in the background, and reads pages and queries by name.

    It reads rightly without the background loop as well; then the windows begin with the first reading.

    Args:
        targets: The inventory's metrics targets by name.
        clock: The only source of time.
        interval: Time between two samples of a page.
        keep: How much of a page is remembered.
    """

    def __init__(
        self,
        targets: Mapping[str, MetricsTarget],
        *,
        clock: Clock,
        interval: timedelta = INTERVAL,
        keep: timedelta = KEEP,
    ) -> None:
        self._targets = dict(targets)
        self._clock = clock
        self.sampler = Sampler(clock=clock, interval=interval, keep=keep)

    async def start(self) -> None:
        """Open the connections."""
        await self.sampler.open()

    async def stop(self) -> None:
        """Close the connections."""
        await self.sampler.close()

    async def run(self) -> None:
        """Sample every page at its interval until the caller cancels it."""
        await self.start()
        try:
            async with asyncio.TaskGroup() as group:
                for name, target in self._targets.items():
                    if isinstance(target, MetricsPage):
                        group.create_task(self._follow(name, target))
        finally:
            await self.stop()

    async def read(self, name: str, window: timedelta) -> Reading:
        """Return what the named target says of the last `window`; None where nobody knows.

        Raises:
            KeyError: If the inventory has no metrics target of that name.
        """
        return await self.sampler.read(name, self._targets[name], window=window)

    async def _follow(self, name: str, target: MetricsPage) -> None:
        interval = self.sampler.interval.total_seconds()
        while True:
            await self.sampler.sample(name, target)
            await self._clock.sleep(interval)
