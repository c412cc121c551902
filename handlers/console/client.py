"""A small client of the console's own API, for the demo and for tests."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from handlers.console.model import Json


class ConsoleError(Exception):
    """The console refused.

    Attributes:
        code: For programs, for example `operation_timeout`.
        errors: Messages by block id, when fields of a form are to blame.
    """

    def __init__(self, code: str, message: str, errors: Mapping[str, str]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.errors = dict(errors)


class ConsoleClient:
    """Act as the user whose token this is.

    Args:
        base_url: The console's address, for example `http://127.0.0.1:8080`.
        token: The user's sign-in token.
        session: The HTTP session to use; it stays open.
    """

    def __init__(self, base_url: str, token: str, session: aiohttp.ClientSession) -> None:
        self._base = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session = session

    async def me(self) -> Json:
        """Return who is signed in, the channels and the people."""
        return await self._get("/api/me")

    async def state(self, channel: str) -> Json:
        """Return a channel (id or name) with messages, ephemerals, open views, home and the stream's position."""
        return await self._get("/api/state", channel=channel)

    async def messages(self, channel: str) -> list[Json]:
        """List a channel's messages, replies in threads included, oldest first."""
        found: list[Json] = (await self.state(channel))["messages"]
        return found

    async def command(self, channel: str, text: str) -> None:
        """Send a slash command, for example `/rollback CHG0012345`; returns when the bot has acknowledged it.

        Raises:
            ConsoleError: operation_timeout, dispatch_failed, not_a_command, channel_not_found.
        """
        await self._post("/api/command", {"channel": channel, "text": text})

    async def click(
        self,
        channel: str,
        message: Mapping[str, Any],
        action_id: str,
        *,
        value: str | list[str] | None = None,
        block_id: str | None = None,
    ) -> None:
        """Operate an element of a message; returns when the bot has acknowledged it.

        Args:
            channel: The channel's id or name.
            message: The message as `messages()` or the stream gave it.
            action_id: The element's action id.
            value: The chosen option's value, for menus.
            block_id: The element's block, when several blocks use the action id.

        Raises:
            ConsoleError: stale (the element is gone), operation_timeout, dispatch_failed.
        """
        where = {"channel": channel, "message_ts": message["ts"]}
        await self._act(where, message.get("blocks", []), action_id, value, block_id)

    async def click_view(
        self,
        view: Mapping[str, Any],
        action_id: str,
        *,
        value: str | list[str] | None = None,
        block_id: str | None = None,
    ) -> None:
        """Operate an element of a modal or of the App Home; see `click`."""
        await self._act({"view_id": view["id"]}, view["blocks"], action_id, value, block_id)

    async def submit(self, view: Mapping[str, Any], values: Mapping[str, str | list[str] | None]) -> None:
        """Submit a modal.

        Args:
            view: The modal as `state()` or the stream gave it.
            values: Raw values by action id: a text, a date, the value of an option, or a list of these.

        Raises:
            ConsoleError: invalid_input (with `errors` by block id), view_not_found, operation_timeout.
        """
        state: dict[str, dict[str, Any]] = {}
        for block in view["blocks"]:
            element = block.get("element", {})
            if element.get("action_id") in values:
                state[block["block_id"]] = {element["action_id"]: values[element["action_id"]]}
        await self._post("/api/view/submit", {"view_id": view["id"], "state": state})

    async def close_view(self, view: Mapping[str, Any], *, everything: bool = False) -> None:
        """Close a modal, or the whole stack."""
        await self._post("/api/view/close", {"view_id": view["id"], "all": everything})

    async def open_home(self) -> None:
        """Open the App Home."""
        await self._post("/api/home/open", {})

    async def mark_read(self, channel: str, ts: str) -> None:
        """Move the read pointer."""
        await self._post("/api/read", {"channel": channel, "ts": ts})

    @asynccontextmanager
    async def stream(self, *, after: str | None = None) -> AsyncIterator[AsyncIterator[Json]]:
        """Follow what happens: `async with client.stream() as events: async for event in events`.

        The subscription stands once the block is entered: nothing that happens afterwards is missed.

        Args:
            after: A position (`state()["position"]`) from which to go on; None begins now.

        Yields:
            An iterator of events: JSON objects with a `type` such as `message.posted`; it ends with the server.
        """
        params = {} if after is None else {"after": after}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(
            f"{self._base}/api/stream", headers=self._headers, params=params, timeout=timeout
        ) as response:
            if response.content_type != "text/event-stream":
                _checked(await response.json())
            # The first line is sent after the server has subscribed us.
            await response.content.readline()
            yield _events(response)

    async def _act(
        self,
        where: Json,
        blocks: list[Json],
        action_id: str,
        value: str | list[str] | None,
        block_id: str | None,
    ) -> None:
        ids = [block_id] if block_id else [each["block_id"] for each in blocks if action_id in _actions(each)]
        if len(ids) != 1:
            raise ConsoleError("stale", f"{len(ids)} blocks have an element {action_id}; nothing was sent.", {})
        await self._post("/api/action", {**where, "block_id": ids[0], "action_id": action_id, "value": value})

    async def _get(self, path: str, **params: str) -> Json:
        async with self._session.get(self._base + path, headers=self._headers, params=params) as response:
            return _checked(await response.json())

    async def _post(self, path: str, body: Json) -> Json:
        async with self._session.post(self._base + path, headers=self._headers, json=body) as response:
            return _checked(await response.json())


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    async for line in response.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


def _actions(block: Json) -> set[str]:
    elements = [*block.get("elements", []), block.get("accessory", {}), block.get("element", {})]
    nested = [name for child in block.get("child_blocks", []) for name in _actions(child)]
    return {str(each.get("action_id")) for each in elements if isinstance(each, dict)} | set(nested)


def _checked(body: Json) -> Json:
    if not body.get("ok"):
        raise ConsoleError(str(body.get("error")), str(body.get("message", "")), body.get("errors") or {})
    return body
