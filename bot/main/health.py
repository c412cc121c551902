"""The probes of whoever runs the process: does it live, and may it be given work?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from aiohttp import web
from sqlalchemy import text

from bot.domain.errors import StoreUnavailableError
from bot.domain.ports import Clock
from bot.domain.times import in_words
from storage.database import Database

_log = logging.getLogger(__name__)

Look = Callable[[], Awaitable[str]]
"""Says in words why a part cannot be used at the moment; empty if it can."""

LIVE: Final = "/live"
READY: Final = "/ready"
_UNAVAILABLE: Final = 503
_STANDBY: Final = text("SELECT pg_is_in_recovery() AS standby")


class Health:
    """What is known of the process, as its probes tell it.

    `/live` answers while the event loop turns and asks nothing else: an outage of the store or the chat is no
    reason to kill a process that holds running steps. `/ready` names every reason why it should get no work.

    Args:
        stop: Set as soon as the process is to end.
        about: What the answers say besides, e.g. role and zone.
    """

    def __init__(self, *, stop: asyncio.Event, about: dict[str, str]) -> None:
        self._stop = stop
        self._about = about
        self._parts: dict[str, Look] = {}
        self._started = False

    def watch(self, part: str, look: Look) -> None:
        """Let readiness depend on a part."""
        self._parts[part] = look

    def started(self) -> None:
        """Note that everything is up."""
        self._started = True

    async def reasons(self) -> dict[str, str]:
        """Return by part why the process is not ready; empty if it is."""
        found = {part: words for part, look in self._parts.items() if (words := await look())}
        if self._stop.is_set():
            found["process"] = "it is being stopped and takes nothing new"
        elif not self._started:
            found["process"] = "it is starting"
        return found

    def app(self) -> web.Application:
        """Return the application that answers the probes."""
        app = web.Application()
        app.add_routes([web.get(LIVE, self._live), web.get(READY, self._ready)])
        return app

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True, **self._about})

    async def _ready(self, _request: web.Request) -> web.Response:
        reasons = await self.reasons()
        body = {"ready": not reasons, "reasons": reasons, **self._about}
        return web.json_response(body, status=_UNAVAILABLE if reasons else web.HTTPOk.status_code)


class StorePulse:
    """Asks the store every two seconds whether it can be written to.

    Args:
        database: The store.
        clock: The time.
        every: Pause between two questions.
        patience: How long it may be silent before the process counts as not ready; as long as an outage that a
            running step survives, so that a restart of the store takes no process out of service.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        every: timedelta = timedelta(seconds=2),
        patience: timedelta = timedelta(seconds=10),
    ) -> None:
        self._database = database
        self._clock = clock
        self._every = every.total_seconds()
        self._patience = patience.total_seconds()
        self._good_at: float | None = None
        self._standby = False

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.once()
            await self._clock.sleep(self._every)

    async def once(self) -> None:
        """Ask once."""
        try:
            row = await self._database.row(_STANDBY)
        except StoreUnavailableError as error:
            _log.debug("the store does not answer the probe: %s", error)
            return
        self._good_at = self._clock.monotonic()
        self._standby = bool(row and row["standby"])

    async def look(self) -> str:
        """Say why the store cannot be used; empty if it can."""
        if self._good_at is None:
            return "the store has not answered yet"
        silent = self._clock.monotonic() - self._good_at
        if silent > self._patience:
            return f"the store has not answered for {in_words(timedelta(seconds=silent))}"
        return "the store is a standby and only reads" if self._standby else ""
