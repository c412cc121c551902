"""How far running steps have come."""

from __future__ import annotations

from sqlalchemy import text

from bot.domain.actuation import Progress
from storage.database import Database

_WRITE = text("""
INSERT INTO progress (rollback_id, step, done, total, unit, words)
VALUES (:rollback_id, :step, :done, :total, :unit, :words)
ON CONFLICT (rollback_id, step) DO UPDATE SET
    done = excluded.done, total = excluded.total, unit = excluded.unit, words = excluded.words,
    at = clock_timestamp()
""")
_READ = text("SELECT step, done, total, unit, words FROM progress WHERE rollback_id = :rollback_id ORDER BY step")


class SqlProgressBoard:
    """Implements `bot.domain.ports.ProgressBoard`. Every method may raise StoreUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, rollback_id: str, step: str, progress: Progress) -> None:
        """Write the newest progress of a step, and let everybody know who listens."""
        await self._database.rows(
            _WRITE,
            rollback_id=rollback_id,
            step=step,
            done=progress.done,
            total=progress.total,
            unit=progress.unit,
            words=progress.words,
        )

    async def read(self, rollback_id: str) -> dict[str, Progress]:
        """Return the newest progress by step."""
        rows = await self._database.rows(_READ, rollback_id=rollback_id)
        return {
            row["step"]: Progress(done=row["done"], total=row["total"], unit=row["unit"], words=row["words"])
            for row in rows
        }
