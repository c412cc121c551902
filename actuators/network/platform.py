"""What a guarded change needs of a platform, and what every platform can be asked alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from actuators.network.session import Session
from actuators.network.steps import Guarded
from actuators.network.values import last_words, masked
from bot.domain.actuation import Check, Context
from bot.domain.errors import ActuatorError

G_contra = TypeVar("G_contra", bound=Guarded, contravariant=True)


@dataclass(frozen=True)
class Standing:
    """How a device stands towards the wanted configuration.

    Attributes:
        differences: The lines that differ, as the step will change them: + comes, - goes. May hold secrets.
        pending: What the device's timer says where a change waits for its confirmation; empty: none does.
        saved: Whether a restart keeps what is in force.
    """

    differences: tuple[str, ...]
    pending: str
    saved: bool = True

    @property
    def wanted(self) -> bool:
        """Whether the wanted configuration is in force, confirmed or not."""
        return not self.differences

    @property
    def settled(self) -> bool:
        """Whether it is in force, for good."""
        return self.wanted and not self.pending and self.saved


class Platform(Protocol[G_contra]):
    """How one platform is changed under its own dead-man switch."""

    speaks: str

    async def checks(self, session: Session, step: G_contra) -> tuple[Check, ...]:
        """Verify rights, features and what comes back; read only."""
        ...

    async def look(self, session: Session, step: G_contra) -> Standing:
        """Compare what is in force with what is wanted; read only."""
        ...

    async def begin(self, session: Session, step: G_contra, context: Context) -> str:
        """Put the wanted configuration in force under the timer, and return what the device said."""
        ...

    async def confirm(self, session: Session, step: G_contra, context: Context) -> str:
        """Stop the timer."""
        ...

    async def save(self, session: Session) -> str:
        """Let a restart keep what is in force."""
        ...


def refused(session: Session, what: str, said: str, *, untouched: str, resolution: str = "") -> ActuatorError:
    """Return the error for an answer that is not the expected one."""
    return ActuatorError(
        f"{session.name}: {what}: {last_words(said)}.",
        untouched=untouched,
        resolution=resolution or "See the device's log; correct what it names, and retry.",
        output=masked(said)[-3000:],
    )
