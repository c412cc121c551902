"""Rollbacks whose targets lie in several network zones: each step is done by a worker that can reach it."""

from __future__ import annotations

import pytest

from bot.domain import events
from bot.domain.actuation import Check, Outcome, Verdict
from bot.domain.errors import ActuatorError, StoreUnavailableError
from bot.domain.events import Choice
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from bot.engine.service import Actor
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act, works

ON_CALL = Actor(plans.ON_CALL)


async def breaks(_act: Act) -> Outcome:
    """Fail for good."""
    raise ActuatorError("The disk is full.")


def in_zones() -> Inventory:
    """Return the example's targets, the database in a zone of its own."""
    document = plans.inventory().model_dump(mode="json")
    document["databases"]["payments-db"]["zone"] = "data"
    return Inventory.model_validate(document)


def across() -> Plan:
    """Return a plan whose steps lie in both zones."""
    return plans.plan_of(
        [[plans.act("stop"), plans.drain("drain")], [plans.act("start")]], verification=[plans.probe("health")]
    )


async def by_all(lab: Lab, run: Run) -> Run:
    """Let the workers of both zones advance the rollback until it rests."""
    for _ in range(20):
        before = (await lab.runs.load(run.id)).seq
        await lab.worker("here").advance(run)
        await lab.worker("there", zone="data").advance(run)
        run = await lab.runs.load(run.id)
        if run.seq == before:
            break
    return run


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Return a laboratory with two zones."""
    lab.inventory = in_zones()
    return lab


async def test_each_zone_does_its_part(lab: Lab) -> None:
    """Checks and steps are made by the zone that reaches the target, whatever worker has the rollback."""
    run = await by_all(lab, await lab.requested(across()))
    assert kinds(run)[:4] == ["requested", "checking_began", "partly_checked", "checked"]
    assert {f.subject for f in run.last(events.Checked).findings} >= {"Step stop", "Step drain", "Metrics"}
    run = await by_all(lab, await lab.approve(run))
    assert run.state is State.CLOSED
    who = {e.step: e.who for e in run.history if isinstance(e, events.StepStarted)}
    assert who == {"stop": "here", "drain": "there", "start": "here", "health": "here"}
    assert (run.id, "data") in lab.jobs.queued


async def test_the_reading_of_another_zone(lab: Lab) -> None:
    """The metrics are read where they can be reached, and decide together with all findings."""
    document = in_zones().model_dump(mode="json")
    document["metrics"]["payments-metrics"]["zone"] = "data"
    lab.inventory = Inventory.model_validate(document)
    run = await by_all(lab, await lab.requested(across()))
    checked: events.Checked = run.last(events.Checked)
    assert checked.reading == plans.READING
    assert len(lab.gauge.windows) == 1


async def test_a_finding_of_another_zone_refuses(lab: Lab) -> None:
    """What one zone finds amiss refuses the rollback, although another one draws the conclusion."""

    async def amiss() -> tuple[Check, ...]:
        return (Check("Backup", Verdict.FAIL, "file not found", "Enter another one."),)

    lab.estate.checks["stop"] = amiss
    run = await by_all(lab, await lab.requested(across()))
    assert run.state is State.REFUSED
    assert "Backup: file not found" in run.history[-1].why


async def test_the_loss_is_measured_where_the_database_is(lab: Lab) -> None:
    """A rollback that destroys data is begun by the zone of the database, which measures the loss."""
    plan = plans.plan_of([[plans.act("stop")], [plans.swap("swap")]], verification=[plans.probe("health")])
    run = await by_all(lab, await lab.requested(plan))
    run = await by_all(lab, await lab.approve(run))
    assert run.state is State.CLOSED
    assert "loss swap" in lab.estate.calls


async def test_a_held_step_of_another_zone(lab: Lab) -> None:
    """Remedies, surveys and what is in doubt are looked at by the zone that reaches the target."""
    lab.estate.script("drain", breaks, works)
    run = await by_all(lab, await lab.requested(across()))
    run = await by_all(lab, await lab.approve(run))
    assert run.state is State.HELD
    assert run.last(events.RemediesOffered).who == "there"
    await lab.service().abort(run.id, ON_CALL, reason="r")
    run = await by_all(lab, run)
    assert run.state is State.CLOSED
    surveys = [e for e in run.history if isinstance(e, events.Surveyed)]
    assert {(e.who, *(f.step for f in e.found)) for e in surveys} == {
        ("here", "stop", "start"),
        ("there", "drain"),
    }


async def test_a_decision_wakes_the_right_zone(lab: Lab) -> None:
    """After a retry the worker that gets the job hands over to the zone of the step."""
    lab.estate.script("drain", breaks, works)
    run = await by_all(lab, await lab.requested(across()))
    run = await by_all(lab, await lab.approve(run))
    run = await by_all(lab, await lab.decide(run, "drain", Choice.RETRY))
    assert (run.state, run.status("drain").state) == (State.CLOSED, StepState.DONE)


async def test_without_a_carrier_the_sweep_finds_it(lab: Lab) -> None:
    """When no job can be queued for the other zone, the rollback is due there all the same."""
    run = await lab.requested(across())
    lab.jobs.failure = StoreUnavailableError("away")
    await lab.worker("here").advance(run)
    assert await lab.runs.due() == ((run.id, "data"),)
