"""The window and the point of no return are counted down in the thread, in one message that is edited in place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from bot.domain import events, forecast
from bot.domain.errors import RollbackError, StoreUnavailableError
from bot.domain.lifecycle import State
from bot.domain.ports import ChatBusyError, ChatRefusedError, MessageRef
from bot.domain.run import Run
from bot.engine import announcer as announcing
from tests.support import plans
from tests.support.announcing import Cut, all_said, expected, wait_out
from tests.support.engine import Lab
from tests.support.fakes import meanwhile, until
from tests.support.voices import Voice
from tests.support.wires import Wire


async def begun(lab: Lab) -> Run:
    """Return a rollback whose execution has just begun."""
    run = await lab.approved()
    began = events.ExecutionBegan(at=lab.clock.now(), who=plans.MANAGER, why="because")
    return await lab.runs.append(run, began, lease=None)


def shown(lab: Lab, run: Run) -> list[tuple[str, ...]]:
    """Return what the countdown of the rollback showed, one after the other."""
    return lab.chat.countdowns.get(run.id, [])


def now(lab: Lab, run: Run) -> tuple[str, ...]:
    """Return what the countdown must show now."""
    content = forecast.countdown(run, now=lab.clock.now(), paces={})
    assert content is not None
    return content.lines


async def test_the_countdown_is_posted_once(lab: Lab) -> None:
    """As soon as there is something to count down it is posted, once, behind what is due before it."""
    announcer = lab.announcer()
    run = await lab.requested()
    await announcer.sync(run.id)
    assert shown(lab, run) == []
    run = await lab.after(run)
    assert run.state is State.AWAITING_AUTHORITY
    order: list[str] = []

    async def note(what: str) -> None:
        order.append(what)

    lab.chat.trouble = note
    await announcer.sync(run.id)
    assert order[-1] == "posted countdown"
    assert shown(lab, run) == [now(lab, run)]
    await announcer.sync(run.id)
    await announcer.leave()
    await lab.announcer().sync(run.id)
    assert shown(lab, run) == [now(lab, run)]


async def test_the_countdown_waits_for_what_comes_before(lab: Lab) -> None:
    """While an earlier message is held up the countdown is not posted in front of it."""
    run = await lab.asked()
    lab.chat.trouble = Cut(ChatRefusedError("invalid_blocks"), post_0003=1)
    announcer = lab.announcer()
    await announcer.sync(run.id)
    assert shown(lab, run) == []
    await announcer.sync(run.id)
    assert len(shown(lab, run)) == 1


async def test_the_countdown_follows_the_minutes(lab: Lab) -> None:
    """It is edited when its words change, at most every half minute, and else left alone."""
    run = await begun(lab)
    announcer = lab.announcer()
    await announcer.sync(run.id)
    first = now(lab, run)
    await lab.clock.advance(29)
    assert await announcer.sync(run.id) == 1.0
    await lab.clock.advance(1)
    assert await announcer.sync(run.id) is None, "it is still the same minute"
    assert shown(lab, run) == [first]
    await lab.clock.advance(30)
    assert await announcer.sync(run.id) is None
    second = now(lab, run)
    assert shown(lab, run) == [first, second]
    assert second != first
    await lab.clock.advance(600)
    await announcer.sync(run.id)
    assert shown(lab, run) == [first, second, now(lab, run)]


async def test_the_countdown_ends_with_the_rollback(lab: Lab) -> None:
    """When the rollback has ended the countdown says so, and is not touched any more."""
    run = await begun(lab)
    announcer = lab.announcer()
    await announcer.sync(run.id)
    await lab.clock.advance(10)
    run = await lab.after(run)
    assert run.state is State.CLOSED
    assert await announcer.sync(run.id) == 20.0
    await lab.clock.advance(20)
    assert await announcer.sync(run.id) is None
    assert shown(lab, run)[1:] == [now(lab, run)]
    await lab.clock.advance(3600)
    assert await announcer.sync(run.id) is None
    assert len(shown(lab, run)) == 2
    assert all_said(lab, run)


@pytest.mark.parametrize("sent", [True, False])
async def test_a_countdown_in_doubt_at_the_end(lab: Lab, *, sent: bool) -> None:
    """A countdown that may have been sent before the rollback ended is found and brought to its end."""
    run = await begun(lab)
    lab.chat.trouble = Cut(ConnectionError("reset"), **{"posted_countdown" if sent else "post_countdown": 1})
    announcer = lab.announcer()
    with pytest.raises(ConnectionError):
        await announcer.sync(run.id)
    run = await lab.after(run)
    assert run.state is State.CLOSED
    await wait_out(lab, 30)
    assert await announcer.sync(run.id) is None
    assert shown(lab, run)[-1] == now(lab, run)
    assert lab.chat.finds == ["countdown"]


async def test_a_countdown_that_nothing_can_be_said_of(lab: Lab) -> None:
    """A countdown of a rollback of which there is nothing to count down, whoever posted it, is left as it is."""
    run = await lab.requested()
    await lab.ledger.posted(run.id, "countdown", MessageRef("C0OPS", "1.2"))
    assert await lab.announcer().sync(run.id) is None


async def test_no_countdown_of_the_past(lab: Lab) -> None:
    """A rollback that had ended before anybody counted it down gets no countdown."""
    run = await lab.after(await lab.approved())
    await lab.announcer().sync(run.id)
    assert shown(lab, run) == []
    assert lab.chat.keys() == expected(lab, run)


@pytest.mark.parametrize(
    ("error", "pause"),
    [(ChatBusyError(17.0), 17.0), (RollbackError("deleted"), None), (ChatRefusedError("invalid_blocks"), None)],
)
async def test_an_edit_that_the_chat_does_not_take(lab: Lab, error: Exception, pause: float | None) -> None:
    """For want of room an edit is made up for later; one that cannot be made waits for the next change."""
    run = await begun(lab)
    announcer = lab.announcer()
    await announcer.sync(run.id)
    trouble = Cut(error, edit_countdown=1)
    trouble.times = {"edit countdown": 1}
    lab.chat.trouble = trouble
    await lab.clock.advance(60)
    assert await announcer.sync(run.id) == pause
    await lab.clock.advance(30)
    await announcer.sync(run.id)
    assert len(shown(lab, run)) == (2 if pause else 1)
    await lab.clock.advance(60)
    await announcer.sync(run.id)
    assert shown(lab, run)[-1] == now(lab, run)


async def test_a_countdown_that_the_chat_never_takes(lab: Lab) -> None:
    """A countdown that cannot be posted, not even as plain text, is given up."""
    run = await lab.asked()
    trouble = Cut(ChatRefusedError("invalid_blocks"), post_countdown=99)
    lab.chat.trouble = trouble
    announcer = lab.announcer()
    assert [await announcer.sync(run.id) for _ in range(8)] == [2.0] * 5 + [None] * 3
    assert trouble.calls.count("post countdown") == 6


async def test_time_alone_moves_the_countdown(lab: Lab) -> None:
    """A running announcer brings the countdown up to date every minute though nothing happens."""
    run = await begun(lab)
    announcer = lab.announcer(Deaf(lab.runs))
    async with meanwhile(announcer.run()) as speaking:
        await until(lambda: shown(lab, run))
        for count in (2, 3):
            await until(partial(at_rest, announcer))
            await aged(lab)
            await lab.clock.advance(60)
            await until(lambda count=count: len(shown(lab, run)) == count)  # type: ignore[misc]
            assert shown(lab, run)[-1] == now(lab, run)
        speaking.cancel()


async def aged(lab: Lab) -> None:
    """Let a minute pass for what the ledger says of countdowns."""
    await lab.sql(
        "UPDATE message SET claimed_at = claimed_at - interval '1 min', edited_at = edited_at - interval '1 min' "
        "WHERE key = 'countdown'"
    )


async def test_an_outage_stops_no_countdown(lab: Lab) -> None:
    """When the store is away at the full minute the countdown goes on with the next one."""
    run = await begun(lab)
    known, away = lab.ledger.outdated, True

    async def outdated(*args: object, **how: object) -> tuple[str, ...]:
        if away:
            raise StoreUnavailableError("away")
        return await known(*args, **how)  # type: ignore[arg-type]

    lab.ledger.outdated = outdated  # type: ignore[method-assign] # the store, at the full minute
    announcer = lab.announcer(Deaf(lab.runs))
    async with meanwhile(announcer.run()) as speaking:
        await until(lambda: shown(lab, run))
        await until(partial(at_rest, announcer))
        await aged(lab)
        await lab.clock.advance(60)
        await until(lambda: lab.clock.sleeping(60.0))
        away = False
        await lab.clock.advance(60)
        await until(lambda: len(shown(lab, run)) == 2)
        speaking.cancel()


async def test_many_waiting_rollbacks_share_one_timer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollbacks that wait for authority have no timers of their own: a few countdowns a minute are edited."""
    monkeypatch.setattr(announcing, "_COUNTDOWNS", 2)
    probes = plans.plan_of([[plans.probe("look")]], verification=[plans.probe("health")])
    runs = [await lab.asked(probes.model_copy(update={"change": f"CHG001234{n}"})) for n in range(5)]
    announcer = lab.announcer(Deaf(lab.runs))
    async with meanwhile(announcer.run()) as speaking:
        await until(lambda: len(lab.chat.countdowns) == 5)
        await until(partial(at_rest, announcer))
        counts = []
        for _ in range(3):
            edited = sum(map(len, lab.chat.countdowns.values())) + 1
            await aged(lab)
            await lab.clock.advance(60)
            await until(lambda edited=edited: sum(map(len, lab.chat.countdowns.values())) > edited)  # type: ignore[misc]
            await until(partial(at_rest, announcer))
            counts.append(sum(map(len, lab.chat.countdowns.values())))
        speaking.cancel()
    assert counts == [7, 9, 11]
    assert {len(lab.chat.countdowns[run.id]) for run in runs} == {2, 3}, "those that wait longest come first"


def at_rest(announcer: Voice) -> bool:
    """Return whether nothing is being said, and no rollback is to be come back to."""
    found = announcer._round
    assert found is not None
    return not (found._busy or found._dirty or found._timers)


class Deaf(Wire):
    """A store in which nothing changes."""

    async def _stream(self) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    def changed(self) -> AsyncIterator[str]:
        """See the port."""
        return self._stream()
