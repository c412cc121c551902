"""The bot's store: the PostgreSQL that is configured, or the embedded one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from bot.domain.errors import RollbackError
from bot.domain.ports import Clock
from bot.main import identity
from bot.main.settings import Settings
from storage.database import parse_url
from storage.embedded.launcher import EmbeddedPostgres

DATABASE = "rollback"
"""The name of the bot's database on its own server."""
_NAME = "application_name"


@dataclass(frozen=True)
class Store:
    """The bot's store.

    Attributes:
        url: Its address, password included: not for logs.
        embedded: The server, if it is the bot's own.
    """

    url: str = field(repr=False)
    embedded: EmbeddedPostgres | None


@asynccontextmanager
async def open_store(settings: Settings, clock: Clock) -> AsyncIterator[Store]:
    """Yield the store, starting the embedded server if none is configured."""
    name = identity.application_name(f"{settings.role.value}/{settings.zone}" if settings.role.acts else "bot")
    if settings.database_url is not None:
        yield Store(signed(settings.database_url.get_secret_value(), name), None)
        return
    embedded = EmbeddedPostgres(settings.data_dir / "postgres", clock=clock)
    async with embedded as server:
        async with await psycopg.AsyncConnection.connect(server.url("postgres"), autocommit=True) as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        yield Store(signed(server.url(DATABASE), name), embedded)


async def running_url(settings: Settings, clock: Clock, *, name: str) -> str:
    """Return the address of a store that has been set up; of the embedded one only if its bot runs.

    Args:
        settings: Where it is.
        clock: The time.
        name: What our sessions are called on the server.

    Raises:
        RollbackError: If there is none.
    """
    if settings.database_url is not None:
        return signed(settings.database_url.get_secret_value(), name)
    server = await EmbeddedPostgres(settings.data_dir / "postgres", clock=clock).running()
    if server is None:
        raise RollbackError(
            "No store is configured, and no bot with a store of its own runs on this machine.",
            untouched="Nothing was changed.",
            resolution="Set ROLLBACK_DATABASE_URL, or ROLLBACK_DATA_DIR to the folder of the bot that runs.",
        )
    return signed(server.url(DATABASE), name)


def signed(url: str, name: str) -> str:
    """Return the address with the name by which our sessions are told apart on the server, unless it gives one.

    Raises:
        StoreUrlError: If it is no address of a PostgreSQL.
    """
    parsed = parse_url(url)
    if _NAME in parsed.query:
        return url
    return parsed.update_query_dict({_NAME: name}).render_as_string(hide_password=False)
