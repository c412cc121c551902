"""What a person's word needs before it counts: a second confirmation, and what a forward-fix would have to do."""

from __future__ import annotations

from bot.domain import events
from bot.domain.actuation import Presence
from bot.domain.errors import RefusedError
from bot.domain.lifecycle import State
from bot.domain.plan import Step
from bot.domain.run import Run, StepState

STEERABLE = frozenset({State.EXECUTING, State.HELD, State.VERIFYING})
"""States in which a rollback acts or waits in the middle of acting."""

NOT_BEGUN = frozenset({State.REQUESTED, State.CHECKING, State.AWAITING_AUTHORITY, State.AUTHORISED})
"""States in which nothing has been touched yet."""


class ConfirmationNeededError(RefusedError):
    """Giving up now needs a second word: the point of no return is passed.

    Args:
        warning: What giving up means, and what a forward-fix needs.
    """

    def __init__(self, warning: str) -> None:
        super().__init__(
            f"The point of no return is passed. {warning}",
            untouched="The rollback goes on.",
            resolution="Confirm that you give it up all the same.",
        )
        self.warning = warning


def abort_warning(run: Run) -> str:
    """Return what giving up means now and what a forward-fix needs; empty before the point of no return."""
    return " ".join(f"{words.rstrip('.')}." for words in map(_of_step, _begun(run)) if words)


def _begun(run: Run) -> list[Step]:
    """Return the steps whose effect is there or may be there."""
    return [step for step in run.plan.steps() if not step.reads_only and _may_have_acted(run, step)]


def _may_have_acted(run: Run, step: Step) -> bool:
    status = run.status(step.id)
    if status.state is StepState.SKIPPED or status.attempt == 0:
        return status.state is StepState.DONE
    return status.failure is None or status.failure.presence is not Presence.ABSENT


def _of_step(step: Step) -> str:
    if step.point_of_no_return:
        return f"{step.words()}: {step.point_of_no_return}"
    if step.destroys:
        return (
            f"{step.words()}: what came in after the backup is no longer served. A forward-fix has to start from "
            "the restored data, or first put the kept copy back"
        )
    return ""


def states_of_targets(run: Run) -> tuple[tuple[str, str], ...]:
    """Return (target, words) for every target as it was found when the rollback was given up."""
    lines: dict[str, list[str]] = {}
    for event in run.history:
        if isinstance(event, events.Surveyed):
            for found in event.found:
                step = run.plan.step(found.step)
                lines.setdefault(found.target, []).append(f"{step.words()}: {found.presence.value}, {found.words}")
    return tuple((target, "; ".join(words)) for target, words in lines.items())
