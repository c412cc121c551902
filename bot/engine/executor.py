"""Advancing a rollback: take the lease, ask the domain what is next, do it, until somebody else must act."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime

from bot.domain import events, execution, ports
from bot.domain.actuation import Registry, Verdict
from bot.domain.announcements import ask_of
from bot.domain.authority import Policy, approving_roles
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.run import Run
from bot.domain.times import in_words
from bot.engine import outside
from bot.engine.books import Books
from bot.engine.checks import Checks
from bot.engine.closing import Closing
from bot.engine.drift import difference
from bot.engine.journal import Hold, ended, unchanged
from bot.engine.settings import EngineSettings
from bot.engine.steps import StepRunner

_log = logging.getLogger(__name__)
_Fact = (
    execution.Expire
    | execution.Hold
    | execution.Resume
    | execution.Abort
    | execution.BeginVerification
    | execution.Complete
)


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
        """Advance a rollback as far as it goes without a person. Called twice, the second call returns at once.

        When it is cancelled, running actuators are stopped, an outcome that is being written is written, and the
        lease is given back, so that another worker goes on at once.
        """
        world = self._world
        asked_at = world.clock.monotonic()
        try:
            taken = await world.runs.acquire(rollback_id, world.settings.owner)
        except StoreUnavailableError as error:
            _log.warning("%s: the store cannot be reached; the sweep tries again (%s)", rollback_id, error)
            return
        if taken is None:
            return
        lease, run = taken
        hold = Hold(world.runs, lease, run, asked_at=asked_at, clock=world.clock, settings=world.settings)
        try:
            await self._advance(hold)
        except asyncio.CancelledError:
            await ended(asyncio.ensure_future(hold.abandon()))  # noqa: TID251 - awaited right here
            raise

    async def _advance(self, hold: Hold) -> None:
        try:
            await _Drive(self._world, hold).to_rest()
        except* LeaseLostError as lost:
            reason = outside.leaves(lost)[0]
            _log.warning("%s: the lease is lost, everything was stopped: %s", hold.run.id, reason)


class _Drive:
    def __init__(self, world: World, hold: Hold) -> None:
        self._world = world
        self._hold = hold
        self._running: set[str] = set()
        self._closing = Closing(hold, books=world.books, clock=world.clock, settings=world.settings)
        self._steps = StepRunner(
            hold, registry=world.registry, board=world.board, clock=world.clock, settings=world.settings
        )

    async def to_rest(self) -> None:
        """Act until nothing is left to do without a person; the lease is given back."""
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._hold.keep())
            if self._hold.run.state in (State.EXECUTING, State.HELD, State.VERIFYING):
                self._closing.open_beside(group)  # whoever began may have died before
            while not await self._act(group):
                pass
            keeping.cancel()

    async def _act(self, group: asyncio.TaskGroup) -> bool:
        """Do the next thing; return whether the lease was given back."""
        hold = self._hold
        hold.news.clear()
        run, now = hold.run, self._world.clock.now()
        action = execution.next_action(run, now=now, running=self._running)
        match action:
            case execution.Done():
                return await self._rest(run)
            case execution.Wait():
                return await self._rest(run, wake_at=action.until)
            case execution.Await():
                await hold.news.wait()
            case execution.RunSteps():
                self._start(group, run, action)
            case execution.CheckPlan():
                await self._check(run)
            case execution.BeginExecution():
                await self._begin(run, group)
            case execution.WriteRecords():
                return await self._closing.close(run)
            case _:
                await hold.write(self._fact(action), still=unchanged(run))
        return False

    async def _rest(self, run: Run, *, wake_at: datetime | None = None) -> bool:
        """Give the lease back, as soon as nothing that needs it is under way."""
        if self._closing.opening:
            await self._hold.news.wait()
            return False
        return await self._hold.give_back(seen=run.seq, wake_at=wake_at)

    def _fact(self, action: _Fact) -> events.AnyEvent:
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
            case _:  # Complete; the type checker holds that nothing else comes here
                return events.Completed(at=now, who=owner, why=_why_complete(self._hold.run))

    def _start(self, group: asyncio.TaskGroup, run: Run, action: execution.RunSteps) -> None:
        for step in (*action.observe_first, *action.start):
            self._running.add(step)
            group.create_task(self._step(run, step, in_doubt=step in action.observe_first))

    async def _step(self, run: Run, step: str, *, in_doubt: bool) -> None:
        try:
            await self._steps.carry_out(run, step, in_doubt=in_doubt)
        finally:
            self._running.discard(step)
            self._hold.news.set()

    async def _check(self, run: Run) -> None:
        world = self._world
        if run.last(events.CheckingBegan) is None:
            began = events.CheckingBegan(
                at=world.clock.now(), who=world.settings.owner, why="the rollback was requested"
            )
            await self._hold.write(began, still=unchanged(run))
            return
        checks = Checks(
            registry=world.registry,
            plans=world.plans,
            inventory=world.inventory,
            metrics=world.metrics,
            policy=world.policy,
            clock=world.clock,
            settings=world.settings,
        )
        checked = await checks.look(run)
        if await self._hold.write(checked, still=unchanged(run)):
            await self._conclude_checks(self._hold.run, checked)

    async def _conclude_checks(self, run: Run, checked: events.Checked) -> None:
        blocking = [finding for finding in checked.findings if finding.verdict is Verdict.FAIL]
        if blocking:
            first = blocking[0]
            parts = [f"{first.subject}: {first.words}", first.resolution]
            if len(blocking) > 1:
                parts.append(f"{len(blocking) - 1} more checks failed, see the thread")
            why = " ".join(f"{part.rstrip('.')}." for part in (*parts, "Nothing was changed") if part)
            await self._refuse(run, why)
        else:
            await self._hold.write(self._asking(run), still=unchanged(run))

    async def _refuse(self, run: Run, why: str) -> None:
        world = self._world
        refused = events.Refused(at=world.clock.now(), who=world.settings.owner, why=why)
        await self._hold.write(refused, still=unchanged(run))

    def _asking(self, run: Run) -> events.AuthorityAsked:
        world = self._world
        now = world.clock.now()
        roles, why = approving_roles(world.policy, ask_of(run), now=now)
        names = [p.name for p in world.policy.holders(roles, service=run.plan.service) if p.id != run.requester]
        return events.AuthorityAsked(
            at=now,
            who=world.settings.owner,
            why="all preconditions hold",
            expires_at=now + world.policy.approval_valid,
            plan_digest=run.plan.digest(),
            targets_digest=run.inventory.digest(),
            who_may=f"{', '.join(names) or 'nobody'} ({why})",
        )

    async def _begin(self, run: Run, group: asyncio.TaskGroup) -> None:
        world = self._world
        authorised: events.Authorised = run.last(events.Authorised)
        void = await self._why_void(run, authorised)
        if void:
            await self._refuse(run, f"the approval is void, {void}. Nothing was run.")
            return
        began = events.ExecutionBegan(at=world.clock.now(), who=authorised.who, why=authorised.why)
        if await self._hold.write(began, still=unchanged(run)):
            self._closing.open_beside(group)

    async def _why_void(self, run: Run, authorised: events.Authorised) -> str:
        """Return why the approval does not permit to begin now; empty if it does."""
        valid = self._world.policy.approval_valid
        if self._world.clock.now() >= authorised.at + valid:
            return f"no worker could begin within {in_words(valid)} of it"
        changes = await difference(run, plans=self._world.plans, inventory=self._world.inventory)
        bound = (authorised.plan_digest, authorised.targets_digest)
        if changes or bound != (run.plan.digest(), run.inventory.digest()):
            what = "; ".join(changes) or "it was given for another plan or other targets"
            return f"the plan or its targets changed: {what}"
        return ""


def _why_complete(run: Run) -> str:
    waived = [f"{e.name} decided to {e.choice.value.replace('_', ' ')} {e.step}: {e.why}" for e in run.overrides]
    return f"by decision: {'; '.join(waived)}" if waived else "every probe is green"
