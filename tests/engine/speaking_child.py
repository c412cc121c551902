"""A process with an announcer, which will be stopped, killed and frozen. Usage: speaking_child.py JSON."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from bot.engine.announcer import Announcer, Means
from bot.engine.settings import EngineSettings
from bot.main.clock import SystemClock
from handlers.slack import SlackChat
from storage.database import Database
from storage.history import SqlHistory
from storage.messages import SqlLedger
from storage.progress import SqlProgressBoard
from storage.runs import SqlRuns
from storage.speaker import SqlFloor
from tests.support import plans
from tests.support.console import BOT_TOKEN

_PR_SET_PDEATHSIG = 1


async def main(owner: str, store: str, chat: str, intervals: dict[str, float]) -> None:
    """Announce until stopped."""
    clock, policy, database = SystemClock(), plans.policy(), Database(store, pool_size=4)
    durations: dict[str, Any] = {name: timedelta(seconds=each) for name, each in intervals.items()}
    settings = EngineSettings(owner=owner, **durations)
    async with aiohttp.ClientSession() as session:
        client = AsyncWebClient(token=BOT_TOKEN, base_url=chat, session=session)
        means = Means(
            runs=SqlRuns(database, plan_model=plans.MODEL, clock=clock),
            chat=SlackChat(client, ops_channel="C0OPS", policy=policy, clock=clock),
            ledger=SqlLedger(database),
            board=SqlProgressBoard(database),
            history=SqlHistory(database),
            policy=policy,
            clock=clock,
            settings=settings,
        )
        announcer = Announcer(means, floor=SqlFloor(database, lease=settings.floor))
        async with asyncio.TaskGroup() as group:
            announcing = group.create_task(announcer.run())
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, announcing.cancel)
    await database.close()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no run of the tests leaves one behind
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {json.loads(sys.argv[1])['owner']} %(message)s")
    asyncio.run(main(**json.loads(sys.argv[1])))
