"""The plain tools that the bot is compared with, in a process of their own, as the bot is.

Usage: plain_server.py FOLDER PORT. FOLDER holds ``store-url`` and ``secret``. ``POST /slack/events`` verifies
Slack's signature and answers; ``POST /click`` commits one row with a notification, and the listener of another
connection writes the time into ``calls.log``: the least that lets another process begin to work.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import signal
import sys
import time
from pathlib import Path

import psycopg
from aiohttp import web

OLDEST_SECONDS = 300


def receiver(secret: bytes) -> web.RouteDef:
    """Return the route that verifies a signature and does nothing else."""

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        stamp = request.headers["X-Slack-Request-Timestamp"]
        expected = "v0=" + hmac.new(secret, b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
        age = abs(time.time() - int(stamp))  # noqa: TID251 - a script of its own, compared with the bot
        if age > OLDEST_SECONDS or not hmac.compare_digest(expected, request.headers["X-Slack-Signature"]):
            return web.Response(status=401)
        return web.Response()

    return web.post("/slack/events", receive)


def clicks(connection: psycopg.AsyncConnection[object]) -> web.RouteDef:
    """Return the route that commits a row and notifies."""

    async def click(request: web.Request) -> web.Response:
        await connection.execute(
            b"WITH kept AS (INSERT INTO plain_click (body) VALUES (%s) RETURNING id)"
            b" SELECT pg_notify('plain_click', id::text) FROM kept",
            [await request.text()],
        )
        return web.Response()

    return web.post("/click", click)


async def listen(connection: psycopg.AsyncConnection[object], log: int) -> None:
    """Write a line for each notification."""
    await connection.execute(b"LISTEN plain_click")
    async for notification in connection.notifies():
        os.write(log, f"{time.monotonic_ns()} begin {notification.payload} plain\n".encode())


async def main(folder: Path, port: int) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    url = (folder / "store-url").read_text(encoding="utf-8")
    log = os.open(folder / "calls.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    connect = psycopg.AsyncConnection[object].connect
    async with await connect(url, autocommit=True) as writer, await connect(url, autocommit=True) as listener:
        await writer.execute(b"CREATE TABLE plain_click (id bigserial PRIMARY KEY, body text NOT NULL)")
        app = web.Application()
        app.add_routes([receiver((folder / "secret").read_bytes()), clicks(writer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen(listener, log))
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await stop.wait()
            listening.cancel()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
