from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain.errors import RollbackError
from bot.main import chat
from bot.main.people import LOCAL_POLICY
from bot.main.settings import Settings
from tests.support.console import MemoryStore, SystemClock, serve
from tests.support.pgserver import free_port


def slack_of(url: str, *, socket_mode: bool = True) -> Settings:
    """Return the settings of a bot whose Slack is at this address."""
    return Settings(
        slack_api_url=url,
        ops_channel="C0OPS",
        slack_bot_token=SecretStr("xoxb-1"),
        slack_app_token=SecretStr("xapp-1") if socket_mode else None,
        slack_signing_secret=SecretStr("secret"),
        http_port=free_port(),
    )


def bolt_of(settings: Settings) -> AsyncApp:
    """Return an app that only knows where Slack is."""
    client = AsyncWebClient(token="xoxb-1", base_url=settings.slack_api_url)
    return AsyncApp(client=client, signing_secret="secret", request_verification_enabled=False)


@asynccontextmanager
async def slack_that_says(body: dict[str, object]) -> AsyncIterator[str]:
    """Serve a Slack that answers every call alike."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(body)

    app = web.Application()
    app.router.add_post("/api/{method}", answer)
    async with serve(app) as url:
        yield f"{url}/api/"


async def test_refused_app_token_is_told_in_words() -> None:
    """A token that Slack refuses ends the start with what Slack says and what to do."""
    async with slack_that_says({"ok": False, "error": "invalid_auth"}) as url:
        settings = slack_of(url)
        how = chat.slack_settings(settings)
        with pytest.raises(RollbackError, match=r"Slack does not open a connection: invalid_auth\.") as told:
            async with chat.intake(bolt_of(settings), how, settings, seat=None):
                raise AssertionError
    assert "SLACK_APP_TOKEN" in told.value.resolution
    assert "xapp-1" not in str(told.value)


async def test_slack_out_of_reach_is_told_in_words() -> None:
    """A Slack that cannot be reached at the start is named as such."""
    settings = slack_of(f"http://127.0.0.1:{free_port()}/api/")
    with pytest.raises(RollbackError, match=r"Slack cannot be reached \(ClientConnectorError\)"):
        async with chat.intake(bolt_of(settings), chat.slack_settings(settings), settings, seat=None):
            raise AssertionError


async def test_http_listener_closes_with_the_intake() -> None:
    """While the intake is open the bot listens; afterwards its port refuses, so that a proxy asks another bot."""
    settings = slack_of("http://127.0.0.1:9/api/", socket_mode=False)
    url = f"http://127.0.0.1:{settings.http_port}/slack/events"
    async with chat.intake(bolt_of(settings), chat.slack_settings(settings), settings, seat=None) as look:
        assert await look() == ""
        async with aiohttp.ClientSession() as session, session.post(url) as answer:
            assert answer.status == 401
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.post(url)


async def test_port_that_is_taken_is_named() -> None:
    """A port that somebody else holds ends the start with its number and the settings that change it."""
    settings = slack_of("http://127.0.0.1:9/api/", socket_mode=False)
    how = chat.slack_settings(settings)
    async with chat.intake(bolt_of(settings), how, settings, seat=None):
        with pytest.raises(RollbackError, match=f"cannot listen on 127.0.0.1:{settings.http_port}") as told:
            async with chat.intake(bolt_of(settings), how, settings, seat=None):
                raise AssertionError
    assert "ROLLBACK_HTTP_PORT" in told.value.resolution


async def test_console_takes_nothing_new_once_a_stop_was_asked_for(tmp_path: Path) -> None:
    """After the stop the console's door to the bot answers 503, and its page still shows how things come out."""
    settings = Settings(data_dir=tmp_path, console_port=0)
    seat = chat.build_console(settings, LOCAL_POLICY, store=MemoryStore(), clock=SystemClock())
    stop = asyncio.Event()
    async with chat.console_served(seat, bolt_of(settings), stop=stop), aiohttp.ClientSession() as session:
        for expected in (401, 503):
            async with session.post(f"{seat.url}/slack/events") as answer:
                assert answer.status == expected
            async with session.get(seat.sign_in("U0OPERATOR")) as page:
                assert page.status == 200
            stop.set()
