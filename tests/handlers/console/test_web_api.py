"""The Web API, called by an unmodified slack_sdk client."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from handlers.console import messages
from tests.support.console import ALICE, BORIS, BOT_TOKEN, OPS, Lab, ManualClock, MemoryStore, lab

Json = dict[str, Any]
SECTION: Json = {"type": "section", "text": {"type": "mrkdwn", "text": "x"}}
MODAL: Json = {"type": "modal", "title": {"type": "plain_text", "text": "Reject"}, "blocks": [SECTION]}


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()


@pytest.fixture
async def here(clock: ManualClock) -> AsyncIterator[Lab]:
    """A running console."""
    async with lab(clock=clock) as running:
        yield running


async def refused(here: Lab, method: str, **arguments: Any) -> Json:
    """Return the error that a call is refused with."""
    with pytest.raises(SlackApiError) as caught:
        await here.slack.api_call(method, json=arguments)
    answer: Json = caught.value.response.data
    assert caught.value.response.status_code == 200
    assert answer["ok"] is False
    return answer


async def test_a_message_lives(here: Lab) -> None:
    """A message is posted, found with its metadata, edited in place and deleted."""
    metadata = {"event_type": "rollback", "event_payload": {"id": "r1"}}
    posted = await here.slack.chat_postMessage(channel=OPS.id, text="one", blocks=[SECTION], metadata=metadata)
    await here.slack.chat_update(channel=OPS.id, ts=posted["ts"], text="two")
    history = await here.slack.conversations_history(channel=OPS.id, include_all_metadata=True)
    (message,) = history["messages"]
    assert (message["text"], message["metadata"], message["edited"]["user"]) == ("two", metadata, "U0BOT")
    assert message["blocks"][0]["text"] == SECTION["text"], "blocks that are not given are kept"
    bare = await here.slack.conversations_history(channel=OPS.id)
    assert "metadata" not in bare["messages"][0]
    await here.slack.chat_delete(channel=OPS.id, ts=posted["ts"])
    assert (await here.slack.conversations_history(channel=OPS.id))["messages"] == []


async def test_threads(here: Lab) -> None:
    """Replies stay out of the channel's history; a reply to a reply joins the same thread."""
    parent = (await here.slack.chat_postMessage(channel="#ops-payments", text="parent"))["ts"]
    reply = (await here.slack.chat_postMessage(channel=OPS.id, text="r1", thread_ts=parent))["ts"]
    await here.slack.chat_postMessage(channel=OPS.id, text="r2", thread_ts=reply)
    await here.slack.chat_postMessage(channel=OPS.id, text="r3", thread_ts=parent, reply_broadcast=True)
    history = await here.slack.conversations_history(channel=OPS.id)
    assert [each["text"] for each in history["messages"]] == ["r3", "parent"]
    assert history["messages"][1]["reply_count"] == 3
    replies = await here.slack.conversations_replies(channel=OPS.id, ts=parent)
    assert [each["text"] for each in replies["messages"]] == ["parent", "r1", "r2", "r3"]
    link = (await here.slack.chat_getPermalink(channel=OPS.id, message_ts=reply))["permalink"]
    assert link == f"{here.url}/archives/{OPS.id}/p{reply.replace('.', '')}?thread_ts={parent}&cid={OPS.id}"


async def test_history_pages(here: Lab, clock: ManualClock) -> None:
    """History is cut by limit and cursor, oldest and inclusive."""
    stamps = []
    for number in range(5):
        clock.advance(1)
        stamps.append((await here.slack.chat_postMessage(channel=OPS.id, text=str(number)))["ts"])
    first = await here.slack.conversations_history(channel=OPS.id, limit=2)
    assert ([each["text"] for each in first["messages"]], first["has_more"]) == (["4", "3"], True)
    cursor = first["response_metadata"]["next_cursor"]
    second = await here.slack.conversations_history(channel=OPS.id, limit=3, cursor=cursor)
    assert ([each["text"] for each in second["messages"]], second["has_more"]) == (["2", "1", "0"], False)
    after = await here.slack.conversations_history(channel=OPS.id, oldest=stamps[2])
    assert [each["text"] for each in after["messages"]] == ["4", "3"]
    including = await here.slack.conversations_history(channel=OPS.id, oldest=stamps[2], inclusive=True)
    assert [each["text"] for each in including["messages"]] == ["4", "3", "2"]


async def test_people_and_direct_messages(here: Lab) -> None:
    """Users, the bot itself and direct messages are found; other users do not see them."""
    me = await here.slack.auth_test()
    assert (me["team_id"], me["user_id"]) == ("T0LOCAL", "U0BOT")
    user = (await here.slack.users_info(user=BORIS.id))["user"]
    assert (user["name"], user["profile"]["title"], user["is_bot"]) == ("j.smith", "Change Manager", False)
    members = (await here.slack.users_list())["members"]
    assert [each["id"] for each in members] == [ALICE.id, BORIS.id, "U0BOT"]
    dm = (await here.slack.conversations_open(users=ALICE.id))["channel"]["id"]
    assert (await here.slack.chat_postMessage(channel=ALICE.id, text="for you"))["channel"] == dm
    assert (await here.slack.conversations_info(channel=dm))["channel"]["user"] == ALICE.id
    assert [each["text"] for each in await here.client(ALICE).messages(dm)] == ["for you"]
    with pytest.raises(Exception, match="channel_not_found"):
        await here.client(BORIS).messages(dm)


ERRORS: list[tuple[str, Json, str]] = [
    ("chat.shout", {}, "unknown_method"),
    ("chat.postMessage", {"text": "x"}, "invalid_arguments"),
    ("chat.postMessage", {"channel": "C0NONE", "text": "x"}, "channel_not_found"),
    ("chat.postMessage", {"channel": OPS.id}, "no_text"),
    ("chat.postMessage", {"channel": OPS.id, "text": "t" * 40_001}, "msg_too_long"),
    ("chat.postMessage", {"channel": OPS.id, "blocks": "{"}, "invalid_blocks_format"),
    ("chat.postMessage", {"channel": OPS.id, "text": "x", "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
    (
        "chat.postMessage",
        {
            "channel": OPS.id,
            "text": "x",
            "blocks": [
                {"type": "markdown", "text": "t" * 12_000},
                SECTION | {"text": {"type": "mrkdwn", "text": "x" * 1300}},
            ],
        },
        "msg_blocks_too_long",
    ),
    (
        "chat.postMessage",
        {"channel": OPS.id, "text": "x", "metadata": {"event_type": 1}},
        "invalid_metadata_schema",
    ),
    ("chat.postMessage", {"channel": OPS.id, "text": "x", "thread_ts": "1.000001"}, "thread_not_found"),
    ("chat.update", {"channel": OPS.id, "ts": "1.000001", "text": "x"}, "message_not_found"),
    ("chat.delete", {"channel": OPS.id, "ts": "1.000001"}, "message_not_found"),
    ("chat.getPermalink", {"channel": OPS.id, "message_ts": "1.000001"}, "message_not_found"),
    ("chat.postEphemeral", {"channel": OPS.id, "user": "U0NONE", "text": "x"}, "user_not_in_channel"),
    ("conversations.info", {"channel": "C0NONE"}, "channel_not_found"),
    ("conversations.history", {"channel": OPS.id, "limit": 1000}, "invalid_limit"),
    ("conversations.history", {"channel": OPS.id, "cursor": "?"}, "invalid_cursor"),
    ("conversations.history", {"channel": OPS.id, "oldest": "soon"}, "invalid_ts_oldest"),
    ("conversations.replies", {"channel": OPS.id, "ts": "1.000001"}, "thread_not_found"),
    ("conversations.open", {"users": "U0NONE"}, "user_not_found"),
    ("users.info", {"user": "U0NONE"}, "user_not_found"),
    ("views.open", {"trigger_id": "1.x", "view": MODAL}, "invalid_trigger_id"),
    ("views.open", {"trigger_id": "1.x"}, "invalid_arguments"),
    ("views.update", {"view_id": "V0NONE", "view": MODAL}, "not_found"),
    ("views.update", {"view": MODAL}, "invalid_arguments"),
    ("views.publish", {"user_id": ALICE.id, "view": MODAL}, "invalid_arguments"),
    ("views.publish", {"user_id": "U0NONE", "view": {"type": "home", "blocks": []}}, "user_not_found"),
    ("api.test", {"error": "my_error"}, "my_error"),
]


@pytest.mark.parametrize(("method", "arguments", "code"), ERRORS, ids=[f"{m}-{c}" for m, _, c in ERRORS])
async def test_refusals(here: Lab, method: str, arguments: Json, code: str) -> None:
    """A call that Slack would refuse is refused with Slack's code, and nothing is posted."""
    assert (await refused(here, method, **arguments))["error"] == code
    assert (await here.slack.conversations_history(channel=OPS.id))["messages"] == []


async def test_refused_blocks_are_named(here: Lab) -> None:
    """`invalid_blocks` says which block, and what is wrong with it."""
    blocks = [SECTION, {"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]
    answer = await refused(here, "chat.postMessage", channel=OPS.id, text="x", blocks=blocks)
    assert answer["response_metadata"]["messages"] == [
        "[ERROR] unsupported text type: mrkdwn [json-pointer:/blocks/1/text/type]"
    ]
    missing = await refused(here, "chat.postMessage", text="x")
    assert missing["response_metadata"]["messages"] == ["[ERROR] missing required field: channel"]


@pytest.mark.parametrize(("token", "code"), [("", "not_authed"), ("xoxb-other", "invalid_auth")])
async def test_the_bots_token_is_asked_for(here: Lab, token: str, code: str) -> None:
    """Without the bot's token the Web API does nothing."""
    client = AsyncWebClient(token=token, base_url=f"{here.url}/slack-api/")
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel=OPS.id, text="x")
    assert caught.value.response["error"] == code


async def test_forms_and_queries(here: Lab) -> None:
    """Arguments may come as a form with JSON inside, or as a query."""
    headers = {"Authorization": f"Bearer {BOT_TOKEN}"}
    form = {
        "channel": OPS.id,
        "text": "x",
        "blocks": '[{"type":"divider"}]',
        "metadata": '{"event_type":"e","event_payload":{}}',
    }
    async with here.http.post(f"{here.url}/slack-api/chat.postMessage", data=form, headers=headers) as response:
        posted = await response.json()
    assert posted["message"]["blocks"][0]["type"] == "divider"
    query = {"channel": OPS.id, "include_all_metadata": "true"}
    async with here.http.get(
        f"{here.url}/slack-api/conversations.history", params=query, headers=headers
    ) as response:
        history = await response.json()
    assert history["messages"][0]["metadata"]["event_type"] == "e"
    for body, code in ((b"{", "invalid_json"), (b"[]", "json_not_object")):
        kind = {"Content-Type": "application/json", **headers}
        async with here.http.post(f"{here.url}/slack-api/chat.postMessage", data=body, headers=kind) as response:
            assert (await response.json())["error"] == code


async def test_trigger_ids(here: Lab, clock: ManualClock) -> None:
    """A trigger id opens one modal within three seconds."""
    alice = here.client(ALICE)
    await alice.command(OPS.id, "/rollback")
    trigger = here.bot.received[-1].fields["trigger_id"]
    broken = await refused(
        here, "views.open", trigger_id=trigger, view=MODAL | {"title": {"type": "plain_text", "text": "t" * 25}}
    )
    assert broken["error"] == "invalid_arguments"
    clock.advance(3)
    opened = await here.slack.views_open(trigger_id=trigger, view=MODAL)
    assert [each["id"] for each in (await alice.state(OPS.id))["views"]] == [opened["view"]["id"]]
    assert (await refused(here, "views.open", trigger_id=trigger, view=MODAL))["error"] == "exchanged_trigger_id"
    await alice.command(OPS.id, "/rollback")
    late = here.bot.received[-1].fields["trigger_id"]
    clock.advance(3.001)
    assert (await refused(here, "views.open", trigger_id=late, view=MODAL))["error"] == "expired_trigger_id"


async def test_modal_stack_and_hash(here: Lab) -> None:
    """Three modals fit on the stack; an update with an old hash is refused; ids given by the app are unique."""
    alice = here.client(ALICE)

    async def trigger() -> str:
        await alice.command(OPS.id, "/rollback")
        return here.bot.received[-1].fields["trigger_id"]

    first = (await here.slack.views_open(trigger_id=await trigger(), view=MODAL | {"external_id": "e"}))["view"]
    assert (await refused(here, "views.push", trigger_id=await trigger(), view=MODAL | {"external_id": "e"}))[
        "error"
    ] == "duplicate_external_id"
    for _ in range(2):
        top = (await here.slack.views_push(trigger_id=await trigger(), view=MODAL))["view"]
    assert (top["root_view_id"], top["previous_view_id"] != first["id"]) == (first["id"], True)
    assert (await refused(here, "views.push", trigger_id=await trigger(), view=MODAL))[
        "error"
    ] == "push_limit_reached"
    changed = await here.slack.views_update(external_id="e", view=MODAL | {"external_id": "e"}, hash=first["hash"])
    assert changed["view"]["id"] == first["id"]
    stale = await refused(here, "views.update", view_id=first["id"], view=MODAL, hash=first["hash"])
    assert stale["error"] == "hash_conflict"


async def test_rate_limit_hook(clock: ManualClock) -> None:
    """The hook makes the API answer 429 with Retry-After, rounded up."""
    asked: list[str] = []

    def limit(method: str, _arguments: Json) -> float | None:
        asked.append(method)
        return 1.2 if method == "chat.update" else None

    async with lab(clock=clock, rate_limit=limit) as here:
        ts = (await here.slack.chat_postMessage(channel=OPS.id, text="x"))["ts"]
        with pytest.raises(SlackApiError) as caught:
            await here.slack.chat_update(channel=OPS.id, ts=ts, text="y")
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["Retry-After"] == "2"
    assert asked == ["chat.postMessage", "chat.update"]


async def test_everything_survives_a_restart(clock: ManualClock) -> None:
    """After a restart a message can be updated, and modals, homes, read pointers and response URLs stand."""
    store = MemoryStore()
    async with lab(clock=clock, store=store) as before:
        posted = await before.slack.chat_postMessage(
            channel=OPS.id, text="before", metadata={"event_type": "e", "event_payload": {}}
        )
        ts = posted["ts"]
        await before.client(ALICE).mark_read(OPS.id, ts)
        await before.client(ALICE).command(OPS.id, "/rollback")
        fields = before.bot.received[-1].fields
        await before.slack.views_open(trigger_id=fields["trigger_id"], view=MODAL)
        await before.slack.views_publish(user_id=ALICE.id, view={"type": "home", "blocks": [SECTION]})
    async with lab(clock=clock, store=store) as after:
        await after.slack.chat_update(channel=OPS.id, ts=ts, text="after")
        await after.slack.chat_postMessage(channel=OPS.id, text="next")
        path = fields["response_url"].split("/slack-api/")[1]
        async with after.http.post(
            f"{after.url}/slack-api/{path}", json={"text": "late", "response_type": "in_channel"}
        ) as response:
            assert response.status == 200
        state = await after.client(ALICE).state(OPS.id)
        channels = (await after.client(ALICE).me())["channels"]
    assert [each["text"] for each in state["messages"]] == ["after", "next", "late"]
    assert state["messages"][0]["metadata"]["event_type"] == "e"
    assert [each["title"]["text"] for each in state["views"]] == ["Reject"]
    assert state["home"]["blocks"][0]["text"] == SECTION["text"]
    assert channels[0]["unread"] == 2


async def test_nothing_is_shown_that_is_not_kept(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """When the store fails, the call fails, and the channel shows nothing that a restart would lose."""
    store = MemoryStore()
    async with lab(clock=clock, store=store) as here:
        store.broken = True
        with pytest.raises(SlackApiError, match="internal_error"):
            await here.slack.chat_postMessage(channel=OPS.id, text="x")
        store.broken = False
        assert await here.client(ALICE).messages(OPS.id) == []
    assert "could not carry out chat.postMessage" in caplog.text


async def test_response_urls(here: Lab, clock: ManualClock) -> None:
    """A response URL takes five posts in thirty minutes, and replaces or deletes the message it came from."""
    button = {
        "type": "actions",
        "elements": [{"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}],
    }
    posted = await here.slack.chat_postMessage(channel=OPS.id, text="ask", blocks=[button])
    alice = here.client(ALICE)
    await alice.click(OPS.id, posted["message"], "go")
    url = here.bot.received[-1].payload["response_url"]

    async def say(**body: Any) -> tuple[int, Json]:
        async with here.http.post(url, json=body) as response:
            return response.status, await response.json()

    assert (await say(text="only you"))[0] == 200
    assert [each["text"] for each in (await alice.state(OPS.id))["ephemerals"]] == ["only you"]
    assert (await here.client(BORIS).state(OPS.id))["ephemerals"] == []
    assert (await say(text="done", replace_original=True))[0] == 200
    (message,) = await alice.messages(OPS.id)
    assert (message["text"], message["blocks"], message["ts"]) == ("done", [], posted["ts"])
    assert (await say())[1]["error"] == "no_text"
    assert (await say(text="all", response_type="in_channel"))[0] == 200
    assert (await say(delete_original=True))[0] == 200
    assert [each["text"] for each in await alice.messages(OPS.id)] == ["all"]
    assert await say(text="sixth") == (404, {"ok": False, "error": "used_url"})
    await alice.command(OPS.id, "/rollback")
    url = here.bot.received[-1].fields["response_url"]
    clock.advance(30 * 60 + 1)
    assert await say(text="late") == (404, {"ok": False, "error": "expired_url"})


async def test_old_messages_and_lapsed_urls_leave_the_store(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel keeps its newest messages, and response URLs that have ended are removed, from the store too."""
    monkeypatch.setattr(messages, "KEPT_PER_CHANNEL", 3)
    async with lab(clock=clock) as here:
        for number in range(5):
            await here.slack.chat_postMessage(channel=OPS.id, text=str(number))
            await here.client(ALICE).command(OPS.id, "/rollback")
        clock.advance(31 * 60)
        await here.client(ALICE).command(OPS.id, "/rollback")
        assert [each["text"] for each in await here.client(ALICE).messages(OPS.id)] == ["2", "3", "4"]
        buckets = [bucket for bucket, _ in here.store.documents]
    assert (buckets.count("messages"), buckets.count("responses")) == (3, 1)


async def test_deleting_a_reply_updates_its_thread(here: Lab) -> None:
    """A deleted reply leaves the thread and its parent's count; a deleted ephemeral leaves its reader's page."""
    parent = (await here.slack.chat_postMessage(channel=OPS.id, text="parent"))["ts"]
    stamps = [
        (await here.slack.chat_postMessage(channel=OPS.id, text=str(n), thread_ts=parent))["ts"] for n in range(2)
    ]
    await here.slack.chat_delete(channel=OPS.id, ts=stamps[0])
    replies = (await here.slack.conversations_replies(channel=OPS.id, ts=parent))["messages"]
    assert ([each["text"] for each in replies], replies[0]["reply_count"]) == (["parent", "1"], 1)
    button = {"type": "button", "action_id": "dismiss", "text": {"type": "plain_text", "text": "Dismiss"}}
    blocks = [{"type": "actions", "elements": [button]}]
    await here.slack.chat_postEphemeral(channel=OPS.id, user=ALICE.id, text="x", blocks=blocks)
    (own,) = (await here.client(ALICE).state(OPS.id))["ephemerals"]
    await here.client(ALICE).click(OPS.id, own, "dismiss")
    url = here.bot.received[-1].payload["response_url"]
    async with here.http.post(url, json={"delete_original": True}) as response:
        assert response.status == 200
    assert (await here.client(ALICE).state(OPS.id))["ephemerals"] == []
    async with here.http.post(url, data="nonsense") as response:
        assert (response.status, (await response.json())["error"]) == (400, "invalid_payload")


async def test_user_pages_and_home_hashes(here: Lab) -> None:
    """Users come in pages; a home published over a newer one is refused by its hash."""
    first = await here.slack.users_list(limit=2)
    rest = await here.slack.users_list(limit=2, cursor=first["response_metadata"]["next_cursor"])
    assert [each["id"] for each in [*first["members"], *rest["members"]]] == [ALICE.id, BORIS.id, "U0BOT"]
    home = {"type": "home", "blocks": [SECTION]}
    published = await here.slack.views_publish(user_id=ALICE.id, view=home)
    again = await here.slack.views_publish(user_id=ALICE.id, view=home, hash=published["view"]["hash"])
    assert again["view"]["id"] == published["view"]["id"]
    stale = await refused(here, "views.publish", user_id=ALICE.id, view=home, hash=published["view"]["hash"])
    assert stale["error"] == "hash_conflict"
