"""The channels' messages: kept in the document store, told to the hub."""

import asyncio
from bisect import bisect_left
from collections import deque
from typing import Final

from bot.domain import ports
from handlers.console.directory import Directory
from handlers.console.hub import Hub
from handlers.console.model import Json

MESSAGES: Final = "messages"
READS: Final = "reads"
KEPT_PER_CHANNEL: Final = 5_000
KEPT_EPHEMERALS: Final = 50


class Messages:
    """Messages by channel and `ts`. What was put into the store is in memory too, never the other way round."""

    def __init__(self, *, store: ports.DocumentStore, clock: ports.Clock, hub: Hub, directory: Directory) -> None:
        self._store = store
        self._clock = clock
        self._hub = hub
        self._directory = directory
        self._channels: dict[str, dict[str, Json]] = {}
        self._replies: dict[tuple[str, str], dict[str, None]] = {}
        self._ephemerals: dict[str, deque[Json]] = {}
        self._reads: dict[str, str] = {}
        self._last = 0
        self._writing = asyncio.Lock()

    def restore(self, bucket: str, key: str, document: Json) -> None:
        """Take one stored document back at the start."""
        if bucket == READS:
            self._reads[key] = str(document["ts"])
        elif bucket == MESSAGES:
            message = document["message"]
            self._hold(document["channel"], message)
            self._last = max(self._last, _micros(message["ts"]))

    def restored(self) -> None:
        """Put the messages in order once all are back."""
        self._channels = {channel: dict(sorted(kept.items())) for channel, kept in self._channels.items()}
        self._replies = {parent: dict.fromkeys(sorted(stamps)) for parent, stamps in self._replies.items()}

    def new_ts(self) -> str:
        """Return the next message id: the time in seconds with six decimals, unique and rising."""
        self._last = max(self._last + 1, int(self._clock.now().timestamp() * 1_000_000))
        return f"{self._last // 1_000_000}.{self._last % 1_000_000:06d}"

    def find(self, channel: str, ts: str) -> Json | None:
        """Return a message; None when there is none."""
        return self._channels.get(channel, {}).get(ts)

    def top_level(self, channel: str) -> list[Json]:
        """List a channel's messages outside threads (and replies broadcast to it), oldest first."""
        return [each for each in self._channels.get(channel, {}).values() if _in_channel(each)]

    def thread(self, channel: str, ts: str) -> list[Json]:
        """List a thread, its parent first."""
        kept = self._channels.get(channel, {})
        stamps = [ts, *self._replies.get((channel, ts), {})]
        return [kept[stamp] for stamp in stamps if stamp in kept]

    def presented(self, channel: str, message: Json, *, metadata: bool = True) -> Json:
        """Return a message as Slack shows it: with its thread's counts, with or without its metadata."""
        shown = dict(message) if metadata else {key: each for key, each in message.items() if key != "metadata"}
        replies = self.thread(channel, message["ts"])[1:]
        if replies:
            users = list(dict.fromkeys(reply["user"] for reply in replies))
            shown |= {"thread_ts": message["ts"], "reply_count": len(replies), "latest_reply": replies[-1]["ts"]}
            shown |= {"reply_users": users, "reply_users_count": len(users)}
        return shown

    async def post(self, channel: str, message: Json) -> Json:
        """Add a message (without `ts`); returns it with its `ts`.

        Raises:
            Exception: Whatever the store raises; nothing was posted then.
        """
        async with self._writing:
            posted = {**message, "ts": self.new_ts()}
            await self._keep(channel, posted)
            await self._forget_old(channel)
        self._tell("message.posted", channel, posted)
        parent = self.find(channel, posted["thread_ts"]) if "thread_ts" in posted else None
        if parent is not None:
            self._tell("message.updated", channel, parent)
        return posted

    async def update(self, channel: str, ts: str, changes: Json) -> Json:
        """Change a message in place.

        Raises:
            KeyError: There is no such message.
        """
        async with self._writing:
            changed = {**self._channels[channel][ts], **changes}
            await self._keep(channel, changed)
        self._tell("message.updated", channel, changed)
        return changed

    async def delete(self, channel: str, ts: str) -> None:
        """Remove a message.

        Raises:
            KeyError: There is no such message.
        """
        async with self._writing:
            removed = self._channels[channel][ts]
            await self._store.put(MESSAGES, f"{channel}:{ts}", None)
            self._drop(channel, removed)
        self._hub.publish("message.deleted", {"channel": channel, "ts": ts}, to=self._audience(channel))
        parent = self.find(channel, removed["thread_ts"]) if "thread_ts" in removed else None
        if parent is not None:
            self._tell("message.updated", channel, parent)

    def whisper(self, channel: str, user_id: str, message: Json) -> Json:
        """Show a message to one user only. Like Slack's, it does not survive a restart."""
        shown = {**message, "ts": message.get("ts") or self.new_ts(), "channel": channel, "is_ephemeral": True}
        kept = self._ephemerals.setdefault(user_id, deque(maxlen=KEPT_EPHEMERALS))
        old = [index for index, each in enumerate(kept) if each["ts"] == shown["ts"]]
        if old:
            kept[old[0]] = shown
        else:
            kept.append(shown)
        self._hub.publish("ephemeral", {"channel": channel, "message": shown}, to=[user_id])
        return shown

    def whispered(self, user_id: str, channel: str) -> list[Json]:
        """List what one user alone sees in a channel."""
        return [each for each in self._ephemerals.get(user_id, ()) if each["channel"] == channel]

    def hush(self, user_id: str, ts: str) -> bool:
        """Take an ephemeral message away; tells whether it was there."""
        kept = self._ephemerals.get(user_id, deque())
        for each in [each for each in kept if each["ts"] == ts]:
            kept.remove(each)
            self._hub.publish("ephemeral.deleted", {"channel": each["channel"], "ts": ts}, to=[user_id])
            return True
        return False

    async def mark_read(self, user_id: str, channel: str, ts: str) -> None:
        """Remember up to where a user has read; a pointer never goes back."""
        key = f"{user_id}:{channel}"
        if ts > self._reads.get(key, ""):
            await self._store.put(READS, key, {"ts": ts})
            self._reads[key] = ts

    def unread(self, user_id: str, channel: str) -> int:
        """Count the messages behind a user's read pointer."""
        read = self._reads.get(f"{user_id}:{channel}", "")
        stamps = [each["ts"] for each in self.top_level(channel)]
        return len(stamps) - bisect_left(stamps, read + "\0")

    async def _keep(self, channel: str, message: Json) -> None:
        key = f"{channel}:{message['ts']}"
        await self._store.put(MESSAGES, key, {"channel": channel, "message": message})
        self._hold(channel, message)

    def _hold(self, channel: str, message: Json) -> None:
        self._channels.setdefault(channel, {})[message["ts"]] = message
        if "thread_ts" in message:
            self._replies.setdefault((channel, message["thread_ts"]), {})[message["ts"]] = None

    def _drop(self, channel: str, message: Json) -> None:
        del self._channels[channel][message["ts"]]
        self._replies.get((channel, message.get("thread_ts", "")), {}).pop(message["ts"], None)

    async def _forget_old(self, channel: str) -> None:
        kept = self._channels[channel]
        while len(kept) > KEPT_PER_CHANNEL:
            oldest = next(iter(kept))
            await self._store.put(MESSAGES, f"{channel}:{oldest}", None)
            self._drop(channel, kept[oldest])

    def _audience(self, channel: str) -> list[str] | None:
        owner = self._directory.owner(channel)
        return None if owner is None else [owner]

    def _tell(self, kind: str, channel: str, message: Json) -> None:
        shown = self.presented(channel, message)
        self._hub.publish(kind, {"channel": channel, "message": shown}, to=self._audience(channel))


def _micros(ts: str) -> int:
    seconds, _, fraction = ts.partition(".")
    return int(seconds) * 1_000_000 + int(fraction)


def _in_channel(message: Json) -> bool:
    return "thread_ts" not in message or message.get("subtype") == "thread_broadcast"
