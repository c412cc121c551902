"""The real store behind a connection that can be cut, frozen or die with its process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from bot.domain.errors import StoreUnavailableError
from bot.domain.events import AnyEvent
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan
from bot.domain.ports import Lease
from bot.domain.records import Record, RecordKind
from bot.domain.run import Run
from storage.register import SqlRegister
from storage.runs import SqlRuns
from tests.support.fakes import CrashError

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

    async def release(self, lease: Lease, *, seen: int, wake_at: datetime | None, zone: str | None = None) -> bool:
        """See the port."""
        given = self.runs.release
        return await self._carry("release", lambda: given(lease, seen=seen, wake_at=wake_at, zone=zone))

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

    async def blocking(self, service: str) -> tuple[Run, ...]:
        """See the port."""
        return await self._carry("blocking", lambda: self.runs.blocking(service))

    async def blocked(self) -> tuple[Run, ...]:
        """See the port."""
        return await self._carry("blocked", self.runs.blocked)

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
