"""Carrying out one step: look if in doubt, write STARTED, act, read back, write the outcome."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from bot.domain import events, ports
from bot.domain.actuation import Actuator, Context, Observation, Outcome, Presence, Progress, Registry
from bot.domain.errors import ActuatorError, LeaseLostError, RollbackError
from bot.domain.plan import Step
from bot.domain.run import StepStatus
from bot.domain.times import in_words
from bot.engine.journal import Hold
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 10.0


@dataclass(frozen=True)
class _Failure:
    brief: str
    untouched: str = ""
    resolution: str = ""
    output: str = ""
    transient: bool = False


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

    async def carry_out(self, step_id: str, *, in_doubt: bool) -> None:
        """Bring one step to an end that the journal knows.

        Args:
            step_id: Which.
            in_doubt: Whether an earlier attempt has no known end: then the target is looked at first, and only an
                effect that is not there is brought about again.
        """
        run = self._hold.run
        step = run.plan.step(step_id)
        status = run.status(step_id)
        latest = _Latest()
        context = Context(
            rollback_id=run.id,
            plan=run.plan,
            inventory=run.inventory,
            clock=self._clock,
            report=latest.put,
            why=run.reason,
        )
        actuator = self._registry.actuator(step)
        if in_doubt and not step.reads_only and not await self._settle(step, status, actuator, context):
            return
        if status.tries and not in_doubt:
            await self._clock.sleep(min(_LONGEST_PAUSE, 0.5 * 2**status.tries))
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(self._publish(step_id, latest))
            await self._attempt(step, status.attempt + 1, actuator, context)
            publishing.cancel()

    async def _settle(self, step: Step, status: StepStatus, actuator: Actuator[Step], context: Context) -> bool:
        """Look at a step of unknown outcome; return whether it must be brought about again."""
        seen = await self._observe(step, actuator, context)
        if seen.presence is Presence.PRESENT:
            await self._succeeded(step, status.attempt, Outcome(seen.words, seen.facts), found=True)
            return False
        if seen.presence is Presence.ABSENT and status.tries < step.attempts:
            return True
        brief = (
            f"The worker died while the step was running, and its outcome cannot be told: {seen.words}"
            if seen.presence is Presence.UNKNOWN
            else f"The step was interrupted {status.tries} times: {seen.words}"
        )
        failure = _Failure(brief, resolution="Look at the target, then decide.")
        await self._failed(step, status.attempt, failure, seen)
        return False

    async def _attempt(self, step: Step, attempt: int, actuator: Actuator[Step], context: Context) -> None:
        started = events.StepStarted(
            at=self._clock.now(), who=self._settings.owner, why=step.words(), step=step.id, attempt=attempt
        )
        if not await self._hold.write(started):
            return  # somebody decided otherwise meanwhile
        outcome: Outcome | None = None
        failure: _Failure | None = None
        try:
            async with asyncio.timeout(step.deadline().total_seconds()):
                outcome = await actuator.apply(step, context)
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - every end of an actuator becomes an outcome
            failure = _as_failure(step, error)
        if step.reads_only:
            seen = Observation(Presence.PRESENT if outcome else Presence.ABSENT, "")
        else:
            seen = await self._observe(step, actuator, context)
        await self._conclude(step, attempt, outcome, failure, seen)

    async def _conclude(
        self, step: Step, attempt: int, outcome: Outcome | None, failure: _Failure | None, seen: Observation
    ) -> None:
        present = seen.presence is Presence.PRESENT
        if outcome is not None and present:
            facts = {**seen.facts, **outcome.facts}
            await self._succeeded(step, attempt, Outcome(outcome.words, facts, outcome.output))
        elif present:
            # It said that it failed, and yet the effect is there: what was read back counts.
            brief = failure.brief if failure else ""
            await self._succeeded(
                step, attempt, Outcome(f"{seen.words} (reported: {brief})", seen.facts), found=True
            )
        else:
            unread = _Failure(
                f"The step ran, and reading back shows otherwise: {seen.words}",
                resolution="Look at the target, then decide.",
            )
            await self._failed(step, attempt, failure or unread, seen)

    async def _observe(self, step: Step, actuator: Actuator[Step], context: Context) -> Observation:
        try:
            async with asyncio.timeout(self._settings.check_timeout.total_seconds()):
                return await actuator.observe(step, context)
        except TimeoutError:
            return Observation(Presence.UNKNOWN, f"no answer within {in_words(self._settings.check_timeout)}")
        except RollbackError as error:
            return Observation(Presence.UNKNOWN, error.brief)
        except Exception as error:  # noqa: BLE001 - an actuator of somebody else's may raise anything
            _log.exception("looking at step %s failed", step.id)
            return Observation(Presence.UNKNOWN, f"looking failed ({type(error).__name__})")

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
            insist=True,
        )

    async def _failed(self, step: Step, attempt: int, failure: _Failure, seen: Observation) -> None:
        await self._hold.write(
            events.StepFailed(
                at=self._clock.now(),
                who=self._settings.owner,
                why=step.words(),
                step=step.id,
                attempt=attempt,
                brief=failure.brief,
                untouched=failure.untouched,
                resolution=failure.resolution,
                output=failure.output,
                transient=failure.transient,
                presence=seen.presence,
                seen=seen.words,
            ),
            insist=True,
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

    def __init__(self) -> None:
        self._value: Progress | None = None
        self._news = asyncio.Event()

    def put(self, progress: Progress) -> None:
        self._value = progress
        self._news.set()

    async def take(self) -> Progress:
        await self._news.wait()
        self._news.clear()
        if self._value is None:
            raise AssertionError("news without a value")
        return self._value


def _as_failure(step: Step, error: Exception) -> _Failure:
    match error:
        case ActuatorError():
            return _Failure(error.brief, error.untouched, error.resolution, error.output, error.transient)
        case RollbackError():
            return _Failure(error.brief, error.untouched, error.resolution)
        case TimeoutError():
            brief = f"It did not end within {in_words(step.deadline())} and was stopped."
            return _Failure(brief, resolution="See why it is slow, then retry or abort.")
        case _:
            _log.error("step %s failed unexpectedly", step.id, exc_info=error)
            return _Failure(
                f"An unexpected fault in the actuator ({type(error).__name__}).", resolution="See the bot's log."
            )
