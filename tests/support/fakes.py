"""The world around the engine that tests can steer: time, targets, plans, jobs and the chat."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from bot.domain.actuation import (
    Check,
    Context,
    Fault,
    Loss,
    Observation,
    Outcome,
    Presence,
    Progress,
    Registered,
    Registry,
    Remedy,
    Verdict,
)
from bot.domain.announcements import CARD, Announcement, Place, Standard
from bot.domain.criteria import Reading
from bot.domain.errors import PlanUnavailableError
from bot.domain.plan import Plan, Step
from bot.domain.ports import MessageRef, PlanSummary
from bot.domain.run import Run
from bot.engine.wanted import COUNTDOWN
from tests.support import plans

T = TypeVar("T")


class CrashError(BaseException):
    """The worker was killed: whatever it does after this reaches nobody."""


async def turn() -> None:
    """Let every other task go on once."""
    await asyncio.sleep(0)  # noqa: TID251 - not a pause: the others get their turn


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Let work go on beside the block, and wait for its end."""
    async with asyncio.TaskGroup() as group:
        yield group.create_task(work)


async def until(condition: Callable[[], object]) -> None:
    """Let the others work until the condition holds, which must be soon."""
    async with asyncio.timeout(20):
        while not condition():
            await turn()


class ManualClock:
    """Time stands still until a test advances it; whoever sleeps wakes in order."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._numbers = itertools.count()
        self._sleepers: dict[int, tuple[float, float, asyncio.Future[None]]] = {}

    def now(self) -> datetime:
        """Return the time of the example's day: 15:47 and what has been advanced since."""
        return plans.at("15:47") + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return 1000.0 + self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Return when the test has advanced the time by that much."""
        number = next(self._numbers)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[number] = (self._elapsed + seconds, seconds, woken)
        try:
            await woken
        finally:
            del self._sleepers[number]

    def sleeping(self, seconds: float) -> int:
        """Return how many sleep that asked for this many seconds."""
        return sum(asked == seconds and not woken.done() for _, asked, woken in self._sleepers.values())

    def jump(self, seconds: float) -> None:
        """Let time pass while this process is frozen: nobody wakes before the next advance."""
        self._elapsed += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass; who wakes on the way has turns at that moment, but not for whole round trips."""
        end = self._elapsed + seconds
        while due := [entry for entry in self._sleepers.values() if entry[0] <= end and not entry[2].done()]:
            moment, _, woken = min(due, key=lambda entry: entry[0])
            self._elapsed = max(self._elapsed, moment)
            woken.set_result(None)
            for _ in range(20):
                await turn()
        self._elapsed = end
        await turn()


@dataclass
class Act:
    """One call of an actuator's `apply`, in the hands of a script."""

    estate: Estate
    step: Step
    context: Context

    def effect(self) -> None:
        """Bring the effect about; each time is counted."""
        self.estate.there.add(self.step.id)
        self.estate.effects[self.step.id] += 1


Script = Callable[[Act], Awaitable[Outcome]]


async def works(act: Act) -> Outcome:
    """Do what the step says."""
    act.effect()
    return Outcome(f"{act.step.id} done", facts={"error_rate": 0.002, "p95_seconds": 0.18})


@dataclass
class Estate:
    """Targets in memory, shared by all workers.

    Attributes:
        there: Steps whose effect is there.
        effects: How often each was brought about.
        scripts: What `apply` does for a step, one a call; the last one stays.
        looks: What `observe` does for a step.
        checks: What `check` finds for a step.
        remedies: What may help a step, or what is raised when that is asked.
        losses: What a step would destroy, or what is raised when that is measured.
        calls: Every call, e.g. ``apply stop``.
        stopped: Steps whose `apply` was cancelled.
        acting: Steps whose `apply` is under way.
    """

    there: set[str] = field(default_factory=set)
    effects: Counter[str] = field(default_factory=Counter)
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    looks: dict[str, Callable[[], Awaitable[Observation]]] = field(default_factory=dict)
    checks: dict[str, Callable[[], Awaitable[tuple[Check, ...]]]] = field(default_factory=dict)
    remedies: dict[str, tuple[Remedy, ...] | Exception] = field(default_factory=dict)
    losses: dict[str, Loss | Exception | None] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    acting: set[str] = field(default_factory=set)

    def script(self, step: str, *scripts: Script) -> None:
        """Say what `apply` does for a step, one a call; the last one stays."""
        self.scripts[step] = list(scripts)

    def count(self, call: str) -> int:
        """Return how often that call was made."""
        return self.calls.count(call)


class ScriptedActuator:
    """Does to the estate what the scripts say.

    Args:
        estate: The targets.
        passing: Asked before and after each effect, e.g. ``apply stop`` and ``applied stop``; may kill the worker.
    """

    def __init__(self, estate: Estate, passing: Callable[[str], None]) -> None:
        self._estate = estate
        self._passing = passing

    async def check(self, step: Step, context: Context) -> tuple[Check, ...]:
        """Find what the test says, by default that all is well."""
        self._estate.calls.append(f"check {step.id}")
        context.report(Progress(1, 1, "checks"))
        if step.id in self._estate.checks:
            return await self._estate.checks[step.id]()
        return (Check(f"Step {step.id}", Verdict.OK, "ready"),)

    async def observe(self, step: Step, context: Context) -> Observation:
        """Look at the estate."""
        del context
        self._passing(f"observe {step.id}")
        self._estate.calls.append(f"observe {step.id}")
        if step.id in self._estate.looks:
            return await self._estate.looks[step.id]()
        if step.id in self._estate.there:
            return Observation(Presence.PRESENT, f"{step.id} is there")
        return Observation(Presence.ABSENT, f"{step.id} is not there")

    async def apply(self, step: Step, context: Context) -> Outcome:
        """Follow the step's script."""
        self._passing(f"apply {step.id}")
        self._estate.calls.append(f"apply {step.id}")
        scripts = self._estate.scripts.get(step.id, [works])
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        self._estate.acting.add(step.id)
        try:
            await turn()
            outcome = await script(Act(self._estate, step, context))
        except asyncio.CancelledError:
            self._estate.stopped.append(step.id)
            raise
        finally:
            self._estate.acting.discard(step.id)
        self._passing(f"applied {step.id}")
        return outcome


class HelpfulActuator(ScriptedActuator):
    """Knows what may help, and what would be lost, as the test says."""

    async def remedies(self, step: Step, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what may help."""
        del context
        self._estate.calls.append(f"remedies {step.id}: {fault.brief}")
        found = self._estate.remedies.get(step.id, ())
        if isinstance(found, Exception):
            raise found
        return found

    async def loss(self, step: Step, context: Context) -> Loss | None:
        """Return what would be lost."""
        del context
        self._estate.calls.append(f"loss {step.id}")
        found = self._estate.losses.get(step.id)
        if isinstance(found, Exception):
            raise found
        return found


def registry(estate: Estate, passing: Callable[[str], None]) -> Registry:
    """Return every step of the example, carried out by scripts; some actuators know more."""
    plain, helpful = ScriptedActuator(estate, passing), HelpfulActuator(estate, passing)
    knowing = (plans.Drain, plans.Swap)
    return Registry(*(Registered(m, helpful if m in knowing else plain) for m in plans.CATALOGUE.values()))


@dataclass
class Shelf:
    """A source of plans that the test fills."""

    plans: dict[str, Plan | Exception] = field(default_factory=dict)

    async def find(self, change: str) -> Plan:
        """Return the plan of a change."""
        found = self.plans.get(change) or PlanUnavailableError(f"There is no rollback plan for {change}.")
        if isinstance(found, Exception):
            raise found
        return found

    async def list(self) -> tuple[PlanSummary, ...]:
        """Return the plans that can be used."""
        usable = [plan for plan in self.plans.values() if isinstance(plan, Plan)]
        return tuple(PlanSummary(p.change, p.title, p.service, p.deployed_at, valid=True) for p in usable)


@dataclass
class Gauge:
    """What the metrics say."""

    reading: Reading | Exception = plans.READING
    windows: list[timedelta] = field(default_factory=list)

    async def read(self, name: str, *, window: timedelta) -> Reading:
        """Return the reading, or fail as the test says."""
        assert name == "payments-metrics"
        self.windows.append(window)
        if isinstance(self.reading, Exception):
            raise self.reading
        return self.reading


@dataclass
class Jobs:
    """A carrier that keeps its jobs for the test to deliver."""

    queued: list[tuple[str, str]] = field(default_factory=list)
    failure: Exception | None = None

    async def defer(self, rollback_id: str, zone: str) -> None:
        """Queue a job."""
        if self.failure:
            raise self.failure
        self.queued.append((rollback_id, zone))


@dataclass
class Channel:
    """A strict chat that remembers what was posted.

    Attributes:
        posted: Announcements in the order of their posting, with their messages.
        cards: The card of each rollback.
        edits: Numbers of the journal that the card was edited to.
        plain: What was posted as plain text, by key.
        countdowns: What the countdown of each rollback showed, one after the other; it is not among `posted`.
        withdrawn: Messages that were taken back.
        told: Direct messages that belong to no rollback.
        finds: Keys that were looked for.
        trouble: Called at each ``post KEY``, ``posted KEY``, ``find KEY``, ``edit``, ``edit countdown``, ``tell``;
            may raise or wait.
    """

    posted: list[tuple[Announcement, MessageRef]] = field(default_factory=list)
    cards: dict[str, MessageRef] = field(default_factory=dict)
    edits: list[int] = field(default_factory=list)
    told: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)
    plain: dict[str, str] = field(default_factory=dict)
    countdowns: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    withdrawn: list[MessageRef] = field(default_factory=list)
    trouble: Callable[[str], Awaitable[None]] | None = None
    _counting: dict[str, MessageRef] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def keys(self) -> list[str]:
        """Return the keys of what was posted, in that order."""
        return [announcement.key for announcement, _ in self.posted]

    async def _pass(self, what: str) -> None:
        if self.trouble:
            await self.trouble(what)

    async def post(
        self,
        run: Run,
        announcement: Announcement,
        *,
        thread: MessageRef | None,
        progress: dict[str, Progress],
        plain: str = "",
    ) -> MessageRef:
        """Post; in the thread of the card what belongs there, and nothing else."""
        del progress
        await self._pass(f"post {announcement.key}")
        assert thread == (self.cards[run.id] if announcement.place is Place.THREAD else None)
        ref = MessageRef(announcement.user or "C0OPS", f"{1705333620 + next(self._numbers)}.000100")
        if plain:
            self.plain[announcement.key] = plain
        if announcement.key == COUNTDOWN:
            self.countdowns[run.id] = [_lines(announcement)]
            self._counting[run.id] = ref
        else:
            self.posted.append((announcement, ref))
        if announcement == CARD:
            self.cards[run.id] = ref
        await self._pass(f"posted {announcement.key}")
        return ref

    async def edit(
        self, run: Run, announcement: Announcement, ref: MessageRef, *, progress: dict[str, Progress]
    ) -> None:
        """Edit the card or the countdown."""
        del progress
        if announcement.key == COUNTDOWN:
            await self._pass("edit countdown")
            assert ref == self._counting[run.id]
            self.countdowns[run.id].append(_lines(announcement))
            return
        await self._pass("edit")
        assert (announcement, ref) == (CARD, self.cards[run.id])
        self.edits.append(run.seq)

    async def find(self, run: Run, announcement: Announcement, *, thread: MessageRef | None) -> MessageRef | None:
        """Look among what was posted."""
        del thread
        self.finds.append(announcement.key)
        await self._pass(f"find {announcement.key}")
        if announcement.key == COUNTDOWN:
            return self._counting.get(run.id)
        return next((ref for posted, ref in self.posted if posted.key == announcement.key), None)

    async def withdraw(self, ref: MessageRef) -> None:
        """Take a message back."""
        await self._pass("withdraw")
        self.withdrawn.append(ref)
        self.posted = [(announcement, known) for announcement, known in self.posted if known != ref]

    async def tell(self, users: Sequence[str], text: str) -> None:
        """Send a direct message."""
        await self._pass("tell")
        self.told.append((tuple(users), text))


def _lines(announcement: Announcement) -> tuple[str, ...]:
    assert isinstance(announcement.content, Standard)
    return announcement.content.lines
