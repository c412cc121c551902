"""chat.*: https://docs.slack.dev/reference/methods?family=chat."""

from handlers.console.arguments import Arguments
from handlers.console.core import Core
from handlers.console.model import APP_ID, BOT_ID, ConsoleChannel, Json, SlackError


def bot_message(core: Core, content: Json) -> Json:
    """Return a message of the bot's, without its `ts`."""
    return {
        "type": "message",
        "user": core.identity.bot_user_id,
        "bot_id": BOT_ID,
        "app_id": APP_ID,
        "team": core.identity.team_id,
        "text": "",
        **content,
    }


def channel_of(core: Core, args: Arguments) -> ConsoleChannel:
    """Return the channel a call names.

    Raises:
        SlackError: channel_not_found.
    """
    channel = core.directory.channel(args.text("channel"))
    if channel is None:
        raise SlackError("channel_not_found")
    return channel


def found(core: Core, channel: ConsoleChannel, ts: str) -> Json:
    """Return a message of a channel.

    Raises:
        SlackError: message_not_found.
    """
    message = core.messages.find(channel.id, ts)
    if message is None:
        raise SlackError("message_not_found")
    return message


def in_thread(core: Core, channel: ConsoleChannel, thread_ts: str | None) -> Json:
    """Return the field that puts a message into a thread; a reply to a reply joins its thread.

    Raises:
        SlackError: thread_not_found.
    """
    if not thread_ts:
        return {}
    parent = core.messages.find(channel.id, thread_ts)
    if parent is None:
        raise SlackError("thread_not_found")
    return {"thread_ts": parent.get("thread_ts", thread_ts)}


async def post_message(core: Core, args: Arguments) -> Json:
    """chat.postMessage."""
    channel = channel_of(core, args)
    extra = in_thread(core, channel, args.maybe("thread_ts"))
    if extra and args.flag("reply_broadcast"):
        extra["subtype"] = "thread_broadcast"
    metadata = args.metadata()
    if metadata:
        extra["metadata"] = metadata
    message = await core.messages.post(channel.id, bot_message(core, {**args.content(), **extra}))
    return {"channel": channel.id, "ts": message["ts"], "message": message}


async def update(core: Core, args: Arguments) -> Json:
    """chat.update: what is not given stays as it was, as the method's page says."""
    channel = channel_of(core, args)
    ts = args.text("ts")
    old = found(core, channel, ts)
    if old.get("user") != core.identity.bot_user_id:
        raise SlackError("cant_update_message")
    changes = args.content(updating=True)
    metadata = args.metadata()
    if metadata is not None:
        changes["metadata"] = metadata
    changes["edited"] = {"user": core.identity.bot_user_id, "ts": core.messages.new_ts()}
    message = await core.messages.update(channel.id, ts, changes)
    return {"channel": channel.id, "ts": ts, "text": message["text"], "message": message}


async def post_ephemeral(core: Core, args: Arguments) -> Json:
    """chat.postEphemeral."""
    channel = channel_of(core, args)
    user_id = args.text("user")
    if user_id not in core.directory.users or not core.directory.sees(user_id, channel.id):
        raise SlackError("user_not_in_channel")
    content = {**args.content(), **in_thread(core, channel, args.maybe("thread_ts"))}
    message = core.messages.whisper(channel.id, user_id, bot_message(core, content))
    return {"message_ts": message["ts"]}


async def delete(core: Core, args: Arguments) -> Json:
    """chat.delete."""
    channel = channel_of(core, args)
    ts = args.text("ts")
    found(core, channel, ts)
    await core.messages.delete(channel.id, ts)
    return {"channel": channel.id, "ts": ts}


async def get_permalink(core: Core, args: Arguments) -> Json:
    """chat.getPermalink."""
    channel = channel_of(core, args)
    message = found(core, channel, args.text("message_ts"))
    link = f"{core.public_url or args.base_url}/archives/{channel.id}/p{message['ts'].replace('.', '')}"
    if "thread_ts" in message:
        link += f"?thread_ts={message['thread_ts']}&cid={channel.id}"
    return {"channel": channel.id, "permalink": link}
