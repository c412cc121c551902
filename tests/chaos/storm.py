"""What befalls workers and store: kill -9, SIGTERM, freezes, crashes of PostgreSQL; at random, but seeded."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from bot.domain.ports import Clock
from tests.chaos import server
from tests.chaos.crew import Crew, Diary, Member
from tests.support.pgserver import PgServer

Range = tuple[float, float]
"""Shortest and longest, in seconds."""

_ANYBODY, _POLITE, _FROZEN_STORE = 0.15, 0.2, 1 / 3
"""Shares of the kills that may hit anybody, of the kills by SIGTERM, and of the troubles that freeze the store."""


@dataclass(frozen=True)
class Weather:
    """How bad it is.

    Attributes:
        kill: Between two kills of a worker.
        freeze: Between two freezes of a worker.
        frozen: How long a worker is frozen.
        store: Between two troubles of the store.
        away: How long the store is away after a crash.
        hung: How long the store is frozen.
    """

    kill: Range = (2.0, 5.0)
    freeze: Range = (2.0, 5.0)
    frozen: Range = (5.0, 20.0)
    store: Range = (6.0, 13.0)
    away: Range = (0.1, 2.5)
    hung: Range = (0.5, 4.0)


class Storm:
    """Does harm until it is over.

    Args:
        crew: The workers.
        store: Their store.
        weather: How bad.
        random: Decides.
        diary: Takes what happened.
        clock: The time.
    """

    def __init__(
        self, crew: Crew, store: PgServer, *, weather: Weather, random: Random, diary: Diary, clock: Clock
    ) -> None:
        self._crew = crew
        self._store = store
        self._weather = weather
        self._random = random
        self._diary = diary
        self._clock = clock

    async def rage(self, seconds: float) -> None:
        """Do harm for that long; at the end everybody is awake, and the store is up."""
        until = self._clock.monotonic() + seconds
        weather = self._weather
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(until, weather.kill, self._kill))
            group.create_task(self._again(until, weather.freeze, self._freeze))
            group.create_task(self._again(until, weather.store, self._harm_store))

    async def _again(
        self, until: float, pause: Range, harm: Callable[[asyncio.TaskGroup, float], Awaitable[None]]
    ) -> None:
        async with asyncio.TaskGroup() as group:
            while (wait := self._within(pause)) < until - self._clock.monotonic():
                await self._clock.sleep(wait)
                await harm(group, until)

    async def _kill(self, _group: asyncio.TaskGroup, _until: float) -> None:
        """Kill a worker that works; now and then one that is frozen, or is only being started."""
        living = [member for member in self._crew.members if member.lives]
        working = [member for member in living if member.ready and not member.frozen]
        victims = living if self._random.random() < _ANYBODY else working
        if victims:
            member = self._random.choice(victims)
            politely = self._random.random() < _POLITE and not (member.frozen or member.told)
            self._crew.send(member, signal.SIGTERM if politely else signal.SIGKILL)

    async def _freeze(self, group: asyncio.TaskGroup, until: float) -> None:
        """Freeze a worker that works, as long as no more than half of all are frozen and one is left."""
        members = self._crew.members
        awake = [member for member in members if member.lives and member.ready and not member.frozen]
        if len(awake) > 1 and 2 * sum(member.frozen for member in members) < len(members) - 1:
            group.create_task(self._nap(self._random.choice(awake), until))

    async def _nap(self, member: Member, until: float) -> None:
        process = member.process
        self._crew.send(member, signal.SIGSTOP)
        await self._clock.sleep(min(self._within(self._weather.frozen), max(0.0, until - self._clock.monotonic())))
        if member.process is process:
            self._crew.send(member, signal.SIGCONT)

    async def _harm_store(self, _group: asyncio.TaskGroup, _until: float) -> None:
        if self._random.random() < _FROZEN_STORE:
            frozen = await asyncio.to_thread(server.freeze, self._store)
            self._diary.note("store frozen")
            await self._clock.sleep(self._within(self._weather.hung))
            server.thaw(frozen)
            self._diary.note("store thawed")
        else:
            self._diary.note("store crashed")
            await asyncio.to_thread(server.crash, self._store)
            await self._clock.sleep(self._within(self._weather.away))
            await asyncio.to_thread(self._store.start)
            self._diary.note("store up")

    def _within(self, bounds: Range) -> float:
        return self._random.uniform(*bounds)
