from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from bot.domain import events
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.domain.lifecycle import State
from bot.engine.journal import always, unchanged
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import meanwhile, turn, until
from tests.support.wires import Passing, Wire, lost_answer, outage


def began(lab: Lab) -> events.CheckingBegan:
    """Return the first event that a worker writes."""
    return events.CheckingBegan(at=lab.clock.now(), who="worker-1", why="requested")


def opened(lab: Lab, number: str = "INC0000001") -> events.IncidentOpened:
    """Return an event that may come at any time."""
    return events.IncidentOpened(at=lab.clock.now(), who="worker-1", why="degraded", incident=number)


def rejected(lab: Lab) -> events.Rejected:
    """Return a person's event."""
    return events.Rejected(at=lab.clock.now(), who=plans.MANAGER, why="no", name="J. Smith")


async def passes(lab: Lab, seconds: float, *, step: float = 0.5) -> None:
    """Let time pass in small steps, with round trips to the store in between."""
    for _ in range(round(seconds / step)):
        await lab.clock.advance(step)
        await lab.sql("SELECT 1")
        await lab.sql("SELECT 1")


async def test_a_write_waits_for_the_store(lab: Lab) -> None:
    """A write to a store that is away for a while is tried again until it is there, and written once."""
    run, wire = await lab.requested(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    wire.trouble = outage()
    async with meanwhile(hold.write(began(lab), still=unchanged(run))) as writing:
        await passes(lab, 10)
        assert not writing.done()
        wire.trouble = Wire(lab.runs).trouble
        await lab.clock.advance(0.5)
    assert writing.result()
    assert kinds(await lab.runs.load(run.id)) == ["requested", "checking_began"]
    assert kinds(hold.run) == ["requested", "checking_began"]


async def test_a_write_gives_up_with_the_lease(lab: Lab) -> None:
    """A store that is away for longer than the lease costs the lease, and nothing is written afterwards."""
    run, wire = await lab.requested(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    wire.trouble = outage()
    with pytest.raises(ExceptionGroup) as lost:
        async with meanwhile(hold.write(began(lab), still=unchanged(run))):
            await passes(lab, 12)
    assert lost.group_contains(LeaseLostError, match="could not be renewed in time")
    assert kinds(await lab.runs.load(run.id)) == ["requested"]


@pytest.mark.parametrize("still", ["always", "unchanged"])
async def test_a_lost_answer_is_known_again(lab: Lab, still: str) -> None:
    """An event that was committed while its answer was lost counts as written, and is not written again."""
    run, wire = await lab.requested(), Wire(lab.runs, trouble=lost_answer("checking_began"))
    hold = await lab.hold(run, wire)
    condition = always if still == "always" else unchanged(run)
    async with meanwhile(hold.write(began(lab), still=condition)) as writing:
        await until(lambda: lab.clock.sleeping(0.5))
        await lab.clock.advance(0.5)
    assert writing.result()
    assert kinds(await lab.runs.load(run.id)) == ["requested", "checking_began"]


async def test_outcomes_are_written_whatever_others_wrote(lab: Lab) -> None:
    """What is true however the journal moved on is written behind what others wrote, once."""
    run = await lab.requested()
    hold = await lab.hold(run)
    await lab.runs.append(run, rejected(lab), lease=None)
    assert await hold.write(opened(lab), still=always)
    assert kinds(await lab.runs.load(run.id)) == ["requested", "rejected", "incident_opened"]
    assert hold.run.state is State.STOOD_DOWN


async def test_decisions_are_not_written_upon_another_journal(lab: Lab) -> None:
    """What was decided upon a journal is not written upon another one, whoever finds out first."""
    run = await lab.requested()
    hold = await lab.hold(run)
    await lab.runs.append(run, rejected(lab), lease=None)
    assert not await hold.write(began(lab), still=unchanged(run))
    assert hold.run.state is State.STOOD_DOWN
    assert not await hold.write(began(lab), still=unchanged(run))
    assert kinds(await lab.runs.load(run.id)) == ["requested", "rejected"]


async def test_an_event_that_is_not_permitted(lab: Lab) -> None:
    """An event that the lifecycle does not permit is a fault of the engine, and nothing is written."""
    run = await lab.requested()
    hold = await lab.hold(run)
    completed = events.Completed(at=lab.clock.now(), who="worker-1", why="")
    with pytest.raises(ValueError, match="completed is not permitted in state requested"):
        await hold.write(completed, still=always)
    assert await hold.write(began(lab), still=unchanged(run))


async def test_a_stale_worker_writes_nothing(lab: Lab) -> None:
    """A worker whose lease another one took can write nothing, renew nothing and give nothing back."""
    run = await lab.requested()
    stale = await lab.hold(run)
    await lab.lapse(run)
    await lab.hold(run)
    with pytest.raises(LeaseLostError):
        await stale.write(began(lab), still=always)
    with pytest.raises(LeaseLostError):
        await stale.give_back(seen=run.seq, wake_at=None)
    await stale.abandon()
    assert kinds(await lab.runs.load(run.id)) == ["requested"]
    assert (await lab.lease(run))[0] == "worker-1"


async def test_a_write_survives_cancellation(lab: Lab) -> None:
    """A write whose caller is cancelled, however often, is brought to its end."""
    run, wire = await lab.requested(), Wire(lab.runs, trouble=outage("append"))
    hold = await lab.hold(run, wire)
    async with meanwhile(hold.write(began(lab), still=unchanged(run))) as writing:
        await until(lambda: lab.clock.sleeping(0.5))
        for _ in range(3):
            writing.cancel()
            await turn()
            await turn()
        assert not writing.done()
        wire.trouble = Wire(lab.runs).trouble
        await lab.clock.advance(0.5)
    assert writing.cancelled()
    assert kinds(await lab.runs.load(run.id)) == ["requested", "checking_began"]


async def test_a_cancelled_write_that_fails_is_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """When a write cannot be brought to its end after a cancellation, the log says which."""
    run, wire = await lab.requested(), Wire(lab.runs, trouble=outage("append"))
    hold = await lab.hold(run, wire)
    async with meanwhile(hold.write(began(lab), still=unchanged(run))) as writing:
        await until(lambda: lab.clock.sleeping(0.5))
        writing.cancel()
        await passes(lab, 12)
    assert writing.cancelled()
    assert "checking_began could not be written before the end" in caplog.text


async def test_writes_follow_each_other(lab: Lab) -> None:
    """Outcomes that come at the same time are all written, each behind the other."""
    run = await lab.requested()
    hold = await lab.hold(run)
    numbers = [f"INC000000{n}" for n in range(1, 6)]
    await asyncio.gather(*(hold.write(opened(lab, number), still=always) for number in numbers))
    written = await lab.runs.load(run.id)
    assert [e.incident for e in written.history if isinstance(e, events.IncidentOpened)] == numbers
    assert hold.run == written


def _renewed(wire: Wire, times: int) -> bool:
    return wire.calls.count("renew") == times


async def test_a_lease_that_is_kept(lab: Lab) -> None:
    """A worker that lives keeps its lease for as long as it likes."""
    run, wire = await lab.requested(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    async with meanwhile(hold.keep()) as keeping:
        for beat in range(1, 31):
            await until(lambda: lab.clock.sleeping(1.0))
            await lab.clock.advance(1)
            await until(partial(_renewed, wire, beat))
        await until(lambda: lab.clock.sleeping(1.0))
        hold.ensure()
        keeping.cancel()
    assert wire.calls == ["acquire", *["renew"] * 30]


async def test_ten_seconds_without_the_store(lab: Lab) -> None:
    """An outage of ten seconds that begins just before a renewal costs nobody the lease, by default settings."""
    run, wire = await lab.requested(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    async with meanwhile(hold.keep()) as keeping:
        wire.trouble = outage()
        await passes(lab, 11)
        assert not keeping.done()
        assert wire.calls.count("renew") > 15
        wire.trouble = Wire(lab.runs).trouble
        renewals = len(wire.calls)
        await lab.clock.advance(0.5)
        await until(lambda: len(wire.calls) > renewals and lab.clock.sleeping(1.0))
        await passes(lab, 10, step=1)
        hold.ensure()
        keeping.cancel()


async def test_a_store_that_hangs_costs_the_lease(lab: Lab) -> None:
    """A store that takes a call and never answers costs the lease as well as one that refuses, in the same time."""
    run, wire = await lab.requested(), Wire(lab.runs)
    hold = await lab.hold(run, wire)

    async def frozen(_passing: Passing) -> None:
        await asyncio.Event().wait()

    wire.trouble = frozen
    with pytest.raises(ExceptionGroup) as lost:  # noqa: PT012 - time must pass inside
        async with meanwhile(hold.keep()) as keeping:
            await passes(lab, 11.5)
            assert not keeping.done()
            await lab.clock.advance(0.5)
    assert lost.group_contains(LeaseLostError)


async def test_a_lease_counts_from_the_question(lab: Lab) -> None:
    """A lease whose answer took long is counted from the question: the database's clock began before us."""
    run, wire = await lab.requested(), Wire(lab.runs)

    async def slow(passing: Passing) -> None:
        if passing.label == "acquire: done":
            await lab.clock.sleep(11)

    wire.trouble = slow
    async with meanwhile(lab.hold(run, wire)) as taking:
        await until(lambda: lab.clock.sleeping(11))
        await lab.clock.advance(11)
    hold = taking.result()
    hold.ensure()
    await lab.clock.advance(1)
    with pytest.raises(LeaseLostError):
        hold.ensure()


async def test_a_worker_that_was_frozen_stops_itself(lab: Lab) -> None:
    """A worker that comes to after its lease has run out notices before it asks anybody."""
    run, wire = await lab.requested(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    await lab.clock.advance(12)
    with pytest.raises(ExceptionGroup) as lost:
        await hold.keep()
    assert lost.group_contains(LeaseLostError)
    assert wire.calls == ["acquire"]


async def test_a_taken_lease_is_noticed(lab: Lab) -> None:
    """A worker whose lease another one took learns of it at the next renewal."""
    run = await lab.requested()
    hold = await lab.hold(run)
    await lab.lapse(run)
    await lab.hold(run)
    with pytest.raises(ExceptionGroup) as lost:  # noqa: PT012 - time must pass inside
        async with meanwhile(hold.keep()):
            await until(lambda: lab.clock.sleeping(1.0))
            await lab.clock.advance(1)
    assert lost.group_contains(LeaseLostError, match="no longer in force")


async def test_news_are_read(lab: Lab) -> None:
    """What others write is known to the worker with its next renewal."""
    run = await lab.requested()
    hold = await lab.hold(run)
    async with meanwhile(hold.keep()) as keeping:
        await until(lambda: lab.clock.sleeping(1.0))
        await lab.runs.append(run, rejected(lab), lease=None)
        await lab.clock.advance(1)
        await hold.news.wait()
        assert hold.run.state is State.STOOD_DOWN
        keeping.cancel()


async def test_a_lease_is_not_given_back_over_news(lab: Lab) -> None:
    """A lease is given back only if nothing came in since what was acted upon, even if it was read meanwhile."""
    run = await lab.asked()
    hold = await lab.hold(run)
    await lab.approve(run)
    assert not await hold.give_back(seen=run.seq, wake_at=plans.at("16:47"))
    assert hold.run.state is State.AUTHORISED
    assert not await hold.give_back(seen=run.seq, wake_at=plans.at("16:47"))
    assert await hold.give_back(seen=hold.run.seq, wake_at=None)
    assert await lab.lease(run) == (None, None)


async def test_news_during_an_outage_are_not_lost(lab: Lab) -> None:
    """An approval that a renewal brought in while the lease was being given back keeps the worker at work."""
    run, wire = await lab.asked(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    wire.trouble = outage("release")
    async with meanwhile(hold.give_back(seen=run.seq, wake_at=plans.at("16:47"))) as giving:
        await until(lambda: lab.clock.sleeping(0.5))
        await lab.approve(run)
        await hold.reload()
        wire.trouble = Wire(lab.runs).trouble
        await lab.clock.advance(0.5)
    assert not giving.result()
    assert hold.run.state is State.AUTHORISED


async def test_no_renewal_follows_the_return(lab: Lab) -> None:
    """Once the lease is given back nothing renews it, and nothing is called lost."""
    run, wire = await lab.requested(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    async with meanwhile(hold.keep()) as keeping:
        await until(lambda: lab.clock.sleeping(1.0))
        assert await hold.give_back(seen=run.seq, wake_at=None)
        await passes(lab, 2)
        assert "renew" not in wire.calls
        keeping.cancel()
    await hold.abandon()
    assert wire.calls == ["acquire", "release"]


async def test_a_lost_answer_to_the_return(lab: Lab) -> None:
    """When the answer to giving back is lost, the lease is gone, and the rollback waits as it was told to."""
    run, wire = await lab.asked(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    cut: list[Passing] = []

    async def once(passing: Passing) -> None:
        if passing.label == "release: done" and not cut:
            cut.append(passing)
            raise StoreUnavailableError("cut")

    wire.trouble = once
    with pytest.raises(ExceptionGroup) as lost:  # noqa: PT012 - time must pass inside
        async with meanwhile(hold.give_back(seen=run.seq, wake_at=plans.at("16:47"))):
            await until(lambda: lab.clock.sleeping(0.5))
            await lab.clock.advance(0.5)
    assert lost.group_contains(LeaseLostError)
    assert await lab.lease(run) == (None, plans.at("16:47"))


async def test_abandoned_in_an_outage(lab: Lab) -> None:
    """On the way out the lease is given back once; if the store is away it lapses by itself."""
    run, wire = await lab.requested(), Wire(lab.runs)
    hold = await lab.hold(run, wire)
    wire.trouble = outage()
    await hold.abandon()
    assert (await lab.lease(run))[0] == "worker-1"
    wire.trouble = Wire(lab.runs).trouble
    await hold.abandon()
    assert await lab.lease(run) == (None, plans.at("15:47"))
    assert lab.settings().lease == timedelta(seconds=12)
