"""The engine with a real store and a world that tests can steer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from bot.domain import ports
from bot.domain.authority import Policy
from bot.domain.events import Choice
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run
from bot.engine.announcer import Means
from bot.engine.books import Books
from bot.engine.executor import Executor, World
from bot.engine.journal import Hold
from bot.engine.recovery import Sweep
from bot.engine.service import Actor, Service
from bot.engine.settings import EngineSettings
from storage.audit import SqlAudit
from storage.database import Database
from storage.history import SqlHistory
from storage.messages import SqlLedger
from storage.progress import SqlProgressBoard
from storage.register import SqlRegister
from storage.runs import SqlRuns
from storage.speaker import SqlFloor
from tests.support import plans
from tests.support.fakes import Channel, Estate, Gauge, Jobs, ManualClock, Shelf, registry
from tests.support.voices import Voice
from tests.support.wires import Register, Wire


@dataclass
class Worker:
    """One process that advances rollbacks."""

    wire: Wire
    executor: Executor
    world: World

    async def advance(self, run: Run) -> None:
        """Advance a rollback as far as it goes."""
        await self.executor.advance(run.id)


class Lab:
    """A store, an estate, people, and as many workers as wanted.

    Args:
        database: The store, empty.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = ManualClock()
        self.runs = SqlRuns(database, plan_model=plans.MODEL, clock=self.clock)
        self.audit = SqlAudit(database)
        self.ledger = SqlLedger(database)
        # Tests let an hour pass at once; nobody could keep the floor meanwhile.
        self.floor = SqlFloor(database, lease=timedelta(days=1))
        self.board = SqlProgressBoard(database)
        self.register = Register(SqlRegister(database))
        self.estate = Estate()
        self.shelf = Shelf({plans.CHANGE: plans.plan()})
        self.gauge = Gauge()
        self.jobs = Jobs()
        self.chat = Channel()
        self.policy: Policy = plans.policy()
        self.inventory: Inventory = plans.inventory()

    async def sql(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Go around the store's own code."""
        return [tuple(row.values()) for row in await self.database.rows(text(statement), **values)]

    async def audited(self) -> list[tuple[Any, ...]]:
        """Return who, what and which rollback of each entry of the audit."""
        return await self.sql("SELECT who, what, detail ->> 'rollback' FROM audit ORDER BY number")

    async def lapse(self, run: Run) -> None:
        """Let the lease run out as if its time had passed."""
        await self.sql(
            "UPDATE rollback SET lease_until = clock_timestamp() - interval '1 ms' WHERE id = :id", id=run.id
        )

    async def lease(self, run: Run) -> tuple[Any, ...]:
        """Return owner of the lease and the time to look again."""
        return (await self.sql("SELECT lease_owner, wake_at FROM rollback WHERE id = :id", id=run.id))[0]

    def settings(self, owner: str = "worker-1", **changes: Any) -> EngineSettings:
        """Return the engine's settings."""
        return EngineSettings(owner=owner, **changes)

    def worker(
        self,
        name: str = "worker-1",
        *,
        passing: Callable[[str], None] | None = None,
        stop: asyncio.Event | None = None,
        **changes: Any,
    ) -> Worker:
        """Start a worker.

        Args:
            name: Its name for leases.
            passing: Asked at each call of an actuator; may kill the worker.
            stop: Once it is set, the worker leaves when its steps have ended.
            changes: Settings.
        """
        wire = Wire(self.runs)

        def pass_by(call: str) -> None:
            wire.process.breathe()
            if passing:
                passing(call)

        world = World(
            runs=wire,
            plans=self.shelf,
            inventory=self.inventory,
            registry=registry(self.estate, pass_by),
            metrics=self.gauge,
            policy=self.policy,
            books=Books(self.register),
            board=self.board,
            history=SqlHistory(self.database),
            carrier=self.jobs,
            clock=self.clock,
            settings=self.settings(name, **changes),
        )
        return Worker(wire, Executor(world, stop=stop), world)

    def announcer(
        self, wire: Wire | None = None, *, chat: ports.Chat | None = None, owner: str = "worker-1", **changes: Any
    ) -> Voice:
        """Start an announcer.

        Args:
            wire: Its connection to the rollbacks.
            chat: Its way to the chat.
            owner: Its name.
            changes: Settings.
        """
        means = Means(
            runs=wire or Wire(self.runs),
            chat=chat or self.chat,
            ledger=self.ledger,
            board=self.board,
            history=SqlHistory(self.database),
            policy=self.policy,
            clock=self.clock,
            settings=self.settings(owner, **changes),
        )
        return Voice(means, floor=self.floor)

    def sweep(self, dead: Sequence[str] = (), *, wire: Wire | None = None) -> Sweep:
        """Start a sweep that knows these owners to be dead."""
        return Sweep(
            runs=wire or Wire(self.runs),
            carrier=self.jobs,
            dead=lambda owners: [owner for owner in owners if owner in dead],
            clock=self.clock,
            settings=self.settings(),
        )

    def service(self, wire: Wire | None = None) -> Service:
        """Return the use cases."""
        return Service(
            runs=wire or Wire(self.runs),
            plans=self.shelf,
            inventory=self.inventory,
            policy=self.policy,
            carrier=self.jobs,
            audit=self.audit,
            chat=self.chat,
            clock=self.clock,
        )

    async def hold(self, run: Run, wire: Wire | None = None) -> Hold:
        """Take the lease of a rollback as a worker does."""
        runs = wire or Wire(self.runs)
        asked_at = self.clock.monotonic()
        taken = await runs.acquire(run.id, "worker-1")
        assert taken is not None
        return Hold(runs, *taken, asked_at=asked_at, clock=self.clock, settings=self.settings())

    async def requested(self, plan: Plan | None = None) -> Run:
        """Return a rollback that the on-call engineer has just asked for."""
        chosen = plan or plans.plan()
        self.shelf.plans[chosen.change] = chosen
        return await self.service().request(chosen.change, Actor(plans.ON_CALL), reason="Card payments fail")

    async def asked(self, plan: Plan | None = None) -> Run:
        """Return a rollback that waits for authority."""
        run = await self.requested(plan)
        await self.worker("checker").advance(run)
        run = await self.runs.load(run.id)
        assert run.state is State.AWAITING_AUTHORITY, run.history[-1]
        return run

    async def approved(self, plan: Plan | None = None) -> Run:
        """Return a rollback that the change manager has authorised."""
        return await self.approve(await self.asked(plan))

    async def approve(self, run: Run) -> Run:
        """Let the change manager authorise."""
        return await self.service().approve(run.id, Actor(plans.MANAGER), version=run.state_seq)

    async def decide(self, run: Run, step: str, choice: Choice) -> Run:
        """Let somebody decide about a held step: the change manager, where the effect is not to be seen."""
        run = await self.runs.load(run.id)
        who = plans.MANAGER if choice in (Choice.MARK_DONE, Choice.SKIP) else plans.ON_CALL
        return await self.service().decide(
            run.id, Actor(who), version=run.state_seq, step=step, choice=choice, reason="I looked"
        )

    async def after(self, run: Run, worker: Worker | None = None) -> Run:
        """Advance a rollback and return it as the journal then has it."""
        await (worker or self.worker()).advance(run)
        return await self.runs.load(run.id)


@asynccontextmanager
async def laboratory(url: str) -> AsyncIterator[Lab]:
    """Open a laboratory on an empty store."""
    database = Database(url)
    try:
        yield Lab(database)
    finally:
        await database.close()


def kinds(run: Run) -> list[str]:
    """Return the kinds of a journal's events."""
    return [event.kind for event in run.history]
