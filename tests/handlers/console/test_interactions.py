"""What people do, as the bot hears it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from slack_sdk.signature import Clock as SignatureClock
from slack_sdk.signature import SignatureVerifier

from handlers.console import ConsoleError
from tests.support.console import ALICE, BORIS, OPS, SECRET, Delivery, Lab, ManualClock, lab

Json = dict[str, Any]


def plain(text: str) -> Json:
    """Build a plain_text object."""
    return {"type": "plain_text", "text": text}


BUTTONS: list[Json] = [
    {"type": "section", "block_id": "s", "text": {"type": "mrkdwn", "text": "x"}},
    {
        "type": "actions",
        "block_id": "decide",
        "elements": [
            {
                "type": "button",
                "action_id": "approve",
                "text": plain("Approve"),
                "value": "r1.v3",
                "style": "primary",
            },
            {
                "type": "static_select",
                "action_id": "pick",
                "options": [{"text": plain("One"), "value": "1"}, {"text": plain("Two"), "value": "2"}],
            },
        ],
    },
]
MODAL: Json = {
    "type": "modal",
    "callback_id": "reject",
    "private_metadata": "r1",
    "notify_on_close": True,
    "title": plain("Reject"),
    "submit": plain("Send"),
    "blocks": [
        {
            "type": "input",
            "block_id": "why",
            "label": plain("Why"),
            "element": {"type": "plain_text_input", "action_id": "reason", "min_length": 3},
        },
        {
            "type": "input",
            "block_id": "when",
            "optional": True,
            "label": plain("When"),
            "element": {"type": "datepicker", "action_id": "date", "initial_date": "2024-01-16"},
        },
    ],
}


class _At(SignatureClock):
    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now().timestamp()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()


@pytest.fixture
async def here(clock: ManualClock) -> AsyncIterator[Lab]:
    """A running console."""
    async with lab(clock=clock) as running:
        yield running


async def opened(here: Lab, view: Json = MODAL) -> Json:
    """Open a modal for Alice and return it as her page sees it."""
    await here.client(ALICE).command(OPS.id, "/rollback")
    trigger = here.bot.received[-1].fields["trigger_id"]
    await here.slack.views_open(trigger_id=trigger, view=view)
    found: Json = (await here.client(ALICE).state(OPS.id))["views"][-1]
    return found


def answering(body: Json) -> Any:
    """Return a bot that acknowledges with a body."""

    async def answer(_delivery: Delivery) -> web.Response:
        return web.json_response(body)

    return answer


async def test_commands_are_signed_forms(here: Lab, clock: ManualClock) -> None:
    """A slash command carries Slack's fields, the token's owner, and a signature that slack_sdk verifies."""
    await here.client(ALICE).command("ops-payments", "/rollback CHG0012345 error rate & more")
    (delivery,) = here.bot.received
    fields = delivery.fields
    assert SignatureVerifier(SECRET, clock=_At(clock)).is_valid_request(delivery.body, delivery.headers)
    assert not SignatureVerifier("other", clock=_At(clock)).is_valid_request(delivery.body, delivery.headers)
    assert (fields["command"], fields["text"]) == ("/rollback", "CHG0012345 error rate & more")
    assert (fields["user_id"], fields["user_name"], fields["channel_name"]) == (
        ALICE.id,
        "a.okafor",
        "ops-payments",
    )
    assert (fields["team_id"], fields["is_enterprise_install"]) == ("T0LOCAL", "false")
    assert fields["response_url"].startswith(f"{here.url}/slack-api/response/")


@pytest.mark.parametrize(
    ("text", "channel", "code"),
    [
        ("hello", OPS.id, "not_a_command"),
        ("/Roll back", OPS.id, "not_a_command"),
        ("/rollback", "C0NO", "channel_not_found"),
    ],
)
async def test_what_is_no_command_is_not_sent(here: Lab, text: str, channel: str, code: str) -> None:
    """Words that are no command, and unknown channels, reach nobody and are answered with a reason."""
    with pytest.raises(ConsoleError) as caught:
        await here.client(ALICE).command(channel, text)
    assert caught.value.code == code
    assert here.bot.received == []


@pytest.mark.parametrize("kind", ["json", "text"])
async def test_the_answer_to_a_command_is_shown(here: Lab, kind: str) -> None:
    """An acknowledgement with text is shown to the user alone; `in_channel` shows it to all."""

    async def answer(_delivery: Delivery) -> web.Response:
        return web.json_response({"text": "usage"}) if kind == "json" else web.Response(text="usage")

    here.bot.answer = answer
    await here.client(ALICE).command(OPS.id, "/rollback help")
    assert [each["text"] for each in (await here.client(ALICE).state(OPS.id))["ephemerals"]] == ["usage"]
    assert (await here.client(BORIS).state(OPS.id))["ephemerals"] == []
    here.bot.answer = answering({"text": "for all", "response_type": "in_channel"})
    await here.client(ALICE).command(OPS.id, "/rollback help")
    assert [each["text"] for each in await here.client(BORIS).messages(OPS.id)] == ["for all"]
    here.bot.answer = answering({"blocks": [{"type": "marquee"}]})
    await here.client(ALICE).command(OPS.id, "/rollback help")
    shown = (await here.client(ALICE).state(OPS.id))["ephemerals"][-1]["text"]
    assert shown == '/rollback failed with the error "invalid_command_response: invalid_blocks"'


async def test_a_late_acknowledgement_is_a_timeout(here: Lab, clock: ManualClock) -> None:
    """A bot that takes more than three seconds yields operation_timeout, shown to the user as Slack does."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow(_delivery: Delivery) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response()

    here.bot.answer = slow
    async with asyncio.TaskGroup() as group:
        command = group.create_task(_code(here.client(ALICE).command(OPS.id, "/rollback")))
        await arrived.wait()
        clock.advance(2.9)
        assert not command.done()
        clock.advance(0.2)
        assert await command == "operation_timeout"
        release.set()
    shown = (await here.client(ALICE).state(OPS.id))["ephemerals"][0]["text"]
    assert shown == '/rollback failed with the error "operation_timeout"'


async def _code(call: Any) -> str:
    with pytest.raises(ConsoleError) as caught:
        await call
    return caught.value.code


async def test_a_refusing_bot_is_a_failed_dispatch(here: Lab) -> None:
    """A bot that answers anything but 200 yields dispatch_failed, and a click says so too."""

    async def broken(_delivery: Delivery) -> web.Response:
        return web.Response(status=500)

    here.bot.answer = broken
    assert await _code(here.client(ALICE).command(OPS.id, "/rollback")) == "dispatch_failed"
    posted = await here.slack.chat_postMessage(channel=OPS.id, text="x", blocks=BUTTONS)
    assert await _code(here.client(ALICE).click(OPS.id, posted["message"], "approve")) == "dispatch_failed"


async def test_clicks(here: Lab) -> None:
    """A click carries the stored button's value, the message, its container, and the state of other elements."""
    posted = await here.slack.chat_postMessage(channel=OPS.id, text="x", blocks=BUTTONS)
    await here.client(BORIS).click(OPS.id, posted["message"], "approve", value="forged")
    payload = here.bot.received[-1].payload
    (action,) = payload["actions"]
    assert (action["action_id"], action["block_id"], action["value"]) == ("approve", "decide", "r1.v3")
    assert payload["user"] == {"id": BORIS.id, "username": "j.smith", "name": "j.smith", "team_id": "T0LOCAL"}
    assert payload["container"] == {
        "type": "message",
        "message_ts": posted["ts"],
        "channel_id": OPS.id,
        "is_ephemeral": False,
    }
    assert payload["message"]["ts"] == posted["ts"]
    assert payload["state"]["values"] == {"decide": {"pick": {"type": "static_select", "selected_option": None}}}
    await here.client(BORIS).click(OPS.id, posted["message"], "pick", value="2")
    payload = here.bot.received[-1].payload
    assert payload["actions"][0]["selected_option"] == {"text": plain("Two"), "value": "2"}
    assert payload["state"]["values"]["decide"]["pick"]["selected_option"]["value"] == "2"


async def test_a_stale_click_is_not_sent(here: Lab) -> None:
    """A click on a button that an edit has taken away, or on an option never offered, does not reach the bot."""
    posted = await here.slack.chat_postMessage(channel=OPS.id, text="x", blocks=BUTTONS)
    alice = here.client(ALICE)
    assert await _code(alice.click(OPS.id, posted["message"], "pick", value="3")) == "invalid_value"
    await here.slack.chat_update(channel=OPS.id, ts=posted["ts"], text="approved", blocks=BUTTONS[:1])
    assert await _code(alice.click(OPS.id, posted["message"], "approve")) == "stale"
    assert here.bot.received == []


async def test_ephemeral_messages_can_be_clicked_and_replaced(here: Lab) -> None:
    """A button in an ephemeral message works for its reader, and its response URL replaces the message."""
    await here.slack.chat_postEphemeral(channel=OPS.id, user=ALICE.id, text="x", blocks=BUTTONS)
    (message,) = (await here.client(ALICE).state(OPS.id))["ephemerals"]
    assert await _code(here.client(BORIS).click(OPS.id, message, "approve")) == "stale"
    await here.client(ALICE).click(OPS.id, message, "approve")
    payload = here.bot.received[-1].payload
    assert payload["container"]["is_ephemeral"] is True
    assert "message" not in payload
    async with here.http.post(
        payload["response_url"], json={"text": "thanks", "replace_original": True}
    ) as response:
        assert response.status == 200
    (message,) = (await here.client(ALICE).state(OPS.id))["ephemerals"]
    assert message["text"] == "thanks"
    assert "blocks" not in message


async def test_submitting_a_modal(here: Lab) -> None:
    """A submission carries typed values and metadata; an empty acknowledgement closes the modal."""
    view = await opened(here)
    await here.client(ALICE).submit(view, {"reason": "too risky"})
    payload = here.bot.received[-1].payload
    assert (payload["type"], payload["view"]["callback_id"], payload["view"]["private_metadata"]) == (
        "view_submission",
        "reject",
        "r1",
    )
    assert payload["view"]["state"]["values"] == {
        "why": {"reason": {"type": "plain_text_input", "value": "too risky"}},
        "when": {"date": {"type": "datepicker", "selected_date": "2024-01-16"}},
    }
    assert (await here.client(ALICE).state(OPS.id))["views"] == []
    assert await _code(here.client(ALICE).submit(view, {"reason": "again"})) == "view_not_found"


async def test_required_fields_are_checked_first(here: Lab) -> None:
    """As in Slack's client, an incomplete form is not sent; another user cannot send it at all."""
    view = await opened(here)
    sent = len(here.bot.received)
    for values, words in (
        ({}, "Please complete this required field."),
        ({"reason": "no"}, "Please enter at least 3 characters."),
    ):
        with pytest.raises(ConsoleError) as caught:
            await here.client(ALICE).submit(view, values)
        assert (caught.value.code, caught.value.errors) == ("invalid_input", {"why": words})
    assert await _code(here.client(ALICE).submit(view, {"reason": "fine", "date": "tomorrow"})) == "invalid_value"
    assert await _code(here.client(BORIS).submit(view, {"reason": "not mine"})) == "view_not_found"
    assert len(here.bot.received) == sent


async def test_answers_to_a_submission(here: Lab) -> None:
    """The bot may answer a submission with errors, another view in its place, one on top, or by closing all."""
    alice = here.client(ALICE)
    view = await opened(here)
    here.bot.answer = answering({"response_action": "errors", "errors": {"why": "Say more."}})
    with pytest.raises(ConsoleError) as caught:
        await alice.submit(view, {"reason": "too risky"})
    assert caught.value.errors == {"why": "Say more."}
    here.bot.answer = answering({"response_action": "update", "view": MODAL | {"title": plain("Second")}})
    await alice.submit(view, {"reason": "too risky"})
    here.bot.answer = answering({"response_action": "push", "view": MODAL | {"title": plain("Third")}})
    await alice.submit(view, {"reason": "too risky"})
    stack = (await alice.state(OPS.id))["views"]
    assert [each["title"]["text"] for each in stack] == ["Second", "Third"]
    here.bot.answer = answering({"response_action": "push", "view": {"type": "modal"}})
    assert await _code(alice.submit(stack[-1], {"reason": "too risky"})) == "invalid_response"
    here.bot.answer = answering({"response_action": "clear"})
    await alice.submit(stack[-1], {"reason": "too risky"})
    assert (await alice.state(OPS.id))["views"] == []


async def test_closing_a_modal_is_told_where_asked(here: Lab) -> None:
    """`view_closed` is sent only for a modal with notify_on_close, and says whether all were closed."""
    view = await opened(here)
    await here.client(ALICE).close_view(view, everything=True)
    payload = here.bot.received[-1].payload
    assert (payload["type"], payload["is_cleared"], payload["view"]["id"]) == ("view_closed", True, view["id"])
    quiet = await opened(here, MODAL | {"notify_on_close": False})
    sent = len(here.bot.received)
    await here.client(ALICE).close_view(quiet)
    assert len(here.bot.received) == sent
    assert (await here.client(ALICE).state(OPS.id))["views"] == []


async def test_the_home(here: Lab) -> None:
    """Opening the home sends the event; a click in it carries the view and can open a modal."""
    alice = here.client(ALICE)
    await alice.open_home()
    delivery = here.bot.received[-1]
    assert '"type": "app_home_opened"' in delivery.body
    await here.slack.views_publish(user_id=ALICE.id, view={"type": "home", "blocks": BUTTONS})
    home = (await alice.state(OPS.id))["home"]
    await alice.click_view(home, "approve")
    payload = here.bot.received[-1].payload
    assert payload["container"] == {"type": "view", "view_id": home["id"]}
    assert "response_url" not in payload
    await here.slack.views_open(trigger_id=payload["trigger_id"], view=MODAL)
    assert (await here.client(BORIS).state(OPS.id))["home"] is None


async def test_the_stream_tells_each_user_theirs(here: Lab) -> None:
    """Everybody hears of messages; ephemerals, modals and homes are heard by their user alone; a gap is resumed."""
    alice, boris = here.client(ALICE), here.client(BORIS)
    position = (await alice.state(OPS.id))["position"]
    async with boris.stream() as heard:
        posted = await here.slack.chat_postMessage(channel=OPS.id, text="one")
        await here.slack.chat_postEphemeral(channel=OPS.id, user=ALICE.id, text="psst")
        await here.slack.chat_postMessage(channel=ALICE.id, text="direct")
        await opened(here)
        await here.slack.views_publish(user_id=ALICE.id, view={"type": "home", "blocks": []})
        await here.slack.chat_update(channel=OPS.id, ts=posted["ts"], text="two")
        await here.slack.chat_delete(channel=OPS.id, ts=posted["ts"])
        assert [(await anext(heard))["type"] for _ in range(3)] == [
            "message.posted",
            "message.updated",
            "message.deleted",
        ]
    async with alice.stream(after=position) as missed:
        kinds = [(await anext(missed))["type"] for _ in range(7)]
    assert kinds == [
        "message.posted",
        "ephemeral",
        "message.posted",
        "views",
        "home",
        "message.updated",
        "message.deleted",
    ]
    async with alice.stream(after="another-process-12") as lost:
        assert (await anext(lost))["type"] == "resync"
        await here.console.close()
        assert [event async for event in lost] == []
