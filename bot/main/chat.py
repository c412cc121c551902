"""Where the bot listens: the console, or Slack over Socket Mode or signed HTTP. One Bolt app serves all."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from pydantic import SecretStr
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain import ports
from bot.domain.authority import Policy
from bot.domain.errors import RollbackError
from bot.main.people import sign_in_tokens
from bot.main.settings import Settings
from handlers import console, slack

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


def web_client(
    how: slack.SlackSettings, *, seat: ConsoleSeat | None, session: aiohttp.ClientSession
) -> AsyncWebClient:
    """Return the client of the Web API, Slack's own or the console's, on one kept HTTP session."""
    if seat is None:
        return AsyncWebClient(token=how.bot_token, session=session)
    return AsyncWebClient(token=how.bot_token, base_url=f"{seat.url}/slack-api/", session=session)


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    """Serve an aiohttp application while the block runs.

    Raises:
        RollbackError: If the port is taken.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise RollbackError(
                f"The bot cannot listen on {host}:{port}: {error.strerror}.",
                untouched="Nothing was started.",
                resolution="End whoever holds the port, or set ROLLBACK_CONSOLE_PORT or ROLLBACK_HTTP_PORT.",
            ) from error
        yield
    finally:
        await runner.cleanup()
