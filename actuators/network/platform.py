"""What a guarded change needs of a platform, and what every platform's change is told and sealed alike."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from actuators.network.session import Line
from actuators.network.steps import Guarded
from actuators.network.values import last_words, masked
from actuators.remedies import shown
from bot.domain.actuation import Check, Context, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice

L = TypeVar("L", bound=Line)
G_contra = TypeVar("G_contra", bound=Guarded, contravariant=True)

SHORT_SEAL = 12
"""Characters by which people tell seals apart."""
_COST = 2**14
"""Of scrypt: about 50 ms and 16 MB."""
_LINES = 200
"""Lines of a difference that are shown."""


@dataclass(frozen=True)
class Standing:
    """How a device stands towards the wanted configuration.

    Attributes:
        differences: The lines that differ, as the step will change them: + comes, - goes, anything else tells
            where. May hold secrets.
        pending: What the device's timer says where a change waits for its confirmation; empty: none does.
        saved: Whether a restart keeps what is in force.
        note: What else a person must know; empty: nothing.
    """

    differences: tuple[str, ...]
    pending: str
    saved: bool = True
    note: str = ""

    @property
    def wanted(self) -> bool:
        """Whether the wanted configuration is in force, confirmed or not."""
        return not self.differences

    @property
    def settled(self) -> bool:
        """Whether it is in force, for good."""
        return self.wanted and not self.pending and self.saved

    def count(self) -> int:
        """Return how many lines come, go or move."""
        return sum(line[:1] in {"+", "-", "!"} for line in self.differences)

    def words(self) -> str:
        """Return how many lines come and go."""
        come = sum(line.startswith("+") for line in self.differences)
        go = sum(line.startswith("-") for line in self.differences)
        moved = self.count() - come - go
        return f"{come} {'line comes' if come == 1 else 'lines come'}, {go} {'goes' if go == 1 else 'go'}" + (
            f", {moved} in another order" if moved else ""
        )

    def shown(self) -> str:
        """Return the difference for people: masked, and no longer than anybody reads."""
        return shown(masked("\n".join(self.differences)).splitlines(), most=_LINES)


class Platform(Protocol[L, G_contra]):
    """How one platform is changed under its own dead-man switch."""

    speaks: str

    def opened(self, name: str, device: NetworkDevice) -> AbstractAsyncContextManager[L]:
        """Give a login of its own."""
        ...

    async def checks(self, session: L, step: G_contra) -> tuple[Check, ...]:
        """Verify rights, features and what comes back; read only."""
        ...

    async def look(self, session: L, step: G_contra) -> Standing:
        """Compare what is in force with what is wanted; read only."""
        ...

    async def begin(self, session: L, step: G_contra, context: Context, before: Standing) -> str:
        """Put the wanted configuration in force under the timer, and return what the device said.

        Args:
            session: The login.
            step: The step.
            context: The run.
            before: What was found right before, and is the approved change.
        """
        ...

    async def confirm(self, session: L, step: G_contra, context: Context) -> str:
        """Stop the timer."""
        ...

    async def save(self, session: L) -> str:
        """Let a restart keep what is in force."""
        ...


def seal_of(step: Guarded, standing: Standing) -> str:
    """Return the digest of what the step would do: of the wanted configuration's pin and of every line.

    It is a slow one: the lines may hold secrets, which nobody shall find from a journal by trying.
    """
    lines = [line.rstrip() for line in standing.differences]
    said = json.dumps([step.kind, step.pin(), lines]).encode()
    return hashlib.scrypt(said, salt=step.pin().encode(), n=_COST, r=8, p=1, dklen=32).hex()


def changes(step: Guarded, standing: Standing) -> Check:
    """Return what a change will do, as the approver is to see it, sealed."""
    subject, seal = f"Changes on {step.target}", seal_of(step, standing)
    if standing.pending:
        words = f"a change waits for its confirmation there (timer: {standing.pending})"
        if not standing.wanted:
            return Check(subject, Verdict.FAIL, words, "Let whoever made it confirm it or take it back first.")
        resolution = "It will be confirmed if all is reached."
        return Check(subject, Verdict.WARN, f"{words}: it is this one", resolution, seal=seal)
    if standing.wanted:
        return Check(subject, Verdict.OK, "none: the wanted configuration is in force", seal=seal)
    return Check(subject, Verdict.OK, standing.words(), detail=standing.shown(), seal=seal)


def moved(step: Guarded, standing: Standing, why: str) -> ActuatorError:
    """Return the error for a device that is no longer as it was when the change was approved."""
    seal = seal_of(step, standing)[:SHORT_SEAL]
    return ActuatorError(
        f"Somebody changed {step.target} since {why}: the step would do something else now ({standing.words()};"
        f" difference {seal}).",
        untouched="Nothing was changed.",
        resolution="Read the new difference. If it is meant, have it run by the remedy that names it, or approved"
        " anew; else find out who works on the device.",
        output=standing.shown(),
    )


def refused(session: Line, what: str, said: str, *, untouched: str, resolution: str = "") -> ActuatorError:
    """Return the error for an answer that is not the expected one."""
    return ActuatorError(
        f"{session.name}: {what}: {last_words(said)}.",
        untouched=untouched,
        resolution=resolution or "See the device's log; correct what it names, and retry.",
        output=masked(said)[-3000:],
    )
