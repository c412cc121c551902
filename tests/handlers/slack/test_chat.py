"""What the bot says: posted once, found again, edited without insisting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain import announcements
from bot.domain.announcements import CARD, Announcement, Note, Place, Standard
from bot.domain.errors import RollbackError
from bot.domain.ports import ChatBusyError, MessageRef
from bot.domain.run import Run
from handlers.slack import SlackChat
from handlers.slack.chat import MessageGoneError
from tests.support import rollbacks
from tests.support.console import BOT_TOKEN, Lab, ManualClock, SystemClock, lab, serve
from tests.support.rollbacks import MANAGER, ONCALL, OPS, POLICY
from tests.support.slack import USERS

Json = dict[str, Any]
OF = rollbacks.plan()


def runs() -> dict[str, Run]:
    """Return a rollback of today at each point of its life: the chat looks for messages since the request."""
    now = SystemClock().now()
    journal = rollbacks.histories(OF)
    return {
        name: rollbacks.run(OF, tuple(event.model_copy(update={"at": now}) for event in history))
        for name, history in journal.items()
    }


RUN = runs()["awaiting_authority"]
NOTE = Announcement("0007-note", Place.THREAD, Note("Restored", "42 tables", "good"))
DIRECT = Announcement(
    "0004-ask", Place.DIRECT, Standard("ROLLBACK NEEDS AUTHORITY", ("Change: CHG0012345",)), MANAGER
)


@asynccontextmanager
async def chat(
    *, limit: Callable[[str, Json], float | None] | None = None, clock: Any = None
) -> AsyncIterator[tuple[SlackChat, Lab, list[str]]]:
    """Yield the chat, the console behind it, and the names of the methods that were called."""
    called: list[str] = []

    def note(method: str, values: Json) -> float | None:
        called.append(method)
        return limit(method, values) if limit else None

    async with lab(clock=SystemClock(), users=list(USERS.values()), rate_limit=note) as found:
        yield SlackChat(found.slack, ops_channel=OPS, policy=POLICY, clock=clock or ManualClock()), found, called


async def test_card_thread_and_direct_message_arrive_where_they_belong() -> None:
    """The card stands in the channel, a note in its thread, a direct message with its person; all are marked."""
    async with chat() as (slack, found, _):
        card = await slack.post(RUN, CARD, thread=None, progress={})
        note = await slack.post(RUN, NOTE, thread=card, progress={})
        await slack.post(RUN, DIRECT, thread=None, progress={})
        messages = await found.client(USERS[ONCALL]).messages(OPS)
        direct = await found.client(USERS[MANAGER]).messages(MANAGER)
    assert card.channel == note.channel == OPS
    assert [each["ts"] for each in messages] == [card.ts, note.ts]
    assert messages[1]["thread_ts"] == card.ts
    marks = [each["metadata"]["event_payload"] for each in (*messages, *direct)]
    assert marks == [{"rollback": "rb-0001", "key": key} for key in ("card", "0007-note", "0004-ask")]


async def test_plan_may_name_its_own_channel() -> None:
    """A plan's channel goes before the bot's own."""
    of = rollbacks.plan(communication={"channel": "C0RELEASES", "escalation": [{"role": "x", "user": MANAGER}]})
    async with chat() as (slack, _, _called):
        ref = await slack.post(rollbacks.run(of, RUN.history), CARD, thread=None, progress={})
    assert ref.channel == "C0RELEASES"


async def test_card_is_edited_in_place_and_keeps_its_mark() -> None:
    """An edit shows the newest state in the same message, which can still be found."""
    async with chat() as (slack, found, _):
        ref = await slack.post(RUN, CARD, thread=None, progress={})
        closed = runs()["closed"]
        await slack.edit(closed, CARD, ref, progress={})
        messages = await found.client(USERS[ONCALL]).messages(OPS)
        again = await slack.find(closed, CARD, thread=None)
    assert len(messages) == 1
    assert messages[0]["text"].startswith("✅")
    assert again == ref


@pytest.mark.parametrize("wanted", [CARD, NOTE, DIRECT], ids=["card", "thread", "direct"])
async def test_message_is_found_by_its_mark(wanted: Announcement) -> None:
    """What somebody posted and did not note is found; what is not there is not found."""
    async with chat() as (slack, _, _called):
        card = None
        if wanted is NOTE:
            card = await slack.post(RUN, CARD, thread=None, progress={})
        assert await slack.find(RUN, wanted, thread=card) is None
        ref = await slack.post(RUN, wanted, thread=card, progress={})
        assert await slack.find(RUN, wanted, thread=card) == ref
        other = rollbacks.run(OF, RUN.history, rollback_id="rb-0002")
        assert await slack.find(other, wanted, thread=card) is None


async def test_message_is_found_behind_many_others() -> None:
    """The search reads on, page by page, and believes only the bot's own marks."""
    async with chat() as (slack, found, called):
        ref = await slack.post(RUN, CARD, thread=None, progress={})
        client = found.slack
        for number in range(230):
            await client.chat_postMessage(channel=OPS, text=f"chatter {number}")
        assert await slack.find(RUN, CARD, thread=None) == ref
    assert called.count("conversations.history") == 2


async def test_direct_channel_is_opened_once() -> None:
    """A person's direct channel is remembered: opening it is one call of a scarce kind."""
    async with chat() as (slack, _, called):
        await slack.tell([MANAGER, MANAGER], "There is no plan.")
        await slack.post(RUN, DIRECT, thread=None, progress={})
    assert called.count("conversations.open") == 1
    assert called.count("chat.postMessage") == 2


async def test_tell_mentions_people_of_the_policy_and_nobody_else() -> None:
    """In a message outside of any rollback only known people are mentioned; words from outside stay words."""
    async with chat() as (slack, found, _):
        await slack.tell([MANAGER], f"<@{ONCALL}> asked: <!channel> <@U0EVIL> & more")
        message = (await found.client(USERS[MANAGER]).messages(MANAGER))[0]
    assert message["text"] == f"Rollback\n<@{ONCALL}> asked: &lt;!channel&gt; &lt;@U0EVIL&gt; &amp; more"


async def test_tell_tries_everybody_and_names_whom_it_missed() -> None:
    """One wrong id does not keep the others from being told, and is reported."""
    async with chat() as (slack, found, _):
        with pytest.raises(RollbackError, match=r"1 of 2 people could not be told: U0NOBODY \(user_not_found\)"):
            await slack.tell(["U0NOBODY", MANAGER], "There is no plan.")
        assert len(await found.client(USERS[MANAGER]).messages(MANAGER)) == 1


async def test_edit_under_a_rate_limit_is_dropped_at_once() -> None:
    """A limited edit is not repeated, nor is another sent before Slack's time is over."""
    limited = True

    def limit(method: str, _values: Json) -> float | None:
        return 20 if limited and method == "chat.update" else None

    clock = ManualClock()
    async with chat(limit=limit, clock=clock) as (slack, _, called):
        ref = await slack.post(RUN, CARD, thread=None, progress={})
        with pytest.raises(ChatBusyError, match="no edit for 20 s"):
            await slack.edit(RUN, CARD, ref, progress={})
        clock.advance(19)
        with pytest.raises(ChatBusyError, match="no edit for 1 s"):
            await slack.edit(RUN, CARD, ref, progress={})
        assert called.count("chat.update") == 1
        limited = False
        clock.advance(1)
        await slack.edit(RUN, CARD, ref, progress={})
    assert called.count("chat.update") == 2


async def test_post_does_not_wait_for_a_rate_limit() -> None:
    """Whoever posts may lose the right to while waiting: the limit is told, and nothing sent until it ends."""
    refusals = iter([20.0])
    clock = ManualClock()
    limit = lambda method, _: next(refusals, None) if method == "chat.postMessage" else None  # noqa: E731 - one line
    async with chat(limit=limit, clock=clock) as (slack, found, called):
        with pytest.raises(ChatBusyError) as caught:
            await slack.post(RUN, CARD, thread=None, progress={})
        assert caught.value.retry_after == 20
        with pytest.raises(ChatBusyError):
            await slack.post(RUN, CARD, thread=None, progress={})
        assert called.count("chat.postMessage") == 1
        clock.advance(20)
        await slack.post(RUN, CARD, thread=None, progress={})
        assert len(await found.client(USERS[ONCALL]).messages(OPS)) == 1


async def test_plain_words_are_posted_in_place_of_a_message() -> None:
    """What the chat did not take with its blocks is posted as words alone, and is found again by its mark."""
    async with chat() as (slack, found, _):
        ref = await slack.post(
            RUN, CARD, thread=None, progress={}, plain="Rollback rb-0001 of <!channel> CHG0012345"
        )
        (message,) = await found.client(USERS[ONCALL]).messages(OPS)
        assert message["text"] == "Rollback rb-0001 of &lt;!channel&gt; CHG0012345"
        assert not message.get("blocks")
        assert await slack.find(RUN, CARD, thread=None) == ref


async def test_message_is_withdrawn_once_and_its_absence_is_harmless() -> None:
    """A message that another process posted as well is deleted; to withdraw it again changes nothing."""
    async with chat() as (slack, found, _):
        ref = await slack.post(RUN, CARD, thread=None, progress={})
        await slack.withdraw(ref)
        await slack.withdraw(ref)
        assert await found.client(USERS[ONCALL]).messages(OPS) == []


async def test_edit_of_a_deleted_message_says_so() -> None:
    """A card that somebody deleted is reported with what goes on and what to do."""
    async with chat() as (slack, found, _):
        ref = await slack.post(RUN, CARD, thread=None, progress={})
        await found.slack.chat_delete(channel=ref.channel, ts=ref.ts)
        with pytest.raises(MessageGoneError, match="cannot be edited any more") as caught:
            await slack.edit(RUN, CARD, ref, progress={})
    assert caught.value.untouched == "The rollback itself goes on."


async def test_every_announcement_of_a_rollback_is_taken() -> None:
    """Each message that a whole life calls for passes the console's checks, which are Slack's."""
    async with chat() as (slack, found, _):
        posted = 0
        for name in ("closed", "aborted_closed"):
            run = runs()[name]
            card: MessageRef | None = None
            for wanted in announcements.announcements(run, POLICY):
                ref = await slack.post(run, wanted, thread=card, progress={})
                card = ref if wanted == CARD else card
                posted += wanted.place is not Place.DIRECT
        assert len(await found.client(USERS[ONCALL]).messages(OPS)) == posted


@asynccontextmanager
async def strict(answers: dict[str, list[Json]]) -> AsyncIterator[tuple[SlackChat, list[str]]]:
    """Yield the chat before a server that gives each method its next answer, the last one again and again."""
    called: list[str] = []

    async def call(request: web.Request) -> web.Response:
        method = request.match_info["method"]
        called.append(method)
        queue = answers[method]
        return web.json_response(queue.pop(0) if len(queue) > 1 else queue[0])

    app = web.Application()
    app.router.add_route("*", "/api/{method}", call)
    async with serve(app) as url:
        client = AsyncWebClient(token=BOT_TOKEN, base_url=f"{url}/api/")
        yield SlackChat(client, ops_channel=OPS, policy=POLICY, clock=ManualClock()), called


async def test_public_channel_is_joined_when_slack_demands_it() -> None:
    """In a public channel that the bot is not in it joins and goes on."""
    outside: Json = {"ok": False, "error": "not_in_channel"}
    posted: Json = {"ok": True, "channel": OPS, "ts": "1.1"}
    page: Json = {"ok": True, "messages": []}
    answers = {
        "chat.postMessage": [outside, posted],
        "conversations.join": [{"ok": True}],
        "conversations.history": [outside, page],
        "auth.test": [{"ok": True, "user_id": "U0BOT"}],
    }
    async with strict(answers) as (slack, called):
        assert await slack.post(RUN, CARD, thread=None, progress={}) == MessageRef(OPS, "1.1")
        assert await slack.find(RUN, CARD, thread=None) is None
    assert called.count("conversations.join") == 2


async def test_marks_of_other_apps_are_not_believed() -> None:
    """A message of somebody else's with our mark is not ours."""
    mark = {"event_type": "rollback", "event_payload": {"rollback": "rb-0001", "key": "card"}}
    messages = [
        {"user": "U0OTHER", "ts": "1.1", "metadata": mark},
        {"user": "U0BOT", "ts": "1.2", "metadata": mark},
    ]
    answers: dict[str, list[Json]] = {
        "auth.test": [{"ok": True, "user_id": "U0BOT"}],
        "conversations.history": [{"ok": True, "messages": messages}],
    }
    async with strict(answers) as (slack, _):
        assert await slack.find(RUN, CARD, thread=None) == MessageRef(OPS, "1.2")


async def test_other_refusals_are_passed_on() -> None:
    """What Slack refuses for another reason is the caller's to see."""
    no: Json = {"ok": False, "error": "account_inactive"}
    async with strict({"chat.postMessage": [no], "chat.update": [no]}) as (slack, _):
        with pytest.raises(SlackApiError, match="account_inactive"):
            await slack.post(RUN, CARD, thread=None, progress={})
        with pytest.raises(SlackApiError, match="account_inactive"):
            await slack.edit(RUN, CARD, MessageRef(OPS, "1.1"), progress={})
