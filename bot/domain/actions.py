"""What a worker may be told to do next with a rollback, and what it must know to ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bot.domain import forecast
from bot.domain.actuation import Progress
from bot.domain.forecast import Draft, Paces
from bot.domain.run import Run


@dataclass(frozen=True)
class View:
    """What a worker knows beside the journal when it asks what to do.

    Attributes:
        now: The time.
        running: Ids of the steps that this worker is carrying out at the moment. A step that the journal calls
            started and that is not among them has an unknown outcome.
        zone: The network zone whose targets it can reach; None: every one.
        helpful: Ids of the steps whose actuators know remedies.
        paces: How long the steps took in earlier rollbacks.
        progress: How far the running steps have come.
    """

    now: datetime
    running: Collection[str] = ()
    zone: str | None = None
    helpful: Collection[str] = ()
    paces: Paces = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)

    def reaches(self, run: Run, target: str) -> bool:
        """Return whether the worker can reach a target."""
        return self.zone is None or run.zone_of(target) == self.zone

    def look_again(self, run: Run) -> datetime | None:
        """Return when the window's clock must be looked at, at the latest."""
        return forecast.next_look(run, now=self.now, paces=self.paces, progress=self.progress)


@dataclass(frozen=True)
class CheckPlan:
    """Look at plan, backups, access and metrics, as far as this zone reaches.

    Attributes:
        last: Whether no other zone is left to look.
    """

    last: bool = True


@dataclass(frozen=True)
class HandOver:
    """What is left to do now needs a worker of another zone."""

    zone: str


@dataclass(frozen=True)
class Expire:
    """The time for an approval is over."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do before a person acts or the time comes; None: before a person acts."""

    until: datetime | None = None


@dataclass(frozen=True)
class BeginExecution:
    """Check that the approval still binds, then begin."""


@dataclass(frozen=True)
class RunSteps:
    """Start these steps now.

    Attributes:
        start: Those to begin.
        observe_first: Those whose last attempt has no known end: they are looked at, and begun again if need be.
        only_look: Whether they are not begun again: somebody wants the rollback to pause or to end.
    """

    start: tuple[str, ...]
    observe_first: tuple[str, ...]
    only_look: bool = False


@dataclass(frozen=True)
class AskPerson:
    """The turn of a step has come that a person does: ask for it."""

    step: str


@dataclass(frozen=True)
class Await:
    """Steps are running; come back when one ends, or at the latest at that moment.

    Attributes:
        until: When the window's clock must be looked at.
        stop: Whether the running steps are to be stopped: somebody gave the rollback up.
    """

    until: datetime | None = None
    stop: bool = False


@dataclass(frozen=True)
class Hold:
    """Ask a person about these steps; none: a person wanted the pause."""

    steps: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Resume:
    """Every held step has its decision."""


@dataclass(frozen=True)
class OfferRemedies:
    """Ask the actuator of a held step what may help."""

    step: str


@dataclass(frozen=True)
class Settle:
    """A remedy has brought about what the held step was to bring about."""

    step: str
    remedy: str


@dataclass(frozen=True)
class Survey:
    """Look how the targets of these steps stand, before the rollback is given up."""

    steps: tuple[str, ...]


@dataclass(frozen=True)
class Abort:
    """A person decided to give up, and every target was looked at."""

    who: str
    reason: str


@dataclass(frozen=True)
class DraftExtension:
    """The forecast passes the end of the window: have a ROLLBACK EXTENSION ready."""

    draft: Draft


@dataclass(frozen=True)
class Extend:
    """The window is exceeded: say so, and ask whether to go on."""

    draft: Draft


@dataclass(frozen=True)
class BeginVerification:
    """All phases are done."""


@dataclass(frozen=True)
class Complete:
    """Every probe is green."""


@dataclass(frozen=True)
class FileCause:
    """Write the incident of the cause that a person reported."""


@dataclass(frozen=True)
class WriteRecords:
    """Write and link incident, problem and change closure."""


@dataclass(frozen=True)
class Done:
    """Nothing will ever happen again."""


Action = (
    CheckPlan
    | HandOver
    | Expire
    | Wait
    | BeginExecution
    | RunSteps
    | AskPerson
    | Await
    | Hold
    | Resume
    | OfferRemedies
    | Settle
    | Survey
    | Abort
    | DraftExtension
    | Extend
    | BeginVerification
    | Complete
    | FileCause
    | WriteRecords
    | Done
)
