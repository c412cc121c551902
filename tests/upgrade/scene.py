"""A rollback of the release on the upgraded store, with today's program around it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bot.domain import events
from bot.domain.announcements import CARD
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.ports import MessageRef
from bot.domain.run import Run, StepState
from tests.support import plans
from tests.support.engine import Lab
from tests.support.journals import assert_legal
from tests.upgrade.release import RELEASED, Point

ACTS = {step.id for step in plans.plan().steps() if not step.reads_only}
STATES = {
    "requested": State.REQUESTED,
    "checking": State.CHECKING,
    "waiting": State.AWAITING_AUTHORITY,
    "authorised": State.AUTHORISED,
    "started": State.EXECUTING,
    "acted": State.EXECUTING,
    "failed": State.HELD,
    "unknown": State.HELD,
    "retrying": State.HELD,
    "aborting": State.HELD,
    "verifying": State.VERIFYING,
    "complete": State.COMPLETE,
    "aborted": State.ABORTED,
    "closed": State.CLOSED,
    "closed_by_decision": State.CLOSED,
    "closed_aborted": State.CLOSED,
    "stood_down": State.STOOD_DOWN,
    "expired": State.EXPIRED,
    "refused": State.REFUSED,
}


@dataclass
class Scene:
    """One rollback of the release, and today's program around it.

    Attributes:
        lab: Today's engine on the upgraded store, its targets as the release left them.
        point: Where the rollback stood.
        before: The rollback as today's program first reads it.
    """

    lab: Lab
    point: Point
    before: Run

    async def go_on(self) -> Run:
        """Let today's worker advance the rollback as far as it goes, for which it has no reason to pause."""
        async with asyncio.timeout(20):
            return await self.lab.after(self.before, self.lab.worker("todays-worker"))

    def calls(self, step: str) -> list[str]:
        """Return what today's workers did to a step's target, in that order."""
        found = (call.partition(" ") for call in self.lab.estate.calls if not call.startswith("check "))
        return [verb for verb, _, about in found if about == step]


async def said(lab: Lab, rollback: str) -> dict[str, MessageRef]:
    """Return the messages that were posted about a rollback."""
    rows = await lab.sql("SELECT key, channel, ts FROM message WHERE rollback_id = :id AND ts <> ''", id=rollback)
    return {key: MessageRef(channel, ts) for key, channel, ts in rows}


async def set_scene(lab: Lab, name: str) -> Scene:
    """Put plans, targets and chat where the release had them."""
    point = RELEASED.points[name]
    lab.inventory = Inventory.model_validate_json(RELEASED.inventory_document(point.number))
    plan = plans.MODEL.model_validate_json(RELEASED.plan_document(point.number))
    lab.shelf.plans = {point.change: plan}
    lab.estate.there |= set(point.there)
    lab.estate.effects.update(point.effects)
    if card := (await said(lab, point.rollback)).get(CARD.key):
        lab.chat.cards[point.rollback] = card
    return Scene(lab, point, await lab.runs.load(point.rollback))


def assert_continued(scene: Scene, run: Run) -> None:
    """What was done is not done again, what was in doubt was looked at first, and nothing of the past is lost."""
    assert_legal(run)
    assert run.history[: scene.before.seq] == scene.before.history
    for step in ACTS:
        calls, state = scene.calls(step), scene.before.status(step).state
        if state is StepState.DONE:
            assert "apply" not in calls
        if state is StepState.STARTED:
            assert calls[0] == "observe"
        assert scene.lab.estate.effects[step] <= 1


def assert_ended_well(scene: Scene, run: Run) -> None:
    """It is closed, every effect came about exactly once, and the approval is the one that was given."""
    assert run.state is State.CLOSED, run.history[-1]
    assert_continued(scene, run)
    assert {step: scene.lab.estate.effects[step] for step in ACTS} == dict.fromkeys(ACTS, 1)
    asked: events.AuthorityAsked = run.last(events.AuthorityAsked)
    authorised: events.Authorised = run.last(events.Authorised)
    bound = (run.plan.digest(), run.inventory.digest())
    assert bound == (asked.plan_digest, asked.targets_digest) == (authorised.plan_digest, authorised.targets_digest)


async def assert_booked(scene: Scene, run: Run) -> None:
    """There is one incident, one problem and one closure of the change, and the incident kept its number."""
    closed: events.Closed = run.last(events.Closed)
    found = await scene.lab.sql("SELECT kind::text, number FROM record WHERE rollback_id = :id", id=run.id)
    numbers = {"incident": closed.incident, "problem": closed.problem, "change": run.plan.change}
    assert sorted(found) == sorted(numbers.items())
    opened: events.IncidentOpened | None = scene.before.last(events.IncidentOpened)
    assert opened is None or opened.incident == closed.incident
