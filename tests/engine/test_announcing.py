from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from bot.domain.actuation import Progress
from bot.domain.errors import StoreUnavailableError
from bot.engine import announcer
from tests.support import plans
from tests.support.announcing import Cut, all_said, claimed, expected, noted, wait_out
from tests.support.engine import Lab
from tests.support.fakes import meanwhile, until
from tests.support.wires import Passing, Wire, no_trouble, outage


async def test_the_announcer_follows_the_journals(lab: Lab) -> None:
    """A running announcer says what was missing when it began, and all that happens since."""
    run = await lab.requested()
    async with meanwhile(lab.announcer().run()) as announcing:
        await until(lambda: lab.chat.keys() == ["card"])
        run = await lab.after(run)
        await until(partial(all_said, lab, run))
        while not lab.chat.edits or lab.chat.edits[-1] < run.seq:
            await lab.clock.advance(1)
            await lab.sql("SELECT 1")
        announcing.cancel()


async def test_a_refreshed_card(lab: Lab) -> None:
    """A card is shown again on demand, with the interval between edits kept."""
    run = await lab.requested()
    announcer = lab.announcer()
    async with meanwhile(announcer.run()) as announcing:
        await until(lambda: lab.chat.keys() == ["card"])
        await lab.clock.advance(1)
        await announcer.refresh(run.id)
        await until(lambda: lab.chat.edits == [run.seq])
        await announcer.refresh(run.id)
        await announcer.refresh(run.id)
        await until(lambda: lab.clock.sleeping(1.0))
        assert lab.chat.edits == [run.seq]
        await lab.clock.advance(1)
        await until(lambda: lab.chat.edits == [run.seq] * 2)
        announcing.cancel()


async def test_a_slow_rollback_holds_up_no_other(lab: Lab) -> None:
    """While a message of one rollback hangs in the chat, those of others are posted, and its own come after it."""
    first = await lab.requested()
    hanging, go = asyncio.Event(), asyncio.Event()

    async def slow(what: str) -> None:
        if what == "post card" and not hanging.is_set():
            hanging.set()
            await go.wait()

    lab.chat.trouble = slow
    async with meanwhile(lab.announcer().run()) as announcing:
        await hanging.wait()
        first = await noted(lab, first)
        probes = plans.plan_of([[plans.probe("look")]], verification=[plans.probe("health")])
        second = await lab.requested(probes.model_copy(update={"change": "CHG0012346"}))
        await until(lambda: second.id in lab.chat.cards)
        assert first.id not in lab.chat.cards
        go.set()
        await until(lambda: lab.chat.keys() == ["card", *expected(lab, first)])
        announcing.cancel()


async def test_one_timer_a_rollback(lab: Lab) -> None:
    """While the chat is away a rollback has one timer, whatever happens to it; then all is said in order."""
    run = await lab.requested()
    trouble = Cut(ConnectionError("away"), post=999)
    lab.chat.trouble = trouble
    async with meanwhile(lab.announcer().run()) as announcing:
        await until(lambda: "post card" in trouble.calls)
        run = await noted(lab, run, times=9)
        await until(lambda: lab.clock.sleeping(2.0))
        for _ in range(60):
            await lab.sql("SELECT 1")
        assert lab.clock.sleeping(2.0) == 1
        trouble.times["post"] = 0
        while lab.chat.keys() != expected(lab, run):
            await wait_out(lab, 1)
        announcing.cancel()


async def test_a_chat_that_stays_away_is_left_alone(lab: Lab) -> None:
    """The longer nothing gets through to the chat the more rarely a rollback is tried, until something does."""
    run = await lab.requested()
    trouble = Cut(ConnectionError("away"), post=5)
    lab.chat.trouble = trouble
    async with meanwhile(lab.announcer().run()) as announcing:
        for pause in (2.0, 4.0, 8.0, 16.0, 30.0):
            while not lab.clock.sleeping(pause):
                await wait_out(lab, 0.5)
        while lab.chat.keys() != ["card"]:
            await wait_out(lab, 5)
        trouble.times["post"] = 1
        run = await noted(lab, run)
        await until(partial(lab.clock.sleeping, 2.0))
        while not all_said(lab, run):
            await wait_out(lab, 1)
        announcing.cancel()


class Silent:
    """A speech of which nothing gets through."""

    posted = 0


def test_a_chat_that_is_away_for_days() -> None:
    """However often it has failed, a rollback is tried twice a minute."""
    speech: Any = Silent()
    means: Any = None
    tried = announcer._Round(speech, means)
    pauses = [tried._backoff("rb-0001") for _ in range(2000)]
    assert pauses[:6] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert set(pauses[5:]) == {30.0}


async def test_a_chat_that_takes_something_is_tried_soon(lab: Lab) -> None:
    """Where each message fails at first, but the next one gets through, the pauses do not grow."""
    run = await noted(lab, await lab.requested(), times=3)
    lab.chat.trouble = Cut(ConnectionError("reset"), post_0002=1, post_0003=1, post_0004=1)
    async with meanwhile(lab.announcer().run()) as announcing:
        while not all_said(lab, run):
            await until(lambda: lab.clock.sleeping(2.0) or all_said(lab, run))
            await wait_out(lab, 3)
        announcing.cancel()


async def test_an_earlier_timer_goes_first(lab: Lab) -> None:
    """Who waits long for one thing comes back sooner for another, and the later timer does nothing more."""
    run = await noted(lab, await lab.requested())
    await claimed(lab, run, "0002-incident_opened")
    announcer = lab.announcer(doubt=timedelta(seconds=50))
    async with meanwhile(announcer.run()) as announcing:
        await until(lambda: lab.chat.keys() == ["card"])
        await lab.board.write(run.id, "restore", Progress(1, 2, "bytes"))
        await until(lambda: lab.clock.sleeping(1.0) == 2)  # keeping the floor, and the interval between edits
        await lab.clock.advance(1)
        await until(lambda: lab.chat.edits)
        while not all_said(lab, run):
            await wait_out(lab, 10)
        announcing.cancel()


def failing(*calls: str, error: Exception) -> Callable[[Passing], Awaitable[None]]:
    """Return the trouble of a store that fails at these calls, once each."""
    left = list(calls)

    async def fail(passing: Passing) -> None:
        if not passing.back and passing.call in left:
            left.remove(passing.call)
            raise error

    return fail


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), ZeroDivisionError()])
async def test_a_fault_is_passed_over(lab: Lab, error: Exception) -> None:
    """A store that is away and a fault in the middle end nothing: the rollback is tried again."""
    run = await lab.requested()
    wire = Wire(lab.runs, trouble=failing("load", error=error))
    async with meanwhile(lab.announcer(wire).run()) as announcing:
        await until(lambda: lab.clock.sleeping(2.0))
        assert lab.chat.posted == []
        await lab.clock.advance(2)
        await until(partial(all_said, lab, run))
        announcing.cancel()


async def test_a_store_that_is_away_at_the_start(lab: Lab) -> None:
    """An announcer that begins while the store is away says everything as soon as it is there."""
    run = await lab.requested()
    known, away = lab.ledger.unsaid, True

    async def unsaid(*, audience: str) -> tuple[str, ...]:
        if away:
            raise StoreUnavailableError("away")
        return await known(audience=audience)

    lab.ledger.unsaid = unsaid  # type: ignore[method-assign] # the store, at the first look
    wire = Wire(lab.runs, trouble=outage())
    async with meanwhile(lab.announcer(wire).run()) as announcing:
        await until(lambda: lab.clock.sleeping(2.0))
        assert lab.chat.posted == []
        away, wire.trouble = False, no_trouble
        await lab.clock.advance(2)
        await until(partial(all_said, lab, run))
        announcing.cancel()


async def test_a_stream_of_changes_that_ends(lab: Lab) -> None:
    """When changes can be heard no more, or the stream ends, everything is looked at again after a pause."""
    run = await lab.requested()
    wire = Deaf(lab.runs)
    async with meanwhile(lab.announcer(wire).run()) as announcing:
        await until(lambda: lab.chat.keys() == ["card"])
        for times in (2, 3):
            run = await noted(lab, run)
            await until(lambda: lab.clock.sleeping(2.0))
            await lab.clock.advance(2)
            await until(partial(all_said, lab, run))
            assert wire.heard == times
        announcing.cancel()


class Deaf(Wire):
    """A store whose stream of changes fails the first time, and ends at once after that."""

    heard = 0

    async def _stream(self) -> AsyncIterator[str]:
        self.heard += 1
        if self.heard == 1:
            raise StoreUnavailableError("cut")
        for _ in range(0):
            yield ""

    def changed(self) -> AsyncIterator[str]:
        """See the port."""
        return self._stream()
