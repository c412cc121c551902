"""The world as the engine sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from bot.domain.actuation import Progress
from bot.domain.announcements import Announcement
from bot.domain.clock import Clock
from bot.domain.criteria import Reading
from bot.domain.errors import RefusedError
from bot.domain.events import AnyEvent
from bot.domain.inventory import Inventory
from bot.domain.pace import Pace
from bot.domain.plan import Plan
from bot.domain.records import Record, RecordKind
from bot.domain.run import Run
from bot.domain.speech import ChatRefusedError, Claim, Entry, Floor, Ledger, MessageRef, Miss, Turn

__all__ = [
    "Audit",
    "Carrier",
    "Chat",
    "ChatBusyError",
    "ChatRefusedError",
    "Claim",
    "Clock",
    "ConflictError",
    "DocumentStore",
    "Entry",
    "Floor",
    "History",
    "Lease",
    "Ledger",
    "MessageRef",
    "Metrics",
    "Miss",
    "PlanSource",
    "PlanSummary",
    "ProgressBoard",
    "Records",
    "Runs",
    "TargetBusyError",
    "Teller",
    "Turn",
]


class TargetBusyError(RefusedError):
    """Another rollback holds one of the targets.

    Args:
        brief: What happened.
        holder: Id of the rollback that holds it.
        targets: The targets that both want.
    """

    def __init__(self, brief: str, *, holder: str, targets: tuple[str, ...]) -> None:
        super().__init__(
            brief,
            untouched="Nothing was started.",
            resolution=f"Wait until {holder} has ended, or see `/rollback status`.",
        )
        self.holder = holder
        self.targets = targets


class ConflictError(Exception):
    """The journal has moved on since the run was read: read it again and decide anew."""


class ChatBusyError(Exception):
    """The chat asks us to write less often; nothing was written.

    An edit that was dropped is made up for by a later one, which shows the same and more.

    Args:
        retry_after: Seconds to wait before the next call.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the chat takes no edit for {retry_after:g} s")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Lease:
    """The right to advance a rollback.

    Attributes:
        rollback_id: Which.
        fence: Number of the lease; every write carries it, and a newer lease makes it void.
        valid_for: How long it lasts from each renewal, by the database's clock.
    """

    rollback_id: str
    fence: int
    valid_for: timedelta


@dataclass(frozen=True)
class PlanSummary:
    """A plan in a list.

    Attributes:
        change: The change it reverts.
        title: In words.
        service: The service.
        deployed_at: When the change went live.
        valid: Whether the plan can be used.
        file: Where it stands.
        problems: What is wrong with it, one line each.
    """

    change: str
    title: str
    service: str
    deployed_at: datetime | None
    valid: bool
    file: str = ""
    problems: tuple[str, ...] = ()


class PlanSource(Protocol):
    """Where rollback plans come from."""

    async def find(self, change: str) -> Plan:
        """Return the plan of a change.

        Raises:
            PlanUnavailableError: If there is none.
            PlanInvalidError: If it does not say what a plan must say.
        """
        ...

    async def list(self) -> tuple[PlanSummary, ...]:
        """Return all plans, the newest deployment first."""
        ...


class Runs(Protocol):
    """The rollbacks and their journals. Every method may raise StoreUnavailableError."""

    async def create(self, plan: Plan, inventory: Inventory, event: AnyEvent, *, locks: Sequence[str]) -> Run:
        """Write a new rollback with its first event and lock its targets.

        Raises:
            TargetBusyError: If a live rollback holds one of `locks`; nothing was written.
        """
        ...

    async def load(self, rollback_id: str) -> Run:
        """Return a rollback.

        Raises:
            KeyError: If there is none of that id.
        """
        ...

    async def append(self, run: Run, event: AnyEvent, *, lease: Lease | None, wake: bool = False) -> Run:
        """Write one event, if the journal still ends where `run` ends.

        Args:
            run: The rollback as it was read.
            event: What became true.
            lease: The writer's lease; None for a person's decision.
            wake: Whether a worker must look at the run now.

        Returns:
            The run with the event.

        Raises:
            LeaseLostError: If the lease lapsed or another worker took it; nothing was written.
            ConflictError: If other events came in between; nothing was written.
        """
        ...

    async def acquire(self, rollback_id: str, owner: str) -> tuple[Lease, Run] | None:
        """Take the lease, bumping its fence; None while another worker holds it, or if the run has ended."""
        ...

    async def renew(self, lease: Lease) -> int:
        """Prolong the lease and return the journal's newest number.

        Raises:
            LeaseLostError: If it lapsed or another worker took it.
        """
        ...

    async def release(self, lease: Lease, *, seen: int, wake_at: datetime | None, zone: str | None = None) -> bool:
        """Give the lease back, unless the journal moved beyond `seen`; say whether it was given back.

        Args:
            lease: The lease.
            seen: The newest number that its holder has acted upon.
            wake_at: When a worker must look again; None: when somebody acts.
            zone: The network zone whose worker is to go on; None: as it was.
        """
        ...

    async def due(self) -> tuple[tuple[str, str], ...]:
        """Return (id, zone) of the rollbacks that want a worker and have none."""
        ...

    async def owners(self) -> tuple[str, ...]:
        """Return the owners of all leases in force."""
        ...

    async def bury(self, owners: Sequence[str]) -> None:
        """End the leases of owners that are known not to live any more, so that nobody waits for them to lapse."""
        ...

    async def active(self) -> tuple[Run, ...]:
        """Return every rollback that has not ended, the newest first."""
        ...

    async def recent(self, limit: int) -> tuple[Run, ...]:
        """Return the newest rollbacks, whatever their state."""
        ...

    async def latest_of(self, change: str) -> Run | None:
        """Return the newest rollback of a change."""
        ...

    async def blocking(self, service: str) -> tuple[Run, ...]:
        """Return the rollbacks because of which deployments of a service are blocked, the newest first."""
        ...

    async def blocked(self) -> tuple[Run, ...]:
        """Return the rollbacks because of which deployments of any service are blocked, the newest first."""
        ...

    def changed(self) -> AsyncIterator[str]:
        """Yield the id of each rollback whose journal or progress changed, on any machine."""
        ...


class ProgressBoard(Protocol):
    """How far running steps have come; may be lost, is never decided upon."""

    async def write(self, rollback_id: str, step: str, progress: Progress) -> None:
        """Write the newest progress of a step."""
        ...

    async def read(self, rollback_id: str) -> dict[str, Progress]:
        """Return the newest progress by step."""
        ...


class Carrier(Protocol):
    """Carries «advance rollback R» to some worker of a zone. More than once is harmless; never is not."""

    async def defer(self, rollback_id: str, zone: str) -> None:
        """Ask for a worker."""
        ...


class Metrics(Protocol):
    """What the services' metrics say."""

    async def read(self, name: str, *, window: timedelta) -> Reading:
        """Return the reading of an inventory target over the window up to now. Unknown values are None."""
        ...


class Teller(Protocol):
    """Who reaches people directly."""

    async def tell(self, users: Sequence[str], text: str) -> None:
        """Send a direct message that belongs to no rollback."""
        ...


class Chat(Teller, Protocol):
    """The chat, as far as the engine speaks to it."""

    async def post(
        self,
        run: Run,
        announcement: Announcement,
        *,
        thread: MessageRef | None,
        progress: dict[str, Progress],
        plain: str = "",
    ) -> MessageRef:
        """Post a message, marked with the rollback's id and the announcement's key.

        Args:
            run: The rollback.
            announcement: The message.
            thread: The message in whose thread it belongs, if any.
            progress: The newest progress by step.
            plain: Words that are posted in its place, as text alone: the chat did not take it as it should be.

        Raises:
            ChatBusyError: If the chat asks us to write less often; nothing was posted.
            ChatRefusedError: If the chat does not take this message; nothing was posted.
            Exception: Anything else; nobody knows whether it was posted.
        """
        ...

    async def edit(
        self, run: Run, announcement: Announcement, ref: MessageRef, *, progress: dict[str, Progress]
    ) -> None:
        """Bring a posted message up to date.

        Raises:
            ChatBusyError: If the chat asks us to write less often; nothing was changed.
            RollbackError: If the message is gone, or the chat does not take it as it is now.
        """
        ...

    async def find(self, run: Run, announcement: Announcement, *, thread: MessageRef | None) -> MessageRef | None:
        """Look for a message that may have been posted by somebody who died before noting it.

        Raises:
            ChatBusyError: If the chat asks us to look less often.
            ChatRefusedError: If the chat knows no such person or place.
        """
        ...

    async def withdraw(self, ref: MessageRef) -> None:
        """Take back a message of ours; harmless if it is not there any more."""
        ...


@dataclass(frozen=True)
class AuditEntry:
    """A fact for the auditor that belongs to no rollback's journal, or to one that was refused."""

    at: datetime
    who: str
    what: str
    why: str
    detail: dict[str, Any] = field(default_factory=dict)


class Audit(Protocol):
    """The audit: append only."""

    async def write(self, entry: AuditEntry) -> None:
        """Add an entry."""
        ...

    async def first_delivery(self, delivery_id: str) -> bool:
        """Note a delivery of the chat; False if it was noted before."""
        ...


class Records(Protocol):
    """Where incidents, problems and changes are kept. Writing the same again is harmless."""

    async def put(self, rollback_id: str, record: Record, *, change: str) -> str:
        """Create or bring up to date the rollback's record of that kind, and return its number."""
        ...

    async def link(self, source: str, target: str, relation: str) -> None:
        """Link two records, e.g. the change ``causes`` the incident."""
        ...

    async def get(self, number: str) -> tuple[RecordKind, dict[str, str], tuple[tuple[str, str], ...]]:
        """Return kind, fields and links (relation, number) of a record.

        Raises:
            KeyError: If there is none.
        """
        ...


class History(Protocol):
    """How long steps took in earlier rollbacks."""

    async def paces(self, plan: Plan) -> Mapping[str, Pace]:
        """Return what earlier rollbacks of the plan's service say of its steps, by id.

        A step is the same if id, kind and target are. One that never ended well has no entry.
        """
        ...


class DocumentStore(Protocol):
    """JSON documents by bucket and key; the console keeps its channel in one."""

    async def load(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return every document as (bucket, key, document)."""
        ...

    async def put(self, bucket: str, key: str, document: dict[str, Any] | None) -> None:
        """Write a document; None removes it."""
        ...
