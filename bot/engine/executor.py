"""Advancing a rollback: take the lease, ask the domain what is next, do it, until somebody else must act."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from bot.domain import events, execution, ports, records
from bot.domain.actuation import Registry, Verdict
from bot.domain.announcements import ask_of
from bot.domain.authority import Policy, approving_roles
from bot.domain.errors import LeaseLostError, RollbackError, StoreUnavailableError
from bot.domain.inventory import Inventory
from bot.engine.books import Books
from bot.engine.checks import Checks
from bot.engine.drift import difference
from bot.engine.journal import Hold
from bot.engine.settings import EngineSettings
from bot.engine.steps import StepRunner

_log = logging.getLogger(__name__)
_RECORDS_RETRY = timedelta(seconds=5)


@dataclass(frozen=True)
class World:
    """What the engine works with.

    Attributes:
        runs: The rollbacks.
        plans: Where plans come from.
        inventory: All targets as they stand now.
        registry: The actuators.
        metrics: What the services' metrics say.
        policy: Who may do what.
        books: Incident, problem, change closure.
        board: Takes the progress.
        clock: The time.
        settings: Intervals.
    """

    runs: ports.Runs
    plans: ports.PlanSource
    inventory: Inventory
    registry: Registry
    metrics: ports.Metrics
    policy: Policy
    books: Books
    board: ports.ProgressBoard
    clock: ports.Clock
    settings: EngineSettings


class Executor:
    """Advances rollbacks; any number of them at once, each by one worker at a time.

    Args:
        world: What it works with.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def advance(self, rollback_id: str) -> None:
        """Advance a rollback as far as it goes without a person. Called twice, the second call returns at once."""
        world = self._world
        try:
            taken = await world.runs.acquire(rollback_id, world.settings.owner)
        except StoreUnavailableError:
            _log.warning("%s: the store cannot be reached; the sweep tries again", rollback_id)
            return
        if taken is None:
            return
        lease, run = taken
        hold = Hold(world.runs, lease, run, clock=world.clock, settings=world.settings)
        try:
            await _Drive(world, hold).to_rest()
        except* LeaseLostError as lost:
            _log.warning("%s: the lease is lost, everything was stopped: %s", rollback_id, lost.exceptions[0])


class _Drive:
    def __init__(self, world: World, hold: Hold) -> None:
        self._world = world
        self._hold = hold
        self._running: set[str] = set()
        self._incident = asyncio.Lock()
        self._steps = StepRunner(
            hold, registry=world.registry, board=world.board, clock=world.clock, settings=world.settings
        )

    async def to_rest(self) -> None:
        """Act until nothing is left to do without a person; the lease is given back."""
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._hold.keep())
            while not await self._act(group):
                pass
            keeping.cancel()

    async def _act(self, group: asyncio.TaskGroup) -> bool:
        """Do the next thing; return whether the lease was given back."""
        hold = self._hold
        hold.news.clear()
        now = self._world.clock.now()
        action = execution.next_action(hold.run, now=now, running=self._running)
        match action:
            case execution.Done():
                return await hold.give_back(wake_at=None)
            case execution.Wait():
                return await hold.give_back(wake_at=action.until)
            case execution.Await():
                await hold.news.wait()
            case execution.RunSteps():
                self._start(group, action)
            case execution.CheckPlan():
                await self._check()
            case execution.BeginExecution():
                await self._begin(group)
            case execution.WriteRecords():
                return await self._close()
            case _:
                await hold.write(self._fact(action))
        return False

    def _fact(self, action: execution.Action) -> events.AnyEvent:
        now, owner = self._world.clock.now(), self._world.settings.owner
        match action:
            case execution.Expire():
                return events.Expired(at=now, who="policy", why="nobody authorised it in time")
            case execution.Hold():
                return events.Held(at=now, who=owner, why=action.reason, steps=action.steps)
            case execution.Resume():
                return events.Resumed(at=now, who=owner, why="every held step is decided")
            case execution.Abort():
                return events.Aborted(at=now, who=action.who, why=action.reason)
            case execution.BeginVerification():
                return events.VerificationBegan(at=now, who=owner, why="all phases are done")
            case execution.Complete():
                return events.Completed(at=now, who=owner, why="every probe is green")
            case _:
                raise AssertionError(f"no fact follows from {action!r}")

    def _start(self, group: asyncio.TaskGroup, action: execution.RunSteps) -> None:
        for step in (*action.observe_first, *action.start):
            self._running.add(step)
            group.create_task(self._step(step, in_doubt=step in action.observe_first))

    async def _step(self, step: str, *, in_doubt: bool) -> None:
        try:
            await self._steps.carry_out(step, in_doubt=in_doubt)
        finally:
            self._running.discard(step)
            self._hold.news.set()

    async def _check(self) -> None:
        hold, world = self._hold, self._world
        if hold.run.last(events.CheckingBegan) is None:
            began = events.CheckingBegan(
                at=world.clock.now(), who=world.settings.owner, why="the rollback was requested"
            )
            await hold.write(began)
        checks = Checks(
            registry=world.registry,
            plans=world.plans,
            inventory=world.inventory,
            metrics=world.metrics,
            policy=world.policy,
            clock=world.clock,
            settings=world.settings,
        )
        checked = await checks.look(hold.run)
        await hold.write(checked)
        blocking = [finding for finding in checked.findings if finding.verdict is Verdict.FAIL]
        if blocking:
            first = blocking[0]
            more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
            why = f"{first.subject}: {first.words}{more} {first.resolution} Nothing was changed."
            await hold.write(events.Refused(at=world.clock.now(), who=world.settings.owner, why=why))
            return
        await hold.write(self._asking())

    def _asking(self) -> events.AuthorityAsked:
        hold, world = self._hold, self._world
        now = world.clock.now()
        roles, why = approving_roles(world.policy, ask_of(hold.run), now=now)
        names = [
            p.name for p in world.policy.holders(roles, service=hold.run.plan.service) if p.id != hold.run.requester
        ]
        return events.AuthorityAsked(
            at=now,
            who=world.settings.owner,
            why="all preconditions hold",
            expires_at=now + world.policy.approval_valid,
            plan_digest=hold.run.plan.digest(),
            targets_digest=hold.run.inventory.digest(),
            who_may=f"{', '.join(names) or 'nobody'} ({why})",
        )

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        hold, world = self._hold, self._world
        authorised: events.Authorised = hold.run.last(events.Authorised)
        changes = await difference(hold.run, plans=world.plans, inventory=world.inventory)
        bound = (authorised.plan_digest, authorised.targets_digest)
        if changes or bound != (hold.run.plan.digest(), hold.run.inventory.digest()):
            why = f"the approval is void, the plan or its targets changed: {'; '.join(changes)}. Nothing was run."
            await hold.write(events.Refused(at=world.clock.now(), who=world.settings.owner, why=why))
            return
        await hold.write(
            events.ExecutionBegan(at=world.clock.now(), who=authorised.who, why=authorised.why),
        )
        group.create_task(self._open_incident())

    async def _open_incident(self) -> None:
        """Open the incident beside the first steps; whatever goes wrong is made good when the books are closed."""
        try:
            await self._ensure_incident()
        except (RollbackError, StoreUnavailableError) as error:
            _log.warning("%s: the incident could not be opened yet: %s", self._hold.run.id, error)

    async def _ensure_incident(self) -> None:
        world = self._world
        async with self._incident:
            if self._hold.run.last(events.IncidentOpened):
                return
            run = self._hold.run
            number = await world.books.open(run)
            why = f"the deployment of {run.plan.change} degraded {run.plan.service}"
            opened = events.IncidentOpened(at=world.clock.now(), who=world.settings.owner, why=why, incident=number)
            await self._hold.write(opened, insist=True)

    async def _close(self) -> bool:
        """Write the records; when they cannot be written now, come back later. Return whether to rest."""
        hold, world = self._hold, self._world
        owner = world.settings.owner
        try:
            await self._ensure_incident()
            if hold.run.last(events.ReviewScheduled) is None:
                end = hold.run.completed_at or hold.run.history[-1].at
                review = records.review_time(end, working_days=hold.run.plan.review_after_days)
                why = f"{hold.run.plan.review_after_days} working days after the rollback"
                await hold.write(events.ReviewScheduled(at=world.clock.now(), who=owner, why=why, review_at=review))
            numbers = await world.books.close(hold.run)
        except (RollbackError, StoreUnavailableError) as error:
            _log.warning("%s: the records could not be written, trying again: %s", hold.run.id, error)
            return await hold.give_back(wake_at=world.clock.now() + _RECORDS_RETRY)
        await hold.write(
            events.Closed(
                at=world.clock.now(),
                who=owner,
                why="the records are written and linked",
                incident=numbers.incident,
                problem=numbers.problem,
            )
        )
        return False
