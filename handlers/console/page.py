"""The page, its sign-in, its JSON API and its stream."""

import asyncio
import hashlib
import importlib.resources
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from aiohttp import web

from bot.domain.errors import StoreUnavailableError
from handlers.console.core import Core
from handlers.console.gate import COOKIE, SESSION_SECONDS, Gate
from handlers.console.interactions import Interactions
from handlers.console.model import BOT_NAME, Json, PageError
from handlers.console.webapi import local_base

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS: Final = 15.0
SHOWN: Final = 200
STORE_IS_AWAY: Final = (
    "The bot's own store cannot be reached at the moment. Nothing was sent and nothing was changed. "
    "Try again in a moment; rollbacks under way go on by themselves as soon as the store is back."
)
TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page:
    """The half of Slack that people see."""

    def __init__(self, core: Core, *, gate: Gate, interactions: Interactions) -> None:
        self._core = core
        self._gate = gate
        self._do = interactions
        folder = importlib.resources.files("handlers.console") / "static"
        self._files = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/", _guarded(self.index)),
            web.get("/archives/{channel}/{message}", _guarded(self.index)),
            web.get("/static/{name}", _guarded(self.static)),
            web.post("/sign-in", _guarded(self.sign_in)),
            web.post("/sign-out", _guarded(self.sign_out)),
            web.get("/api/me", _guarded(self.me)),
            web.get("/api/state", _guarded(self.state)),
            web.get("/api/stream", _guarded(self.stream)),
            web.post("/api/read", _guarded(self.read)),
            web.post("/api/command", _guarded(self.command)),
            web.post("/api/action", _guarded(self.action)),
            web.post("/api/view/submit", _guarded(self.submit)),
            web.post("/api/view/close", _guarded(self.close)),
            web.post("/api/home/open", _guarded(self.open_home)),
        ]

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Serve the page; a token in the address becomes a cookie and leaves the address."""
        token = request.query.get("token")
        if token is None:
            return self._file("index.html", request)
        try:
            session = self._gate.sign_in(token, request)
        except PageError:
            return _redirect("/#sign-in-failed")
        return _with_cookie(_redirect("/"), session, request)

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Serve one of the page's files."""
        return self._file(request.match_info["name"], request)

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Exchange a token for a session cookie."""
        body = await _json(request)
        session = self._gate.sign_in(_text(body, "token"), request)
        return _with_cookie(web.json_response({"ok": True}), session, request)

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """Forget the session cookie."""
        self._gate.user(request)
        response = web.json_response({"ok": True})
        response.del_cookie(COOKIE, path="/")
        return response

    async def me(self, request: web.Request) -> web.StreamResponse:
        """Tell the page who is signed in, and what there is."""
        user = self._gate.user(request)
        directory, identity = self._core.directory, self._core.identity
        channels = [*directory.channels.values(), directory.dm(user.id)]
        listed = [
            {
                "id": each.id,
                "name": each.name,
                "kind": "dm" if directory.owner(each.id) else "channel",
                "unread": self._core.messages.unread(user.id, each.id),
            }
            for each in channels
        ]
        people = [{"id": each.id, "name": each.name, "title": each.title} for each in directory.users.values()]
        session = request.cookies.get(COOKIE, "")
        return web.json_response(
            {
                "ok": True,
                "user": {"id": user.id, "name": user.name, "title": user.title},
                "team_id": identity.team_id,
                "bot": {"id": identity.bot_user_id, "name": BOT_NAME},
                "channels": listed,
                "users": people,
                "csrf": self._gate.csrf(session) if session else "",
            }
        )

    async def state(self, request: web.Request) -> web.StreamResponse:
        """Return a channel as it is now, and the stream's position from which to follow it."""
        user = self._gate.user(request)
        channel = self._do.channel(user, request.query.get("channel", "")).id
        messages = self._core.messages
        before = request.query.get("before", "~")
        top = [each for each in messages.top_level(channel) if each["ts"] < before]
        shown: dict[str, Json] = {}
        for each in top[-SHOWN:]:
            for one in messages.thread(channel, each["ts"]):
                shown[one["ts"]] = messages.presented(channel, one)
        return web.json_response(
            {
                "ok": True,
                "channel": channel,
                "position": self._core.hub.position,
                "messages": [shown[ts] for ts in sorted(shown)],
                "more": len(top) > SHOWN,
                "ephemerals": messages.whispered(user.id, channel),
                "views": self._core.views.stack(user.id),
                "home": self._core.views.home(user.id),
            }
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send what happens as server-sent events until either side leaves."""
        user = self._gate.user(request)
        after = request.headers.get("Last-Event-ID") or request.query.get("after")
        headers = {**HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        with self._core.hub.subscribe(user.id, after=after) as queue:
            await response.prepare(request)
            try:
                await response.write(b"retry: 1000\n: connected\n\n")
                await self._pump(queue, response)
            except ConnectionResetError:
                log.debug("A page of %s went away", user.id)
        return response

    async def _pump(self, queue: asyncio.Queue[Any], response: web.StreamResponse) -> None:
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if event is None:
                return
            await response.write(self._core.hub.frame(event))

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Move the user's read pointer of a channel."""
        user, body = self._gate.user(request), await _json(request)
        channel = self._do.channel(user, _text(body, "channel"))
        await self._core.messages.mark_read(user.id, channel.id, _text(body, "ts"))
        return web.json_response({"ok": True})

    async def command(self, request: web.Request) -> web.StreamResponse:
        """Send a slash command."""
        user, body = self._gate.user(request), await _json(request)
        await self._do.command(
            user, channel=_text(body, "channel"), text=_text(body, "text"), base_url=local_base(request)
        )
        return web.json_response({"ok": True})

    async def action(self, request: web.Request) -> web.StreamResponse:
        """Operate an element of a message or a view."""
        user, body = self._gate.user(request), await _json(request)
        ids = (_text(body, "block_id"), _text(body, "action_id"))
        raw, state = _raw(body), body.get("state")
        if "view_id" in body:
            await self._do.click_in_view(user, view_id=_text(body, "view_id"), ids=ids, raw=raw, state=state)
        else:
            place, ts = _text(body, "channel"), _text(body, "message_ts")
            await self._do.click(
                user, channel=place, message_ts=ts, ids=ids, raw=raw, state=state, base_url=local_base(request)
            )
        return web.json_response({"ok": True})

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """Submit a modal."""
        user, body = self._gate.user(request), await _json(request)
        await self._do.submit(user, view_id=_text(body, "view_id"), state=body.get("state"))
        return web.json_response({"ok": True})

    async def close(self, request: web.Request) -> web.StreamResponse:
        """Close a modal, or with `all` the whole stack."""
        user, body = self._gate.user(request), await _json(request)
        await self._do.close(user, view_id=_text(body, "view_id"), everything=bool(body.get("all")))
        return web.json_response({"ok": True})

    async def open_home(self, request: web.Request) -> web.StreamResponse:
        """Open the App Home."""
        await self._do.open_home(self._gate.user(request))
        return web.json_response({"ok": True})

    def _file(self, name: str, request: web.Request) -> web.StreamResponse:
        body = self._files.get(name)
        if body is None:
            raise PageError("not_found", "There is no such file.", status=404)
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        kind = TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)


def _guarded(handler: Handler) -> Handler:
    """Answer refusals as JSON, never show a traceback, and put the safety headers on everything."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            response = await handler(request)
        except PageError as refusal:
            response = web.json_response(refusal.answer(), status=refusal.status)
        except StoreUnavailableError as away:
            log.warning("The console's page cannot reach the store: %s", away)
            told = PageError("store_unavailable", STORE_IS_AWAY, status=503)
            response = web.json_response(told.answer(), status=told.status)
        except Exception:
            log.exception("The console's page failed at %s", request.path)
            error = PageError(
                "internal_error", "The console failed. Look at the channel, then try again.", status=500
            )
            response = web.json_response(error.answer(), status=error.status)
        if not response.prepared:
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    return guarded


def _redirect(to: str) -> web.Response:
    return web.Response(status=303, headers={"Location": to})


def _with_cookie(response: web.Response, session: str, request: web.Request) -> web.Response:
    response.set_cookie(
        COOKIE, session, max_age=SESSION_SECONDS, httponly=True, samesite="Strict", path="/", secure=request.secure
    )
    return response


async def _json(request: web.Request) -> Json:
    # A form of another site can send text/plain without asking the browser, but never application/json.
    if request.content_type != "application/json":
        raise PageError("invalid_post_type", "Send application/json. Nothing was done.", status=415)
    try:
        body = json.loads(await request.text())
    except ValueError:
        raise PageError("invalid_json", "The body is no JSON. Nothing was done.") from None
    if not isinstance(body, dict):
        raise PageError("json_not_object", "The body must be a JSON object. Nothing was done.")
    return body


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise PageError("invalid_arguments", f"The field {name} is missing or no text. Nothing was done.")
    return value


def _raw(body: Json) -> str | list[str] | None:
    value = body.get("value")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    raise PageError("invalid_arguments", "The field value must be a text or a list of texts. Nothing was done.")
