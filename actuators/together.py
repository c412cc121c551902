"""Asking several things at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """Run tasks together; the first fault ends them all and is raised as it is, not as a group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as faults:
        raise faults.exceptions[0] from None


async def together(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all answers, in the order of the questions; the first fault ends the others and is raised."""
    async with tasks() as group:
        asking = [group.create_task(each) for each in asked]
    return [task.result() for task in asking]
