"""Puts a chaos run together: store, witness, workers, people and the storm, and the evidence that they leave."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from bot.domain.ports import Clock
from storage.migrations import upgrade
from tests.bench.stage import appears, metrics_page
from tests.chaos import keeping, server
from tests.chaos.crew import ROOT, Crew, Diary
from tests.chaos.evidence import Evidence
from tests.chaos.people import People
from tests.chaos.site import Size, change_number, write_site
from tests.chaos.steps import register
from tests.chaos.storm import Storm, Weather
from tests.support.reception import reception

_REPORT_SECONDS = 5.0
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Script:
    """What a chaos run consists of.

    Attributes:
        zones: The network zone of each worker process.
        storm: How long harm is done.
        requests: In how much of that time the rollbacks are asked for, 0..1.
        settle: How long everything may take to come to its end afterwards.
        size: How much there is to do.
        weather: How bad it is.
        seed: Decides everything that is left to chance, except for what the machine does.
    """

    zones: tuple[str, ...]
    storm: timedelta
    requests: float
    settle: timedelta
    size: Size
    weather: Weather
    seed: int


@dataclass
class Scene:
    """What can be seen while it runs."""

    crew: Crew
    people: People
    changes: list[str]
    calm: bool = False


async def play(script: Script, folder: Path, *, clock: Clock, show: Callable[[Scene], None]) -> Evidence:
    """Perform a chaos run and return its evidence, which is kept in the folder as well.

    Args:
        script: What is done.
        folder: Empty; takes the logs and everything that was noted.
        clock: The time.
        show: Called every five seconds, for whoever watches.
    """
    random = Random(script.seed)  # noqa: S311 - repeatable, not secret
    async with AsyncExitStack() as stack:
        store = stack.enter_context(server.running())
        await upgrade(server.url_of(store))
        keeping.watch_leases(store)
        metrics_url = await stack.enter_async_context(metrics_page())
        files = write_site(folder / "site", script.size, random=random, metrics_url=metrics_url, now=clock.now())
        witness = await stack.enter_async_context(_witness(folder / "witness.jsonl", clock))
        _note(folder / "witness", str(witness))
        _note(folder / "store-url", server.url_of(store))
        diary = Diary(folder / "diary.jsonl", clock)
        stack.callback(diary.close)
        desk = reception(server.url_of(store), files, registry=register(socket=witness), clock=clock)
        service = await stack.enter_async_context(desk)
        people = People(service, witness=witness, random=random, diary=diary, clock=clock)
        crew = Crew(folder, zones=script.zones, diary=diary, clock=clock)
        storm = Storm(crew, store, weather=script.weather, random=random, diary=diary, clock=clock)
        scene = Scene(crew, people, [change_number(index) for index in range(script.size.rollbacks)])
        await _perform(script, scene, storm, random=random, clock=clock, show=show)
        (folder / "store-url").unlink()
        keeping.keep(folder, store, changes=scene.changes, counts=people.counts)
    return keeping.read(folder)


async def _perform(
    script: Script,
    scene: Scene,
    storm: Storm,
    *,
    random: Random,
    clock: Clock,
    show: Callable[[Scene], None],
) -> None:
    seconds = script.storm.total_seconds()
    async with asyncio.TaskGroup() as group:
        working = group.create_task(scene.crew.run())
        beside = [group.create_task(scene.people.attend()), group.create_task(_watch(scene, clock, show))]
        for change in scene.changes:
            after = random.uniform(0, script.requests * seconds)
            beside.append(group.create_task(scene.people.ask_for(change, after=after)))
        # The storm is about work, not about starting alone.
        await scene.crew.assembled(seconds=_START_SECONDS)
        await storm.rage(seconds)
        scene.calm = True
        deadline = clock.monotonic() + script.settle.total_seconds()
        while clock.monotonic() < deadline and not await scene.people.settled(scene.changes):
            await clock.sleep(0.2)
        await scene.crew.dismiss()
        for task in beside:
            task.cancel()
        await working


async def _watch(scene: Scene, clock: Clock, show: Callable[[Scene], None]) -> None:
    while True:
        await clock.sleep(_REPORT_SECONDS)
        show(scene)


@asynccontextmanager
async def _witness(log: Path, clock: Clock) -> AsyncIterator[Path]:
    """Yield the socket of a witness that listens. It lies in a folder of its own: its path must be short."""
    with tempfile.TemporaryDirectory(prefix="chaos-", dir="/tmp") as folder:
        socket = Path(folder) / "witness"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos.witness", str(socket), str(log), cwd=ROOT
        )
        try:
            await appears(socket, clock)
            yield socket
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def _note(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
