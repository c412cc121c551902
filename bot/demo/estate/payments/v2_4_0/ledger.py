"""The ledger of v2.4.0: amounts in minor units, booked in the customer's own currency."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

import psycopg

from ..kit.ledger import Receipt, RefusedError  # noqa: TID252 - see __main__
from ..kit.settings import Settings  # noqa: TID252 - see __main__


@dataclass(frozen=True)
class CurrencyLedger:
    """Books into `transactions.amount_minor` and `.currency`; limits are in minor units of `settlement`.

    Two defects of this release, which its tests did not see, are the reason for rolling it back. Customers who
    registered before a country was asked for have no currency, and their transactions break the column's NOT NULL
    (the migration fills old rows with a default, this code does not). And the daily total reads each row's
    exchange rate by a query of its own, over an index that went away with the column it covered.
    """

    max_amount_minor: int
    daily_limit_minor: int
    settlement: str

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read the limits."""
        return cls(
            max_amount_minor=settings.number("limits", "max_amount_minor"),
            daily_limit_minor=settings.number("limits", "daily_limit_minor"),
            settlement=settings.text("currency", "settlement"),
        )

    async def book(self, connection: psycopg.AsyncConnection[Any], *, user_id: int, amount: Decimal) -> Receipt:
        """Book one transaction; see `kit.ledger.Ledger`."""
        minor = int(amount * 100)
        if minor > self.max_amount_minor:
            raise RefusedError(f"{minor} is above the limit of {self.max_amount_minor} for one transaction")
        cursor = await connection.execute("SELECT currency FROM users WHERE id = %s", [user_id])
        user = await cursor.fetchone()
        if user is None:
            raise RefusedError(f"user {user_id} does not exist")
        if await self._total_today(connection, user_id=user_id) + minor > self.daily_limit_minor:
            raise RefusedError(f"user {user_id} has reached the daily limit of {self.daily_limit_minor}")
        cursor = await connection.execute(
            "INSERT INTO transactions (user_id, amount_minor, currency) VALUES (%s, %s, %s)"
            " RETURNING id, created_at",
            [user_id, minor, user[0]],
        )
        booked = await cursor.fetchone()
        assert booked is not None  # noqa: S101 - INSERT ... RETURNING gives a row or raises
        return Receipt(
            transaction_id=booked[0],
            user_id=user_id,
            amount=amount,
            currency=user[0],
            created_at=booked[1].isoformat(),
        )

    async def _total_today(self, connection: psycopg.AsyncConnection[Any], *, user_id: int) -> int:
        """Return the customer's total of the last 24 hours, in minor units of the settlement currency."""
        cursor = await connection.execute(
            "SELECT amount_minor, currency, created_at::date FROM transactions"
            " WHERE user_id = %s AND created_at > now() - interval '1 day'",
            [user_id],
        )
        total = Decimal(0)
        for amount_minor, currency, day in await cursor.fetchall():
            rate = await connection.execute(
                "SELECT rate FROM exchange_rates WHERE currency = %s AND settlement = %s AND valid_from <= %s"
                " ORDER BY valid_from DESC LIMIT 1",
                [currency, self.settlement, day],
            )
            row = await rate.fetchone()
            total += amount_minor * (row[0] if row else 1)
        return int(total)
