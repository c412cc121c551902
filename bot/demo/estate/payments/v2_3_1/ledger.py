"""The ledger of v2.3.1: amounts are numeric, in the one currency the service knows (EUR)."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

import psycopg

from ..kit.ledger import Receipt, RefusedError  # noqa: TID252 - see __main__
from ..kit.settings import Settings  # noqa: TID252 - see __main__


@dataclass(frozen=True)
class NumericLedger:
    """Books into `transactions.amount`, within the limits of the configuration (in EUR)."""

    max_amount: Decimal
    daily_limit: Decimal

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read the limits."""
        return cls(
            max_amount=Decimal(settings.text("limits", "max_amount")),
            daily_limit=Decimal(settings.text("limits", "daily_limit")),
        )

    async def book(self, connection: psycopg.AsyncConnection[Any], *, user_id: int, amount: Decimal) -> Receipt:
        """Book one transaction; see `kit.ledger.Ledger`."""
        if amount > self.max_amount:
            raise RefusedError(f"{amount} is above the limit of {self.max_amount} for one transaction")
        cursor = await connection.execute(
            "SELECT coalesce(sum(amount), 0) FROM transactions"
            " WHERE user_id = %s AND created_at > now() - interval '1 day'",
            [user_id],
        )
        row = await cursor.fetchone()
        if row is not None and row[0] + amount > self.daily_limit:
            raise RefusedError(f"user {user_id} has reached the daily limit of {self.daily_limit}")
        try:
            cursor = await connection.execute(
                "INSERT INTO transactions (user_id, amount) VALUES (%s, %s) RETURNING id, created_at",
                [user_id, amount],
            )
        except psycopg.errors.ForeignKeyViolation as error:
            raise RefusedError(f"user {user_id} does not exist") from error
        booked = await cursor.fetchone()
        assert booked is not None  # noqa: S101 - INSERT ... RETURNING gives a row or raises
        return Receipt(
            transaction_id=booked[0],
            user_id=user_id,
            amount=amount,
            currency="EUR",
            created_at=booked[1].isoformat(),
        )
