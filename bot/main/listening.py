"""Serving HTTP for as long as a block runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from bot.domain.errors import RollbackError


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
                resolution="End whoever holds the port, or set ROLLBACK_CONSOLE_PORT, ROLLBACK_HTTP_PORT, "
                "ROLLBACK_HEALTH_PORT or ROLLBACK_HOOKS_PORT.",
            ) from error
        yield
    finally:
        await runner.cleanup()
