"""Which announcements have been posted, and where."""

from __future__ import annotations

from sqlalchemy import RowMapping, text

from bot.domain.ports import MessageRef
from storage.database import Database

_CLAIM = text("""
WITH claimed AS (
    INSERT INTO message (rollback_id, key) VALUES (:rollback_id, :key) ON CONFLICT DO NOTHING RETURNING key
)
SELECT EXISTS (SELECT FROM claimed) AS first, m.channel, m.ts
FROM (VALUES (1)) AS one LEFT JOIN message m ON m.rollback_id = :rollback_id AND m.key = :key
""")
_POSTED = text("""
INSERT INTO message (rollback_id, key, channel, ts) VALUES (:rollback_id, :key, :channel, :ts)
ON CONFLICT (rollback_id, key) DO UPDATE SET channel = excluded.channel, ts = excluded.ts
""")
_ALL = text("SELECT key, channel, ts FROM message WHERE rollback_id = :rollback_id ORDER BY claimed_at, key")


class SqlLedger:
    """Implements `bot.domain.ports.Ledger`. Every method may raise StoreUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, rollback_id: str, key: str) -> tuple[bool, MessageRef | None]:
        """Note the intention to post; say whether the caller is the first, and where the message is if posted."""
        rows = await self._database.rows(_CLAIM, rollback_id=rollback_id, key=key)
        return bool(rows[0]["first"]), _ref(rows[0])

    async def posted(self, rollback_id: str, key: str, ref: MessageRef) -> None:
        """Note where the message is."""
        await self._database.rows(_POSTED, rollback_id=rollback_id, key=key, channel=ref.channel, ts=ref.ts)

    async def all(self, rollback_id: str) -> dict[str, MessageRef | None]:
        """Return every claimed announcement in the order of the claims; None: claimed, not known to be posted."""
        return {row["key"]: _ref(row) for row in await self._database.rows(_ALL, rollback_id=rollback_id)}


def _ref(row: RowMapping) -> MessageRef | None:
    return None if row["ts"] is None else MessageRef(channel=row["channel"], ts=row["ts"])
