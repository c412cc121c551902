"""The half of the product that speaks with people: the chat, the use cases, the announcer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.engine.announcer import Announcer, Means
from bot.engine.service import Service
from bot.main import chat
from bot.main.core import Core
from bot.main.health import Look
from bot.main.settings import Settings
from handlers import slack
from storage.audit import SqlAudit
from storage.documents import SqlDocumentStore
from storage.history import SqlHistory
from storage.messages import SqlLedger
from storage.speaker import SqlFloor

_log = logging.getLogger(__name__)
_FINISH_SECONDS = 5


@dataclass(frozen=True)
class Talk:
    """What speaks with people.

    Attributes:
        service: The use cases.
        announcer: Keeps the chat in line with the journals.
        seat: The console, where it takes Slack's place.
        how: How the bot stands in its workspace.
        bolt: Takes what reaches us.
        underway: What has been acknowledged and is being worked on.
    """

    service: Service
    announcer: Announcer
    seat: chat.ConsoleSeat | None
    how: slack.SlackSettings
    bolt: AsyncApp
    underway: slack.Underway

    def intake(self, settings: Settings) -> AbstractAsyncContextManager[Look]:
        """Take what people send while the block runs; it yields what says whether that works at the moment."""
        return chat.intake(self.bolt, self.how, settings, seat=self.seat)

    async def finish(self) -> None:
        """Let what was acknowledged come to its end, for a while: the chat counts it as delivered."""
        try:
            async with asyncio.timeout(_FINISH_SECONDS):
                await self.underway.idle()
        except TimeoutError:
            _log.warning("some requests were still being worked on at the stop")


@asynccontextmanager
async def opened(core: Core, *, stop: asyncio.Event) -> AsyncIterator[Talk]:
    """Yield the half that speaks. The console, if it takes Slack's place, is served while the block lasts."""
    settings, clock = core.settings, core.clock
    seat = None
    if not settings.speaks_slack:
        documents = SqlDocumentStore(core.database)
        seat = chat.build_console(settings, core.policy, store=documents, clock=clock)
    how = seat.settings if seat else chat.slack_settings(settings)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        client = chat.web_client(how, api_url=seat.api_url if seat else settings.slack_api_url, session=session)
        talk = _build(core, seat=seat, how=how, client=client)
        if seat is not None:
            await stack.enter_async_context(chat.console_served(seat, talk.bolt, stop=stop))
        yield talk


def _build(core: Core, *, seat: chat.ConsoleSeat | None, how: slack.SlackSettings, client: AsyncWebClient) -> Talk:
    speaker = slack.SlackChat(client, ops_channel=core.settings.ops_channel, policy=core.policy, clock=core.clock)
    service = Service(
        runs=core.runs, plans=core.plans, inventory=core.inventory, policy=core.policy, carrier=core.carrier,
        audit=SqlAudit(core.database), chat=speaker, clock=core.clock,
    )  # fmt: skip
    means = Means(
        runs=core.runs, chat=speaker, ledger=SqlLedger(core.database), board=core.board,
        history=SqlHistory(core.database), policy=core.policy, clock=core.clock, settings=core.engine,
    )  # fmt: skip
    announcer = Announcer(means, floor=SqlFloor(core.database, lease=core.engine.floor))
    underway = slack.Underway()
    bolt = slack.build(
        service=service, settings=how, client=client, board=core.board, clock=core.clock,
        refresh=announcer.refresh, underway=underway,
    )  # fmt: skip
    return Talk(service=service, announcer=announcer, seat=seat, how=how, bolt=bolt, underway=underway)
