"""Send signed requests to the bot, as Slack does, and give it three seconds to acknowledge."""

import asyncio
import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import urlencode

import aiohttp

from bot.domain import ports
from handlers.console.model import Json

ACK_SECONDS: Final = 3.0
_OK: Final = 200
_FORM: Final = "application/x-www-form-urlencoded"

log = logging.getLogger(__name__)


class AckStatus(Enum):
    """How the bot took a request; the values are the words Slack shows to the user."""

    ACKNOWLEDGED = "ok"
    TIMEOUT = "operation_timeout"
    FAILED = "dispatch_failed"


@dataclass(frozen=True)
class Ack:
    """The bot's answer to one request.

    Attributes:
        status: Acknowledged in time, not in time, or refused or unreachable.
        body: The JSON object it answered with, `{"text": ...}` for plain text, empty for nothing.
        detail: What went wrong, for the log and the page.
    """

    status: AckStatus
    body: Json
    detail: str = ""


def sign(body: str, *, secret: str, timestamp: int) -> dict[str, str]:
    """Return the headers that prove a body comes from us.

    See https://docs.slack.dev/authentication/verifying-requests-from-slack (version v0).
    """
    base = f"v0:{timestamp}:{body}".encode()
    digest = hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": str(timestamp), "X-Slack-Signature": f"v0={digest}"}


class BotEndpoint:
    """The bot's one address for commands, interactions and events."""

    def __init__(self, url: str, *, signing_secret: str, clock: ports.Clock) -> None:
        self._url = url
        self._secret = signing_secret
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the connection pool."""
        # No cookies and no redirects: what is signed is meant for this address alone.
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def close(self) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def command(self, fields: dict[str, str]) -> Ack:
        """Deliver a slash command."""
        return await self._deliver(urlencode(fields), _FORM)

    async def interaction(self, payload: Json) -> Ack:
        """Deliver a click, a submission or a closed view."""
        return await self._deliver(urlencode({"payload": json.dumps(payload)}), _FORM)

    async def event(self, envelope: Json) -> Ack:
        """Deliver an event of the Events API."""
        return await self._deliver(json.dumps(envelope), "application/json")

    async def _deliver(self, body: str, content_type: str) -> Ack:
        """Race the request against the deadline. The bot goes on working after a timeout, as it does with Slack."""
        async with asyncio.TaskGroup() as group:
            request = group.create_task(self._post(body, content_type))
            deadline = group.create_task(self._clock.sleep(ACK_SECONDS))
            await asyncio.wait({request, deadline}, return_when=asyncio.FIRST_COMPLETED)
            deadline.cancel()
            if request.done():
                return request.result()
            request.cancel()
        return Ack(AckStatus.TIMEOUT, {}, f"the bot did not acknowledge within {ACK_SECONDS:g} s")

    async def _post(self, body: str, content_type: str) -> Ack:
        if self._session is None:
            raise RuntimeError("The console was not started: call Console.start() first.")
        timestamp = int(self._clock.now().timestamp())
        headers = {"Content-Type": content_type, **sign(body, secret=self._secret, timestamp=timestamp)}
        try:
            async with self._session.post(
                self._url, data=body.encode(), headers=headers, allow_redirects=False
            ) as response:
                return _read(response.status, await response.text())
        except aiohttp.ClientError as error:
            log.warning("The bot could not be reached: %s", error)
            return Ack(AckStatus.FAILED, {}, "the bot could not be reached")


def _read(status: int, text: str) -> Ack:
    if status != _OK:
        return Ack(AckStatus.FAILED, {}, f"the bot answered HTTP {status}")
    try:
        body = json.loads(text) if text.strip() else {}
    except ValueError:
        body = {"text": text}
    return Ack(AckStatus.ACKNOWLEDGED, body if isinstance(body, dict) else {})
