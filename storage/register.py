"""The built-in register of incidents, problems and changes."""

from __future__ import annotations

import json

from sqlalchemy import text

from bot.domain.records import Record, RecordKind
from storage.database import Database

# A change keeps one record, whichever rollback of it wrote last.
_PUT_CHANGE = text("""
INSERT INTO record (number, kind, rollback_id, change, fields)
VALUES (:change, 'change', :rollback_id, :change, CAST(:fields AS json))
ON CONFLICT (number) DO UPDATE SET
    rollback_id = excluded.rollback_id, fields = excluded.fields, updated_at = clock_timestamp()
RETURNING number
""")
# A number is drawn only for a record that is new, so that writing again leaves no gaps.
_PUT_NUMBERED = """
WITH known AS (
    UPDATE record SET fields = CAST(:fields AS json), updated_at = clock_timestamp()
    WHERE rollback_id = :rollback_id AND kind = '{kind}'
    RETURNING number
), new AS (
    INSERT INTO record (number, kind, rollback_id, change, fields)
    SELECT numbered('{prefix}', 7, nextval('{kind}_number')), '{kind}', :rollback_id, :change, CAST(:fields AS json)
    WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT (rollback_id, kind) DO UPDATE SET fields = excluded.fields, updated_at = clock_timestamp()
    RETURNING number
)
SELECT number FROM known UNION ALL SELECT number FROM new
"""
_PUT = {
    RecordKind.CHANGE: _PUT_CHANGE,
    RecordKind.INCIDENT: text(_PUT_NUMBERED.format(kind="incident", prefix="INC")),
    RecordKind.CAUSE: text(
        _PUT_NUMBERED.format(kind="cause", prefix="INC").replace("cause_number", "incident_number")
    ),
    RecordKind.PROBLEM: text(_PUT_NUMBERED.format(kind="problem", prefix="PRB")),
}
_LINK = text("""
INSERT INTO record_link (source, target, relation) VALUES (:source, :target, :relation) ON CONFLICT DO NOTHING
""")
_GET = text("SELECT kind, fields FROM record WHERE number = :number")
_LINKS = text("""
SELECT relation, target AS other, false AS inward, number FROM record_link WHERE source = :number
UNION ALL
SELECT relation, source AS other, true AS inward, number FROM record_link WHERE target = :number
ORDER BY inward, number
""")

INWARD = {
    "causes": "is caused by",
    "is caused by": "causes",
    "relates to": "relates to",
    "blocks": "is blocked by",
    "is blocked by": "blocks",
    "duplicates": "is duplicated by",
    "is duplicated by": "duplicates",
}
"""What a link is called when it is read from its target: the usual link types of Jira."""


class SqlRegister:
    """Implements `bot.domain.ports.Records`. Every method may raise StoreUnavailableError.

    Incidents are numbered INC0000001 and on, problems PRB0000001 and on; a change keeps its own number.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, rollback_id: str, record: Record, *, change: str) -> str:
        """Create or bring up to date the rollback's record of that kind, and return its number."""
        rows = await self._database.rows(
            _PUT[record.kind],
            rollback_id=rollback_id,
            change=change,
            fields=json.dumps(dict(record.fields), ensure_ascii=False),
        )
        return str(rows[0]["number"])

    async def link(self, source: str, target: str, relation: str) -> None:
        """Link two records, e.g. the change ``causes`` the incident; linking again is harmless."""
        await self._database.rows(_LINK, source=source, target=target, relation=relation)

    async def get(self, number: str) -> tuple[RecordKind, dict[str, str], tuple[tuple[str, str], ...]]:
        """Return kind, fields and links (relation, number) of a record.

        Its own links come first, then those that point at it, by the relation's inward name: what ``causes`` on one
        side ``is caused by`` on the other.

        Raises:
            KeyError: If there is none.
        """
        row = await self._database.row(_GET, number=number)
        if row is None:
            raise KeyError(number)
        links = [
            (INWARD.get(link["relation"], link["relation"]) if link["inward"] else link["relation"], link["other"])
            for link in await self._database.rows(_LINKS, number=number)
        ]
        return RecordKind(row["kind"]), row["fields"], tuple(dict.fromkeys(links))
