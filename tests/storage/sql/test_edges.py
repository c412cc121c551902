"""The progress board, the audit, the documents and the register."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.domain.actuation import Progress
from bot.domain.ports import AuditEntry
from bot.domain.records import Record, RecordKind
from bot.domain.run import Run
from storage.audit import SqlAudit
from storage.database import Database
from storage.documents import SqlDocumentStore
from storage.progress import SqlProgressBoard
from storage.register import SqlRegister
from storage.runs import SqlRuns
from tests.storage.sql import samples
from tests.storage.sql.conftest import Backstage

FIELDS = {"Zeta": "last letter", "Alpha": "first letter", "Middle": "«between»", "": "no name"}


async def test_newest_progress_counts(database: Database, run: Run, backstage: Backstage) -> None:
    """The board shows the newest progress of each step, known total or not, and costs no flush to disk."""
    board = SqlProgressBoard(database)
    await board.write(run.id, "restore", Progress(done=1, total=10, unit="bytes"))
    newest = Progress(done=7.5, total=10, unit="bytes", words="table \x00 3 of 4")
    await board.write(run.id, "restore", newest)
    await board.write(run.id, "switch", Progress(done=1, total=None, unit="hosts"))
    read = await board.read(run.id)
    assert read["restore"].words == "table \N{REPLACEMENT CHARACTER} 3 of 4"
    assert (read["restore"].done, read["restore"].total, read["restore"].unit) == (7.5, 10, "bytes")
    assert read["switch"] == Progress(done=1, total=None, unit="hosts")
    assert await backstage("SELECT relpersistence::text FROM pg_class WHERE relname = 'progress'") == [("u",)]


async def test_a_delivery_is_first_once(database: Database, backstage: Backstage) -> None:
    """A delivery that comes twice, even at the same moment, is taken in once; those of last week are forgotten."""
    audit = SqlAudit(database)
    await backstage("INSERT INTO delivery (id, at) VALUES ('old', now() - interval '8 days')")
    answers = await asyncio.gather(*(audit.first_delivery("Ev1") for _ in range(8)))
    assert sorted(answers) == [False] * 7 + [True]
    assert await audit.first_delivery("Ev2")
    assert await backstage("SELECT id FROM delivery ORDER BY id") == [("Ev1",), ("Ev2",)]


async def test_the_audit_keeps_both_times(database: Database, backstage: Backstage) -> None:
    """An entry holds the writer's time and the database's, and its detail as it was given."""
    detail: dict[str, Any] = {"z": 1, "a": ["x\x00y"], "when": samples.NOW}
    await SqlAudit(database).write(
        AuditEntry(at=samples.NOW, who="U0ADA", what="rollback refused", why="no plan", detail=detail)
    )
    rows = await backstage("SELECT at, db_at > at, who, what, why, detail::text FROM audit")
    text = '{"z": 1, "a": ["x\\u0000y"], "when": "2024-01-15 15:47:03.120001+00:00"}'
    assert rows == [(samples.NOW, True, "U0ADA", "rollback refused", "no plan", text)]


async def test_documents_keep_their_order(database: Database) -> None:
    """Documents come back in the order in which they were first written, and None removes one."""
    store = SqlDocumentStore(database)
    for key in ("2", "1", "3"):
        await store.put("channel", key, {"text": key, "blocks": [{"b": 1, "a": None}]})
    await store.put("channel", "2", {"text": "edited"})
    await store.put("channel", "1", None)
    await store.put("other", "1", {})
    assert await store.load() == [
        ("channel", "2", {"text": "edited"}),
        ("channel", "3", {"text": "3", "blocks": [{"b": 1, "a": None}]}),
        ("other", "1", {}),
    ]


async def test_records_are_numbered_and_keep_their_fields_order(database: Database, run: Run) -> None:
    """Incidents and problems get numbers of their own, a change keeps its own; fields stay in their order."""
    register = SqlRegister(database)
    numbers = [
        await register.put(run.id, Record(kind, FIELDS), change=samples.CHANGE)
        for kind in (RecordKind.INCIDENT, RecordKind.PROBLEM, RecordKind.CHANGE)
    ]
    assert numbers == ["INC0000001", "PRB0000001", samples.CHANGE]
    kind, fields, links = await register.get("INC0000001")
    assert (kind, links) == (RecordKind.INCIDENT, ())
    assert list(fields.items()) == list(FIELDS.items())
    with pytest.raises(KeyError):
        await register.get("INC0000002")


async def test_writing_a_record_again_changes_no_number(database: Database, runs: SqlRuns, run: Run) -> None:
    """The same record written many times, at once too, stays one record, and the next one follows without a gap."""
    register = SqlRegister(database)
    written = await asyncio.gather(
        *(register.put(run.id, Record(RecordKind.PROBLEM, FIELDS), change=samples.CHANGE) for _ in range(6))
    )
    assert len(set(written)) == 1
    for kind in (RecordKind.INCIDENT, RecordKind.CHANGE):
        for text in ("open", "resolved"):
            number = await register.put(run.id, Record(kind, {"Status": text}), change=samples.CHANGE)
        assert (await register.get(number))[1] == {"Status": "resolved"}
    second = await runs.create(run.plan, run.inventory, samples.requested(), locks=())
    incident = await register.put(second.id, Record(RecordKind.INCIDENT, FIELDS), change=samples.CHANGE)
    assert incident == "INC0000002"
    again = await register.put(second.id, Record(RecordKind.CHANGE, {"Status": "failed"}), change=samples.CHANGE)
    assert again == samples.CHANGE
    assert (await register.get(again))[1] == {"Status": "failed"}


async def test_links_are_seen_from_both_sides(database: Database, run: Run) -> None:
    """A link is kept once, whatever is linked first, and each of the two records shows the other."""
    register = SqlRegister(database)
    await register.link(samples.CHANGE, "INC0000001", "causes")
    for kind in (RecordKind.INCIDENT, RecordKind.PROBLEM, RecordKind.CHANGE):
        await register.put(run.id, Record(kind, FIELDS), change=samples.CHANGE)
    await register.link(samples.CHANGE, "INC0000001", "causes")
    await register.link("PRB0000001", "INC0000001", "relates to")
    await register.link("INC0000001", "PRB0000001", "relates to")
    assert (await register.get(samples.CHANGE))[2] == (("causes", "INC0000001"),)
    assert (await register.get("INC0000001"))[2] == (
        ("relates to", "PRB0000001"),
        ("is caused by", samples.CHANGE),
    )
