"""What an actuator's bad ends mean, in words for people."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from bot.domain.errors import ActuatorError, RollbackError
from bot.domain.plan import Step
from bot.domain.times import in_words
from bot.engine import outside

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """How an attempt of a step ended badly."""

    brief: str
    untouched: str = ""
    resolution: str = ""
    output: str = ""
    transient: bool = False


STOPPED = Failure(
    "It was stopped, because the rollback was given up.",
    resolution="What was seen afterwards tells how the target stands.",
)


def as_failure(step: Step, error: Exception) -> Failure:
    """Return what an actuator raised as a failure; what it raised without meaning to is only logged."""
    match error:
        case ActuatorError():
            return Failure(error.brief, error.untouched, error.resolution, error.output, error.transient)
        case RollbackError():
            return Failure(error.brief, error.untouched, error.resolution)
        case ExceptionGroup():
            return _together([as_failure(step, leaf) for leaf in outside.leaves(error)])
        case outside.NoAnswerError():
            brief = f"It did not end within {in_words(step.deadline())} and was stopped."
            return Failure(brief, resolution="See why it is slow, then retry or abort.")
        case _:
            _log.error("step %s failed unexpectedly", step.id, exc_info=error)
            return Failure(
                f"An unexpected fault in the actuator ({type(error).__name__}).", resolution="See the bot's log."
            )


def _together(parts: list[Failure]) -> Failure:
    """Return several failures as one; it passes by itself only if all of them do."""
    return Failure(
        _joined(part.brief for part in parts),
        _joined(part.untouched for part in parts),
        _joined(part.resolution for part in parts),
        _joined((part.output for part in parts), "\n"),
        transient=all(part.transient for part in parts),
    )


def _joined(texts: Iterable[str], between: str = " ") -> str:
    return between.join(dict.fromkeys(text for text in texts if text))
