"""Signed HTTP: one address for commands, clicks, submissions and events."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.async_app import AsyncApp

from handlers.slack.settings import SlackSettings

log = logging.getLogger(__name__)

PATH: Final = "/slack/events"
_LONGEST_STAMP: Final = 20


def routes(app: AsyncApp, settings: SlackSettings, *, path: str = PATH) -> list[web.RouteDef]:
    """Return the route to add to an aiohttp application.

    Bolt refuses what is not signed with the signing secret, or was signed more than five minutes ago, with 401.

    Raises:
        ValueError: There is no signing secret: then anybody could sign.
    """
    if not settings.signing_secret:
        raise ValueError("Slack over HTTP needs the app's signing secret; without it use Socket Mode.")

    async def receive(request: web.Request) -> web.Response:
        if not _could_be_signed(request):
            return web.json_response({"error": "invalid request"}, status=401)
        try:
            asked = await to_bolt_request(request)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - nobody has proven yet who they are, so nothing of it is our fault
            # Bolt reads the body before it looks at the signature; what it cannot read was not sent by Slack.
            log.warning("a request with an unreadable body was refused: %s", type(error).__name__)
            return web.json_response({"error": "invalid request"}, status=400)
        return await to_aiohttp_response(await app.async_dispatch(asked))

    return [web.post(path, receive)]


def _could_be_signed(request: web.Request) -> bool:
    """Return whether the headers of the signature have their form; Bolt's check raises for others."""
    stamp = request.headers.get("X-Slack-Request-Timestamp", "")
    signature = request.headers.get("X-Slack-Signature", "")
    return stamp.isascii() and stamp.isdecimal() and len(stamp) <= _LONGEST_STAMP and signature.isascii()
