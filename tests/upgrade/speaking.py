"""A process of the release that is still at work while machines are upgraded one after the other."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, text

from bot.domain import run as folding
from bot.domain.events import AnyEvent
from bot.domain.run import Run
from storage.database import Database
from tests.upgrade.release import RELEASED

LEASE = "12 seconds"
"""How long a lease lasts."""


class Released:
    """A process of the release that is still at work: it speaks the release's own statements.

    Args:
        database: The store that today's program has brought up to date.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, name: str, **values: Any) -> list[RowMapping]:
        """Speak one of the release's statements."""
        return await self._database.rows(text(RELEASED.statements[name]), **values)

    async def create(self, run: Run, event: AnyEvent, *, locks: list[str]) -> Run:
        """Write a new rollback with its first event."""
        rows = await self(
            "statements.CREATE",
            change=run.plan.change,
            service=run.plan.service,
            zone=run.inventory.zone(),
            state="requested",
            plan=run.plan.model_dump_json(),
            plan_digest=run.plan.digest(),
            inventory=run.inventory.model_dump_json(),
            targets_digest=run.inventory.digest(),
            requester=event.who,
            body=event.model_dump_json(),
            locks=locks,
        )
        return folding.apply(Run(id=rows[0]["id"], plan=run.plan, inventory=run.inventory), event)

    async def append(self, run: Run, event: AnyEvent, *, fence: int | None) -> Run | None:
        """Write an event; None if that was refused."""
        after = folding.apply(run, event)
        rows = await self(
            "statements.APPEND" if fence is None else "statements.APPEND_FENCED",
            id=run.id,
            seen=run.seq,
            state=after.state.value,
            state_seq=after.state_seq,
            wake=fence is None,
            fence=fence,
            body=event.model_dump_json(),
        )
        return after if rows else None

    async def acquire(self, run: Run, owner: str) -> int | None:
        """Take the lease and return its fence; None if somebody has it."""
        rows = await self("statements.ACQUIRE", id=run.id, owner=owner, lease=LEASE)
        return rows[0]["fence"] if rows else None
