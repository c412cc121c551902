"""Where the bot listens: the console, or Slack over Socket Mode or signed HTTP. One Bolt app serves all."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import SecretStr
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain import ports
from bot.domain.authority import Policy
from bot.domain.errors import RollbackError
from bot.main.health import Look
from bot.main.listening import listening
from bot.main.people import sign_in_tokens
from bot.main.settings import Settings
from handlers import console, slack
from handlers.slack import http as slack_http
from handlers.slack import socket as slack_socket

_CONSOLE_TEAM = "T0CONSOLE"
_CONSOLE_BOT = "U0ROLLBACK"


@dataclass(frozen=True)
class ConsoleSeat:
    """The console as it will be served.

    Attributes:
        url: Its address.
        tokens: Sign-in token by user id.
        tokens_file: Where they are kept.
        settings: What the bot must know to speak to it.
        console: The console itself.
    """

    url: str
    tokens: dict[str, str] = field(repr=False)
    tokens_file: Path
    settings: slack.SlackSettings
    console: console.Console

    @property
    def api_url(self) -> str:
        """The address of the Web API that the console implements."""
        return f"{self.url}/slack-api/"

    def sign_in(self, user: str) -> str:
        """Return the address by which a person signs in."""
        return f"{self.url}/?token={self.tokens[user]}"


def free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0."""
    if port:
        return port
    import socket  # noqa: PLC0415 - only demo and tests ask for a free port

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def build_console(
    settings: Settings, policy: Policy, *, store: ports.DocumentStore, clock: ports.Clock
) -> ConsoleSeat:
    """Put the console together; its secrets are made anew at each start, the people's tokens stay."""
    port = free_port(settings.console_host, settings.console_port)
    url = f"http://{settings.console_host}:{port}"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    tokens_file = settings.data_dir / "console-tokens.json"
    tokens = sign_in_tokens(policy, tokens_file)
    how = slack.SlackSettings(
        bot_token=f"xoxb-console-{secrets.token_urlsafe(24)}",
        signing_secret=secrets.token_hex(32),
        ops_channel=settings.ops_channel,
    )
    users = [
        console.ConsoleUser(
            id=person.id,
            name=person.name,
            title=", ".join(role.words() for role in person.roles),
            token=SecretStr(tokens[person.id]),
        )
        for person in policy.people
    ]
    return ConsoleSeat(
        url=url,
        tokens=tokens,
        tokens_file=tokens_file,
        settings=how,
        console=console.Console(
            team_id=_CONSOLE_TEAM,
            bot_user_id=_CONSOLE_BOT,
            users=users,
            channels=[console.ConsoleChannel(id=settings.ops_channel, name="ops")],
            signing_secret=how.signing_secret,
            bot_token=how.bot_token,
            events_url=f"{url}/slack/events",
            store=store,
            clock=clock,
            public_url=url,
        ),
    )


def slack_settings(settings: Settings) -> slack.SlackSettings:
    """Return what the bot must know to speak to Slack."""
    if settings.slack_bot_token is None:
        raise RollbackError("Slack is not configured.", resolution="Set SLACK_BOT_TOKEN, see `rollback doctor`.")
    return slack.SlackSettings(
        bot_token=settings.slack_bot_token.get_secret_value(),
        signing_secret=settings.slack_signing_secret.get_secret_value() if settings.slack_signing_secret else "",
        app_token=settings.slack_app_token.get_secret_value() if settings.slack_app_token else "",
        ops_channel=settings.ops_channel,
        teams=frozenset({settings.team_id} if settings.team_id else ()),
    )


def web_client(how: slack.SlackSettings, *, api_url: str, session: aiohttp.ClientSession) -> AsyncWebClient:
    """Return the client of the Web API, Slack's own or the console's, on one kept HTTP session."""
    return AsyncWebClient(token=how.bot_token, base_url=api_url, session=session)


@asynccontextmanager
async def console_served(seat: ConsoleSeat, bolt: AsyncApp, *, stop: asyncio.Event) -> AsyncIterator[None]:
    """Serve the console and its door to the bot while the block runs. The door closes as soon as `stop` is set.

    The page itself stays to the end of the block, so that people see how running steps come out.
    """
    await seat.console.start()
    try:
        app = seat.console.app()
        app.add_routes(slack_http.routes(bolt, seat.settings))
        app.middlewares.append(_door(stop))
        host, _, port = seat.url.removeprefix("http://").rpartition(":")
        async with listening(app, host, int(port)):
            yield
    finally:
        await seat.console.close()


def _door(stop: asyncio.Event) -> Middleware:
    @web.middleware
    async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
        if stop.is_set() and request.path == slack_http.PATH:
            return web.json_response({"error": "stopping"}, status=web.HTTPServiceUnavailable.status_code)
        return await handler(request)

    return door


@asynccontextmanager
async def intake(
    bolt: AsyncApp, how: slack.SlackSettings, settings: Settings, *, seat: ConsoleSeat | None
) -> AsyncIterator[Look]:
    """Take what people send while the block runs; yields what says whether it can be taken at the moment."""
    if seat is not None:
        yield _always  # the console's server has the door
    elif settings.slack_app_token:
        async with AsyncExitStack() as stack:
            yield _connected(await _socket(bolt, how, stack))
    else:
        app = web.Application()
        app.add_routes(slack_http.routes(bolt, how))
        async with listening(app, settings.http_host, settings.http_port):
            yield _always


async def _socket(bolt: AsyncApp, how: slack.SlackSettings, stack: AsyncExitStack) -> AsyncSocketModeHandler:
    try:
        return await stack.enter_async_context(slack_socket.connected(bolt, how))
    except SlackApiError as error:
        said = error.response.get("error")
        raise RollbackError(
            f"Slack does not open a connection: {said}.",
            untouched="Nothing was started.",
            resolution="Check SLACK_APP_TOKEN: an app-level token with the scope connections:write.",
        ) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise RollbackError(
            f"Slack cannot be reached ({type(error).__name__}).",
            untouched="Nothing was started.",
            resolution="See the network and ROLLBACK_SLACK_API_URL.",
        ) from error


async def _always() -> str:
    return ""


def _connected(handler: AsyncSocketModeHandler) -> Look:
    async def look() -> str:
        return "" if await handler.client.is_connected() else "the connection to Slack is being opened again"

    return look
