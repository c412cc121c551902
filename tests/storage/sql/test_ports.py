from __future__ import annotations

import procrastinate

from bot.domain import ports
from storage.audit import SqlAudit
from storage.carrier import ProcrastinateCarrier, make_app
from storage.database import Database
from storage.documents import SqlDocumentStore
from storage.messages import SqlLedger
from storage.progress import SqlProgressBoard
from storage.register import SqlRegister
from storage.runs import SqlRuns
from storage.speaker import SqlFloor
from tests.storage.sql import samples


async def test_the_store_is_what_the_engine_expects(database: Database, store_url: str) -> None:
    """Each part of the store has the shape of its port; the type checker holds the signatures."""
    app: procrastinate.App = make_app(store_url, clock=samples.SystemClock())
    runs: ports.Runs = SqlRuns(database, plan_model=samples.MODEL, clock=samples.SystemClock())
    board: ports.ProgressBoard = SqlProgressBoard(database)
    ledger: ports.Ledger = SqlLedger(database)
    floor: ports.Floor = SqlFloor(database)
    audit: ports.Audit = SqlAudit(database)
    records: ports.Records = SqlRegister(database)
    documents: ports.DocumentStore = SqlDocumentStore(database)
    carrier: ports.Carrier = ProcrastinateCarrier(app)
    assert await runs.active() == ()
    assert await board.read("rb-0001") == {}
    assert await ledger.all("rb-0001") == {}
    assert await floor.take("bot-1") is not None
    assert await audit.first_delivery("Ev1")
    assert await documents.load() == []
    assert callable(records.put)
    assert callable(carrier.defer)
