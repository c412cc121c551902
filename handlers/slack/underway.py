"""Which requests have been acknowledged and are still being worked on.

Bolt answers Slack as soon as a listener has acknowledged, and lets the listener run on. A stop of the process must
wait for it, or a click that Slack considers delivered is lost.
"""

from __future__ import annotations

import asyncio

from slack_bolt.async_app import AsyncApp
from slack_bolt.listener.async_listener_completion_handler import AsyncListenerCompletionHandler
from slack_bolt.listener.async_listener_start_handler import AsyncListenerStartHandler
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse


class Underway:
    """Counts the listeners that run. One for each Bolt app."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def watch(self, app: AsyncApp) -> None:
        """Count the listeners of this app from now on."""
        app.listener_runner.listener_start_handler = _Start(self)
        app.listener_runner.listener_completion_handler = _Completion(self)

    async def idle(self) -> None:
        """Return when no listener runs."""
        await self._idle.wait()

    def entered(self) -> None:
        """Note that a listener begins."""
        self._count += 1
        self._idle.clear()

    def left(self) -> None:
        """Note that a listener has ended, well or badly."""
        self._count -= 1
        if self._count == 0:
            self._idle.set()


class _Start(AsyncListenerStartHandler):
    def __init__(self, underway: Underway) -> None:
        self._underway = underway

    async def handle(self, request: AsyncBoltRequest, response: BoltResponse | None) -> None:  # noqa: ARG002 - Bolt's
        self._underway.entered()


class _Completion(AsyncListenerCompletionHandler):
    def __init__(self, underway: Underway) -> None:
        self._underway = underway

    async def handle(self, request: AsyncBoltRequest, response: BoltResponse | None) -> None:  # noqa: ARG002 - Bolt's
        self._underway.left()
