"""Steps that people do: asked for by a worker, answered to the service, and by nobody carried out."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bot.domain import events
from bot.domain.actuation import Outcome, Presence
from bot.domain.authority import Person, Policy, Role
from bot.domain.errors import RefusedError
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from bot.engine.service import Actor, DuplicateDeliveryError
from tests.support import plans
from tests.support.engine import Lab, kinds
from tests.support.fakes import Act, CrashError, meanwhile, until
from tests.support.wires import Passing

ON_CALL, MANAGER, OWNER, STRANGER = (
    Actor(user) for user in (plans.ON_CALL, plans.MANAGER, plans.OWNER, plans.STRANGER)
)


def plan(**more: Any) -> Plan:
    """Return a plan in which a person does something beside a step, and before another."""
    steps = [plans.act("stop"), plans.by_hand("key", **more), plans.act("start", needs=["key"])]
    return plans.plan_of([steps], verification=[plans.probe("health")])


async def waiting(lab: Lab, **more: Any) -> Run:
    """Return a rollback that waits for the person only."""
    run = await lab.after(await lab.approved(plan(**more)))
    assert run.state is State.EXECUTING
    assert run.status("stop").state is StepState.DONE
    assert run.status("key").state is StepState.ASKED
    return run


async def test_the_whole_way(lab: Lab) -> None:
    """Asked, waited for without a lease, confirmed with evidence, and the rest goes on to its end."""
    run = await waiting(lab)
    owner, wake_at = await lab.lease(run)
    assert owner is None
    assert wake_at is not None
    assert wake_at - lab.clock.now() > timedelta(minutes=1)
    done = await lab.service().done(
        run.id, ON_CALL, version=None, step="key", reason="turned it", evidence=" https://vault.example.org/7 "
    )
    said = done.history[-1]
    assert isinstance(said, events.StepSucceeded)
    assert (said.who, said.why, said.attempt, said.evidence) == (
        *(plans.ON_CALL, "turned it", 1),
        "https://vault.example.org/7",
    )
    assert said.name
    assert said.role == "On-call Engineer"
    assert lab.jobs.queued[-1][0] == run.id, "a worker is called at once"
    end = await lab.after(run)
    assert end.state is State.CLOSED
    assert lab.estate.count("apply key") == lab.estate.count("observe key") == 0
    assert kinds(end).count("manual_asked") == 1


async def test_a_worker_that_looks_finds_nothing_to_do(lab: Lab) -> None:
    """A rollback that waits for a person is left as it is by whoever takes it over."""
    run = await waiting(lab)
    after = await lab.after(run, lab.worker("another"))
    assert (after.seq, after.history) == (run.seq, run.history)


async def test_the_window_is_watched_meanwhile(lab: Lab) -> None:
    """When the person takes too long an extension is drafted, and sent when the window is exceeded."""
    run = await waiting(lab)
    await lab.clock.advance(29 * 60)
    late = await lab.after(run)
    assert late.last(events.ExtensionDrafted)
    await lab.clock.advance(2 * 60)
    over = await lab.after(run)
    extended: events.Extended = over.last(events.Extended)
    assert extended.exceeded
    assert "Do key taking longer than planned" in extended.why
    assert over.state is State.EXECUTING


async def test_cannot_be_done(lab: Lab) -> None:
    """A no holds the rollback with the usual choices; a retry asks once more."""
    run = await waiting(lab)
    with pytest.raises(RefusedError, match="needs a reason"):
        await lab.service().cannot(run.id, ON_CALL, version=None, step="key", reason=" ")
    await lab.service().cannot(run.id, ON_CALL, version=None, step="key", reason="the key is lost.")
    held = await lab.after(run)
    assert held.state is State.HELD
    failure = held.status("key").failure
    assert failure is not None
    assert failure.brief == f"{failure.name} says that it cannot be done: the key is lost."
    assert (failure.presence, failure.transient) == (Presence.UNKNOWN, False)
    await lab.decide(held, "key", Choice.RETRY)
    again = await lab.after(held)
    assert (again.state, again.status("key").state) == (State.EXECUTING, StepState.ASKED)
    assert again.status("key").attempt == 2


async def test_marked_done_and_skipped(lab: Lab) -> None:
    """What cannot be done may be waived by who may authorise, and the probes still decide."""
    run = await waiting(lab)
    await lab.service().cannot(run.id, ON_CALL, version=None, step="key", reason="the key is lost")
    held = await lab.after(run)
    await lab.decide(held, "key", Choice.SKIP)
    end = await lab.after(held)
    assert end.state is State.CLOSED
    assert end.status("key").state is StepState.SKIPPED


@pytest.mark.parametrize("word", ["done", "cannot"])
async def test_only_who_may(lab: Lab, word: str) -> None:
    """Nobody without a role answers, nor an operator whom the step does not name; the refusal is audited."""
    run = await waiting(lab, roles=["service_owner"])

    async def say(actor: Actor) -> Run:
        call = getattr(lab.service(), word)
        return await call(run.id, actor, version=None, step="key", reason="so it is")  # type: ignore[no-any-return]

    for actor in (STRANGER, ON_CALL):
        with pytest.raises(RefusedError, match="Needed"):
            await say(actor)
    assert (plans.ON_CALL, f"rollback.{word}", run.id) in await lab.audited()
    assert (await lab.runs.load(run.id)).seq == run.seq
    assert (await say(OWNER)).seq == run.seq + 1


async def test_evidence_that_is_demanded(lab: Lab) -> None:
    """A step that demands evidence is not done without it."""
    run = await waiting(lab, evidence="required")
    with pytest.raises(RefusedError, match="needs evidence") as refused:
        await lab.service().done(run.id, ON_CALL, version=None, step="key", reason="turned it", evidence="  ")
    assert "evidence:" in refused.value.resolution
    done = await lab.service().done(run.id, ON_CALL, version=None, step="key", reason="did", evidence="x" * 3000)
    said = done.history[-1]
    assert isinstance(said, events.StepSucceeded)
    assert len(said.evidence) == 1000


async def test_stale_and_repeated_answers(lab: Lab) -> None:
    """A button of an earlier question, a second answer and a repeated delivery change nothing and are told."""
    run = await waiting(lab)
    number = kinds(run).index("manual_asked") + 1
    service = lab.service()
    with pytest.raises(RefusedError, match="out of date"):
        await service.done(run.id, ON_CALL, version=number - 1, step="key", reason="turned it")
    with pytest.raises(RefusedError, match="Step start does not wait for a person"):
        await service.done(run.id, ON_CALL, version=None, step="start", reason="turned it")
    with pytest.raises(RefusedError, match="does not wait for a person: it is done"):
        await service.done(run.id, ON_CALL, version=None, step="stop", reason="turned it")
    click = Actor(plans.ON_CALL, delivery="click-1")
    await service.done(run.id, click, version=number, step="key", reason="turned it")
    with pytest.raises(DuplicateDeliveryError):
        await service.done(run.id, click, version=number, step="key", reason="turned it")
    with pytest.raises(RefusedError, match="done by"):
        await service.cannot(run.id, MANAGER, version=number, step="key", reason="lost")
    end = await lab.after(run)
    with pytest.raises(RefusedError, match="out of date"):
        await service.done(end.id, ON_CALL, version=None, step="key", reason="turned it")


async def test_an_answer_while_others_run(lab: Lab) -> None:
    """The person's word comes in while a worker is at another step, and nothing of either is lost."""
    going, gate = asyncio.Event(), asyncio.Event()

    async def slow(act: Act) -> Outcome:
        going.set()
        await gate.wait()
        act.effect()
        return Outcome("stopped")

    lab.estate.script("stop", slow)
    run = await lab.approved(plan())
    worker = lab.worker()
    async with meanwhile(worker.advance(run)):
        await going.wait()
        await until(lambda: any("manual_asked" in str(call) for call in worker.wire.calls))
        await lab.service().done(run.id, ON_CALL, version=None, step="key", reason="turned it")
        gate.set()
    end = await lab.runs.load(run.id)
    assert end.state is State.CLOSED
    assert end.status("key").words.endswith("turned it")


async def test_hold_and_abort_while_it_waits(lab: Lab) -> None:
    """A pause holds it and takes the answer; given up, the survey tells what people said of the step."""
    run = await waiting(lab)
    service = lab.service()
    await service.hold(run.id, ON_CALL, reason="wait")
    held = await lab.after(run)
    assert (held.state, held.status("key").state) == (State.HELD, StepState.ASKED)
    await service.abort(run.id, ON_CALL, reason="fix forward")
    end = await lab.after(run)
    assert end.last(events.Aborted)
    surveyed: events.Surveyed = end.last(events.Surveyed)
    found = {target.step: target for target in surveyed.found}
    assert found["key"].presence is Presence.UNKNOWN
    assert "nobody has said how it ended" in found["key"].words
    with pytest.raises(RefusedError, match="out of date"):
        await service.done(run.id, ON_CALL, version=None, step="key", reason="turned it")


async def test_answered_in_a_pause(lab: Lab) -> None:
    """A step that is confirmed during a pause is done when the rollback is resumed."""
    run = await waiting(lab)
    await lab.service().hold(run.id, ON_CALL, reason="wait")
    await lab.after(run)
    await lab.service().done(run.id, ON_CALL, version=None, step="key", reason="turned it")
    assert (await lab.after(run)).state is State.HELD
    await lab.service().resume(run.id, ON_CALL, reason="go")
    assert (await lab.after(run)).state is State.CLOSED


@pytest.mark.parametrize("back", [False, True])
async def test_the_worker_dies_at_the_question(lab: Lab, *, back: bool) -> None:
    """Whether it died before or after the question was written, the question is asked once."""
    run = await lab.approved(plan())
    worker = lab.worker("mortal")

    async def die(passing: Passing) -> None:
        if passing.kind == "manual_asked" and passing.back is back:
            worker.wire.process.die()

    worker.wire.trouble = die
    try:
        await worker.advance(run)
    except* CrashError:
        pass
    assert worker.wire.process.dead
    await lab.runs.bury(["mortal"])
    after = await lab.after(run)
    assert kinds(after).count("manual_asked") == 1
    assert after.status("key").state is StepState.ASKED


async def test_checks_name_who_may(lab: Lab) -> None:
    """Whoever approves reads who must be at hand; where nobody may confirm, the rollback is refused beforehand."""
    run = await lab.asked(plan(roles=["service_owner"]))
    checked: events.Checked = run.last(events.Checked)
    (people,) = [found for found in checked.findings if found.subject == "People for key"]
    assert people.verdict.value == "warn"
    (owner,) = [p.name for p in lab.policy.people if p.id == plans.OWNER]
    assert people.words == f"the rollback will wait for one of: {owner}."


async def test_nobody_may(lab: Lab) -> None:
    """Where the policy has nobody who may confirm a step, the rollback is refused before anything is touched."""
    lab.policy = Policy(people=(Person(id=plans.ON_CALL, name="O. Neill", roles=(Role.ON_CALL_ENGINEER,)),))
    refused = await lab.after(await lab.requested(plan(roles=["service_owner"])))
    assert refused.state is State.REFUSED
    assert "nobody may confirm it: the policy has no Service Owner" in refused.history[-1].why
