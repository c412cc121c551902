"""Slack's Web API at /slack-api/{method}, and the response URLs."""

import hmac
import json
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from aiohttp import web

from handlers.console import methods_chat, methods_views, methods_workspace
from handlers.console.arguments import Arguments, read
from handlers.console.core import Core, RateLimit
from handlers.console.model import Json, SlackError
from handlers.console.tickets import Ticket

Method: TypeAlias = Callable[[Core, Arguments], Awaitable[Json]]

log = logging.getLogger(__name__)

METHODS: Final[dict[str, Method]] = {
    "api.test": methods_workspace.api_test,
    "auth.test": methods_workspace.auth_test,
    "chat.delete": methods_chat.delete,
    "chat.getPermalink": methods_chat.get_permalink,
    "chat.postEphemeral": methods_chat.post_ephemeral,
    "chat.postMessage": methods_chat.post_message,
    "chat.update": methods_chat.update,
    "conversations.history": methods_workspace.conversations_history,
    "conversations.info": methods_workspace.conversations_info,
    "conversations.open": methods_workspace.conversations_open,
    "conversations.replies": methods_workspace.conversations_replies,
    "users.info": methods_workspace.users_info,
    "users.list": methods_workspace.users_list,
    "views.open": methods_views.open_,
    "views.publish": methods_views.publish,
    "views.push": methods_views.push,
    "views.update": methods_views.update,
}


async def _unknown(_core: Core, _args: Arguments) -> Json:
    """Answer a method that the console does not have."""
    raise SlackError("unknown_method")


def local_base(request: web.Request) -> str:
    """Return the address under which this process reaches itself.

    It is taken from the socket, never from the Host header: the bot posts to it, so nobody may choose it.
    """
    socket = request.transport.get_extra_info("sockname") if request.transport else None
    host, port = socket[:2] if isinstance(socket, tuple) else ("127.0.0.1", 80)
    return f"{request.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class WebApi:
    """The half of Slack that the bot calls."""

    def __init__(self, core: Core, *, rate_limit: RateLimit | None = None) -> None:
        self._core = core
        self._rate_limit = rate_limit

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/slack-api/response/{id}", self.respond),
            web.post("/slack-api/{method}", self.call),
            web.get("/slack-api/{method}", self.call),
        ]

    async def call(self, request: web.Request) -> web.Response:
        """Answer a Web API call; a refusal is HTTP 200 with `ok: false`, as Slack's."""
        name = request.match_info["method"]
        try:
            values = await read(request)
            self._authenticate(request, values)
            method = METHODS.get(name, _unknown)
            wait = self._rate_limit(name, values) if self._rate_limit else None
            if wait is not None:
                headers = {"Retry-After": str(math.ceil(wait))}
                return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
            answer = await method(self._core, Arguments(values, base_url=local_base(request)))
        except SlackError as refusal:
            return web.json_response(refusal.answer())
        except Exception:
            # Slack answers a fault of its own the same way; the caller sees that nothing is known to have happened.
            log.exception("The console could not carry out %s", name)
            return web.json_response({"ok": False, "error": "internal_error"}, status=500)
        return web.json_response({"ok": True, **answer})

    def _authenticate(self, request: web.Request, values: Json) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else str(values.get("token") or "")
        if not given:
            raise SlackError("not_authed")
        if not hmac.compare_digest(given.encode(), self._core.identity.bot_token.encode()):
            raise SlackError("invalid_auth")

    async def respond(self, request: web.Request) -> web.Response:
        """Answer a POST to a response URL (https://docs.slack.dev/interactivity/handling-user-interaction)."""
        try:
            body = _object(await request.text())
            ticket = await self._core.responses.use(request.match_info["id"])
            await self.apply(ticket, body)
        except SlackError as refusal:
            status = 404 if refusal.code in {"expired_url", "used_url"} else 400
            return web.json_response(refusal.answer(), status=status)
        return web.json_response({"ok": True})

    async def apply(self, ticket: Ticket, body: Json) -> None:
        """Do what a message in an answer asks for: show it, or replace or delete the one it answers.

        Raises:
            SlackError: With the code that Slack refuses such a message with.
        """
        if body.get("delete_original"):
            await self._delete_original(ticket)
            return
        args = Arguments(body)
        content = args.content()
        if body.get("replace_original") and ticket.message_ts:
            await self._replace_original(ticket, content)
            return
        core = self._core
        thread_ts = args.maybe("thread_ts") or ticket.thread_ts
        message = methods_chat.bot_message(core, {**content, **({"thread_ts": thread_ts} if thread_ts else {})})
        if body.get("response_type") == "in_channel":
            await core.messages.post(ticket.channel, message)
        else:
            core.messages.whisper(ticket.channel, ticket.user_id, message)

    async def _delete_original(self, ticket: Ticket) -> None:
        core = self._core
        if ticket.message_ts is None:
            raise SlackError("message_not_found")
        if ticket.ephemeral:
            core.messages.hush(ticket.user_id, ticket.message_ts)
        elif core.messages.find(ticket.channel, ticket.message_ts):
            await core.messages.delete(ticket.channel, ticket.message_ts)
        else:
            raise SlackError("message_not_found")

    async def _replace_original(self, ticket: Ticket, content: Json) -> None:
        core = self._core
        ts = ticket.message_ts or ""
        if ticket.ephemeral:
            thread = {"thread_ts": ticket.thread_ts} if ticket.thread_ts else {}
            core.messages.whisper(
                ticket.channel, ticket.user_id, methods_chat.bot_message(core, {**content, **thread, "ts": ts})
            )
        elif core.messages.find(ticket.channel, ts):
            # Unlike chat.update, a replacement leaves nothing of the original standing.
            edited = {"user": core.identity.bot_user_id, "ts": core.messages.new_ts()}
            await core.messages.update(ticket.channel, ts, {"text": "", "blocks": [], **content, "edited": edited})
        else:
            raise SlackError("message_not_found")


def _object(text: str) -> Json:
    """Read the body of a response URL's POST."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise SlackError("invalid_payload")
    return body
