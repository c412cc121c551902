"""The connection to PostgreSQL: a small pool, sane limits, and one error for «not reachable at the moment».

Statements run in autocommit mode: one statement is one transaction and one round trip. Where several belong
together, `Database.transaction` is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, Executable, RowMapping, event, make_url
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bot.domain.errors import RollbackError, StoreUnavailableError

APPLICATION_NAME = "rollback-bot"
"""How our sessions are called in ``pg_stat_activity``."""

_DIALECTS = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_ANSWER_SECONDS = 20.0
"""How long a statement is waited for. The server ends one after 15 s; a server that is frozen ends nothing."""
_LIMITS = {
    "statement_timeout": "15s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
    # An event that was acknowledged must survive the machine, whatever the server's default says.
    "synchronous_commit": "on",
}
_NETWORK = {
    "application_name": APPLICATION_NAME,
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


class StoreUrlError(RollbackError):
    """The store's address cannot be used."""


def parse_url(url: str) -> URL:
    """Read the address of the store, e.g. ``postgresql://bot@db.example.net/rollback``.

    Raises:
        StoreUrlError: If it is no PostgreSQL address. The message does not repeat it, for it may hold a password.
    """
    try:
        parsed = make_url(url)
    except (sa_exc.ArgumentError, ValueError) as error:
        raise _bad_url("The store's address is not a URL.") from error
    if parsed.drivername not in _DIALECTS:
        raise _bad_url(f"The store's address begins with {parsed.drivername!r}; only PostgreSQL can be the store.")
    return parsed.set(drivername="postgresql+psycopg")


def _bad_url(brief: str) -> StoreUrlError:
    return StoreUrlError(
        brief,
        untouched="Nothing was started.",
        resolution="Write it like postgresql://user@host:5432/database; the password may stand in PGPASSWORD.",
    )


def shown(url: str) -> str:
    """Return the address for messages: host, port and database, never the password."""
    parsed = parse_url(url)
    host = parsed.host or parsed.query.get("host") or "the local socket"
    port = f":{parsed.port}" if parsed.port else ""
    return f"{host}{port}/{parsed.database or ''}"


def connection_string(url: str, **limits: str) -> str:
    """Return the address as libpq reads it, with our network settings and the given session settings.

    Args:
        url: The store's address; what its query says goes before our own settings.
        limits: Session settings, e.g. ``statement_timeout="15s"``.
    """
    parsed = parse_url(url)
    given = {key: value if isinstance(value, str) else ",".join(value) for key, value in parsed.query.items()}
    options = " ".join([*(f"-c {key}={value}" for key, value in limits.items()), given.pop("options", "")])
    return make_conninfo(
        **{
            **_NETWORK,
            **{
                key: str(value)
                for key, value in parsed.translate_connect_args(username="user").items()
                if key != "database"
            },
            **({"dbname": parsed.database} if parsed.database else {}),
            "options": options.strip(),
            **given,
        }
    )


@contextlib.contextmanager
def unavailable(where: str) -> Iterator[None]:
    """Turn the driver's errors about the connection into `StoreUnavailableError`.

    So are a lock that is not free in time, a deadlock, a full disk and a standby that only reads: they pass, and
    the caller's answer is the same, wait and try again.
    """
    try:
        yield
    except (
        sa_exc.OperationalError,
        sa_exc.InterfaceError,
        psycopg.OperationalError,
        psycopg.InterfaceError,
    ) as error:
        raise StoreUnavailableError(_words(where, error)) from error
    except TimeoutError as error:
        raise StoreUnavailableError(f"The store at {where} does not answer.") from error
    except sa_exc.TimeoutError as error:
        raise StoreUnavailableError(f"The store at {where} is busy: no connection was free in time.") from error
    except sa_exc.DBAPIError as error:
        if error.connection_invalidated or isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
            raise StoreUnavailableError(_words(where, error)) from error
        raise


def _replace_if_ended(connection: Any, _record: object, _proxy: object) -> None:
    """Have a connection replaced that the server has ended meanwhile: an idle one has nothing else to say.

    Looking costs nothing, unlike a ping, which would be a round trip before each statement. A server that vanished
    without a word is noticed by neither before the answer fails to come.

    Raises:
        InvalidatePoolError: To the pool, which opens a new connection, and in time new ones for all others.
    """
    ours: psycopg.AsyncConnection[Any] = connection.driver_connection
    if ours.closed:
        raise sa_exc.InvalidatePoolError
    watch = select.poll()
    watch.register(ours.fileno(), select.POLLIN)
    if watch.poll(0):
        raise sa_exc.InvalidatePoolError


def _storable(value: Any) -> Any:
    """Return the value without NUL characters, which PostgreSQL's texts cannot hold."""
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


def _words(where: str, error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    first = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
    return f"The store at {where} cannot be used at the moment: {first}"


class Database:
    """A pool of connections to the store.

    Args:
        url: The store's address.
        pool_size: The most connections that are open at once, besides the listener's.
        patience: How long a caller waits for a free connection.
    """

    def __init__(self, url: str, *, pool_size: int = 8, patience: timedelta = timedelta(seconds=5)) -> None:
        self.where = shown(url)
        self._conninfo = connection_string(url, **_LIMITS)
        self._engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=self._open,
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=patience.total_seconds(),
            pool_use_lifo=True,
            hide_parameters=True,
        )
        event.listen(self._engine.sync_engine, "checkout", _replace_if_ended)
        self._transactional = self._engine.execution_options(isolation_level="READ COMMITTED")

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self._conninfo)

    async def listener(self) -> psycopg.AsyncConnection[Any]:
        """Open a connection outside of the pool, in autocommit mode, for LISTEN.

        Raises:
            StoreUnavailableError: If the store cannot be reached.
        """
        with unavailable(self.where):
            return await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)

    async def rows(self, statement: Executable, **values: Any) -> list[RowMapping]:
        """Run one statement and return its rows.

        Raises:
            StoreUnavailableError: If the store cannot be reached; whether the statement took effect is unknown.
        """
        with unavailable(self.where):
            async with asyncio.timeout(_ANSWER_SECONDS), self._engine.connect() as connection:
                result = await connection.execute(
                    statement, {key: _storable(value) for key, value in values.items()}
                )
                return list(result.mappings()) if result.returns_rows else []

    async def row(self, statement: Executable, **values: Any) -> RowMapping | None:
        """Run one statement and return its first row, or None.

        Raises:
            StoreUnavailableError: If the store cannot be reached; whether the statement took effect is unknown.
        """
        return next(iter(await self.rows(statement, **values)), None)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Run statements that take effect together or not at all.

        Raises:
            StoreUnavailableError: If the store cannot be reached.
        """
        with unavailable(self.where):
            async with self._transactional.connect() as connection, connection.begin():
                yield connection

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self._engine.dispose()
