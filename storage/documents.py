"""JSON documents by bucket and key."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import delete, select, text

from storage.database import Database
from storage.tables import DocumentRow

_PUT = text("""
INSERT INTO document (bucket, key, document) VALUES (:bucket, :key, CAST(:document AS json))
ON CONFLICT (bucket, key) DO UPDATE SET document = excluded.document, at = clock_timestamp()
""")
_COLUMNS = DocumentRow.metadata.tables["document"].c


class SqlDocumentStore:
    """Implements `bot.domain.ports.DocumentStore`. Every method may raise StoreUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return every document as (bucket, key, document), in the order in which they were first written."""
        statement = select(_COLUMNS.bucket, _COLUMNS.key, _COLUMNS.document).order_by(_COLUMNS.number)
        return [(row["bucket"], row["key"], row["document"]) for row in await self._database.rows(statement)]

    async def put(self, bucket: str, key: str, document: dict[str, Any] | None) -> None:
        """Write a document; None removes it."""
        if document is None:
            await self._database.rows(delete(DocumentRow).where(_COLUMNS.bucket == bucket, _COLUMNS.key == key))
        else:
            await self._database.rows(_PUT, bucket=bucket, key=key, document=json.dumps(document))
