"""What a signed-in person does, delivered to the bot, and the bot's answer carried out."""

import re
import secrets
from typing import Any, Final

from handlers.console import inputs, payloads, views
from handlers.console.core import Core
from handlers.console.delivery import Ack, AckStatus, BotEndpoint
from handlers.console.model import ConsoleChannel, ConsoleUser, Json, PageError, SlackError
from handlers.console.tickets import Ticket
from handlers.console.webapi import WebApi

NOTICE_USER: Final = "USLACKBOT"
_COMMAND: Final = re.compile(r"(/[a-z0-9_-]{1,31})(?:\s+(.*))?", re.DOTALL)
_HTTP: Final = {AckStatus.TIMEOUT: 504, AckStatus.FAILED: 502}


class Interactions:
    """Commands, clicks, submissions, closed views and opened homes."""

    def __init__(self, core: Core, *, bot: BotEndpoint, webapi: WebApi) -> None:
        self._core = core
        self._bot = bot
        self._webapi = webapi

    def channel(self, user: ConsoleUser, reference: str) -> ConsoleChannel:
        """Return a channel that this user sees.

        Raises:
            PageError: There is none; another user's direct messages count as none.
        """
        channel = self._core.directory.channel(reference)
        if channel is None or not self._core.directory.sees(user.id, channel.id):
            raise PageError(
                "channel_not_found",
                "There is no such channel. Nothing was sent. Choose one on the left.",
                status=404,
            )
        return channel

    async def command(self, user: ConsoleUser, *, channel: str, text: str, base_url: str) -> None:
        """Deliver a slash command and show the bot's answer.

        Raises:
            PageError: It is no command, the channel is unknown, or the bot did not acknowledge it in time.
        """
        place = self.channel(user, channel)
        match = _COMMAND.fullmatch(text.strip())
        if match is None:
            raise PageError(
                "not_a_command",
                "Only commands are sent to the bot. Nothing was sent. Start with a slash: /rollback help",
            )
        name, words = match.group(1), match.group(2) or ""
        key = await self._core.responses.issue(channel=place.id, user_id=user.id)
        fields = payloads.command(
            self._core.identity,
            user=user,
            channel=place,
            name=name,
            text=words,
            trigger_id=self._core.triggers.issue(user.id),
            response_url=f"{base_url}/slack-api/response/{key}",
        )
        ack = await self._bot.command(fields)
        if ack.status is not AckStatus.ACKNOWLEDGED:
            self._notice(user, place, name, ack.status.value)
            raise _undelivered(ack, f"{name} failed")
        if ack.body:
            await self._show_answer(user, place, name, ack.body)

    async def click(
        self,
        user: ConsoleUser,
        *,
        channel: str,
        message_ts: str,
        ids: tuple[str, str],
        raw: inputs.Raw,
        state: Any,
        base_url: str,
    ) -> None:
        """Deliver a click on an element of a message.

        Raises:
            PageError: The element is not there (any more), or the bot did not acknowledge it in time.
        """
        place = self.channel(user, channel)
        whispered = [each for each in self._core.messages.whispered(user.id, place.id) if each["ts"] == message_ts]
        message = whispered[0] if whispered else self._core.messages.find(place.id, message_ts)
        blocks = message.get("blocks", []) if message else []
        action, values = self._action(blocks, ids=ids, raw=raw, state=state)
        if message is None:
            raise _stale()
        key = await self._core.responses.issue(
            channel=place.id,
            user_id=user.id,
            message_ts=message_ts,
            ephemeral=bool(whispered),
            thread_ts=message.get("thread_ts"),
        )
        payload = payloads.click_in_message(
            self._core.identity,
            user=user,
            channel=place,
            message=message,
            action=action,
            state=values,
            trigger_id=self._core.triggers.issue(user.id),
            response_url=f"{base_url}/slack-api/response/{key}",
        )
        _expect(await self._bot.interaction(payload), "The click failed")

    async def click_in_view(
        self, user: ConsoleUser, *, view_id: str, ids: tuple[str, str], raw: inputs.Raw, state: Any
    ) -> None:
        """Deliver a click on an element of a modal or of the App Home.

        Raises:
            PageError: The element is not there (any more), or the bot did not acknowledge it in time.
        """
        view = self._view(user, view_id)
        action, values = self._action(view["blocks"], ids=ids, raw=raw, state=state)
        trigger_id = self._core.triggers.issue(user.id, view_id=view_id if view["type"] == "modal" else None)
        payload = payloads.click_in_view(
            self._core.identity, user=user, view=view, action=action, state=values, trigger_id=trigger_id
        )
        _expect(await self._bot.interaction(payload), "The click failed")

    async def submit(self, user: ConsoleUser, *, view_id: str, state: Any) -> None:
        """Deliver a modal's values and carry out the bot's answer: close, errors, update, push or clear.

        Raises:
            PageError: Fields are wrong (`errors` by block id), the modal is gone, or the bot did not acknowledge.
        """
        view = self._view(user, view_id)
        values = self._values(view["blocks"], state)
        errors = inputs.complaints(view["blocks"], values)
        if errors:
            raise _wrong_fields(errors)
        payload = payloads.submission(
            self._core.identity,
            user=user,
            view=view,
            state=values,
            trigger_id=self._core.triggers.issue(user.id, view_id=view_id),
        )
        ack = await self._bot.interaction(payload)
        _expect(ack, "The form was not taken")
        try:
            await self._answer_submission(user, view_id, ack.body)
        except SlackError as refusal:
            raise PageError(
                "invalid_response",
                f"The bot answered with a form that cannot be shown ({refusal.code}). Your entries are still here.",
                status=502,
            ) from refusal

    async def close(self, user: ConsoleUser, *, view_id: str, everything: bool) -> None:
        """Close a modal (or the whole stack), and tell the bot where it asked for that."""
        self._view(user, view_id)
        closed = await self._core.views.close(user.id, view_id=None if everything else view_id)
        for view in closed:
            if view["notify_on_close"]:
                await self._bot.interaction(
                    payloads.closed(self._core.identity, user=user, view=view, cleared=everything)
                )

    async def open_home(self, user: ConsoleUser) -> None:
        """Tell the bot that the user looks at their App Home.

        Raises:
            PageError: The bot did not acknowledge it in time.
        """
        envelope = payloads.home_opened(
            self._core.identity,
            user=user,
            channel=self._core.directory.dm(user.id),
            view=self._core.views.home(user.id),
            ts=self._core.messages.new_ts(),
            event_id=f"Ev{secrets.token_hex(5).upper()}",
        )
        _expect(await self._bot.event(envelope), "The overview could not be refreshed")

    async def _answer_submission(self, user: ConsoleUser, view_id: str, body: Json) -> None:
        match body.get("response_action"):
            case "errors":
                raise _wrong_fields(dict(body.get("errors") or {}))
            case "clear":
                await self._core.views.close(user.id, view_id=None)
            case "update":
                await self._core.views.update(
                    views.sound(body.get("view")), view_id=view_id, external_id=None, hash_=None
                )
            case "push":
                await self._core.views.push(user.id, views.sound(body.get("view")))
            case _:
                await self._core.views.close(user.id, view_id=view_id)

    def _view(self, user: ConsoleUser, view_id: str) -> Json:
        view = self._core.views.find(user.id, view_id)
        if view is None:
            raise PageError("view_not_found", "This form was closed. Nothing was sent. Open it again.", status=409)
        return view

    def _values(self, blocks: list[Json], state: Any) -> dict[str, dict[str, Json]]:
        try:
            return inputs.values(blocks, state)
        except inputs.NotOfferedError as error:
            raise PageError("invalid_value", f"{error}. Nothing was sent. Choose one that is shown.") from error

    def _action(
        self, blocks: list[Json], *, ids: tuple[str, str], raw: inputs.Raw, state: Any
    ) -> tuple[Json, dict[str, dict[str, Json]]]:
        block_id, action_id = ids
        element = inputs.find(blocks, block_id, action_id)
        if element is None:
            raise _stale()
        values = self._values(blocks, state)
        try:
            value = inputs.chosen(element, raw)
        except inputs.NotOfferedError as error:
            raise PageError("invalid_value", f"{error}. Nothing was sent. Choose one that is shown.") from error
        if block_id in values and action_id in values[block_id]:
            values[block_id][action_id] = value
        ts = self._core.messages.new_ts()
        return {"action_id": action_id, "block_id": block_id, "action_ts": ts, **value}, values

    async def _show_answer(self, user: ConsoleUser, place: ConsoleChannel, name: str, body: Json) -> None:
        ticket = Ticket(place.id, user.id, None, ephemeral=False, thread_ts=None, expires=self._core.clock.now())
        try:
            await self._webapi.apply(ticket, body)
        except SlackError as refusal:
            self._notice(user, place, name, f"invalid_command_response: {refusal.code}")

    def _notice(self, user: ConsoleUser, place: ConsoleChannel, name: str, error: str) -> None:
        text = f'{name} failed with the error "{error}"'
        self._core.messages.whisper(place.id, user.id, {"type": "message", "user": NOTICE_USER, "text": text})


def _stale() -> PageError:
    return PageError(
        "stale",
        "This message has changed since it was shown to you. Nothing was sent. Look at it again, then decide.",
        status=409,
    )


def _wrong_fields(errors: dict[str, str]) -> PageError:
    return PageError("invalid_input", "Some fields need your attention.", status=422, errors=errors)


def _expect(ack: Ack, what: str) -> None:
    if ack.status is not AckStatus.ACKNOWLEDGED:
        raise _undelivered(ack, what)


def _undelivered(ack: Ack, what: str) -> PageError:
    after = "It may still be at work" if ack.status is AckStatus.TIMEOUT else "Nothing was done"
    why = f'{what} with the error "{ack.status.value}": {ack.detail}.'
    message = f"{why} {after}; look at the channel before trying again."
    return PageError(ack.status.value, message, status=_HTTP[ack.status])
