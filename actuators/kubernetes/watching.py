"""Lists kept current by watches: what a controller does is seen when it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus

from actuators.kubernetes import objects
from actuators.kubernetes.api import Api, ApiError, Json, Query
from actuators.together import tasks

_PAUSE = 0.2
"""Seconds before a watch that ended is opened again."""

_PAUSE_AFTER_FAULT = 1.0


class Mirror:
    """The objects of some queries as they are now.

    Args:
        count: How many queries.
    """

    def __init__(self, count: int) -> None:
        self._objects: list[dict[str, Json]] = [{} for _ in range(count)]
        self._news = asyncio.Event()

    def objects(self, number: int) -> list[Json]:
        """Return the objects of a query, by its position."""
        return list(self._objects[number].values())

    async def changed(self) -> None:
        """Return when anything has changed since the last call."""
        await self._news.wait()
        self._news.clear()

    def put_all(self, number: int, found: list[Json]) -> None:
        """Take a fresh list."""
        fresh = {objects.uid(obj): obj for obj in found}
        if fresh != self._objects[number]:
            self._objects[number] = fresh
            self._news.set()

    def put(self, number: int, kind: str, obj: Json) -> None:
        """Take an event of a watch."""
        if kind == "DELETED":
            self._objects[number].pop(objects.uid(obj), None)
        else:
            self._objects[number][objects.uid(obj)] = obj
        self._news.set()


@asynccontextmanager
async def mirrored(api: Api, *queries: Query) -> AsyncIterator[Mirror]:
    """Yield the objects of the queries, kept current as long as the context lasts.

    A watch that ends, breaks off or is too old is taken up again, by a fresh list where needed; a server that does
    not answer is asked again until the caller loses patience.

    Raises:
        ApiError: If the first lists cannot be read, or a watch is refused for good.
    """
    mirror = Mirror(len(queries))
    since = []
    for number, query in enumerate(queries):
        found, version = await api.select(query)
        mirror.put_all(number, found)
        since.append(version)
    async with tasks() as group:
        following = [
            group.create_task(_follow(api, query, mirror, number, since[number]))
            for number, query in enumerate(queries)
        ]
        yield mirror
        for task in following:
            task.cancel()


async def _follow(api: Api, query: Query, mirror: Mirror, number: int, since: str) -> None:
    while True:
        try:
            async with aclosing(api.watch(query, since=since)) as events:
                async for kind, obj in events:
                    since = objects.version(obj) or since
                    if kind != "BOOKMARK":
                        mirror.put(number, kind, obj)
            await api.clock.sleep(_PAUSE)
        except ApiError as error:
            since = await _again(api, query, mirror, number, error)


async def _again(api: Api, query: Query, mirror: Mirror, number: int, error: ApiError) -> str:
    """List anew after a fault, as often as it takes.

    Returns:
        The version from which to watch on.

    Raises:
        ApiError: If the fault is one that does not pass.
    """
    while True:
        if error.status != HTTPStatus.GONE and not error.transient:
            raise error
        await api.clock.sleep(_PAUSE if error.status == HTTPStatus.GONE else _PAUSE_AFTER_FAULT)
        try:
            found, since = await api.select(query)
        except ApiError as again:
            error = again
            continue
        mirror.put_all(number, found)
        return since
