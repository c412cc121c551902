"""What people type and click, through the console's signed HTTP, the Bolt app and the real service."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bot.domain import events
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from handlers.console import blockkit
from handlers.slack import ids
from handlers.slack.tickets import ButtonValue
from tests.support.console import BOT_TOKEN
from tests.support.rollbacks import MANAGER, ONCALL, OPS, OWNER, STRANGER
from tests.support.slack import World, interaction, world

Json = dict[str, Any]
RUN = "rb-0001"


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[World]:
    """A workspace with the bot in it."""
    async with world() as found:
        yield found


def click(action_id: str, value: str, *, user: str = MANAGER, **more: Any) -> Json:
    """Return the payload of a click in a message that has been there before."""
    action = {
        "type": "button",
        "action_id": action_id,
        "block_id": "b",
        "value": value,
        "action_ts": "1700000000.1",
    }
    return {
        "type": "block_actions",
        "team": {"id": "T0LOCAL"},
        "user": {"id": user, "team_id": "T0LOCAL"},
        "trigger_id": "1.2.3",
        "container": {"type": "message", "message_ts": "1.0", "channel_id": OPS},
        "channel": {"id": OPS},
        "actions": [action],
        **more,
    }


def kinds(slack: World) -> list[str]:
    """Return the kinds of the events of the only rollback."""
    return [event.kind for event in slack.runs.runs[RUN].history]


def action_ids(message: Json) -> list[str]:
    """Return the action ids of a message's or view's buttons."""
    return [
        element["action_id"]
        for block in message["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
    ]


async def test_command_starts_a_rollback_and_says_where_to_look(slack: World) -> None:
    """The command locks and begins; who typed it learns the id, everybody sees the card."""
    await slack.type(ONCALL, "chg0012345 error rate 12 %")
    run = slack.runs.runs[RUN]
    assert run.requester == ONCALL
    assert run.reason == "error rate 12 %"
    assert "rb-0001: the checks of CHG0012345 begin" in (await slack.whispers(ONCALL))[-1]
    assert (await slack.message())["text"].startswith("🕒 Rollback of CHG0012345: requested")
    assert await slack.whispers(MANAGER) == []


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("status", "No rollback is under way"),
        ("stauts", "Did you mean /rollback status?"),
        ("list", "There was no rollback yet."),
        ("help", "What you can type"),
        ("plan CHG0012345", "The rollback plan of CHG0012345 - Payment service v2.4.0 deployment"),
        ("plan CHG9999999", "There is no rollback plan for CHG9999999."),
        ("plan nonsense", "is not the number of a change"),
        ("status CHG0012345", "There is no rollback of CHG0012345."),
        ("frobnicate &lt;!channel&gt;", "I do not understand /rollback frobnicate"),
        ("CHG9999999", "There is no rollback plan for CHG9999999."),
    ],
)
async def test_questions_are_answered_for_the_eyes_of_who_asked(slack: World, typed: str, told: str) -> None:
    """Every answer is ephemeral, and a question starts nothing."""
    await slack.type(ONCALL, typed)
    assert told in (await slack.whispers(ONCALL))[-1]
    assert await slack.whispers(MANAGER) == []
    assert slack.runs.runs == {}


async def test_missing_plan_is_escalated_to_the_change_manager(slack: World) -> None:
    """Without a plan nothing runs, and the change manager is told directly who asked for what."""
    await slack.type(ONCALL, "CHG9999999")
    direct = await slack.as_(MANAGER).messages(MANAGER)
    assert f"<@{ONCALL}> asked to roll back CHG9999999" in direct[-1]["text"]


async def test_status_shows_one_rollback_without_its_buttons(slack: World) -> None:
    """Decisions are made where everybody sees them: a card that only one person sees has no buttons."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.type(MANAGER, "status rb-0001")
    shown = (await slack.as_(MANAGER).state(OPS))["ephemerals"][-1]
    assert "waiting for authority" in shown["text"]
    assert action_ids(shown) == []
    await slack.type(MANAGER, "status")
    assert "rb-0001 CHG0012345" in (await slack.whispers(MANAGER))[-1]


async def test_command_without_words_asks_in_a_modal(slack: World) -> None:
    """Without arguments a modal offers the recent changes and takes the reason; submitted, it starts one."""
    await slack.type(ONCALL, "")
    modal = await slack.modal(ONCALL)
    options = modal["blocks"][0]["element"]["options"]
    assert [option["value"] for option in options] == ["CHG0012345", "CHG0012340"]
    await slack.submit(ONCALL, change="CHG0012340", reason="errors since the deployment")
    run = slack.runs.runs[RUN]
    assert (run.plan.change, run.reason) == ("CHG0012340", "errors since the deployment")
    assert "the checks of CHG0012340 begin" in (await slack.whispers(ONCALL))[-1]


async def test_approval_counts_and_the_buttons_are_gone(slack: World) -> None:
    """One click of the change manager authorises, and nobody can click again."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    assert action_ids(await slack.message()) == [ids.APPROVE, ids.REJECT, ids.VIEW_PLAN]
    await slack.click(MANAGER, ids.APPROVE)
    assert slack.runs.runs[RUN].state is State.AUTHORISED
    assert slack.runs.runs[RUN].last(events.Authorised).who == MANAGER
    assert action_ids(await slack.message()) == [ids.VIEW_PLAN]
    assert await slack.whispers(MANAGER) == []


async def test_buttons_vanish_before_the_click_is_worked_on(slack: World) -> None:
    """While the click is worked on the card says who clicked, shows no button, and keeps its mark."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.as_(MANAGER).click(OPS, await slack.message(), ids.APPROVE)
    await slack.underway.idle()
    card = await slack.message("card")
    assert action_ids(card) == []
    assert card["blocks"][-1]["elements"][0]["text"] == f"<@{MANAGER}> clicked Approve, working…"


async def test_refused_approval_is_explained_and_the_buttons_come_back(slack: World) -> None:
    """Who may not approve is told why, alone; the card can be clicked again by somebody who may."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.click(ONCALL, ids.APPROVE)
    assert "A. Okafor may not authorise this" in (await slack.whispers(ONCALL))[-1]
    assert slack.refreshed == [RUN]
    assert action_ids(await slack.message()) == [ids.APPROVE, ids.REJECT, ids.VIEW_PLAN]
    await slack.click(STRANGER, ids.APPROVE)
    assert "You hold no role here" in (await slack.whispers(STRANGER))[-1]
    assert kinds(slack)[-1] == "authority_asked"
    await slack.click(OWNER, ids.APPROVE)
    assert slack.runs.runs[RUN].state is State.AUTHORISED


async def test_rejection_asks_for_its_reason(slack: World) -> None:
    """Reject opens a modal; the reason goes into the journal, and the card says who stood it down and why."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.click(MANAGER, ids.REJECT)
    assert kinds(slack)[-1] == "authority_asked"
    await slack.submit(MANAGER, reason="a fix is ready")
    rejected = slack.runs.runs[RUN].last(events.Rejected)
    assert (rejected.who, rejected.why) == (MANAGER, "a fix is ready")
    assert "stood down" in (await slack.message())["text"]


async def test_refused_rejection_is_explained_where_it_was_clicked(slack: World) -> None:
    """A modal's refusal reaches the person in the channel where they clicked."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.click(STRANGER, ids.REJECT)
    await slack.submit(STRANGER, reason="I do not like it")
    assert "You hold no role here" in (await slack.whispers(STRANGER))[-1]
    assert slack.runs.runs[RUN].state is State.AWAITING_AUTHORITY


@pytest.mark.parametrize(("action_id", "choice"), ids.DECIDE.items())
async def test_held_step_is_decided_with_a_reason(slack: World, action_id: str, choice: Choice) -> None:
    """Each of the four buttons asks for a reason and decides; the question then shows the answer and no buttons."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.hold()
    await slack.click(MANAGER, action_id, key="0009-held-stop")
    await slack.submit(MANAGER, reason="I looked at the host")
    if choice is Choice.ABORT:
        given_up = slack.runs.runs[RUN].last(events.AbortAsked)
        assert (given_up.who, given_up.why, given_up.confirmed) == (MANAGER, "I looked at the host", "")
    else:
        decided = slack.runs.runs[RUN].last(events.Decided)
        assert (decided.choice, decided.step, decided.why) == (choice, "stop", "I looked at the host")
    question = await slack.message("0009-held-stop")
    assert action_ids(question) == []
    assert "I looked at the host" in json.dumps(question["blocks"])


async def test_only_who_may_approve_goes_on_without_having_seen_the_effect(slack: World) -> None:
    """The on-call engineer may retry a held step, but neither skip it nor mark it done, and is told so."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.hold()
    for action_id in ("rollback_mark_done", "rollback_skip"):
        await slack.click(ONCALL, action_id, key="0009-held-stop")
        await slack.submit(ONCALL, reason="I looked at the host")
        assert "A. Okafor may not authorise this" in (await slack.whispers(ONCALL))[-1]
    assert kinds(slack)[-1] == "held"


async def test_plan_is_shown_in_a_modal(slack: World) -> None:
    """View plan shows the plan as it stood at the request, even if the file has changed since."""
    await slack.type(ONCALL, "CHG0012345")
    slack.plans.plans.clear()
    await slack.click(STRANGER, ids.VIEW_PLAN)
    modal = await slack.modal(STRANGER)
    assert blockkit.validate_view({key: modal[key] for key in ("type", "title", "close", "blocks")}) == []
    assert slack.runs.runs[RUN].plan.digest() in json.dumps(modal["blocks"])


async def test_app_home_shows_and_decides(slack: World) -> None:
    """The App Home offers what waits for its owner; after the click it shows what came of it."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.as_(MANAGER).open_home()
    await slack.settle()
    home = await slack.home(MANAGER)
    assert action_ids(home) == [ids.APPROVE, ids.REJECT, ids.VIEW_PLAN]
    await slack.as_(MANAGER).click_view(home, ids.APPROVE)
    await slack.settle()
    assert slack.runs.runs[RUN].state is State.AUTHORISED
    assert action_ids(await slack.home(MANAGER)) == [ids.VIEW_PLAN]


async def test_refusal_in_the_app_home_opens_a_modal(slack: World) -> None:
    """Where no ephemeral message is possible the refusal is shown in a modal."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    await slack.as_(ONCALL).open_home()
    await slack.settle()
    await slack.as_(ONCALL).click_view(await slack.home(ONCALL), ids.APPROVE)
    await slack.settle()
    assert "may not authorise" in json.dumps((await slack.modal(ONCALL))["blocks"])
    assert slack.runs.runs[RUN].state is State.AWAITING_AUTHORITY


async def test_stale_click_is_answered_and_changes_nothing(slack: World) -> None:
    """A button of an older version is answered, never obeyed."""
    await slack.type(ONCALL, "CHG0012345")
    run = await slack.ask_for_authority()
    old = click(ids.APPROVE, ButtonValue(RUN, run.state_seq - 1).text(), response_url=await _url(slack))
    assert (await slack.send(interaction(old)))[0] == 200
    await slack.settle()
    assert "This button is out of date" in (await slack.whispers(MANAGER))[-1]
    assert slack.runs.runs[RUN].state is State.AWAITING_AUTHORITY


async def test_click_delivered_twice_acts_once_and_is_silent(slack: World) -> None:
    """Slack may deliver a click again: it counts once, and nobody is told of a mistake they did not make."""
    await slack.type(ONCALL, "CHG0012345")
    run = await slack.ask_for_authority()
    body = interaction(click(ids.APPROVE, ButtonValue(RUN, run.state_seq).text(), response_url=await _url(slack)))
    for _ in range(3):
        assert (await slack.send(body))[0] == 200
    await slack.settle()
    assert kinds(slack).count("authorised") == 1
    assert await slack.whispers(MANAGER) == []
    assert action_ids(await slack.message()) == [ids.VIEW_PLAN]


async def test_command_delivered_twice_starts_one_rollback(slack: World) -> None:
    """The same command again is no second request."""
    body = slack.command("CHG0012345", response_url=await _url(slack))
    assert [(await slack.send(body))[0] for _ in range(2)] == [200, 200]
    await slack.settle()
    assert list(slack.runs.runs) == [RUN]
    assert len(await slack.whispers(MANAGER)) == 1


async def _url(slack: World) -> str:
    """Return a response URL of the manager's in the operations channel."""
    key = await slack.lab.console._core.responses.issue(channel=OPS, user_id=MANAGER)
    return f"{slack.lab.url}/slack-api/response/{key}"


async def test_acknowledgement_does_not_wait_for_the_work(slack: World) -> None:
    """The acknowledgement is sent while the store has not answered yet."""
    slack.runs.gate.clear()
    status, body = await slack.send(slack.command("CHG0012345"))
    assert (status, body) == (200, "")
    assert slack.runs.runs == {}
    slack.runs.gate.set()
    await slack.settle()
    assert list(slack.runs.runs) == [RUN]


async def test_store_that_is_away_is_said_so_and_the_buttons_return(slack: World) -> None:
    """Without the store nothing is started, the person is told to try again, and then it works."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    slack.runs.away = True
    await slack.as_(MANAGER).click(OPS, await slack.message(), ids.APPROVE)
    await slack.underway.idle()
    told = (await slack.whispers(MANAGER))[-1]
    assert "store cannot be reached" in told
    assert "It is not certain whether" in told
    await slack.as_(MANAGER).open_home()
    await slack.underway.idle()
    assert "store cannot be reached" in json.dumps((await slack.home(MANAGER))["blocks"])
    slack.runs.away = False
    await slack.settle()
    await slack.click(MANAGER, ids.APPROVE)
    assert slack.runs.runs[RUN].state is State.AUTHORISED


async def test_unexpected_error_gives_a_reference_and_no_detail(
    slack: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw is a reference for the person; the traceback is in the log alone."""
    slack.plans.plans["CHG0012345"] = None  # type: ignore[assignment] # a defect
    with caplog.at_level(logging.ERROR):
        await slack.type(ONCALL, "CHG0012345")
    told = (await slack.whispers(ONCALL))[-1]
    record = next(record for record in caplog.records if "reference" in record.getMessage())
    assert record.exc_info
    assert "Something went wrong here, reference " in told
    assert told.split("reference ")[1][:8] in record.getMessage()
    assert "NoneType" not in told
    assert BOT_TOKEN not in caplog.text


async def test_button_of_another_version_is_answered(slack: World) -> None:
    """A button that nobody knows, or whose value makes no sense, is answered and changes nothing."""
    for action_id, value in (("rollback_unheard_of", "{}"), (ids.APPROVE, "no json"), (ids.APPROVE, '{"id": 7}')):
        body = interaction(click(action_id, value, response_url=await _url(slack)))
        assert (await slack.send(body))[0] == 200
        await slack.settle()
    assert [text.splitlines()[0] for text in await slack.whispers(MANAGER)] == [
        "⛔ This button belongs to another version of the bot."
    ] * 3
    assert slack.audit.deliveries == []


@pytest.mark.parametrize("kind", ["command", "click", "shared channel"])
async def test_people_of_other_workspaces_are_ignored(slack: World, kind: str) -> None:
    """A payload of another team's person is acknowledged and never reaches the service."""
    bodies = {
        "command": slack.command("CHG0012345", team_id="T0EVIL"),
        "click": interaction({**click(ids.APPROVE, "{}"), "user": {"id": MANAGER}, "team": {"id": "T0EVIL"}}),
        "shared channel": interaction({**click(ids.APPROVE, "{}"), "user": {"id": MANAGER, "team_id": "T0EVIL"}}),
    }
    assert await slack.send(bodies[kind]) == (200, "")
    await slack.settle()
    assert slack.runs.runs == {}
    assert slack.audit.deliveries == []


async def test_answer_without_a_response_url_arrives_directly(slack: World) -> None:
    """If there is no response URL, or it has expired, the answer is a direct message."""
    for url in ("", f"{slack.lab.url}/slack-api/response/gone"):
        await slack.send(slack.command("help", **({"response_url": url} if url else {})))
        await slack.settle()
    direct = await slack.as_(ONCALL).messages(ONCALL)
    assert [each["text"].splitlines()[0] for each in direct] == ["What you can type"] * 2


async def test_rate_limit_does_not_hold_up_an_approval() -> None:
    """With Slack refusing every edit the approval counts all the same."""
    limited = False

    def limit(method: str, _arguments: Json) -> float | None:
        return 30 if limited and method == "chat.update" else None

    async with world(rate_limit=limit) as slack:
        await slack.type(ONCALL, "CHG0012345")
        await slack.ask_for_authority()
        limited = True
        await slack.as_(MANAGER).click(OPS, await slack.message(), ids.APPROVE)
        await slack.underway.idle()
        assert slack.runs.runs[RUN].state is State.AUTHORISED


async def test_form_that_opens_too_late_is_explained(slack: World) -> None:
    """A trigger lives for three seconds: a click that came too late is told to come again."""
    await slack.type(ONCALL, "CHG0012345")
    run = await slack.ask_for_authority()
    for action_id in (ids.REJECT, ids.VIEW_PLAN):
        late = click(action_id, ButtonValue(RUN, run.state_seq).text(), response_url=await _url(slack))
        await slack.send(interaction(late))
        await slack.settle()
        assert "could not be opened within the three seconds" in (await slack.whispers(MANAGER))[-1]


async def test_modal_of_a_plan_that_cannot_be_read_says_so(slack: World) -> None:
    """A modal that was opened before the store failed is not left waiting."""
    await slack.type(ONCALL, "CHG0012345")
    card = await slack.message()
    slack.runs.away = True
    await slack.as_(MANAGER).click(OPS, card, ids.VIEW_PLAN)
    await slack.underway.idle()
    assert "This could not be shown" in json.dumps((await slack.modal(MANAGER))["blocks"])
    assert "store cannot be reached" in (await slack.whispers(MANAGER))[-1]
    slack.runs.away = False


@pytest.mark.parametrize("action_id", [ids.REJECT, "rollback_skip"])
async def test_app_home_asks_for_reasons_too(slack: World, action_id: str) -> None:
    """Rejecting and deciding from the App Home ends with an App Home that shows what came of it."""
    await slack.type(ONCALL, "CHG0012345")
    await slack.ask_for_authority()
    if action_id != ids.REJECT:
        await slack.hold()
    await slack.as_(MANAGER).open_home()
    await slack.settle()
    await slack.as_(MANAGER).click_view(await slack.home(MANAGER), action_id)
    await slack.settle()
    await slack.submit(MANAGER, reason="because of the fix")
    assert slack.runs.runs[RUN].history[-1].why == "because of the fix"
    assert action_id not in action_ids(await slack.home(MANAGER))


async def test_modal_that_is_not_ours_decides_nothing(slack: World) -> None:
    """A submission without its ticket is answered with a reference and decides nothing."""
    await slack.type(ONCALL, "CHG0012345")
    view = {"type": "modal", "id": "V1", "hash": "h", "callback_id": ids.DECIDE_VIEW, "state": {"values": {}}}
    person = {"id": MANAGER, "team_id": "T0LOCAL"}
    payload = {"type": "view_submission", "team": {"id": "T0LOCAL"}, "user": person, "view": view}
    assert (await slack.send(interaction({**payload, "trigger_id": "1.2.3"})))[0] == 200
    await slack.settle()
    assert "Something went wrong" in (await slack.as_(MANAGER).messages(MANAGER))[-1]["text"]
    assert kinds(slack) == ["requested"]


async def test_unreachable_api_is_said_before_anything_starts() -> None:
    """If the bot cannot even ask who it is, the command is answered with a reference and starts nothing."""
    async with world(rate_limit=lambda method, _: 30 if method == "auth.test" else None) as slack:
        status, body = await slack.send(slack.command("CHG0012345"))
        await slack.settle()
        assert status == 200
        assert body
        assert slack.runs.runs == {}
