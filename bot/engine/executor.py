"""Advancing a rollback: take the lease, ask the domain what is next, do it, until somebody else must act."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime

from bot.domain import actions, execution, forecast
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.domain.lifecycle import State
from bot.domain.run import Run
from bot.engine import facts, outside
from bot.engine.aid import Aid
from bot.engine.closing import Closing
from bot.engine.journal import Hold, always, ended, unchanged
from bot.engine.preflight import Preflight
from bot.engine.steps import StepRunner
from bot.engine.world import World

__all__ = ["Executor", "World"]

_log = logging.getLogger(__name__)


class Executor:
    """Advances rollbacks; any number of them at once, each by one worker at a time.

    Args:
        world: What it works with.
        stop: Once it is set, running steps may end, nothing new is begun, and the lease is given back.
    """

    def __init__(self, world: World, *, stop: asyncio.Event | None = None) -> None:
        self._world = world
        self._stop = stop or asyncio.Event()

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
            await _Drive(self._world, hold, stop=self._stop).to_rest()
        except* LeaseLostError as lost:
            reason = outside.leaves(lost)[0]
            _log.warning("%s: the lease is lost, everything was stopped: %s", hold.run.id, reason)


class _Drive:
    def __init__(self, world: World, hold: Hold, *, stop: asyncio.Event) -> None:
        self._world = world
        self._hold = hold
        self._stop = stop
        self._running: set[str] = set()
        self._paces: forecast.Paces | None = None
        self._closing = Closing(hold, books=world.books, clock=world.clock, settings=world.settings)
        self._aid = Aid(registry=world.registry, clock=world.clock, settings=world.settings)
        self._preflight = Preflight(world, hold, aid=self._aid)
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

    async def _act(self, group: asyncio.TaskGroup) -> bool:  # noqa: C901, PLR0912 - one case an action
        """Do the next thing; return whether the lease was given back."""
        hold = self._hold
        hold.news.clear()
        run = hold.run
        action = execution.next_action(run, await self._view(run))
        if self._stop.is_set():
            return await self._leave(action)
        match action:
            case actions.Done():
                return await self._rest(run)
            case actions.Wait(until):
                return await self._rest(run, wake_at=until)
            case actions.HandOver(zone):
                return await self._rest(run, wake_at=self._world.clock.now(), zone=zone)
            case actions.Await():
                await self._await(action)
            case actions.RunSteps():
                self._start(group, run, action)
            case actions.CheckPlan(last):
                await self._preflight.check(run, last=last)
            case actions.BeginExecution():
                if await self._preflight.begin(run):
                    self._closing.open_beside(group)
            case actions.OfferRemedies(step):
                await hold.write(await self._aid.remedies(run, step), still=unchanged(run))
            case actions.Survey(steps):
                await hold.write(await self._aid.survey(run, steps), still=always)
            case actions.FileCause() | actions.WriteRecords() if self._closing.opening:
                await hold.news.wait()  # the incident is being opened: with the lease would go its number
            case actions.FileCause() | actions.WriteRecords():
                return await self._closing.close(run)
            case _:
                fact = facts.fact_of(action, run, at=self._world.clock.now(), who=self._world.settings.owner)
                await hold.write(fact, still=unchanged(run))
        return False

    async def _leave(self, action: actions.Action) -> bool:
        """Let what runs come to its end, then leave the rollback to another worker."""
        if isinstance(action, actions.Await) and action.stop:
            self._steps.stop()  # whoever gives a rollback up must not wait for the end of this worker
        if self._running or self._closing.opening:
            await self._hold.news.wait()
            return False
        await self._hold.abandon()
        return True

    async def _view(self, run: Run) -> actions.View:
        under_way = run.state in (State.EXECUTING, State.HELD, State.VERIFYING)
        if under_way and self._paces is None:
            self._paces = await self._history(run)
        return actions.View(
            now=self._world.clock.now(),
            running=frozenset(self._running),
            zone=self._world.settings.zone,
            helpful=self._aid.helpful(run) if run.state is State.HELD else (),
            paces=self._paces or {},
            progress={key: self._steps.progress[key] for key in self._running & self._steps.progress.keys()},
        )

    async def _history(self, run: Run) -> forecast.Paces:
        try:
            limit = self._world.settings.check_timeout
            return await outside.call(self._world.history.paces(run.plan), limit=limit)
        except (StoreUnavailableError, outside.NoAnswerError) as error:
            _log.warning("%s: earlier rollbacks cannot be read, the plan's durations count: %s", run.id, error)
            return {}

    async def _await(self, action: actions.Await) -> None:
        """Wait until a step ends or somebody speaks, or until the window's clock must be looked at."""
        if action.stop:
            self._steps.stop()
        if action.until is None:
            await self._hold.news.wait()
            return
        async with asyncio.TaskGroup() as group:
            news = group.create_task(self._hold.news.wait())
            pause = (action.until - self._world.clock.now()).total_seconds()
            time = group.create_task(self._world.clock.sleep(max(0.0, pause)))
            await asyncio.wait((news, time), return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            time.cancel()

    async def _rest(self, run: Run, *, wake_at: datetime | None = None, zone: str | None = None) -> bool:
        """Give the lease back, as soon as nothing that needs it is under way."""
        if self._closing.opening:
            await self._hold.news.wait()
            return False
        returned = await self._hold.give_back(seen=run.seq, wake_at=wake_at, zone=zone)
        if returned and zone:
            with contextlib.suppress(StoreUnavailableError):  # the sweep asks again within a second
                await self._world.carrier.defer(run.id, zone)
        return returned

    def _start(self, group: asyncio.TaskGroup, run: Run, action: actions.RunSteps) -> None:
        for step in (*action.observe_first, *action.start):
            self._running.add(step)
            doubtful = step in action.observe_first
            group.create_task(self._step(run, step, in_doubt=doubtful, only_look=action.only_look))

    async def _step(self, run: Run, step: str, *, in_doubt: bool, only_look: bool) -> None:
        try:
            await self._steps.carry_out(run, step, in_doubt=in_doubt, only_look=only_look)
        finally:
            self._running.discard(step)
            self._hold.news.set()
