"""What the bot says, through Slack's Web API or the console's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, assert_never

from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.domain import ports
from bot.domain.actuation import Progress
from bot.domain.announcements import Announcement, Card, HeldQuestion, Note, Place, Question, Standard
from bot.domain.authority import Policy
from bot.domain.errors import RollbackError
from bot.domain.ports import MessageRef
from bot.domain.run import Run
from handlers.slack import ids, meanings, render
from handlers.slack.desk import UNREACHABLE, error_code
from handlers.slack.render.message import MOST_TEXT_EDITED, MOST_TEXT_POSTED
from handlers.slack.render.rich import clip, fallback

_RETRIES: Final = 3
_EDITS: Final = "chat.update"
_PAGE: Final = 200
_PAGES: Final = 10
_SKEW: Final = timedelta(minutes=5)
"""By how much our clock may run ahead of Slack's, which makes the timestamps."""
_GONE: Final = frozenset({"message_not_found", "cant_update_message", "channel_not_found", "edit_window_closed"})


class MessageGoneError(RollbackError):
    """A message cannot be edited any more: somebody deleted it, or the bot is not in the channel any more."""


def patient(client: AsyncWebClient) -> AsyncWebClient:
    """Return a client for what must arrive: it waits for rate limits.

    It does not repeat a call after a lost connection: the message may have been posted. Whoever posts looks first.
    """
    return _like(client, AsyncRateLimitErrorRetryHandler(max_retry_count=_RETRIES))


def _like(client: AsyncWebClient, *retries: AsyncRetryHandler) -> AsyncWebClient:
    return AsyncWebClient(
        token=client.token,
        base_url=client.base_url,
        timeout=client.timeout,
        ssl=client.ssl,
        proxy=client.proxy,
        session=client.session,
        trust_env_in_session=client.trust_env_in_session,
        retry_handlers=list(retries),
    )


class SlackChat:
    """The chat as the engine speaks to it (`bot.domain.ports.Chat`).

    Args:
        client: Calls Slack; must not wait for rate limits by itself.
        ops_channel: Channel for rollbacks whose plan names none.
        policy: Who may approve; its people are the only ones whom a message about missing plans may mention.
        clock: The time.
    """

    def __init__(self, client: AsyncWebClient, *, ops_channel: str, policy: Policy, clock: ports.Clock) -> None:
        self._client = client
        self._patient = patient(client)
        self._once = _like(client)
        self._ops_channel = ops_channel
        self._policy = policy
        self._clock = clock
        self._direct: dict[str, str] = {}
        self._own_id = ""
        self._asking = asyncio.Lock()
        self._patience = meanings.Patience(clock)

    async def post(
        self,
        run: Run,
        announcement: Announcement,
        *,
        thread: MessageRef | None,
        progress: dict[str, Progress],
        plain: str = "",
    ) -> MessageRef:
        """Post a message, marked with the rollback's id and the announcement's key; once and without waiting.

        Whoever posts may lose the right to while waiting for a rate limit, so the waiting is the caller's.

        Raises:
            ChatBusyError: Slack asks for fewer messages; nothing was posted.
            ChatRefusedError: Slack does not take this message or knows no such person; nothing was posted.
            SlackApiError: Slack refuses for a reason that is not the message's.
            aiohttp.ClientError: Slack cannot be reached; the message may or may not have been posted.
        """
        message = self._made(run, announcement, progress, plain)
        extra: dict[str, Any] = {"metadata": message.metadata}
        if announcement.place is Place.THREAD and thread is not None:
            extra["thread_ts"] = thread.ts
        channel = ""
        try:
            channel = await self._channel(run, announcement, thread)
            self._patience.check(channel)
            return await self._post(channel, message, extra, client=self._once)
        except SlackApiError as error:
            why = meanings.meaning(error, run, announcement)
            self._patience.note(channel, why)
            raise why from error

    async def edit(
        self, run: Run, announcement: Announcement, ref: MessageRef, *, progress: dict[str, Progress]
    ) -> None:
        """Bring a posted message up to date, once and without waiting.

        Raises:
            ChatBusyError: Slack asks for fewer edits; nothing was sent.
            MessageGoneError: The message is not there any more.
            SlackApiError: Slack refuses for another reason.
        """
        self._patience.check(_EDITS)
        message = self._made(run, announcement, progress, "")
        try:
            await self._client.chat_update(
                channel=ref.channel,
                ts=ref.ts,
                text=clip(message.text, MOST_TEXT_EDITED),
                blocks=message.blocks,
                metadata=message.metadata,
            )
        except SlackApiError as error:
            why = self._why_not_edited(error, run, announcement)
            self._patience.note(_EDITS, why)
            raise why from error

    async def find(self, run: Run, announcement: Announcement, *, thread: MessageRef | None) -> MessageRef | None:
        """Look for a message that may have been posted already, by its mark, among the bot's own since the request.

        Raises:
            ChatBusyError: Slack asks for fewer questions, after some patience.
            ChatRefusedError: Slack knows no such person.
            SlackApiError: Slack does not let us look; nobody knows whether the message is there.
        """
        in_thread = announcement.place is Place.THREAD and thread is not None
        try:
            channel = await self._channel(run, announcement, thread)
            own = await self._own()
            async for message in self._messages(channel, run, thread.ts if in_thread and thread else ""):
                if message.get("user") == own and _is(message, run, announcement):
                    return MessageRef(channel=channel, ts=str(message["ts"]))
        except SlackApiError as error:
            raise meanings.meaning(error, run, announcement) from error
        return None

    async def withdraw(self, ref: MessageRef) -> None:
        """Delete a message of the bot's own, if it is there.

        Raises:
            SlackApiError: Slack refuses.
        """
        try:
            await self._patient.chat_delete(channel=ref.channel, ts=ref.ts)
        except SlackApiError as error:
            if error_code(error) not in _GONE:
                raise

    async def tell(self, users: Sequence[str], text: str) -> None:
        """Send each of them a direct message that belongs to no rollback.

        Raises:
            RollbackError: Some of them could not be reached; all were tried.
        """
        people = frozenset(person.id for person in self._policy.people)
        message = render.standard(Standard("Rollback", tuple(text.split("\n")), "warn"), mentions=people)
        failed: list[str] = []
        for user in dict.fromkeys(users):
            try:
                await self._post(await self._direct_channel(user), message, {}, client=self._patient)
            except UNREACHABLE as error:
                why = error_code(error) if isinstance(error, SlackApiError) else type(error).__name__
                failed.append(f"{user} ({why})")
        if failed:
            raise RollbackError(
                f"{len(failed)} of {len(set(users))} people could not be told: {', '.join(failed)}.",
                resolution="Tell them by another way, and check their Slack ids in the policy.",
            )

    def _render(self, run: Run, announcement: Announcement, progress: Mapping[str, Progress]) -> render.Message:
        mentions = frozenset(
            {run.requester, run.lead, *(contact.user for contact in run.plan.communication.escalation)}
        )
        content = announcement.content
        match content:
            case Card():
                message = render.card(run, self._policy, progress)
            case Standard():
                message = render.standard(content, mentions=mentions)
            case Note():
                message = render.note(content, mentions=mentions)
            case HeldQuestion():
                message = render.held(run, content.step)
            case Question():
                message = render.question(run, content)
            case _:
                assert_never(content)
        return message.marked(run.id, announcement.key)

    def _made(
        self, run: Run, announcement: Announcement, progress: Mapping[str, Progress], plain: str
    ) -> render.Message:
        if plain:
            words = fallback(plain, MOST_TEXT_POSTED, {run.lead})
            return render.Message(words, []).marked(run.id, announcement.key)
        try:
            return self._render(run, announcement, progress)
        except Exception as error:
            # A message that cannot even be made must not hold up those behind it for ever.
            raise ports.ChatRefusedError(
                f"The message {announcement.key!r} of {run.id} cannot be made: {type(error).__name__}: {error}",
                untouched="The rollback itself goes on.",
                resolution="This is a fault of the bot: report it.",
            ) from error

    async def _post(
        self, channel: str, message: render.Message, extra: Mapping[str, Any], *, client: AsyncWebClient
    ) -> MessageRef:
        async def attempt() -> AsyncSlackResponse:
            return await client.chat_postMessage(
                channel=channel,
                text=message.text,
                blocks=message.blocks or None,
                unfurl_links=False,
                unfurl_media=False,
                **extra,
            )

        posted = await self._as_member(channel, attempt)
        return MessageRef(channel=str(posted["channel"]), ts=str(posted["ts"]))

    async def _as_member(self, channel: str, attempt: Callable[[], Any]) -> AsyncSlackResponse:
        """Make the attempt; join the channel and repeat it if Slack demands that. Private ones invite."""
        try:
            answer: AsyncSlackResponse = await attempt()
        except SlackApiError as error:
            if error_code(error) != "not_in_channel":
                raise
            await self._patient.conversations_join(channel=channel)
            answer = await attempt()
        return answer

    async def _messages(self, channel: str, run: Run, thread_ts: str) -> AsyncIterator[Mapping[str, Any]]:
        since = run.history[0].at - _SKEW
        cursor = ""
        for _ in range(_PAGES):
            asked: dict[str, Any] = {"channel": channel, "limit": _PAGE, "include_all_metadata": True}
            asked |= {"oldest": f"{since.timestamp():.6f}", **({"cursor": cursor} if cursor else {})}

            async def attempt(asked: dict[str, Any] = asked) -> AsyncSlackResponse:
                if thread_ts:
                    return await self._patient.conversations_replies(ts=thread_ts, **asked)
                return await self._patient.conversations_history(**asked)

            page = await self._as_member(channel, attempt)
            for message in page["messages"]:
                yield message
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return

    async def _channel(self, run: Run, announcement: Announcement, thread: MessageRef | None) -> str:
        match announcement.place:
            case Place.CHANNEL:
                return run.plan.communication.channel or self._ops_channel
            case Place.THREAD:
                return thread.channel if thread else run.plan.communication.channel or self._ops_channel
            case Place.DIRECT:
                return await self._direct_channel(announcement.user)

    async def _direct_channel(self, user: str) -> str:
        if user not in self._direct:
            opened = await self._patient.conversations_open(users=user)
            self._direct[user] = str(opened["channel"]["id"])
        return self._direct[user]

    async def _own(self) -> str:
        async with self._asking:
            if not self._own_id:
                self._own_id = str((await self._patient.auth_test())["user_id"])
        return self._own_id

    def _why_not_edited(self, error: SlackApiError, run: Run, announcement: Announcement) -> Exception:
        if error_code(error) in _GONE:
            return MessageGoneError(
                f"The message {announcement.key!r} of {run.id} cannot be edited any more ({error_code(error)}).",
                untouched="The rollback itself goes on.",
                resolution="Somebody may have deleted it; see how the rollback stands with the status command.",
            )
        return meanings.meaning(error, run, announcement)


def _is(message: Mapping[str, Any], run: Run, announcement: Announcement) -> bool:
    metadata = message.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    marked = metadata.get("event_type") == ids.METADATA_EVENT
    return bool(marked and payload.get("rollback") == run.id and payload.get("key") == announcement.key)
