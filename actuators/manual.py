"""A step that a person does: what an approver must know of it. The engine asks, and nobody else carries it out."""

from __future__ import annotations

from typing import Any

from bot.domain.actuation import Check, Context, Observation, Outcome, Presence, Registered, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.manual import ManualStep


class ByPerson:
    """Looks before the approval whether the step makes sense. It acts on nothing: the person does."""

    async def check(self, step: ManualStep, context: Context) -> tuple[Check, ...]:
        """Tell the approver that a person is needed, and what for."""
        subject = f"By hand: {step.words()}"
        if context.inventory.find(step.target) is None:
            words = f"the inventory has no target {step.target}. Nothing was changed."
            return (Check(subject, Verdict.FAIL, words, "Correct the step's target in the plan."),)
        shown = ", with evidence" if step.evidence == "required" else ""
        words = f"a person must do this on {step.target} and confirm it{shown}; who may: {step.who_may()}."
        return (Check(subject, Verdict.WARN, words, "The rollback waits for them.", detail=step.instructions),)

    async def observe(self, step: ManualStep, context: Context) -> Observation:
        """Tell that only the person knows; what was said of it stands in the journal, which the engine reads."""
        del context
        return Observation(Presence.UNKNOWN, f"only who does it can tell how {step.id} stands")

    async def apply(self, step: ManualStep, context: Context) -> Outcome:
        """Refuse: nobody else may do what a person is to do.

        Raises:
            ActuatorError: Always.
        """
        del context
        raise ActuatorError(
            f"{step.id} is done by a person, not by the bot.",
            untouched="Nothing was done.",
            resolution="Confirm it in the rollback's thread.",
        )


def register() -> tuple[Registered[Any], ...]:
    """Return the step of this module with its actuator."""
    return (Registered(ManualStep, ByPerson()),)
