"""Carrying out one step: look if in doubt, write STARTED, act, read back, write the outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from bot.domain import events, execution, ports
from bot.domain.actuation import Actuator, Context, Observation, Outcome, Presence, Progress, Registry
from bot.domain.plan import Step
from bot.domain.run import Run, StepStatus
from bot.engine import outside
from bot.engine.aid import facts_of, observed
from bot.engine.failures import STOPPED, Failure, as_failure
from bot.engine.journal import Hold, Still, always
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 10.0
_NOTHING_TO_SEE = Observation(Presence.ABSENT, "it only looks")


def step_of(run: Run, step_id: str, *, registry: Registry) -> Step:
    """Return a step of the plan, or the step that a remedy runs.

    Raises:
        KeyError: If there is none, or no actuator of its kind.
    """
    helping = run.remedy(step_id)
    return registry.read(helping[1].step) if helping else run.plan.step(step_id)


class StepRunner:
    """Carries out the steps of one rollback under one lease.

    Args:
        hold: The lease and the journal.
        registry: The actuators.
        board: Takes the progress.
        clock: The time.
        settings: Timeouts.
    """

    def __init__(
        self,
        hold: Hold,
        *,
        registry: Registry,
        board: ports.ProgressBoard,
        clock: ports.Clock,
        settings: EngineSettings,
    ) -> None:
        self._hold = hold
        self._registry = registry
        self._board = board
        self._clock = clock
        self._settings = settings
        self._acting: dict[str, asyncio.Task[None]] = {}
        self.progress: dict[str, Progress] = {}
        """The newest progress of each step that this worker carried out."""

    def stop(self) -> None:
        """Stop the actuators that act at the moment; each step comes to an end that the journal knows."""
        for acting in self._acting.values():
            acting.cancel()

    async def carry_out(self, run: Run, step_id: str, *, in_doubt: bool, only_look: bool = False) -> None:
        """Bring one step to an end that the journal knows.

        Args:
            run: The rollback as it stood when this was decided.
            step_id: Which: a step of the plan, or a remedy that was chosen.
            in_doubt: Whether an earlier attempt has no known end: then the target is looked at first, and only an
                effect that is not there is brought about again.
            only_look: Whether an effect that is not there is left so: somebody wants a pause, or the end.
        """
        step = step_of(run, step_id, registry=self._registry)
        status = run.status(step_id)
        latest = _Latest(lambda progress: self._note(step_id, progress))
        context = Context(
            rollback_id=run.id,
            plan=run.plan,
            inventory=run.inventory,
            clock=self._clock,
            report=latest.put,
            facts=facts_of(run),
            why=run.reason,
            approved=run.approved,
        )
        actuator = self._registry.actuator(step)
        if in_doubt and not await self._settle(step, status, context, only_look=only_look):
            return
        if status.tries and not in_doubt:
            await self._clock.sleep(min(_LONGEST_PAUSE, 0.5 * 2**status.tries))
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(self._publish(step_id, latest))
            await self._attempt(step, status.attempt + 1, actuator, context, still=_as_it_stood(run, step_id))
            publishing.cancel()

    def _note(self, step_id: str, progress: Progress) -> None:
        if outside.measurable(progress):
            self.progress[step_id] = progress

    async def _settle(self, step: Step, status: StepStatus, context: Context, *, only_look: bool) -> bool:
        """Look at a step of unknown outcome; return whether it must be brought about again."""
        seen = _NOTHING_TO_SEE if step.reads_only else await self._observe(step, context)
        if seen.presence is Presence.PRESENT:
            await self._succeeded(step, status.attempt, Outcome(seen.words, seen.facts), found=True)
            return False
        if seen.presence is Presence.UNKNOWN:
            words = f"The worker was lost while the step was running, and its outcome cannot be told: {seen.words}"
        elif only_look:
            words = f"The worker was lost while the step was running, and its effect is not there: {seen.words}"
        elif status.interrupted < execution.MOST_INTERRUPTIONS:
            return True
        else:
            words = f"Its worker was lost {status.interrupted + 1} times during the step: {seen.words}"
        again = only_look and seen.presence is Presence.ABSENT
        failure = Failure(words, resolution="Look at the target, then decide.", transient=again)
        await self._failed(step, status.attempt, failure, seen)
        return False

    async def _attempt(
        self, step: Step, attempt: int, actuator: Actuator[Step], context: Context, *, still: Still
    ) -> None:
        started = events.StepStarted(
            at=self._clock.now(), who=self._settings.owner, why=step.words(), step=step.id, attempt=attempt
        )
        if not await self._hold.write(started, still=still):
            return  # somebody decided otherwise meanwhile
        self._hold.ensure()
        outcome, failure = await self._act(step, actuator, context)
        if step.reads_only:
            seen = Observation(Presence.PRESENT if outcome else Presence.ABSENT, "")
        else:
            seen = await self._observe(step, context)
        await self._conclude(step, attempt, outcome, failure, seen)

    async def _act(self, step: Step, actuator: Actuator[Step], context: Context) -> tuple[Outcome | None, Failure]:
        """Let the actuator act until it ends, or until it is stopped because the rollback was given up."""
        ends: list[tuple[Outcome | None, Failure]] = []

        async def acting() -> None:
            try:
                done = outside.outcome(await outside.call(actuator.apply(step, context), limit=step.deadline()))
            except Exception as error:  # noqa: BLE001 - every end of an actuator becomes an outcome
                ends.append((None, as_failure(step, error)))
            else:
                ends.append((done, Failure("")))

        try:
            async with asyncio.TaskGroup() as group:
                self._acting[step.id] = group.create_task(acting())
                try:
                    await asyncio.wait([self._acting[step.id]])
                finally:
                    # Before this no other attempt of the step can have begun: a step runs once at a time.
                    self._acting.pop(step.id).cancel()
        except asyncio.CancelledError:
            if not ends:
                raise
            # The actuator came to an end of its own while the worker was stopped: that end is still written down.
        return ends[0] if ends else (None, STOPPED)

    async def _conclude(
        self, step: Step, attempt: int, outcome: Outcome | None, failure: Failure, seen: Observation
    ) -> None:
        present = seen.presence is Presence.PRESENT
        if present and outcome is not None:
            facts = {**seen.facts, **outcome.facts}
            await self._succeeded(step, attempt, Outcome(outcome.words, facts, outcome.output))
        elif present:
            # It said that it failed, and yet the effect is there: what was read back counts.
            words = outside.text(f"{seen.words} (reported: {failure.brief})")
            await self._succeeded(
                step, attempt, Outcome(words, seen.facts, outside.text(failure.output)), found=True
            )
        elif outcome is not None:
            told = "cannot be told" if seen.presence is Presence.UNKNOWN else "is not there"
            brief = f"The step reported success, and when read back its effect {told}: {seen.words}"
            unread = Failure(brief, resolution="Look at the target, then decide.", output=outcome.output)
            await self._failed(step, attempt, unread, seen)
        else:
            await self._failed(step, attempt, failure, seen)

    async def _observe(self, step: Step, context: Context) -> Observation:
        return await observed(self._registry, step, context, settings=self._settings)

    async def _succeeded(self, step: Step, attempt: int, outcome: Outcome, *, found: bool = False) -> None:
        await self._hold.write(
            events.StepSucceeded(
                at=self._clock.now(),
                who=self._settings.owner,
                why=step.words(),
                step=step.id,
                attempt=attempt,
                words=outcome.words,
                facts=dict(outcome.facts),
                output=outcome.output,
                found=found,
            ),
            still=always,
        )

    async def _failed(self, step: Step, attempt: int, failure: Failure, seen: Observation) -> None:
        await self._hold.write(
            events.StepFailed(
                at=self._clock.now(),
                who=self._settings.owner,
                why=step.words(),
                step=step.id,
                attempt=attempt,
                brief=outside.text(failure.brief),
                untouched=outside.text(failure.untouched),
                resolution=outside.text(failure.resolution),
                output=outside.text(failure.output),
                transient=failure.transient,
                presence=seen.presence,
                seen=seen.words,
            ),
            still=always,
        )

    async def _publish(self, step_id: str, latest: _Latest) -> None:
        while True:
            progress = await latest.take()
            try:
                await self._board.write(self._hold.run.id, step_id, progress)
            except Exception:  # noqa: BLE001 - progress may be lost; the step must not suffer from it
                _log.warning("the progress of %s could not be written", step_id)
            await self._clock.sleep(self._settings.retry_store.total_seconds())


class _Latest:
    """The newest progress; older ones are of no interest."""

    def __init__(self, note: Callable[[Progress], None]) -> None:
        self._value: Progress | None = None
        self._news = asyncio.Event()
        self._note = note

    def put(self, progress: Progress) -> None:
        self._value = progress
        self._note(progress)
        self._news.set()

    async def take(self) -> Progress:
        while self._value is None:
            self._news.clear()
            await self._news.wait()
        newest, self._value = self._value, None
        return newest


def _as_it_stood(run: Run, step_id: str) -> Still:
    """A step may begin while its rollback goes on as it did, and nobody has said anything about it or the step."""
    return lambda now: (
        now.state is run.state
        and now.status(step_id) == run.status(step_id)
        and (now.pause, now.giving_up) == (run.pause, None)
    )
