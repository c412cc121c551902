"""The audit, and which deliveries of the chat have been taken in."""

from __future__ import annotations

import json

from sqlalchemy import text

from bot.domain.ports import AuditEntry
from storage.database import Database

_WRITE = text("""
INSERT INTO audit (at, who, what, why, detail) VALUES (:at, :who, :what, :why, CAST(:detail AS json))
""")
# A chat delivers again within minutes, if at all; a week is plenty. What is older goes a few at a time, in passing.
_FIRST_DELIVERY = text("""
WITH old AS (
    DELETE FROM delivery WHERE id IN (
        SELECT id FROM delivery WHERE at < now() - interval '7 days' AND id <> :id
        ORDER BY at LIMIT 20 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO delivery (id) VALUES (:id) ON CONFLICT DO NOTHING RETURNING id
""")


class SqlAudit:
    """Implements `bot.domain.ports.Audit`. Every method may raise StoreUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, entry: AuditEntry) -> None:
        """Add an entry; the table refuses to change or lose one."""
        await self._database.rows(
            _WRITE,
            at=entry.at,
            who=entry.who,
            what=entry.what,
            why=entry.why,
            detail=json.dumps(entry.detail, ensure_ascii=False, default=str),
        )

    async def first_delivery(self, delivery_id: str) -> bool:
        """Note a delivery of the chat; False if it was noted before."""
        return await self._database.row(_FIRST_DELIVERY, id=delivery_id) is not None
