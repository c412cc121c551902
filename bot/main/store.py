"""The bot's store: the PostgreSQL that is configured, or the embedded one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from bot.domain.ports import Clock
from bot.main import identity
from bot.main.settings import Settings
from storage.database import parse_url
from storage.embedded.launcher import EmbeddedPostgres

_DATABASE = "rollback"
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
        yield Store(_signed(settings.database_url.get_secret_value(), name), None)
        return
    embedded = EmbeddedPostgres(settings.data_dir / "postgres", clock=clock)
    async with embedded as server:
        async with await psycopg.AsyncConnection.connect(server.url("postgres"), autocommit=True) as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE])
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))
        yield Store(_signed(server.url(_DATABASE), name), embedded)


def _signed(url: str, name: str) -> str:
    """Return the address with the name by which our sessions are told apart on the server, unless it gives one.

    Raises:
        StoreUrlError: If it is no address of a PostgreSQL.
    """
    parsed = parse_url(url)
    if _NAME in parsed.query:
        return url
    return parsed.update_query_dict({_NAME: name}).render_as_string(hide_password=False)
