"""Socket Mode: Slack's payloads over a WebSocket that we open, so that no address of ours need be reachable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp

from handlers.slack.settings import SlackSettings

_PING_SECONDS: Final = 10.0
"""The client pings that often and reconnects when four answers are missing."""


@asynccontextmanager
async def connected(
    app: AsyncApp, settings: SlackSettings, *, ping_seconds: float = _PING_SECONDS
) -> AsyncIterator[AsyncSocketModeHandler]:
    """Serve the app over Socket Mode while the context lasts. Lost connections are opened again.

    Args:
        app: The app; its client's base URL is where a connection is asked for.
        settings: Holds the app-level token.
        ping_seconds: Seconds between pings.

    Yields:
        The handler, connected.

    Raises:
        ValueError: There is no app-level token.
        SlackApiError: Slack does not take the token.
    """
    if not settings.app_token:
        raise ValueError("Socket Mode needs an app-level token (xapp-...) with the scope connections:write.")
    handler = AsyncSocketModeHandler(app, settings.app_token, ping_interval=ping_seconds)
    client = handler.client
    try:
        # connect() would go on asking with a wrong token for ever; this raises what Slack says of it.
        await client.connect_to_new_endpoint()
        yield handler
    finally:
        await _close(handler)


async def _close(handler: AsyncSocketModeHandler) -> None:
    client = handler.client
    await client.close()  # type: ignore[no-untyped-call] # slack_sdk has no annotation there
    tasks = [client.message_processor, client.current_session_monitor, client.message_receiver]
    # close() cancels these without waiting: they must be gone before the loop is.
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
