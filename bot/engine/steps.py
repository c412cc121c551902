"""Carrying out one step: look if in doubt, write STARTED, act, read back, write the outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from bot.domain import events, execution, ports
from bot.domain.actuation import Actuator, Context, Observation, Outcome, Presence, Progress, Registry
from bot.domain.errors import ActuatorError, RollbackError
from bot.domain.plan import Step
from bot.domain.run import Run, StepStatus
from bot.domain.times import in_words
from bot.engine import outside
from bot.engine.journal import Hold, Still, always
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 10.0
_NOTHING_TO_SEE = Observation(Presence.ABSENT, "it only looks")


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

    async def carry_out(self, run: Run, step_id: str, *, in_doubt: bool) -> None:
        """Bring one step to an end that the journal knows.

        Args:
            run: The rollback as it stood when this was decided.
            step_id: Which.
            in_doubt: Whether an earlier attempt has no known end: then the target is looked at first, and only an
                effect that is not there is brought about again.
        """
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
        if in_doubt and not await self._settle(step, status, actuator, context):
            return
        if status.tries and not in_doubt:
            await self._clock.sleep(min(_LONGEST_PAUSE, 0.5 * 2**status.tries))
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(self._publish(step_id, latest))
            await self._attempt(step, status.attempt + 1, actuator, context, still=_as_it_stood(run, step_id))
            publishing.cancel()

    async def _settle(self, step: Step, status: StepStatus, actuator: Actuator[Step], context: Context) -> bool:
        """Look at a step of unknown outcome; return whether it must be brought about again."""
        seen = _NOTHING_TO_SEE if step.reads_only else await self._observe(step, actuator, context)
        if seen.presence is Presence.PRESENT:
            await self._succeeded(step, status.attempt, Outcome(seen.words, seen.facts), found=True)
            return False
        if seen.presence is Presence.ABSENT and status.interrupted < execution.MOST_INTERRUPTIONS:
            return True
        brief = (
            f"The worker was lost while the step was running, and its outcome cannot be told: {seen.words}"
            if seen.presence is Presence.UNKNOWN
            else f"Its worker was lost {status.interrupted + 1} times during the step: {seen.words}"
        )
        failure = _Failure(brief, resolution="Look at the target, then decide.")
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
        outcome: Outcome | None = None
        failure = _Failure("")
        try:
            outcome = outside.outcome(await outside.call(actuator.apply(step, context), limit=step.deadline()))
        except Exception as error:  # noqa: BLE001 - every end of an actuator becomes an outcome
            failure = _as_failure(step, error)
        if step.reads_only:
            seen = Observation(Presence.PRESENT if outcome else Presence.ABSENT, "")
        else:
            seen = await self._observe(step, actuator, context)
        await self._conclude(step, attempt, outcome, failure, seen)

    async def _conclude(
        self, step: Step, attempt: int, outcome: Outcome | None, failure: _Failure, seen: Observation
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
            unread = _Failure(brief, resolution="Look at the target, then decide.", output=outcome.output)
            await self._failed(step, attempt, unread, seen)
        else:
            await self._failed(step, attempt, failure, seen)

    async def _observe(self, step: Step, actuator: Actuator[Step], context: Context) -> Observation:
        limit = self._settings.check_timeout
        try:
            return outside.observation(await outside.call(actuator.observe(step, context), limit=limit))
        except outside.NoAnswerError:
            return Observation(Presence.UNKNOWN, f"no answer within {in_words(limit)}")
        except RollbackError as error:
            return Observation(Presence.UNKNOWN, outside.text(error.brief))
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
            still=always,
        )

    async def _failed(self, step: Step, attempt: int, failure: _Failure, seen: Observation) -> None:
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

    def __init__(self) -> None:
        self._value: Progress | None = None
        self._news = asyncio.Event()

    def put(self, progress: Progress) -> None:
        self._value = progress
        self._news.set()

    async def take(self) -> Progress:
        while self._value is None:
            self._news.clear()
            await self._news.wait()
        newest, self._value = self._value, None
        return newest


def _as_it_stood(run: Run, step_id: str) -> Still:
    """A step may begin while its rollback goes on as it did, and nobody has said anything about the step."""
    return lambda now: now.state is run.state and now.status(step_id) == run.status(step_id)


def _as_failure(step: Step, error: Exception) -> _Failure:
    match error:
        case ActuatorError():
            return _Failure(error.brief, error.untouched, error.resolution, error.output, error.transient)
        case RollbackError():
            return _Failure(error.brief, error.untouched, error.resolution)
        case ExceptionGroup():
            return _together([_as_failure(step, leaf) for leaf in outside.leaves(error)])
        case outside.NoAnswerError():
            brief = f"It did not end within {in_words(step.deadline())} and was stopped."
            return _Failure(brief, resolution="See why it is slow, then retry or abort.")
        case _:
            _log.error("step %s failed unexpectedly", step.id, exc_info=error)
            return _Failure(
                f"An unexpected fault in the actuator ({type(error).__name__}).", resolution="See the bot's log."
            )


def _together(parts: list[_Failure]) -> _Failure:
    """Return several failures as one; it passes by itself only if all of them do."""
    return _Failure(
        _joined(part.brief for part in parts),
        _joined(part.untouched for part in parts),
        _joined(part.resolution for part in parts),
        _joined((part.output for part in parts), "\n"),
        transient=all(part.transient for part in parts),
    )


def _joined(texts: Iterable[str], between: str = " ") -> str:
    return between.join(dict.fromkeys(text for text in texts if text))
