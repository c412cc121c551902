"""conversations.*, users.*, auth.test and api.test: https://docs.slack.dev/reference/methods."""

import base64
import binascii
from itertools import islice
from typing import Final

from handlers.console.arguments import Arguments
from handlers.console.core import Core
from handlers.console.methods_chat import channel_of
from handlers.console.model import BOT_ID, Json, SlackError

PAGE: Final = 100
MOST: Final = 999


async def api_test(_core: Core, args: Arguments) -> Json:
    """api.test: echo, or the error that is asked for."""
    error = args.maybe("error")
    if error:
        raise SlackError(error)
    return {"args": {key: value for key, value in args.values.items() if key != "token"}}


async def auth_test(core: Core, args: Arguments) -> Json:
    """auth.test."""
    identity = core.identity
    return {
        "url": f"{core.public_url or args.base_url}/",
        "team": "Rollback Console",
        "user": "rollback",
        "team_id": identity.team_id,
        "user_id": identity.bot_user_id,
        "bot_id": BOT_ID,
        "is_enterprise_install": False,
    }


async def conversations_info(core: Core, args: Arguments) -> Json:
    """conversations.info."""
    return {"channel": core.directory.channel_json(channel_of(core, args))}


async def conversations_open(core: Core, args: Arguments) -> Json:
    """conversations.open, for direct messages with one user."""
    if "channel" in args:
        channel = channel_of(core, args)
    else:
        users = args.text("users").split(",")
        if len(users) > 1:
            raise SlackError("method_not_supported_for_channel_type")
        if users[0] not in core.directory.users:
            raise SlackError("user_not_found")
        channel = core.directory.dm(users[0])
    shown = core.directory.channel_json(channel) if args.flag("return_im") else {"id": channel.id}
    return {"no_op": True, "already_open": True, "channel": shown}


def _page(args: Arguments, messages: list[Json]) -> tuple[list[Json], str | None]:
    """Cut out the page that oldest, latest, inclusive, limit and cursor ask for."""
    inclusive = args.flag("inclusive")
    oldest, latest = args.maybe("oldest") or "", args.maybe("latest") or "~"
    for bound, name in ((oldest, "oldest"), (latest, "latest")):
        if bound not in ("", "~") and not bound.replace(".", "", 1).isdecimal():
            raise SlackError(f"invalid_ts_{name}")
    start = _from_cursor(args.maybe("cursor"))
    kept = (
        each
        for each in messages
        if (_key(oldest) < _key(each["ts"]) < _key(latest)) or (inclusive and each["ts"] in (oldest, latest))
    )
    limit = args.limit(default=PAGE, most=MOST)
    page = list(islice(kept, start, start + limit + 1))
    more = len(page) > limit
    return page[:limit], base64.b64encode(f"next:{start + limit}".encode()).decode() if more else None


def _key(bound: str) -> tuple[float, str]:
    """Order timestamps by value; the open ends are below and above everything."""
    return {"": (-1.0, ""), "~": (float("inf"), "")}.get(bound) or (float(bound), "")


def _from_cursor(cursor: str | None) -> int:
    if not cursor:
        return 0
    try:
        word, _, number = base64.b64decode(cursor, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise SlackError("invalid_cursor") from None
    if word != "next" or not number.isdecimal():
        raise SlackError("invalid_cursor")
    return int(number)


def _answer(core: Core, args: Arguments, channel: str, messages: list[Json]) -> Json:
    page, cursor = _page(args, messages)
    metadata = args.flag("include_all_metadata")
    answer: Json = {
        "messages": [core.messages.presented(channel, each, metadata=metadata) for each in page],
        "has_more": cursor is not None,
    }
    return answer if cursor is None else {**answer, "response_metadata": {"next_cursor": cursor}}


async def conversations_history(core: Core, args: Arguments) -> Json:
    """conversations.history: the newest first."""
    channel = channel_of(core, args)
    return _answer(core, args, channel.id, core.messages.top_level(channel.id)[::-1])


async def conversations_replies(core: Core, args: Arguments) -> Json:
    """conversations.replies: the parent first, whatever the bounds say of it."""
    channel = channel_of(core, args)
    ts = args.text("ts")
    thread = core.messages.thread(channel.id, ts)
    if not thread:
        raise SlackError("thread_not_found")
    return _answer(core, args, channel.id, thread)


async def users_info(core: Core, args: Arguments) -> Json:
    """users.info."""
    user = core.directory.user_json(args.text("user"))
    if user is None:
        raise SlackError("user_not_found")
    return {"user": user}


async def users_list(core: Core, args: Arguments) -> Json:
    """users.list, the bot included."""
    members = [*core.directory.users, core.identity.bot_user_id]
    start = _from_cursor(args.maybe("cursor"))
    end = start + args.limit(default=PAGE, most=1000)
    cursor = base64.b64encode(f"next:{end}".encode()).decode() if end < len(members) else ""
    return {
        "members": [core.directory.user_json(each) for each in members[start:end]],
        "cache_ts": int(core.clock.now().timestamp()),
        "response_metadata": {"next_cursor": cursor},
    }
