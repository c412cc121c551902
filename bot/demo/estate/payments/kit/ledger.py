"""What every release's ledger offers to the HTTP server, and how it gets at the database."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import psycopg
from psycopg_pool import AsyncConnectionPool

from .settings import Settings

Pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]]

SYNTHETIC_EMAIL = "synthetic@payments.example"


class RefusedError(Exception):
    """The transaction breaks a business rule (unknown customer, limit reached): the caller's fault, HTTP 422."""


@dataclass(frozen=True)
class Receipt:
    """A transaction as it was booked: the amount is in the currency's major unit."""

    transaction_id: int
    user_id: int
    amount: Decimal
    currency: str
    created_at: str


class Ledger(Protocol):
    """Books transactions against one schema version."""

    async def book(self, connection: psycopg.AsyncConnection[Any], *, user_id: int, amount: Decimal) -> Receipt:
        """Book a transaction inside the caller's database transaction.

        Raises:
            RefusedError: a business rule forbids it.
            psycopg.Error: the database refused or is away.
        """
        ...


@dataclass(frozen=True)
class Release:
    """One release: its names, the schema it is written for, and its configuration's shape."""

    version: str
    build: str
    schema: str


def make_pool(settings: Settings, *, application_name: str) -> Pool:
    """Build the (unopened) connection pool; every connection is in autocommit until a transaction is opened."""
    database = settings.values["database"]
    return AsyncConnectionPool(
        kwargs={
            "host": database["host"],
            "port": database["port"],
            "dbname": database["name"],
            "user": database["user"],
            "password": settings.password(),
            "connect_timeout": database["connect_timeout"],
            "application_name": application_name,
            "autocommit": True,
        },
        min_size=2,
        max_size=settings.number("database", "pool_size"),
        timeout=float(settings.number("database", "connect_timeout")),
        open=False,
    )


async def schema_version(pool: Pool) -> str:
    """Return the newest migration that the database has seen.

    Raises:
        psycopg.Error: the database is away or has no schema_migrations table.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT max(version) FROM schema_migrations")
        row = await cursor.fetchone()
    return str(row[0]) if row else ""


async def synthetic_user(connection: psycopg.AsyncConnection[Any]) -> int:
    """Return the id of the customer that test transactions are booked for.

    Raises:
        RefusedError: the database has no such customer.
    """
    cursor = await connection.execute("SELECT id FROM users WHERE email = %s", [SYNTHETIC_EMAIL])
    row = await cursor.fetchone()
    if row is None:
        raise RefusedError(f"the customer for test transactions ({SYNTHETIC_EMAIL}) does not exist")
    return int(row[0])
