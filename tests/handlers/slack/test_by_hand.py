"""A step that a person does, in the chat: asked in the thread, answered by buttons and by typed words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bot.domain import events
from bot.domain.announcements import announcements
from bot.domain.errors import RefusedError
from bot.domain.events import AnyEvent
from bot.domain.manual import ManualStep
from bot.domain.messages import Asks, Question
from bot.domain.plan import Plan, plan_model
from bot.domain.run import Run, StepState, apply
from handlers.console import blockkit
from handlers.slack import ids, outlook, render, saying
from handlers.slack.commands import Say
from handlers.slack.render import tasks
from handlers.slack.render.message import MOST_CHARACTERS, size
from handlers.slack.tickets import ButtonValue, Ticket
from tests.support import rollbacks
from tests.support.rollbacks import MANAGER, ONCALL, OWNER, POLICY, STRANGER
from tests.support.saying import RUN, authorised, by, journal, key_of, told, verbs
from tests.support.slack import World, world

MODEL = plan_model({"test.act": rollbacks.Act, "test.look": rollbacks.Look, "manual.do": ManualStep})
HOSTILE = '<!channel> <@U0EVIL> *bold* `code` <https://evil.example|safe> & "q" \\ ' * 30


def plan(words: str = "", **more: Any) -> Plan:
    """Return the example's plan; a person does its first step, which nothing else waits for but the third."""
    document = rollbacks.plan(words=words).model_dump(mode="json")
    first = document["phases"][0]["steps"][0]
    shared = {key: first[key] for key in ("id", "target")}
    steps = document["phases"][0]["steps"]
    steps[0] = {
        **shared,
        "kind": "manual.do",
        "title": words[:120] or "Turn the key",
        "instructions": words[:2000] or "Left, until it clicks.\nThe lamp goes out.",
        **more,
    }
    steps[1]["needs"] = []
    return MODEL.model_validate(document)


def asked() -> events.ManualAsked:
    """Return the question."""
    return events.ManualAsked(step="stop", attempt=1, **by())


def run_of(of: Plan, *more: AnyEvent) -> Run:
    """Return a rollback of that plan in execution whose first step is asked for."""
    told_so_far = rollbacks.histories(rollbacks.plan())["authorised"]
    began = events.ExecutionBegan(blocks=True, **by())
    return rollbacks.run(of, (*told_so_far, began, asked(), *more))


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[World]:
    """A workspace with the bot in it."""
    async with world() as found:
        yield found


async def begun(slack: World, *more: AnyEvent, **step: Any) -> None:
    """Let the only rollback ask for its first step."""
    slack.plans.plans["CHG0012345"] = plan(**step)
    await authorised(slack)
    await slack.add(events.ExecutionBegan(blocks=True, **by()), asked(), *more)


async def test_done_by_a_button(slack: World) -> None:
    """The thread shows what to do and who may; Done asks what was done; answered, the question has no buttons."""
    await begun(slack)
    key = key_of(slack, events.ManualAsked)
    message = await slack.message(key)
    words = json.dumps(message["blocks"])
    assert verbs(message) == ["done", "cannot"]
    assert all(each in words for each in ("Turn the key", "Left, until it clicks.", "any operator"))
    assert "Waits for a person" in json.dumps((await slack.message())["blocks"])
    await slack.click(ONCALL, ids.say("done"), key=key)
    modal = await slack.modal(ONCALL)
    assert modal["submit"]["text"] == "Done"
    assert [block.get("optional", False) for block in modal["blocks"] if block["type"] == "input"] == [True, False]
    await slack.submit(ONCALL, reason="turned it", evidence="https://vault.example.org/7")
    said = slack.runs.runs[RUN].history[-1]
    assert isinstance(said, events.StepSucceeded)
    assert (said.who, said.name, said.why, said.evidence) == (
        *(ONCALL, "A. Okafor", "turned it"),
        "https://vault.example.org/7",
    )
    answered = await slack.message(key)
    assert verbs(answered) == []
    assert "https://vault.example.org/7" in json.dumps(answered["blocks"])


async def test_cannot_be_done_by_a_button(slack: World) -> None:
    """Cannot be done asks why, and the answer stands below the question."""
    await begun(slack)
    key = key_of(slack, events.ManualAsked)
    await slack.click(ONCALL, ids.say("cannot"), key=key)
    modal = await slack.modal(ONCALL)
    assert [block["block_id"] for block in modal["blocks"] if block["type"] == "input"] == [ids.REASON]
    await slack.submit(ONCALL, reason="the key is lost")
    said = slack.runs.runs[RUN].history[-1]
    assert isinstance(said, events.StepFailed)
    assert said.name == "A. Okafor"
    answered = await slack.message(key)
    assert verbs(answered) == []
    assert "says that it cannot be done" in json.dumps(answered["blocks"])


async def test_who_may_not_is_told(slack: World) -> None:
    """A person without the role that the step names is refused, and the question keeps its buttons."""
    await begun(slack, roles=["service_owner"], evidence="required")
    key = key_of(slack, events.ManualAsked)
    for person in (STRANGER, ONCALL):
        await slack.click(person, ids.say("done"), key=key)
        await slack.submit(person, reason="turned it", evidence="see there")
        assert "Needed" in await told(slack, person)
    assert verbs(await slack.message(key)) == ["done", "cannot"]
    await slack.click(OWNER, ids.say("done"), key=key)
    modal = await slack.modal(OWNER)
    assert [block.get("optional", False) for block in modal["blocks"] if block["type"] == "input"] == [False, False]
    await slack.submit(OWNER, reason="turned it", evidence="see there")
    assert slack.runs.runs[RUN].status("stop").state is StepState.DONE


async def test_a_stale_click_is_answered(slack: World) -> None:
    """Who clicks after somebody else answered is told, and nothing changes."""
    await begun(slack)
    key = key_of(slack, events.ManualAsked)
    await slack.click(ONCALL, ids.say("done"), key=key)
    done = events.StepSucceeded(
        step="stop", attempt=1, words="done by J. Smith: did", name="J. Smith", **by(MANAGER)
    )
    await slack.add(done)
    await slack.submit(ONCALL, reason="turned it")
    assert "Step stop does not wait for a person: it is done" in await told(slack, ONCALL)
    assert journal(slack)[-1] == done


TYPED = [
    (
        "done rb-0001 stop turned it evidence: https://vault.example.org/7",
        "turned it",
        "https://vault.example.org/7",
    ),
    ("done turned it evidence:see the log there", "turned it", "see the log there"),
    ("done STOP: turned it", "turned it", ""),
]


@pytest.mark.parametrize(("typed", "why", "evidence"), TYPED)
async def test_done_typed(slack: World, typed: str, why: str, evidence: str) -> None:
    """The word for a held step confirms one that waits for a person, too; the evidence stands behind its mark."""
    await begun(slack)
    await slack.type(ONCALL, typed)
    said = slack.runs.runs[RUN].history[-1]
    assert isinstance(said, events.StepSucceeded), await told(slack, ONCALL)
    assert (said.why, said.evidence) == (why, evidence)
    assert "«Turn the key» is done: it goes on now." in await told(slack, ONCALL)


async def test_cannot_typed(slack: World) -> None:
    """What cannot be done is said with the same grammar, and refused where nothing waits for a person."""
    await begun(slack)
    await slack.type(ONCALL, "cannot rb-0001 stop the key is lost")
    assert isinstance(slack.runs.runs[RUN].history[-1], events.StepFailed)
    assert "has it on record" in await told(slack, ONCALL)
    await slack.type(ONCALL, "cannot rb-0001 stop the key is lost")
    assert "No step of rb-0001 waits for a person" in await told(slack, ONCALL)


@pytest.mark.parametrize("verb", ["done", "cannot"])
async def test_typed_without_right_or_reason(slack: World, verb: str) -> None:
    """Who holds no role is refused in words, and who gives no reason gets an example."""
    await begun(slack)
    before = len(journal(slack))
    await slack.type(STRANGER, f"{verb} rb-0001 because")
    assert "You hold no role here" in await told(slack, STRANGER)
    await slack.type(ONCALL, f"{verb} rb-0001")
    assert f"For example: {verb} rb-0001 stop" in await told(slack, ONCALL)
    assert len(journal(slack)) == before


async def test_evidence_that_is_missing_is_asked_for(slack: World) -> None:
    """Typed without the evidence that the step demands, the answer tells how it is written."""
    await begun(slack, evidence="required")
    await slack.type(ONCALL, "done turned it")
    said = await told(slack, ONCALL)
    assert "needs evidence" in said
    assert "evidence: LINK" in said


def test_which_step_is_meant() -> None:
    """With several steps that wait, a word must name its own; held ones count for done, and not for cannot."""
    document = plan().model_dump(mode="json")
    manual = document["phases"][0]["steps"][0]
    document["phases"][0]["steps"] = [manual, {**manual, "id": "two"}, *document["phases"][0]["steps"][1:]]
    run = run_of(MODEL.model_validate(document), events.ManualAsked(step="two", attempt=1, **by()))
    with pytest.raises(RefusedError, match=r"Which step\? Waiting for a person: stop, two"):
        saying.understood(run, Say("cannot", "", ("it", "is", "lost")))
    assert outlook.answerable(run, "done") == ["stop", "two"]
    assert outlook.answerable(run, "retry") == []
    held = apply(run, events.StepFailed(step="save", attempt=1, brief="no", **by()))
    held = apply(held, events.Held(steps=("save",), **by()))
    assert outlook.answerable(held, "done") == ["save", "stop", "two"]
    word = saying.understood(held, Say("done", "", ("save", "I", "saw", "evidence:", "it")))
    assert (word.by_hand, word.reason) == (False, "I saw evidence: it")
    assert saying.understood(held, Say("done", "", ("two", "did"))).by_hand


@pytest.mark.parametrize("words", ["", HOSTILE])
@pytest.mark.parametrize("evidence", ["optional", "required"])
def test_everything_fits_into_slack(words: str, evidence: str) -> None:
    """Question, answers, forms, card and home are taken by Slack, whatever a plan's author wrote."""
    run = run_of(plan(words, evidence=evidence, roles=["service_owner"]))
    question = Question(Asks.MANUAL, run.seq, "stop")
    answers: list[AnyEvent] = [
        events.StepSucceeded(step="stop", attempt=1, words="done", name="A", evidence=words or "x", **by(ONCALL)),
        events.StepFailed(step="stop", attempt=1, brief="no", name="A", **by(ONCALL, words or "no")),
        events.AbortAsked(name="A", **by(ONCALL)),
    ]
    for standing in (run, *(apply(run, answer) for answer in answers)):
        for message in (render.question(standing, question), render.card(standing, POLICY, {})):
            assert blockkit.validate_message(message.blocks, text=message.text, updating=True) == []
            assert size(message.blocks) <= MOST_CHARACTERS
            assert "<!" not in message.text
    for verb in ("done", "cannot"):
        ticket = Ticket(run.id, run.seq, "stop", verb=verb, about=Asks.MANUAL)
        assert blockkit.validate_view(render.say_modal(ticket, run, POLICY)) == []
    assert any(each.content == question for each in announcements(run, POLICY))


def test_the_question_is_about_its_own_step() -> None:
    """The end of another step is no answer to the question, nor is a question open that was asked anew."""
    run = run_of(plan())
    first = Question(Asks.MANUAL, run.seq, "stop")
    started = events.StepStarted(step="save", attempt=1, **by())
    other = events.StepSucceeded(step="save", attempt=1, words="saved", **by())
    busy = apply(apply(run, started), other)
    assert render.waits(busy, first)
    no = apply(busy, events.StepFailed(step="stop", attempt=1, brief="no", name="A", **by(ONCALL, "it is lost")))
    assert "it is lost" in json.dumps(render.question(no, first).blocks)
    again = apply(no, events.ManualAsked(step="stop", attempt=2, **by()))
    assert not render.waits(again, first)
    assert render.waits(again, Question(Asks.MANUAL, again.seq, "stop"))
    card = json.dumps(tasks.plan_block(again, {}, tasks.ROOMS[0]))
    assert "attempt 2; waits for a person, see the thread" in card


def test_a_button_carries_its_question() -> None:
    """A click is told apart from one on the buttons of a held step by what it is about."""
    run = run_of(plan())
    rows = render.question(run, Question(Asks.MANUAL, run.seq, "stop")).blocks[-1]["elements"]
    value = ButtonValue(id=run.id, v=run.seq, step="stop", about="manual").text()
    assert [each["value"] for each in rows] == [value, value]
