from __future__ import annotations

import pytest

from bot.domain.errors import StoreUnavailableError
from tests.support.engine import Lab
from tests.support.fakes import meanwhile, until
from tests.support.wires import Passing, Wire, no_trouble, outage


async def test_a_lost_job_is_replaced(lab: Lab) -> None:
    """A rollback whose job was lost is queued again, more and more rarely while nobody takes it."""
    run = await lab.requested()
    lab.jobs.queued.clear()
    sweep = lab.sweep()
    assert await sweep.once() == (run.id,)
    assert lab.jobs.queued == [(run.id, "default")]
    await lab.clock.advance(4.9)
    assert await sweep.once() == ()
    await lab.clock.advance(0.1)
    assert await sweep.once() == (run.id,)
    await lab.clock.advance(9.9)
    assert await sweep.once() == ()
    await lab.clock.advance(0.1)
    assert await sweep.once() == (run.id,)


async def test_who_works_is_left_alone(lab: Lab) -> None:
    """A rollback that has a worker, or waits for people, is not queued."""
    run = await lab.asked()
    await lab.sql("UPDATE rollback SET wake_at = now() + interval '1 hour'")
    sweep = lab.sweep()
    assert await sweep.once() == ()
    run = await lab.approve(run)
    hold = await lab.hold(run)
    assert await sweep.once() == ()
    await hold.give_back(seen=run.seq, wake_at=None)
    assert await sweep.once() == (run.id,)


async def test_a_dead_owner_is_buried(lab: Lab) -> None:
    """The lease of a worker that is known to be dead ends at once, and a new job is queued at once."""
    run = await lab.requested()
    sweep = lab.sweep(["worker-1"])
    assert await sweep.once() == (run.id,)
    await lab.runs.acquire(run.id, "worker-2")
    assert await sweep.once() == ()
    await lab.lapse(run)
    await lab.runs.acquire(run.id, "worker-1")
    assert await sweep.once() == (run.id,)
    assert await lab.runs.owners() == ()


async def test_a_carrier_that_fails(lab: Lab) -> None:
    """A job that could not be queued is queued by the next sweep."""
    run = await lab.requested()
    sweep = lab.sweep()
    lab.jobs.failure = StoreUnavailableError("away")
    with pytest.raises(StoreUnavailableError):
        await sweep.once()
    lab.jobs.failure = None
    assert await sweep.once() == (run.id,)


async def test_the_sweep_never_ends(lab: Lab) -> None:
    """Neither an outage of the store nor a fault ends the sweep; it looks every second."""
    run = await lab.requested()
    wire = Wire(lab.runs, trouble=outage())
    sweep = lab.sweep(wire=wire)
    lab.jobs.queued.clear()
    async with meanwhile(sweep.run()) as sweeping:
        await until(lambda: lab.clock.sleeping(1.0))
        wire.trouble = no_trouble
        lab.jobs.failure = ZeroDivisionError()
        await lab.clock.advance(1)
        await until(lambda: lab.clock.sleeping(1.0))
        assert lab.jobs.queued == []
        lab.jobs.failure = None
        await lab.clock.advance(1)
        await until(lambda: lab.jobs.queued == [(run.id, "default")])
        sweeping.cancel()


async def test_people_hear_of_a_missing_worker(lab: Lab) -> None:
    """A rollback that no worker takes for half a minute says so in its journal, once, and so to people."""
    run = await lab.requested()
    sweep = lab.sweep()
    for pause in (0, 5, 10, 20, 40, 60):
        await lab.clock.advance(pause)
        assert await sweep.once() == (run.id,)
    run = await lab.runs.load(run.id)
    assert [event.kind for event in run.history] == ["requested", "worker_missing"]
    assert (await lab.after(run)).seq > run.seq


async def test_a_worker_comes_at_last(lab: Lab) -> None:
    """When a worker takes the rollback while that is being written down, nothing is written."""
    run = await lab.requested()
    wire = Wire(lab.runs)
    sweep = lab.sweep(wire=wire)
    for pause in (0, 5, 10):
        await lab.clock.advance(pause)
        await sweep.once()
    await lab.clock.advance(20)

    async def taken(passing: Passing) -> None:
        if passing.call == "append" and not passing.back:
            await lab.worker().advance(run)

    wire.trouble = taken
    await sweep.once()
    assert all(event.kind != "worker_missing" for event in (await lab.runs.load(run.id)).history)
