"""The engine with a real store and a world that tests can steer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import text

from bot.domain.authority import Policy
from bot.domain.errors import StoreUnavailableError
from bot.domain.events import AnyEvent, Choice
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.ports import Lease
from bot.domain.records import Record, RecordKind
from bot.domain.run import Run
from bot.engine.announcer import Announcer
from bot.engine.books import Books
from bot.engine.executor import Executor, World
from bot.engine.journal import Hold
from bot.engine.recovery import Sweep
from bot.engine.service import Actor, Service
from bot.engine.settings import EngineSettings
from storage.audit import SqlAudit
from storage.database import Database
from storage.messages import SqlLedger
from storage.progress import SqlProgressBoard
from storage.register import SqlRegister
from storage.runs import SqlRuns
from tests.support import plans
from tests.support.fakes import Channel, CrashError, Estate, Gauge, Jobs, ManualClock, Shelf, registry

T = TypeVar("T")


@dataclass(frozen=True)
class Passing:
    """A call to the store on its way.

    Attributes:
        call: The method of `bot.domain.ports.Runs`.
        back: Whether it has taken effect and its answer is on the way back.
        event: The event that is appended, if any.
    """

    call: str
    back: bool
    event: AnyEvent | None = None

    @property
    def kind(self) -> str:
        """The kind of event that is appended, if any."""
        return self.event.kind if self.event else ""

    @property
    def label(self) -> str:
        """What passes, e.g. ``append step_started stop``, with ``: done`` on the way back."""
        words = f"{self.call} {self.kind} {getattr(self.event, 'step', '')}"
        return " ".join(words.split()) + (": done" if self.back else "")


Trouble = Callable[[Passing], Awaitable[None]]


async def no_trouble(_passing: Passing) -> None:
    """Let every call pass."""


@dataclass
class Process:
    """Lives until it is killed."""

    dead: bool = False

    def die(self) -> None:
        """Be killed: nothing that this process does from now on reaches anybody."""
        self.dead = True
        raise CrashError

    def breathe(self) -> None:
        """Make sure that the process lives."""
        if self.dead:
            raise CrashError


@dataclass
class Wire:
    """The real store behind a connection that can be cut, frozen or die with its process."""

    runs: SqlRuns
    process: Process = field(default_factory=Process)
    trouble: Trouble = no_trouble
    calls: list[str] = field(default_factory=list)

    async def _carry(self, call: str, work: Callable[[], Awaitable[T]], event: AnyEvent | None = None) -> T:
        self.process.breathe()
        there, back = Passing(call, back=False, event=event), Passing(call, back=True, event=event)
        self.calls.append(there.label)
        await self.trouble(there)
        self.process.breathe()
        answer = await work()
        self.process.breathe()
        await self.trouble(back)
        self.process.breathe()
        return answer

    async def create(self, plan: Plan, inventory: Inventory, event: AnyEvent, *, locks: Sequence[str]) -> Run:
        """See the port."""
        return await self._carry("create", lambda: self.runs.create(plan, inventory, event, locks=locks))

    async def load(self, rollback_id: str) -> Run:
        """See the port."""
        return await self._carry("load", lambda: self.runs.load(rollback_id))

    async def append(self, run: Run, event: AnyEvent, *, lease: Lease | None, wake: bool = False) -> Run:
        """See the port."""
        return await self._carry("append", lambda: self.runs.append(run, event, lease=lease, wake=wake), event)

    async def acquire(self, rollback_id: str, owner: str) -> tuple[Lease, Run] | None:
        """See the port."""
        return await self._carry("acquire", lambda: self.runs.acquire(rollback_id, owner))

    async def renew(self, lease: Lease) -> int:
        """See the port."""
        return await self._carry("renew", lambda: self.runs.renew(lease))

    async def release(self, lease: Lease, *, seen: int, wake_at: datetime | None) -> bool:
        """See the port."""
        return await self._carry("release", lambda: self.runs.release(lease, seen=seen, wake_at=wake_at))

    async def due(self) -> tuple[tuple[str, str], ...]:
        """See the port."""
        return await self._carry("due", self.runs.due)

    async def owners(self) -> tuple[str, ...]:
        """See the port."""
        return await self._carry("owners", self.runs.owners)

    async def bury(self, owners: Sequence[str]) -> None:
        """See the port."""
        await self._carry("bury", lambda: self.runs.bury(owners))

    async def active(self) -> tuple[Run, ...]:
        """See the port."""
        return await self._carry("active", self.runs.active)

    async def recent(self, limit: int) -> tuple[Run, ...]:
        """See the port."""
        return await self._carry("recent", lambda: self.runs.recent(limit))

    async def latest_of(self, change: str) -> Run | None:
        """See the port."""
        return await self._carry("latest_of", lambda: self.runs.latest_of(change))

    def changed(self) -> AsyncIterator[str]:
        """See the port."""
        return self.runs.changed()


@dataclass
class Register:
    """The real register, which can fail."""

    register: SqlRegister
    trouble: Callable[[str], Awaitable[None]] | None = None
    calls: list[str] = field(default_factory=list)

    async def _pass(self, call: str) -> None:
        self.calls.append(call)
        if self.trouble:
            await self.trouble(call)

    async def put(self, rollback_id: str, record: Record, *, change: str) -> str:
        """See the port."""
        await self._pass(f"put {record.kind.value}")
        return await self.register.put(rollback_id, record, change=change)

    async def link(self, source: str, target: str, relation: str) -> None:
        """See the port."""
        await self._pass("link")
        await self.register.link(source, target, relation)

    async def get(self, number: str) -> tuple[RecordKind, dict[str, str], tuple[tuple[str, str], ...]]:
        """See the port."""
        return await self.register.get(number)


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

    def settings(self, owner: str = "worker-1", **changes: timedelta) -> EngineSettings:
        """Return the engine's settings."""
        return EngineSettings(owner=owner, **changes)  # type: ignore[arg-type] # intervals only

    def worker(self, name: str = "worker-1", *, passing: Callable[[str], None] | None = None, **changes: Any) -> Worker:
        """Start a worker.

        Args:
            name: Its name for leases.
            passing: Asked at each call of an actuator; may kill the worker.
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
            clock=self.clock,
            settings=self.settings(name, **changes),
        )
        return Worker(wire, Executor(world), world)

    def announcer(self, wire: Wire | None = None, **changes: timedelta) -> Announcer:
        """Start an announcer."""
        return Announcer(
            runs=wire or Wire(self.runs),
            chat=self.chat,
            ledger=self.ledger,
            board=self.board,
            policy=self.policy,
            clock=self.clock,
            settings=self.settings(**changes),
        )

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
        """Let the on-call engineer decide about a held step."""
        run = await self.runs.load(run.id)
        return await self.service().decide(
            run.id, Actor(plans.ON_CALL), version=run.state_seq, step=step, choice=choice, reason="I looked"
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


def outage(*calls: str) -> Trouble:
    """Return the trouble of a store that cannot be reached, for all calls or just these."""

    async def cut(passing: Passing) -> None:
        if not passing.back and (not calls or passing.call in calls):
            raise StoreUnavailableError("the store is away")

    return cut


def lost_answer(kind: str, *, times: int = 1) -> Trouble:
    """Return the trouble of a connection that breaks after an event of that kind was committed."""
    left = [times]

    async def cut(passing: Passing) -> None:
        if passing.back and passing.kind == kind and left[0]:
            left[0] -= 1
            raise StoreUnavailableError("the answer was lost")

    return cut


def kinds(run: Run) -> list[str]:
    """Return the kinds of a journal's events."""
    return [event.kind for event in run.history]
