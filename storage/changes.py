"""Hears of every changed rollback, on whatever machine it was changed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator

from bot.domain.clock import Clock
from bot.domain.errors import StoreUnavailableError
from storage.database import Database, unavailable
from storage.tables import CHANGED_CHANNEL

EVERYTHING = "*"
"""Yielded in place of an id when changes may have been missed: look at everything."""

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 3.0


async def changes(database: Database, *, clock: Clock) -> AsyncIterator[str]:
    """Yield the id of each changed rollback, for ever.

    `EVERYTHING` comes first, as soon as the connection listens, and again after each reconnection: what changed
    while nobody listened is found by looking.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            async with contextlib.aclosing(_listen(database)) as heard:
                async for rollback_id in heard:
                    pause = _FIRST_PAUSE
                    yield rollback_id
        except StoreUnavailableError as error:
            _LOG.warning("Changes cannot be heard; listening again in %.1f s. %s", pause, error)
        await clock.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _listen(database: Database) -> AsyncGenerator[str]:
    connection = await database.listener()
    try:
        with unavailable(database.where):
            await connection.execute(f"LISTEN {CHANGED_CHANNEL}".encode())
            yield EVERYTHING
            async with contextlib.aclosing(connection.notifies()) as notifications:
                async for notification in notifications:
                    yield notification.payload
    finally:
        await connection.close()
