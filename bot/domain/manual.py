"""Steps that a person does and confirms: what they say, whom they wait for, and how they stand."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bot.domain import events
from bot.domain.actuation import Observation, Presence
from bot.domain.authority import Role
from bot.domain.plan import Step
from bot.domain.run import Run, StepState
from bot.domain.times import Duration, parse_duration

LONGEST_EVIDENCE = 1000
"""Characters: a link, or a few lines of a log."""


class ManualStep(Step):
    """A step that a person does outside of the bot, and confirms.

    Attributes:
        title: What is to be done, in a line.
        instructions: How it is done, and how one sees that it is done; shown when its turn has come.
        roles: Who may say that it is done; none: any operator.
        evidence: Whether a text or link must be given that shows it.
    """

    kind: Literal["manual.do"] = "manual.do"
    title: str = Field(min_length=1, max_length=120)
    instructions: str = Field(min_length=1, max_length=2000)
    roles: tuple[Role, ...] = ()
    evidence: Literal["optional", "required"] = "optional"
    expected: Duration = parse_duration("10m")

    @model_validator(mode="after")
    def _untimed(self) -> ManualStep:
        if self.timeout is not None:
            raise ValueError("a person is not stopped after a `timeout`; write how long it takes as `expected`")
        return self

    def who_may(self) -> str:
        """Return who may confirm the step, in words."""
        return " or ".join(role.words() for role in self.roles) or "any operator"


def waiting(run: Run) -> tuple[ManualStep, ...]:
    """Return the steps that a person has been asked to do and has not answered, in the order of the plan."""
    return tuple(
        step
        for step in run.plan.steps()
        if isinstance(step, ManualStep) and run.status(step.id).state is StepState.ASKED
    )


def declined(run: Run) -> tuple[str, ...]:
    """Return the ids of the steps of which a person said that they cannot be done, and nobody has decided yet."""
    return tuple(
        step.id
        for step in run.plan.steps()
        if isinstance(step, ManualStep) and run.status(step.id).state is StepState.FAILED
    )


def asked(run: Run, step_id: str) -> int:
    """Return the number of the event by which a person was last asked to do a step; 0 if nobody was."""
    numbers = (
        number
        for number, event in enumerate(run.history, 1)
        if isinstance(event, events.ManualAsked) and event.step == step_id
    )
    return max(numbers, default=0)


def seen(run: Run, step: ManualStep) -> Observation:
    """Return how such a step stands: the journal knows what people said, and nobody else knows more."""
    status = run.status(step.id)
    match status.state:
        case StepState.PENDING if status.attempt == 0:
            return Observation(Presence.ABSENT, "nobody has been asked to do it")
        case StepState.DONE:
            return Observation(Presence.PRESENT, status.words)
        case StepState.ASKED:
            return Observation(Presence.UNKNOWN, "a person was asked to do it, and nobody has said how it ended")
        case _:
            return Observation(Presence.UNKNOWN, status.words or "nobody has said how it ended")
