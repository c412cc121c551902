"""The rollbacks and their journals.

Every write is one statement: it moves the rollback on only if it still stands where the writer read it and, for a
worker, only under the worker's lease, and adds the event in the same breath. Leases are judged by the database's
clock.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import psycopg
from pydantic import ValidationError
from sqlalchemy import RowMapping, TextClause
from sqlalchemy import exc as sa_exc

from bot.domain import run as folding
from bot.domain.clock import Clock
from bot.domain.errors import LeaseLostError, RollbackError, StoreUnavailableError
from bot.domain.events import AnyEvent
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan
from bot.domain.ports import ConflictError, Lease, TargetBusyError
from bot.domain.run import Run
from storage import journal, statements
from storage.changes import changes
from storage.database import Database
from storage.tables import LOCK_INDEX

_LOG = logging.getLogger(__name__)
_CREATE_ATTEMPTS = 5
_SNAPSHOTS = 64
"""Plans with their targets that are kept as they were read, some 30 kB each: those of the rollbacks that act. Many
more may wait for people, and cost nothing meanwhile."""

_UNREADABLE_PAUSE = timedelta(seconds=30)
"""How long a rollback that a program cannot read is left to others: programs of two releases may share a store."""


class RunUnreadableError(RollbackError):
    """A stored rollback cannot be read by this program."""


class SqlRuns:
    """Implements `bot.domain.ports.Runs` on PostgreSQL.

    Args:
        database: The store.
        plan_model: The plan's model with the steps of the registered actuators; plans are read back by it.
        clock: Paces reconnecting.
        lease: How long a lease lasts from each renewal.
    """

    def __init__(
        self,
        database: Database,
        *,
        plan_model: type[Plan],
        clock: Clock,
        lease: timedelta = timedelta(seconds=12),
    ) -> None:
        self._database = database
        self._plan_model = plan_model
        self._clock = clock
        self._lease = lease
        self._snapshots: dict[tuple[str, str, str], tuple[Plan, Inventory]] = {}

    async def create(self, plan: Plan, inventory: Inventory, event: AnyEvent, *, locks: Sequence[str]) -> Run:
        """Write a new rollback with its first event and lock its targets, all or nothing.

        Raises:
            TargetBusyError: If a live rollback holds one of `locks`; nothing was written.
            StoreUnavailableError: If the store cannot be reached.
        """
        event, body = journal.written(event)
        run = folding.apply(Run(id="", plan=plan, inventory=inventory), event)
        wanted = sorted(set(locks))
        for _ in range(_CREATE_ATTEMPTS):
            try:
                rows = await self._database.rows(
                    statements.CREATE,
                    change=plan.change,
                    service=plan.service,
                    zone=inventory.zone(),
                    state=run.state.value,
                    plan=plan.model_dump_json(),
                    plan_digest=plan.digest(),
                    inventory=inventory.model_dump_json(),
                    targets_digest=inventory.digest(),
                    requester=run.requester,
                    body=body,
                    locks=wanted,
                )
            except sa_exc.IntegrityError as error:
                if not _about_locks(error):
                    raise
                await self._refuse_if_busy(wanted)
            else:
                return dataclasses.replace(run, id=rows[0]["id"])
        raise StoreUnavailableError(f"The locks of {', '.join(wanted)} came and went {_CREATE_ATTEMPTS} times.")

    async def _refuse_if_busy(self, wanted: list[str]) -> None:
        holders = await self._database.rows(statements.HOLDERS, locks=wanted)
        if holders:
            holder = holders[0]["rollback_id"]
            targets = tuple(row["target"] for row in holders if row["rollback_id"] == holder)
            raise TargetBusyError(f"{holder} already holds {', '.join(targets)}.", holder=holder, targets=targets)

    async def load(self, rollback_id: str) -> Run:
        """Return a rollback.

        Raises:
            KeyError: If there is none of that id.
            RunUnreadableError: If its snapshots cannot be read by this program.
            StoreUnavailableError: If the store cannot be reached.
        """
        row = await self._database.row(statements.LOAD, id=rollback_id)
        if row is None:
            raise KeyError(rollback_id)
        return self._run(row)

    async def append(self, run: Run, event: AnyEvent, *, lease: Lease | None, wake: bool = False) -> Run:
        """Write one event, if the journal still ends where `run` ends, and for a worker under its lease only.

        The run that comes back is what every other reader sees. After a StoreUnavailableError nobody knows whether
        the event was written: read the run again.

        Raises:
            ValueError: If the lifecycle does not permit the event.
            LeaseLostError: If the lease lapsed or another worker took it; nothing was written.
            ConflictError: If other events came in between; nothing was written.
            KeyError: If there is no such rollback.
            StoreUnavailableError: If the store cannot be reached.
        """
        event, body = journal.written(event)
        after = folding.apply(run, event)
        fence = lease.fence if lease else None
        row = await self._database.row(
            statements.APPEND_FENCED if lease else statements.APPEND,
            id=run.id,
            seen=run.seq,
            state=after.state.value,
            state_seq=after.state_seq,
            wake=wake,
            fence=fence,
            body=body,
        )
        if row is None:
            await self._explain(run, lease)
        return after

    async def _explain(self, run: Run, lease: Lease | None) -> None:
        standing = await self._database.row(statements.STANDING, id=run.id, fence=lease.fence if lease else 0)
        if standing is None:
            raise KeyError(run.id)
        if lease and not standing["leased"]:
            raise LeaseLostError(f"{run.id}: lease {lease.fence} is no longer in force")
        raise ConflictError(f"{run.id}: the journal stands at {standing['seq']}, not at {run.seq}")

    async def acquire(self, rollback_id: str, owner: str) -> tuple[Lease, Run] | None:
        """Take the lease, bumping its fence; None while somebody holds a live one, or if the run has ended.

        Raises:
            RunUnreadableError: If this program cannot read it; the lease was given back.
            StoreUnavailableError: If the store cannot be reached.
        """
        row = await self._database.row(statements.ACQUIRE, id=rollback_id, owner=owner, lease=self._lease)
        if row is None:
            return None
        lease = Lease(rollback_id=rollback_id, fence=row["fence"], valid_for=self._lease)
        try:
            return lease, await self.load(rollback_id)
        except RunUnreadableError:
            # A newer program may be at work on it: it must not wait for our lease to lapse.
            later = self._clock.now() + _UNREADABLE_PAUSE
            await self.release(lease, seen=sys.maxsize, wake_at=later)
            raise

    async def renew(self, lease: Lease) -> int:
        """Prolong the lease and return the journal's newest number.

        Raises:
            LeaseLostError: If it lapsed or another worker took it.
            StoreUnavailableError: If the store cannot be reached.
        """
        row = await self._database.row(
            statements.RENEW, id=lease.rollback_id, fence=lease.fence, lease=lease.valid_for
        )
        if row is None:
            raise LeaseLostError(f"{lease.rollback_id}: lease {lease.fence} is no longer in force")
        return int(row["seq"])

    async def release(self, lease: Lease, *, seen: int, wake_at: datetime | None, zone: str | None = None) -> bool:
        """Give the lease back, unless the journal moved beyond `seen`; say whether it was given back.

        Raises:
            LeaseLostError: If another worker took it: there is nothing to give back.
            StoreUnavailableError: If the store cannot be reached.
        """
        values = {"id": lease.rollback_id, "fence": lease.fence}
        statement, place = (statements.RELEASE_TO, {"zone": zone}) if zone else (statements.RELEASE, {})
        if await self._database.row(statement, **values, **place, seen=seen, wake_at=wake_at) is not None:
            return True
        standing = await self._database.row(statements.STANDING, **values)
        if standing is None or not standing["leased"]:
            raise LeaseLostError(f"{lease.rollback_id}: lease {lease.fence} is no longer in force")
        return False

    async def due(self) -> tuple[tuple[str, str], ...]:
        """Return (id, zone) of the rollbacks that want a worker and have none, the oldest first.

        Raises:
            StoreUnavailableError: If the store cannot be reached.
        """
        return tuple((row["id"], row["zone"]) for row in await self._database.rows(statements.DUE))

    async def owners(self) -> tuple[str, ...]:
        """Return the owners of all leases in force."""
        return tuple(row["lease_owner"] for row in await self._database.rows(statements.OWNERS))

    async def bury(self, owners: Sequence[str]) -> None:
        """End the leases of owners that are known not to live any more; one that lives after all is fenced off."""
        await self._database.rows(statements.END_LEASES, owners=list(owners))

    async def active(self) -> tuple[Run, ...]:
        """Return every rollback that has not ended, the newest first."""
        return await self._readable(statements.ACTIVE)

    async def recent(self, limit: int) -> tuple[Run, ...]:
        """Return the newest rollbacks, whatever their state."""
        return await self._readable(statements.RECENT, limit=limit)

    async def latest_of(self, change: str) -> Run | None:
        """Return the newest rollback of a change."""
        row = await self._database.row(statements.LATEST_OF, change=change)
        return None if row is None else self._run(row)

    async def blocking(self, service: str) -> tuple[Run, ...]:
        """Return the rollbacks because of which deployments of a service are blocked, the newest first.

        Raises:
            RunUnreadableError: If one of them cannot be read by this program: left out, it would block nothing.
            StoreUnavailableError: If the store cannot be reached.
        """
        return tuple(self._run(row) for row in await self._database.rows(statements.BLOCKING, service=service))

    async def blocked(self) -> tuple[Run, ...]:
        """Return the rollbacks because of which deployments of any service are blocked, the newest first."""
        return await self._readable(statements.BLOCKED)

    def changed(self) -> AsyncIterator[str]:
        """Yield the id of each rollback whose journal or progress changed, on any machine.

        ``*`` comes first, once changes can be heard, and after each reconnection: look at everything then.
        """
        return changes(self._database, clock=self._clock)

    async def _readable(self, statement: TextClause, **values: object) -> tuple[Run, ...]:
        runs = []
        for row in await self._database.rows(statement, **values):
            try:
                runs.append(self._run(row))
            except RunUnreadableError as error:
                # One rollback of an actuator that is gone must not hide all the others.
                _LOG.error("%s", error)
        return tuple(runs)

    def _run(self, row: RowMapping) -> Run:
        try:
            plan, inventory = self._snapshot(row)
            history = journal.read(row["bodies"])
            return folding.fold(Run(id=row["id"], plan=plan, inventory=inventory), history)
        except (ValidationError, ValueError) as error:
            raise RunUnreadableError(
                f"{row['id']} cannot be read by this program: {error}",
                untouched="It was left as it is.",
                resolution="Start the version of the bot, with the actuators, that made it.",
            ) from error

    def _snapshot(self, row: RowMapping) -> tuple[Plan, Inventory]:
        """Return plan and inventory of a rollback. They never change, so they are read once and kept."""
        key = (row["id"], row["plan_digest"], row["targets_digest"])
        known = self._snapshots.pop(key, None)
        if known is None:
            plan = self._plan_model.model_validate_json(row["plan"])
            known = plan, Inventory.model_validate_json(row["inventory"])
        self._snapshots[key] = known
        if len(self._snapshots) > _SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        return known


def _about_locks(error: sa_exc.IntegrityError) -> bool:
    cause = error.orig
    return isinstance(cause, psycopg.errors.UniqueViolation) and cause.diag.constraint_name == LOCK_INDEX
