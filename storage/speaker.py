"""Who may speak in the chat: one row, judged by the database's clock."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text

from bot.domain.errors import LeaseLostError
from bot.domain.speech import Turn
from storage.database import Database

# Whoever waits for the floor asks twice a second: an UPDATE that finds nothing writes nothing, while an upsert
# would lock the row, and so write, each time. The row appears with the first process that ever speaks.
_TAKE = text("""
WITH next AS (
    UPDATE speaker SET
        owner = :owner,
        fence = fence + 1,
        silent_since = until,
        until = clock_timestamp() + CAST(:lease AS interval)
    WHERE until <= clock_timestamp()
    RETURNING fence, silent_since
), first AS (
    INSERT INTO speaker (owner, until)
    SELECT :owner, clock_timestamp() + CAST(:lease AS interval) WHERE NOT EXISTS (SELECT FROM speaker)
    ON CONFLICT DO NOTHING
    RETURNING fence, silent_since
)
SELECT fence, clock_timestamp() - silent_since AS silence
FROM (SELECT * FROM next UNION ALL SELECT * FROM first) AS taken
""")
_KEEP = text("""
UPDATE speaker SET until = clock_timestamp() + CAST(:lease AS interval)
WHERE fence = :fence AND until > clock_timestamp()
RETURNING fence
""")
_GIVE_BACK = text("""
UPDATE speaker SET until = clock_timestamp() WHERE fence = :fence AND until > clock_timestamp()
""")


class SqlFloor:
    """Implements `bot.domain.speech.Floor`. Every method may raise StoreUnavailableError.

    Args:
        database: The store.
        lease: How long a turn lasts from each renewal.
    """

    def __init__(self, database: Database, *, lease: timedelta = timedelta(seconds=4)) -> None:
        self._database = database
        self._lease = lease

    async def take(self, owner: str) -> Turn | None:
        """Take the floor if nobody has it, bumping its fence; None while somebody has."""
        row = await self._database.row(_TAKE, owner=owner, lease=self._lease)
        if row is None:
            return None
        # Nobody ever spoke before the first.
        silence = timedelta.max if row["silence"] is None else row["silence"]
        return Turn(owner=owner, fence=row["fence"], valid_for=self._lease, silence=silence)

    async def keep(self, turn: Turn) -> None:
        """Prolong the turn.

        Raises:
            LeaseLostError: If it lapsed or another process took the floor.
        """
        if await self._database.row(_KEEP, fence=turn.fence, lease=turn.valid_for) is None:
            raise LeaseLostError(f"turn {turn.fence} to speak in the chat is over")

    async def give_back(self, turn: Turn) -> None:
        """End the turn, so that another process can take the floor at once; harmless if it has ended."""
        await self._database.rows(_GIVE_BACK, fence=turn.fence)
