"""A whole rollback by the engine: shown, approved, overtaken by somebody else, approved anew as a remedy."""

from __future__ import annotations

import json
from dataclasses import replace

from actuators import terraform
from bot.domain import events
from bot.domain.actuation import Registry
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.plan import plan_model
from bot.domain.run import Run
from bot.engine.executor import Executor
from bot.engine.service import Actor
from storage.runs import SqlRuns
from tests.engine.conftest import empty_store, lab, pg_server
from tests.support import plans
from tests.support.engine import Lab, Worker
from tests.support.fakes import registry
from tests.support.terraform import Stack

__all__ = ["empty_store", "lab", "pg_server"]


def infrastructure(lab: Lab, stack: Stack) -> Worker:
    """Give the laboratory a stack and a worker that reaches it, and put a plan on the shelf."""
    entries = (*registry(lab.estate, lambda _call: None)._entries.values(), *terraform.register())
    known = Registry(*entries)
    step = {
        "id": "infra",
        "kind": "terraform.apply",
        "target": "payments-infra",
        "commit": stack.code.good,
        "expect": {"add": 1, "change": 1, "destroy": 1},
    }
    model = plan_model(known.catalogue())
    phases = [{"name": "Infrastructure", "expected": "5m", "steps": [step]}]
    verification = {"expected": "5m", "steps": [plans.probe("metrics")]}
    lab.shelf.plans[plans.CHANGE] = model.model_validate(plans.document(phases=phases, verification=verification))
    stacks = stack.context(plans.Health(id="health", target="payments-page")).inventory.model_dump(mode="json")[
        "stacks"
    ]
    lab.inventory = Inventory.model_validate({**lab.inventory.model_dump(mode="json"), "stacks": stacks})
    lab.runs = SqlRuns(lab.database, plan_model=model, clock=lab.clock)
    worker = lab.worker()
    world = replace(worker.world, registry=known, inventory=lab.inventory)
    return replace(worker, executor=Executor(world), world=world)


async def asked(lab: Lab, worker: Worker) -> Run:
    """Ask for the rollback, and return it when its checks are done."""
    run = await lab.service().request(plans.CHANGE, Actor(plans.ON_CALL), reason="Card payments fail")
    return await lab.after(run, worker)


async def test_exactly_the_approved_plan_is_carried_out(lab: Lab, stack: Stack) -> None:
    """What the journal shows and seals is what is applied, by the file that was shown."""
    worker = infrastructure(lab, stack)
    run = await asked(lab, worker)
    checked: events.Checked = run.last(events.Checked)
    (sealed,) = [finding for finding in checked.findings if finding.seal]
    assert (sealed.step, len(sealed.seal)) == ("infra", 64)
    assert '    input: "v2.4.0" -> "v2.3.1"' in sealed.detail.splitlines()
    run = await lab.after(await lab.approve(run), worker)
    assert run.state is State.CLOSED
    assert sorted(stack.server.names()) == ["app", "logs"]
    assert [name.partition("/")[0] for name in stack.files()] == ["states"]


async def test_another_plan_is_approved_as_a_remedy(lab: Lab, stack: Stack) -> None:
    """Somebody's change after the approval holds the rollback; who may authorise it approves the new plan."""
    worker = infrastructure(lab, stack)
    run = await lab.approve(await asked(lab, worker))
    document = stack.server.document()
    (app,) = [resource for resource in document["resources"] if resource["name"] == "app"]
    app["instances"][0]["attributes"]["input"]["value"] = "v2.4.1"
    stack.server.state = json.dumps({**document, "serial": document["serial"] + 1}).encode()
    run = await lab.after(run, worker)
    assert run.state is State.HELD
    (offered,) = [remedy for remedy in run.remedies("infra") if remedy.id.startswith("apply-")]
    assert (offered.acts, offered.settles) == (True, True)
    chosen = await lab.service().remedy(
        run.id, Actor(plans.MANAGER), step="infra", remedy=offered.id, reason="It is meant"
    )
    run = await lab.after(chosen, worker)
    assert run.state is State.CLOSED
    assert stack.server.names()["app"]["input"]["value"] == "v2.3.1"
