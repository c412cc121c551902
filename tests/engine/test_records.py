from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from bot.domain import events
from bot.domain.actuation import Outcome
from bot.domain.errors import ActuatorError, RollbackError, StoreUnavailableError
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.engine.books import Books
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act, meanwhile, turn, until, works
from tests.support.wires import Passing


def one() -> Plan:
    """Return a plan with one step and one probe."""
    return plans.plan_of([[plans.act("start")]], verification=[plans.probe("health")])


async def breaks(_act: Act) -> Outcome:
    """Fail for good."""
    raise ActuatorError("The disk is full.")


class Failing:
    """A record system that is out of order until it is repaired."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def __call__(self, _call: str) -> None:
        """Fail; without an error, hang."""
        if self.error is None:
            await asyncio.Event().wait()
        else:
            raise self.error


@pytest.mark.parametrize(
    "error",
    [RollbackError("Jira says no."), StoreUnavailableError("away"), OSError("reset"), RuntimeError(), None],
    ids=["refuses", "away", "resets", "breaks", "hangs"],
)
async def test_records_that_fail_for_a_while(lab: Lab, error: Exception | None) -> None:
    """A record system out of order, in whatever way, stops no step; the records are made good when it works."""
    lab.register.trouble = Failing(error)
    run = await lab.approved(one())
    worker = lab.worker(records_timeout=timedelta(milliseconds=20))
    run = await lab.after(run, worker)
    assert run.state is State.COMPLETE
    assert lab.estate.effects["start"] == 1
    assert "incident_opened" not in kinds(run)
    assert await lab.lease(run) == (None, plans.at("15:47:05"))
    lab.register.trouble = None
    run = await lab.after(run)
    assert kinds(run)[-4:] == ["completed", "incident_opened", "review_scheduled", "closed"]
    assert run.last(events.Closed).incident == run.last(events.IncidentOpened).incident == "INC0000001"


async def test_records_are_linked(lab: Lab) -> None:
    """Incident, problem and change are written once, in their final form, and linked to each other."""
    run = await lab.after(await lab.approved(one()))
    closed = run.last(events.Closed)
    numbers = await Books(lab.register).close(run)
    assert (numbers.incident, numbers.problem) == (closed.incident, closed.problem)
    _, incident, links = await lab.register.get(closed.incident)
    assert incident["Root cause"] == f"Pending investigation ({closed.problem})"
    assert set(links) == {("is caused by", plans.CHANGE), ("is caused by", closed.problem)}
    _, change, _ = await lab.register.get(plans.CHANGE)
    assert (change["Status"], change["Linked incident"]) == ("Failed - Rolled back", closed.incident)
    assert await lab.sql("SELECT count(*) FROM record") == [(3,)]


async def test_a_held_rollback_waits_for_its_incident(lab: Lab) -> None:
    """While the incident is being opened the lease is kept, so that its number gets into the journal."""
    lab.estate.script("start", breaks)
    run = await lab.approved(one())
    go = asyncio.Event()

    async def slow(_call: str) -> None:
        await go.wait()

    lab.register.trouble = slow
    worker = lab.worker()
    async with meanwhile(worker.advance(run)):
        await until(lambda: "append held" in worker.wire.calls)
        await lab.sql("SELECT 1")
        assert (await lab.lease(run))[0] == "worker-1"
        go.set()
    run = await lab.runs.load(run.id)
    assert kinds(run)[-2:] == ["held", "incident_opened"]
    assert (await lab.lease(run))[0] is None


async def test_a_held_rollback_hears_people_meanwhile(lab: Lab) -> None:
    """A decision that comes while the incident is still being opened is acted upon before it is open."""
    lab.estate.script("start", breaks, works)
    run = await lab.approved(one())
    go = asyncio.Event()

    async def slow(_call: str) -> None:
        await go.wait()

    lab.register.trouble = slow
    async with meanwhile(lab.worker().advance(run)):
        while (await lab.runs.load(run.id)).state is not State.HELD:
            assert lab.estate.effects == {}
        await lab.decide(run, "start", Choice.RETRY)
        await lab.clock.advance(1)
        await until(lambda: lab.estate.effects["start"])
        assert (await lab.runs.load(run.id)).last(events.IncidentOpened) is None
        go.set()
    assert (await lab.runs.load(run.id)).state is State.CLOSED


async def test_the_next_worker_opens_the_incident(lab: Lab) -> None:
    """When the worker that began died before the incident was open, the next one opens it beside the steps."""
    run = await lab.approved(one())
    lab.register.trouble = Failing(OSError("reset"))

    async def works_then(act: Act) -> Outcome:
        async with asyncio.timeout(20):
            while (await lab.runs.load(run.id)).last(events.IncidentOpened) is None:
                await turn()
        return await works(act)

    lab.estate.script("start", breaks, works_then)
    run = await lab.after(run)
    assert (run.state, run.last(events.IncidentOpened)) == (State.HELD, None)
    lab.register.trouble = None
    run = await lab.after(await lab.decide(run, "start", Choice.RETRY))
    assert run.state is State.CLOSED
    assert kinds(run).index("incident_opened") < kinds(run).index("completed")


async def test_an_incident_opened_by_two(lab: Lab) -> None:
    """A worker that lost its lease while it opened the incident writes no number; its successor's is the same."""
    run = await lab.approved(one())
    worker = lab.worker()

    async def taken(passing: Passing) -> None:
        if passing.label == "append incident_opened":
            await lab.lapse(run)

    worker.wire.trouble = taken
    await worker.advance(run)
    assert (await lab.runs.load(run.id)).last(events.IncidentOpened) is None
    run = await lab.after(run, lab.worker("worker-2"))
    assert run.state is State.CLOSED
    assert run.last(events.IncidentOpened).incident == "INC0000001"


@pytest.mark.parametrize("kind", ["incident_opened", "review_scheduled", "closed"])
async def test_the_lease_is_lost_while_closing(lab: Lab, kind: str) -> None:
    """A worker that loses its lease while it closes the books stops, and the next one closes them."""
    lab.register.trouble = Failing(OSError("reset"))
    run = await lab.after(await lab.approved(one()))
    lab.register.trouble = None
    worker = lab.worker()

    async def taken(passing: Passing) -> None:
        if passing.label == f"append {kind}":
            await lab.lapse(run)

    worker.wire.trouble = taken
    await worker.advance(run)
    assert kind not in kinds(await lab.runs.load(run.id))
    assert (await lab.after(run, lab.worker("worker-2"))).state is State.CLOSED
    assert await lab.sql("SELECT count(*) FROM record") == [(3,)]
