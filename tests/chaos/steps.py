"""The steps of a chaos run, and the actuator that carries them out on the targets that the witness keeps.

The effect of a step is a thing that is created on its target under the step's token, a name that is unique to this
step of this run, exactly as the actuators of the bot name what they create. Like them, it looks first whether the
thing is there already, because everything that is pinned can be run twice without harm. The witness notes both.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Literal

from bot.domain.actuation import (
    Check,
    Context,
    Fault,
    Observation,
    Outcome,
    Presence,
    Progress,
    Registered,
    Registry,
    Remedy,
    Verdict,
)
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from bot.domain.times import Duration, parse_duration
from tests.chaos.wire import Line, Message, line

_TICK = 0.05
"""Seconds between two signs of life of an actuator at work."""
_FLAKY_ATTEMPTS = 2


class Fate(StrEnum):
    """What is wrong with a step's target; people may repair it."""

    PLAIN = "plain"
    FLAKY = "flaky"
    """The first attempts fail for a moment, with nothing done."""
    LIAR = "liar"
    """The effect is brought about, and the first attempt reports a failure all the same."""
    BROKEN = "broken"
    """Fails for good until somebody repairs it."""
    SILENT = "silent"
    """Reports success with nothing done, until somebody repairs it."""
    UNREADABLE = "unreadable"
    """The effect is brought about, and nobody can tell until somebody repairs it."""


class _Work(Step):
    """Anything that takes a while on a target.

    Attributes:
        fate: What is wrong with the target.
        work: How long it takes.
    """

    fate: Fate = Fate.PLAIN
    work: Duration = parse_duration("200ms")


class Act(_Work):
    """A step that creates a thing on its target.

    Attributes:
        repairs: The step whose target it repairs besides; a remedy does.
    """

    kind: Literal["chaos.act"] = "chaos.act"
    repairs: str = ""


class Look(_Work):
    """A step that looks at its target."""

    reads_only: ClassVar[bool] = True

    kind: Literal["chaos.look"] = "chaos.look"


class Probe(_Work):
    """A probe of the metrics; every plan must end with one."""

    reads_only: ClassVar[bool] = True

    kind: Literal["metrics.chaos"] = "metrics.chaos"


class ChaosActuator:
    """Carries out acts and looks.

    Args:
        socket: Where the witness listens.
        worker: The name of this process, as in its leases.
    """

    def __init__(self, socket: Path, worker: str) -> None:
        self._socket = socket
        self._worker = worker

    async def check(self, step: Step, context: Context) -> tuple[Check, ...]:
        """Find the witness."""
        async with line(self._socket, context.clock) as witness:
            await witness.ask(op="look", token=context.token(step))
        return (Check(f"{step.kind} on {step.target}", Verdict.OK, "the target answers"),)

    async def observe(self, step: _Work, context: Context) -> Observation:
        """Tell whether the thing is there, if that can be told."""
        async with line(self._socket, context.clock) as witness:
            found = await witness.ask(op="look", token=context.token(step))
        if step.fate is Fate.UNREADABLE and found["begun"] and not found["repaired"]:
            return Observation(Presence.UNKNOWN, "the target does not let anybody look")
        if found["present"]:
            return Observation(Presence.PRESENT, f"{context.token(step)} is there")
        return Observation(Presence.ABSENT, f"{context.token(step)} is not there")

    async def remedies(self, step: _Work, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Offer to look, to repair the target, and to create the thing in another way."""
        del fault, context
        if step.fate not in (Fate.BROKEN, Fate.SILENT):
            return ()
        look = Look(id="look", target=step.target)
        mend = Act(id="mend", target=step.target, repairs=step.id)
        other = Act(id="other", target=step.target)
        return (
            Remedy("look", "Look at the target", "Shows what is wrong with it.", look),
            Remedy("mend", "Repair the target", "Repairs what is broken; then the step can be tried again.", mend),
            Remedy("other", "Create it in another way", "Goes around what is broken.", other, settles=True),
        )

    async def apply(self, step: _Work, context: Context) -> Outcome:
        """Create the thing, unless it is there."""
        async with line(self._socket, context.clock) as witness:
            try:
                return await self._act(witness, step, context)
            except asyncio.CancelledError:
                witness.tell(op="stopped")
                raise

    async def _act(self, witness: Line, step: _Work, context: Context) -> Outcome:
        state = await witness.ask(
            op="begin",
            token=context.token(step),
            run=context.rollback_id,
            step=step.id,
            target=step.target,
            worker=self._worker,
            reads_only=step.reads_only,
        )
        if state["present"]:
            witness.tell(op="end", words="it was there already")
            return Outcome("it was there already")
        await self._work(witness, step, context, part=0)
        if _fails(step.fate, state):
            witness.tell(op="end", words="failed")
            raise _failure(step)
        if step.reads_only:
            witness.tell(op="end", words="looked")
            return Outcome("it looks well", facts={"error_rate": 0.002, "p95_seconds": 0.09})
        if step.fate is not Fate.SILENT or state["repaired"]:
            await witness.ask(op="effect")
        if isinstance(step, Act) and step.repairs:
            await witness.ask(op="repair", token=f"{context.rollback_id}-{step.repairs}")
        await self._work(witness, step, context, part=1)  # a crash now leaves an effect whose outcome nobody knows
        witness.tell(op="end", words="done")
        if step.fate is Fate.LIAR and state["begun"] == 1:
            raise ActuatorError("The target answered with an error after it had done its work.", transient=True)
        return Outcome("it was created")

    async def _work(self, witness: Line, step: _Work, context: Context, *, part: int) -> None:
        """Work for one of two halves: before the effect, and after it."""
        total = step.work.total_seconds()
        half = total / 2
        until = context.clock.monotonic() + half
        while (left := until - context.clock.monotonic()) > 0:
            await context.clock.sleep(min(_TICK, left))
            witness.tell(op="tick")
            context.report(Progress(part * half + half - max(0.0, left), total, "seconds"))


def _fails(fate: Fate, state: Message) -> bool:
    return (fate is Fate.FLAKY and state["begun"] <= _FLAKY_ATTEMPTS) or (
        fate is Fate.BROKEN and not state["repaired"]
    )


def _failure(step: _Work) -> ActuatorError:
    if step.fate is Fate.FLAKY:
        return ActuatorError("The target is busy for a moment.", untouched="Nothing was done.", transient=True)
    return ActuatorError(
        "The target is broken.", untouched="Nothing was done.", resolution="Repair it, then retry."
    )


def register(registry: Registry | None = None, *, socket: Path, worker: str = "nobody") -> Registry:
    """Return a registry with the steps of the chaos run added.

    Args:
        registry: What is registered besides.
        socket: Where the witness listens.
        worker: The name of this process, as in its leases.
    """
    actuator = ChaosActuator(socket, worker)
    registry = registry or Registry()
    kept = (
        Registered(model, registry.actuator(model.model_construct(id="any", target="any", kind=kind)))
        for kind, model in registry.catalogue().items()
    )
    return Registry(*kept, Registered(Act, actuator), Registered(Look, actuator), Registered(Probe, actuator))
