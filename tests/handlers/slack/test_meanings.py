"""What Slack's refusals mean for a message: later, never like this, or for nobody at the moment."""

from __future__ import annotations

from typing import Any

import pytest
from slack_sdk.errors import SlackApiError

from bot.domain.announcements import CARD, Announcement, Note, Place, Standard
from bot.domain.ports import ChatBusyError, ChatRefusedError, MessageRef
from handlers.slack.meanings import Patience, meaning, retry_after
from tests.handlers.slack.test_chat import DIRECT, NOTE, RUN, Json, chat, strict
from tests.support.console import ManualClock
from tests.support.rollbacks import MANAGER, ONCALL, OPS
from tests.support.slack import USERS


class Response:
    """An answer of Slack."""

    def __init__(self, code: str, status: int = 200, **headers: str) -> None:
        self.status_code = status
        self.headers = headers
        self.data: Json | bytes = {"ok": False, "error": code} if code else b"<html>"


def refusal(code: str, status: int = 200, **headers: str) -> SlackApiError:
    """Return the error that an answer is raised as."""
    made: Any = SlackApiError
    error: SlackApiError = made("refused", Response(code, status, **headers))
    return error


@pytest.mark.parametrize("code", ["invalid_blocks", "msg_too_long", "invalid_blocks_format", "something_new"])
def test_a_code_about_the_message_refuses_it(code: str) -> None:
    """What is wrong with the message, or nobody knows yet, is a refusal of the message, with Slack's code."""
    why = meaning(refusal(code), RUN, NOTE)
    assert isinstance(why, ChatRefusedError)
    assert code in str(why)
    assert "0007-note" in str(why)
    assert RUN.id in str(why)


@pytest.mark.parametrize(
    ("code", "status"),
    [("invalid_auth", 200), ("account_inactive", 200), ("internal_error", 500), ("", 502), ("new_code", 503)],
)
@pytest.mark.parametrize("announcement", [NOTE, DIRECT])
def test_a_code_about_the_bot_or_slack_refuses_no_message(
    code: str, status: int, announcement: Announcement
) -> None:
    """When Slack takes nothing from the bot, that says nothing of the message: it is passed on as it is."""
    error = refusal(code, status)
    assert meaning(error, RUN, announcement) is error


@pytest.mark.parametrize("code", ["is_archived", "channel_not_found", "not_in_channel", "restricted_action"])
def test_a_closed_channel_refuses_no_message_but_a_direct_one(code: str) -> None:
    """What is wrong with the channel may be put right; a person's own channel stays as it is."""
    error = refusal(code)
    assert meaning(error, RUN, CARD) is error
    assert isinstance(meaning(error, RUN, DIRECT), ChatRefusedError)


@pytest.mark.parametrize("code", ["user_not_found", "cannot_dm_bot", "user_disabled"])
def test_nobody_of_that_name(code: str) -> None:
    """A person whom Slack does not know refuses the message."""
    assert isinstance(meaning(refusal(code), RUN, DIRECT), ChatRefusedError)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (refusal("ratelimited", 429, **{"Retry-After": "17"}), 17.0),
        (refusal("ratelimited", 429, **{"retry-after": "0"}), 1.0),
        (refusal("ratelimited", 429), 30.0),
        (refusal("", 429, **{"Retry-After": "soon"}), 30.0),
        (refusal("message_limit_exceeded"), 30.0),
    ],
)
def test_a_limit_asks_for_patience(error: SlackApiError, seconds: float) -> None:
    """A limit is told with the time that Slack asks for, and half a minute if it names none that can be read."""
    why = meaning(error, RUN, NOTE)
    assert isinstance(why, ChatBusyError)
    assert why.retry_after == retry_after(error) == seconds


def test_a_header_that_comes_as_a_list() -> None:
    """Where a header is a list, as aiohttp may give it, its first value counts."""
    error = refusal("ratelimited", 429)
    error.response.headers = {"Retry-After": ["5"]}
    assert retry_after(error) == 5.0


def test_patience_is_kept_by_kind() -> None:
    """While Slack wants none of one kind of call, others may be made; afterwards all may."""
    clock = ManualClock()
    patience = Patience(clock)
    patience.note("C0OPS", ChatRefusedError("no limit"))
    patience.check("C0OPS")
    patience.note("C0OPS", ChatBusyError(7.0))
    clock.advance(6)
    patience.check("C0OTHER")
    with pytest.raises(ChatBusyError) as busy:
        patience.check("C0OPS")
    assert busy.value.retry_after == 1.0
    clock.advance(1)
    patience.check("C0OPS")


async def test_plain_text_is_posted_without_blocks() -> None:
    """What the chat did not take as it should be is posted as text alone, escaped, marked, and found again."""
    async with chat() as (slack, found, _):
        card = await slack.post(RUN, CARD, thread=None, progress={})
        ref = await slack.post(RUN, NOTE, thread=card, progress={}, plain=f"<!channel> <@{MANAGER}> 1 < 2")
        posted = (await found.client(USERS[ONCALL]).messages(OPS))[-1]
        assert await slack.find(RUN, NOTE, thread=card) == ref
    assert not posted.get("blocks")
    assert posted["text"] == f"&lt;!channel&gt; &lt;@{MANAGER}&gt; 1 &lt; 2"
    assert posted["thread_ts"] == card.ts


async def test_a_message_that_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the rendering of one message counts as a refusal of that message, in posts and in edits."""

    def broken(*_args: object, **_how: object) -> None:
        raise KeyError("versions")

    async with chat() as (slack, _, called):
        card = await slack.post(RUN, CARD, thread=None, progress={})
        monkeypatch.setattr("handlers.slack.render.note", broken)
        monkeypatch.setattr("handlers.slack.render.card", broken)
        with pytest.raises(ChatRefusedError, match=r"0007-note.*KeyError"):
            await slack.post(RUN, NOTE, thread=card, progress={})
        with pytest.raises(ChatRefusedError, match="cannot be made"):
            await slack.edit(RUN, CARD, card, progress={})
        await slack.post(RUN, NOTE, thread=card, progress={}, plain="words")
    assert called == ["chat.postMessage"] * 2


async def test_who_is_unknown_can_neither_be_told_nor_looked_up() -> None:
    """A direct message to somebody whom the workspace does not have is refused, and so is looking for one."""
    unknown = Announcement("0004-ask", Place.DIRECT, Standard("HELLO", ()), "U0NOBODY")
    async with chat() as (slack, _, _called):
        with pytest.raises(ChatRefusedError, match="user_not_found"):
            await slack.post(RUN, unknown, thread=None, progress={})
        with pytest.raises(ChatRefusedError, match="user_not_found"):
            await slack.find(RUN, unknown, thread=None)


async def test_a_refused_edit() -> None:
    """An edit whose content Slack does not take is told as a refusal."""
    no: Json = {"ok": False, "error": "invalid_blocks"}
    async with strict({"chat.update": [no]}) as (slack, _):
        with pytest.raises(ChatRefusedError, match="invalid_blocks"):
            await slack.edit(RUN, CARD, MessageRef(OPS, "1.1"), progress={})


async def test_a_message_is_withdrawn() -> None:
    """A message of the bot's own can be taken back, once and again; other refusals are passed on."""
    async with chat() as (slack, found, called):
        ref = await slack.post(RUN, CARD, thread=None, progress={})
        await slack.withdraw(ref)
        await slack.withdraw(ref)
        assert await found.client(USERS[ONCALL]).messages(OPS) == []
    assert called.count("chat.delete") == 2
    async with strict({"chat.delete": [{"ok": False, "error": "cant_delete_message"}]}) as (slack, _):
        with pytest.raises(SlackApiError, match="cant_delete_message"):
            await slack.withdraw(MessageRef(OPS, "1.1"))


async def test_a_post_is_never_repeated_by_itself() -> None:
    """A call whose answer is lost is not made again by the library: the message may be there."""
    calls = []

    def limit(method: str, _values: Json) -> float | None:
        calls.append(method)
        raise ConnectionResetError

    async with chat(limit=limit) as (slack, _, _called):
        with pytest.raises(SlackApiError, match="internal_error"):
            await slack.post(RUN, Announcement("0008-x", Place.CHANNEL, Note("x")), thread=None, progress={})
    assert calls == ["chat.postMessage"]
