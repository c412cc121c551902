"""Measuring the demo's service as the bot does: by its own page of metrics."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import actuators.metrics
from bot.demo import scenario
from bot.demo.estate import Estate
from bot.domain.criteria import Reading
from bot.domain.errors import RollbackError
from bot.domain.inventory import Inventory
from bot.domain.ports import Clock

_ENOUGH = 0.05
_PATIENCE = 20.0


async def baseline_of(estate: Estate, *, seconds: float, clock: Clock) -> Reading:
    """Read the metrics over so many seconds; this becomes the plan's baseline.

    Raises:
        RollbackError: If the page tells nothing.
    """
    inventory = Inventory.model_validate({"metrics": scenario.inventory(estate)["metrics"]})
    source = actuators.metrics.MetricsSource(inventory.metrics, clock=clock)
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(source.run())
        await clock.sleep(seconds)
        reading = await source.read(scenario.METRICS, window=timedelta(seconds=seconds))
        sampling.cancel()
    if reading.error_rate is None or reading.p95 is None:
        raise RollbackError(
            "The service's metrics tell nothing, so there is no baseline.", resolution=str(estate.layout.log)
        )
    return reading


async def wait_for_errors(estate: Estate, *, seconds: float, clock: Clock) -> float:
    """Let customers use the faulty release until the failure is measured, and return the error rate, 0..1.

    Raises:
        RollbackError: If it does not fail, so that there is nothing to roll back.
    """
    deadline = clock.monotonic() + _PATIENCE
    while clock.monotonic() < deadline:
        measured = await estate.measure_next(seconds)
        if measured.error_rate is not None and measured.error_rate > _ENOUGH:
            return measured.error_rate
    raise RollbackError("The faulty release does not fail.", resolution=str(estate.layout.log))
