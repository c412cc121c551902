"""What the listeners share: the service, the client, and how a person is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.domain import ports
from bot.engine.service import Service
from handlers.slack import deliveries, render, tickets
from handlers.slack.settings import SlackSettings
from handlers.slack.tickets import Body

log = logging.getLogger(__name__)

UNREACHABLE: Final = (SlackApiError, aiohttp.ClientError, TimeoutError, OSError)
"""What a call to Slack raises when it does not work out."""
_OK: Final = 200


@dataclass(frozen=True)
class Desk:
    """What the listeners need.

    Attributes:
        service: The use cases.
        settings: How the bot stands in its workspace.
        client: Calls Slack, without waiting for rate limits.
        board: The progress of running steps.
        clock: The time.
        refresh: Renders a rollback's card anew from its journal.
    """

    service: Service
    settings: SlackSettings
    client: AsyncWebClient
    board: ports.ProgressBoard
    clock: ports.Clock
    refresh: Callable[[str], Awaitable[None]]

    async def answer(self, body: Body, message: render.Message) -> None:
        """Show a message to the person behind a payload, and to nobody else.

        By the response URL where there is one (it works in channels that the bot is not in), else in a modal, else
        as a direct message. If none works out, the log holds it: an answer must not undo what has been done.
        """
        if await self._by_url(response_url(body), message) or await self._by_modal(body, message):
            return
        try:
            opened = await self.client.conversations_open(users=deliveries.user_of(body))
            channel = opened["channel"]["id"]
            await self.client.chat_postMessage(
                channel=channel, text=message.text, blocks=message.blocks, unfurl_links=False, unfurl_media=False
            )
        except UNREACHABLE as error:
            log.warning("an answer to %s could not be delivered: %s", deliveries.user_of(body), error)

    async def show(self, body: Body, title: str, make: Callable[[], Awaitable[render.View]]) -> None:
        """Open a modal whose content takes a while: the empty one first, since a trigger lives for three seconds.

        Raises:
            Exception: Whatever `make` raises; the modal tells that it will not be filled.
        """
        opened = await self.client.views_open(trigger_id=body["trigger_id"], view=render.loading_modal(title))
        view_id = opened["view"]["id"]
        try:
            view = await make()
        except Exception:
            gone = render.saying_modal(title, "This could not be shown. You are told why beside it.")
            await self.client.views_update(view_id=view_id, view=gone)
            raise
        await self.client.views_update(view_id=view_id, view=view)

    async def _by_url(self, url: str, message: render.Message) -> bool:
        if not url:
            return False
        answer: dict[str, Any] = {"text": message.text, "blocks": message.blocks}
        try:
            sent = await AsyncWebhookClient(url, session=self.client.session).send_dict(
                {**answer, "response_type": "ephemeral", "replace_original": False}
            )
        except UNREACHABLE as error:
            log.info("a response URL did not take the answer: %s", error)
            return False
        return sent.status_code == _OK

    async def _by_modal(self, body: Body, message: render.Message) -> bool:
        if not body.get("trigger_id") or body.get("command"):
            return False
        view = render.message_modal("Rollback", message)
        try:
            await self.client.views_open(trigger_id=body["trigger_id"], view=view)
        except UNREACHABLE as error:
            # The trigger is used up or older than three seconds.
            log.info("no modal could be opened for an answer: %s", error)
            return False
        return True

    async def best_effort(self, work: Awaitable[Any], *, seconds: float = 10.0) -> None:
        """Wait that long for something that may be left undone; what goes wrong with it is only logged.

        Args:
            work: Brings a message or view in line with what has happened; the answer to the person must not depend
                on it.
            seconds: When to give up.
        """
        try:
            async with asyncio.timeout(seconds):
                await work
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller's own outcome is what counts
            log.warning("a message could not be brought up to date: %s: %s", type(error).__name__, error)


def response_url(body: Body) -> str:
    """Return the response URL of a command or click, or of the one that opened the submitted modal."""
    if body.get("type") == "view_submission":
        return tickets.read_ticket(body["view"].get("private_metadata")).url
    return str(body.get("response_url") or "")


def error_code(error: SlackApiError) -> str:
    """Return Slack's code of an error, such as ``not_in_channel``; empty if there is none."""
    # A proxy in between may have answered with something that is no JSON at all.
    data = getattr(error.response, "data", None)
    return str(data.get("error") or "") if isinstance(data, dict) else ""
