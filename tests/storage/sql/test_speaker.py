"""The floor: who may speak in the chat."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bot.domain.errors import LeaseLostError
from bot.domain.speech import Turn
from storage.database import Database
from storage.runs import SqlRuns
from storage.speaker import SqlFloor
from tests.storage.sql.conftest import Backstage

HOUR = timedelta(hours=1)


@pytest.fixture
def floor(database: Database) -> SqlFloor:
    """The floor, kept for an hour at a time."""
    return SqlFloor(database, lease=HOUR)


async def taken(floor: SqlFloor, owner: str = "bot-1") -> Turn:
    """Take the floor, which must be free."""
    turn = await floor.take(owner)
    assert turn is not None
    return turn


async def lapse(backstage: Backstage, seconds: float = 0) -> None:
    """Let the floor have run out that long ago."""
    await backstage("UPDATE speaker SET until = clock_timestamp() - make_interval(secs => :s)", s=seconds)


async def test_one_of_many_gets_the_floor(floor: SqlFloor, backstage: Backstage) -> None:
    """Of processes that ask at the same moment one gets the floor, the first time and whenever it is free again."""
    for fence in (1, 2, 3):
        turns = await asyncio.gather(*(floor.take(f"bot-{n}") for n in range(12)))
        got = [turn for turn in turns if turn is not None]
        assert [turn.fence for turn in got] == [fence]
        assert await backstage("SELECT owner, fence FROM speaker") == [(got[0].owner, fence)]
        await lapse(backstage)


async def test_asking_in_vain_writes_nothing(floor: SqlFloor, backstage: Backstage) -> None:
    """Whoever asks for the floor twice a second while another has it costs the store no write and no lock."""
    await taken(floor)
    before = await backstage("SELECT xmin::text, xmax::text FROM speaker")
    assert await floor.take("bot-2") is None
    assert await backstage("SELECT xmin::text, xmax::text FROM speaker") == before


async def test_the_floor_is_kept(floor: SqlFloor, backstage: Backstage) -> None:
    """Keeping prolongs the turn by the whole lease, from the database's present."""
    turn = await taken(floor)
    await backstage("UPDATE speaker SET until = clock_timestamp() + interval '1 s'")
    await floor.keep(turn)
    assert await backstage("SELECT until > clock_timestamp() + interval '59 min' FROM speaker") == [(True,)]


async def test_a_lapsed_turn_is_not_kept(floor: SqlFloor, backstage: Backstage) -> None:
    """Who came too late, or whose floor was taken, is told so and prolongs nothing, least of all another's turn."""
    turn = await taken(floor)
    await lapse(backstage)
    with pytest.raises(LeaseLostError, match="turn 1"):
        await floor.keep(turn)
    await taken(floor, "bot-2")
    before = await backstage("SELECT until FROM speaker")
    with pytest.raises(LeaseLostError):
        await floor.keep(turn)
    await floor.give_back(turn)
    assert await backstage("SELECT until FROM speaker") == before


async def test_the_floor_given_back_is_free_at_once(floor: SqlFloor) -> None:
    """After a process has given the floor back another takes it without waiting, and knows that it was just now."""
    await floor.give_back(await taken(floor))
    turn = await taken(floor, "bot-2")
    assert timedelta(0) <= turn.silence < timedelta(seconds=5)


async def test_the_silence_before_a_turn(floor: SqlFloor, backstage: Backstage) -> None:
    """A turn says how long nobody had the floor before it; before the first nobody ever had it."""
    first = await taken(floor)
    assert first.silence == timedelta.max
    await lapse(backstage, seconds=90)
    second = await taken(floor)
    assert timedelta(seconds=90) <= second.silence < timedelta(seconds=95)


async def test_the_dead_do_not_speak(floor: SqlFloor, runs: SqlRuns) -> None:
    """The speaker is among the owners, and ends with those that are known to be dead; the others keep the floor."""
    await taken(floor, "bot-1")
    assert await runs.owners() == ("bot-1",)
    await runs.bury(["bot-2"])
    assert await floor.take("bot-2") is None
    await runs.bury(["bot-1"])
    assert await runs.owners() == ()
    assert (await taken(floor, "bot-2")).fence == 2
