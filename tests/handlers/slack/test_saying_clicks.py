"""What people click to steer a rollback that runs, through the console, the Bolt app and the service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest_asyncio

from bot.domain import events
from bot.domain.actuation import Verdict
from bot.domain.lifecycle import State
from handlers.slack import ids
from handlers.slack.tickets import ButtonValue
from tests.support.console import SystemClock
from tests.support.rollbacks import MANAGER, ONCALL, OPS, OWNER, STRANGER
from tests.support.saying import (
    RETURN,
    RUN,
    authorised,
    begun,
    by,
    dangerous,
    drafted,
    failed,
    journal,
    key_of,
    remedies,
    told,
    verbs,
)
from tests.support.slack import World, interaction, world

Json = dict[str, Any]


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[World]:
    """A workspace with the bot in it."""
    async with world() as found:
        yield found


async def test_hold_and_resume_by_buttons(slack: World) -> None:
    """The card's Hold asks why; on hold, the thread asks with Resume; resumed, the question has no buttons left."""
    await begun(slack)
    assert verbs(await slack.message()) == ["hold", "extend", "handover", "abort"]
    await slack.click(ONCALL, ids.say("hold"))
    await slack.submit(ONCALL, reason="the replica lags")
    assert verbs(await slack.message())[0] == "resume"
    ended = events.StepSucceeded(step="stop", attempt=1, words="stopped", **by())
    await slack.add(ended, events.Held(steps=(), **by(why="A. Okafor holds it: the replica lags")))
    key = key_of(slack, events.Held)
    assert verbs(await slack.message(key)) == ["resume", "abort"]
    await slack.click(ONCALL, ids.say("resume"), key=key)
    await slack.submit(ONCALL, reason="it has caught up")
    assert slack.runs.runs[RUN].last(events.ResumeAsked).why == "it has caught up"
    question = await slack.message(key)
    assert verbs(question) == []
    assert "it has caught up" in json.dumps(question["blocks"])


async def test_abort_beyond_the_point_of_no_return_warns_first(slack: World) -> None:
    """The form shows what giving up means; submitted, the words that were read stand in the journal."""
    slack.plans.plans["CHG0012345"] = dangerous()
    await begun(slack)
    await slack.click(MANAGER, ids.say("abort"))
    modal = await slack.modal(MANAGER)
    assert RETURN in json.dumps(modal["blocks"])
    assert modal["submit"]["text"] == "Abort all the same"
    await slack.submit(MANAGER, reason="we fix forward", running="stop")
    asked = slack.runs.runs[RUN].last(events.AbortAsked)
    assert asked.stop is True
    assert RETURN in asked.confirmed
    assert verbs(await slack.message()) == []


async def test_point_passed_while_the_form_was_open_is_told(slack: World) -> None:
    """A form that was opened before the point of no return gives nothing up after it: the warning is read."""
    slack.plans.plans["CHG0012345"] = dangerous()
    await authorised(slack)
    await slack.add(events.ExecutionBegan(**by()))
    await slack.click(MANAGER, ids.say("abort"))
    await slack.add(events.StepStarted(step="stop", attempt=1, **by()))
    await slack.submit(MANAGER, reason="we fix forward")
    said = await told(slack, MANAGER)
    assert RETURN in said
    assert "click Abort again" in said
    assert slack.runs.runs[RUN].last(events.AbortAsked) is None


async def test_remedy_is_a_button(slack: World) -> None:
    """Each remedy has a button; who may approve runs the one that acts, and it is shown as running."""
    await begun(slack, *failed(), remedies())
    key = key_of(slack, events.RemediesOffered)
    assert verbs(await slack.message(key)) == ["remedy", "remedy"]
    await slack.click(ONCALL, "rollback_say_remedy_1", key=key)
    await slack.submit(ONCALL)
    assert "may not authorise this" in await told(slack, ONCALL)
    await slack.click(MANAGER, "rollback_say_remedy_1", key=key)
    await slack.submit(MANAGER)
    chosen = slack.runs.runs[RUN].last(events.RemedyChosen)
    assert (chosen.remedy, chosen.who, chosen.role) == ("remedy.kill.1", MANAGER, "Change Manager")
    message = await slack.message(key)
    assert verbs(message) == ["remedy"]
    assert "running" in json.dumps(message["blocks"])


async def test_extension_is_sent_by_one_click(slack: World) -> None:
    """One click sends the drafted extension; a later click is answered, and the same one again is silent."""
    await begun(slack, drafted())
    key, number = key_of(slack, events.ExtensionDrafted), len(journal(slack))
    await slack.click(STRANGER, ids.say("extend"), key=key)
    assert "You hold no role here" in await told(slack, STRANGER)
    assert verbs(await slack.message(key)) == ["extend", "abort"]
    await slack.click(MANAGER, ids.say("extend"), key=key)
    sent = slack.runs.runs[RUN].last(events.Extended)
    assert (sent.who, sent.estimate, sent.why) == (MANAGER, timedelta(minutes=60), "the restore is slow")
    assert verbs(await slack.message(key)) == []
    value = ButtonValue(RUN, number, about="extension").text()
    for user in (ONCALL, MANAGER):
        await slack.send(interaction(await late(slack, "extend", value, user)))
        await slack.settle()
    assert "This button is out of date" in await told(slack, ONCALL)
    assert await slack.whispers(MANAGER) == []
    assert [event.kind for event in journal(slack)].count("extended") == 1


async def late(slack: World, verb: str, value: str, user: str) -> Json:
    """Return the payload of a click on a button that is not there any more."""
    url_key = await slack.lab.console._core.responses.issue(channel=OPS, user_id=user)
    return {
        "type": "block_actions",
        "team": {"id": "T0LOCAL"},
        "user": {"id": user, "team_id": "T0LOCAL"},
        "trigger_id": "1.2.3",
        "response_url": f"{slack.lab.url}/slack-api/response/{url_key}",
        "container": {"type": "message", "message_ts": "1.0", "channel_id": OPS},
        "channel": {"id": OPS},
        "actions": [
            {"type": "button", "action_id": ids.say(verb), "block_id": "b", "value": value, "action_ts": "17.1"}
        ],
    }


async def test_question_answered_elsewhere_is_answered_not_obeyed(slack: World) -> None:
    """A question whose answer was typed opens no form when it is clicked later, and loses its buttons."""
    await begun(slack, drafted())
    key = key_of(slack, events.ExtensionDrafted)
    await slack.type(MANAGER, "extend rb-0001 45m the restore is slow")
    assert verbs(await slack.message(key)) == ["extend", "abort"]
    await slack.click(ONCALL, ids.say("abort"), key=key)
    assert "the question has been answered" in await told(slack, ONCALL)
    assert verbs(await slack.message(key)) == []
    assert slack.runs.runs[RUN].last(events.AbortAsked) is None


async def test_loss_is_confirmed_by_a_second_person(slack: World) -> None:
    """Who authorised the rollback cannot confirm the loss as well; somebody else reads it and does."""
    await authorised(slack)
    loss = events.LossFound(
        subject="Swap", verdict=Verdict.WARN, words="412 rows", step="restore", since=SystemClock().now()
    )
    await slack.add(events.ConfirmationAsked(losses=(loss,), **by(why="5 minutes past the point of no return")))
    key = key_of(slack, events.ConfirmationAsked)
    assert verbs(await slack.message(key)) == ["confirm", "abort"]
    await slack.click(MANAGER, ids.say("confirm"), key=key)
    await slack.submit(MANAGER, reason="it is fine")
    assert (await told(slack, MANAGER)).startswith("⛔")
    assert slack.runs.runs[RUN].open_confirmation is not None
    await slack.click(ONCALL, ids.say("confirm"), key=key)
    assert "412 rows" in json.dumps((await slack.modal(ONCALL))["blocks"])
    await slack.submit(ONCALL, reason="the rows are in the queue")
    confirmed = slack.runs.runs[RUN].last(events.LossConfirmed)
    assert (confirmed.who, confirmed.words) == (ONCALL, "Swap: 412 rows")
    assert verbs(await slack.message(key)) == []


async def test_loss_can_be_stood_down_instead(slack: World) -> None:
    """Stand down ends a rollback of which nothing was run; typed, the answer says so."""
    await authorised(slack)
    await slack.add(events.ConfirmationAsked(losses=(), **by()))
    await slack.click(ONCALL, ids.say("abort"), key=key_of(slack, events.ConfirmationAsked))
    assert (await slack.modal(ONCALL))["title"]["text"] == "Stand down"
    await slack.submit(ONCALL, reason="we fix forward")
    assert slack.runs.runs[RUN].state is State.STOOD_DOWN


async def test_hold_on_deployments_is_lifted_with_a_reason(slack: World) -> None:
    """When the rollback has ended its thread offers to lift the hold; lifted, nothing blocks the service."""
    await begun(slack, events.AbortAsked(name="J. Smith", **by(MANAGER)), events.Aborted(**by()))
    assert [run.id for run in await slack.service.blocking("payments")] == [RUN]
    key = f"{key_of(slack, events.Aborted)}-deployments"
    await slack.click(ONCALL, ids.say("unblock"), key=key)
    await slack.submit(ONCALL, reason="v2.4.1 is ready")
    assert await slack.service.blocking("payments") == ()
    message = await slack.message(key)
    assert verbs(message) == []
    assert "v2.4.1 is ready" in json.dumps(message["blocks"])


async def test_lead_is_handed_over_by_a_form(slack: World) -> None:
    """The form offers everybody who may lead but the lead; the chosen one leads and stands on the card."""
    await begun(slack)
    await slack.click(ONCALL, ids.say("handover"))
    options = (await slack.modal(ONCALL))["blocks"][1]["element"]["options"]
    assert [option["value"] for option in options] == [MANAGER, OWNER]
    await slack.submit(ONCALL, to=OWNER)
    assert slack.runs.runs[RUN].lead == OWNER
    assert OWNER in json.dumps((await slack.message())["blocks"])


async def test_window_is_extended_by_a_form(slack: World) -> None:
    """The form takes a duration; what is none is refused with the accepted form, and the window stands."""
    await begun(slack)
    for by_how_much in ("soon", "20m"):
        await slack.click(MANAGER, ids.say("extend"))
        await slack.submit(MANAGER, by=by_how_much, reason="the restore is slow")
    assert "write it like 90s, 25m or 1h 30m" in await told(slack, MANAGER)
    assert slack.runs.runs[RUN].last(events.Extended).estimate == timedelta(minutes=50)


async def test_forged_button_of_a_word_without_a_form_is_answered(slack: World) -> None:
    """Decisions about steps have buttons of their own: the same words as another button are not known."""
    await begun(slack, *failed())
    body = await late(slack, "skip", ButtonValue(RUN, 9, "stop").text(), MANAGER)
    await slack.send(interaction(body))
    await slack.settle()
    assert "belongs to another version of the bot" in await told(slack, MANAGER)
    assert journal(slack)[-1].kind == "held"


async def test_rollback_on_hold_is_resumed_from_the_app_home(slack: World) -> None:
    """The App Home steers as the card does, and shows what came of it."""
    await begun(slack, events.HoldAsked(name="A. Okafor", **by(ONCALL)))
    person = slack.as_(ONCALL)
    await person.open_home()
    await slack.settle()
    assert "resume" in verbs(await slack.home(ONCALL))
    await person.click_view(await slack.home(ONCALL), ids.say("resume"))
    await slack.settle()
    await slack.submit(ONCALL, reason="it has caught up")
    assert slack.runs.runs[RUN].pause is None
    assert "hold" in verbs(await slack.home(ONCALL))
