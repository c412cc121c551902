from __future__ import annotations

import pytest

from bot.domain.errors import (
    PlanInvalidError,
    PlanUnavailableError,
    RefusedError,
)
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.ports import PlanSummary, TargetBusyError
from bot.engine.service import Actor
from tests.support import plans
from tests.support.engine import Lab

ON_CALL = Actor(plans.ON_CALL)
MANAGER = Actor(plans.MANAGER)


async def test_a_request(lab: Lab) -> None:
    """Whoever may operate asks for a rollback; it locks its targets, and a job brings a worker."""
    run = await lab.service().request("chg0012345", ON_CALL, reason=" Card payments fail ")
    assert (run.state, run.requester, run.reason) == (State.REQUESTED, plans.ON_CALL, "Card payments fail")
    assert lab.jobs.queued == [(run.id, "default")]
    locked = await lab.sql("SELECT target FROM rollback_lock WHERE live ORDER BY target")
    assert locked == [("payments-db",), ("payments-servers",)]
    assert await lab.audited() == []


@pytest.mark.parametrize("reason", ["", "  "])
async def test_a_request_without_reason(lab: Lab, reason: str) -> None:
    """A request for which nobody gave a reason says so on record."""
    assert (await lab.service().request(plans.CHANGE, ON_CALL, reason=reason)).reason == "no reason given"


@pytest.mark.parametrize(
    ("change", "user", "brief"),
    [
        ("INC0012345", plans.ON_CALL, "'INC0012345' is not the number of a change."),
        (
            "CHG1; DROP TABLE rollback" + "x" * 90,
            plans.ON_CALL,
            "'CHG1; DROP TABLE ROLLBACKXXXXXXXXXXXXXXX' is not",
        ),
        (plans.CHANGE, plans.STRANGER, "You hold no role here."),
    ],
)
async def test_a_request_is_refused(lab: Lab, change: str, user: str, brief: str) -> None:
    """A wrong number and a person without a role are refused with words, and the refusal is on record."""
    with pytest.raises(RefusedError) as refused:
        await lab.service().request(change, Actor(user), reason="r")
    assert refused.value.brief.startswith(brief)
    assert refused.value.untouched == "Nothing was started."
    assert await lab.audited() == [(user, "rollback.request", None)]
    assert await lab.runs.active() == ()


@pytest.mark.parametrize(
    "error",
    [PlanUnavailableError("There is no plan."), PlanInvalidError("It has 2 errors.", problems=("line 1",))],
)
async def test_no_plan(lab: Lab, error: Exception) -> None:
    """Without a usable plan nothing runs, and the change managers are told who asked for what."""
    lab.shelf.plans[plans.CHANGE] = error
    with pytest.raises(type(error)):
        await lab.service().request(plans.CHANGE, ON_CALL, reason="r")
    ((users, text),) = lab.chat.told
    assert users == (plans.MANAGER,)
    assert text.startswith(f"<@{plans.ON_CALL}> asked to roll back CHG0012345. ")
    assert await lab.audited() == [(plans.ON_CALL, "rollback.no_plan", None)]
    assert await lab.runs.active() == ()


async def test_no_plan_and_no_chat(lab: Lab) -> None:
    """When the change managers cannot be told, the requester is, and the audit says that they were not."""

    async def down(_what: str) -> None:
        raise ConnectionError

    lab.chat.trouble = down
    with pytest.raises(PlanUnavailableError):
        await lab.service().request("CHG0099999", ON_CALL, reason="r")
    assert [what for _, what, _ in await lab.audited()] == ["rollback.no_plan", "escalation.undelivered"]


async def test_a_second_request(lab: Lab) -> None:
    """A change that is being rolled back is not rolled back beside itself."""
    run = await lab.requested()
    with pytest.raises(RefusedError, match="CHG0012345 is being rolled back already: rb-0001 is requested"):
        await lab.service().request(plans.CHANGE, ON_CALL, reason="r")
    run = await lab.after(run)
    with pytest.raises(RefusedError, match="rb-0001 is awaiting authority"):
        await lab.service().request(plans.CHANGE, ON_CALL, reason="r")
    assert (await lab.audited())[-1] == (plans.ON_CALL, "rollback.request", run.id)


async def test_a_busy_target(lab: Lab) -> None:
    """A rollback of another change that needs a target of a live one is refused and says who holds it."""
    await lab.requested()
    lab.shelf.plans["CHG0012346"] = plans.plan(change="CHG0012346")
    with pytest.raises(TargetBusyError, match="rb-0001 already holds payments-db, payments-servers"):
        await lab.service().request("CHG0012346", ON_CALL, reason="r")
    assert await lab.audited() == [(plans.ON_CALL, "rollback.request", None)]


async def test_a_repetition(lab: Lab) -> None:
    """A change that was rolled back is not rolled back again before it was deployed again."""
    run = await lab.after(await lab.approved())
    assert run.state is State.CLOSED
    with pytest.raises(RefusedError, match="was rolled back already by rb-0001, and has not been deployed since"):
        await lab.service().request(plans.CHANGE, ON_CALL, reason="r")
    await lab.clock.advance(3600)
    lab.shelf.plans[plans.CHANGE] = plans.plan(deployed_at="2024-01-15 16:30 UTC")
    again = await lab.service().request(plans.CHANGE, ON_CALL, reason="r")
    assert again.id == "rb-0002"


async def test_a_repetition_without_its_plan(lab: Lab) -> None:
    """A change that was rolled back and whose plan is gone is the change manager's, as if it had never been."""
    await lab.after(await lab.approved())
    lab.shelf.plans.clear()
    with pytest.raises(PlanUnavailableError):
        await lab.service().request(plans.CHANGE, ON_CALL, reason="r")
    assert len(lab.chat.told) == 1


async def test_after_an_end_without_completion(lab: Lab) -> None:
    """A rollback that ended without restoring anything does not stand in the way of the next."""
    run = await lab.asked()
    await lab.service().reject(run.id, MANAGER, version=run.state_seq, reason="not now")
    assert (await lab.requested()).id == "rb-0002"


async def test_what_is_asked_of_the_bot(lab: Lab) -> None:
    """Rollbacks are found by change, by id and among the active ones; plans by change and in a list."""
    service = lab.service()
    assert await service.status("CHG0012345") == ()
    run = await lab.requested()
    assert await service.status() == await service.status("chg0012345") == await service.status("RB-0001") == (run,)
    assert await service.status("rb-9999") == ()
    assert await service.recent() == (run,)
    assert await service.plan("chg0012345") == plans.plan()
    with pytest.raises(RefusedError, match="'nonsense' is not the number of a change"):
        await service.plan("nonsense")
    with pytest.raises(PlanUnavailableError):
        await service.plan("CHG0099999")
    (summary,) = await service.changes()
    assert isinstance(summary, PlanSummary)
    assert service.policy == lab.policy


def test_the_zone_of_a_rollback() -> None:
    """A rollback begins in the default zone if a target lies there, else in the first by name."""
    document = plans.inventory().model_dump(mode="json", exclude={"endpoints", "metrics"})
    for section, name in (("server_groups", "payments-servers"), ("databases", "payments-db")):
        document[section][name]["zone"] = "dmz"
    assert Inventory.model_validate(document).zone() == "dmz"
    document["databases"]["payments-db"]["zone"] = "core"
    assert Inventory.model_validate(document).zone() == "core"
    assert Inventory().zone() == "default"
