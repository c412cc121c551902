"""What to do next with a rollback: a decision without I/O, computed from the journal alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from bot.domain import events
from bot.domain.actuation import Presence
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Step
from bot.domain.run import SETTLED, Run, StepState

MOST_INTERRUPTIONS = 10
"""How often a step is begun again after its worker was lost: one that takes its worker down must come to an end."""


@dataclass(frozen=True)
class CheckPlan:
    """Look at plan, backups, access and metrics."""


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
    """Start these steps now; `observe_first` holds those whose last attempt has no known end."""

    start: tuple[str, ...]
    observe_first: tuple[str, ...]


@dataclass(frozen=True)
class Await:
    """Steps are running; come back when one ends."""


@dataclass(frozen=True)
class Hold:
    """Ask a person about these steps."""

    steps: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Resume:
    """Every held step has its decision."""


@dataclass(frozen=True)
class Abort:
    """A person decided to give up."""

    who: str
    reason: str


@dataclass(frozen=True)
class BeginVerification:
    """All phases are done."""


@dataclass(frozen=True)
class Complete:
    """Every probe is green."""


@dataclass(frozen=True)
class WriteRecords:
    """Write and link incident, problem and change closure."""


@dataclass(frozen=True)
class Done:
    """Nothing will ever happen again."""


Action = (
    CheckPlan
    | Expire
    | Wait
    | BeginExecution
    | RunSteps
    | Await
    | Hold
    | Resume
    | Abort
    | BeginVerification
    | Complete
    | WriteRecords
    | Done
)


def next_action(run: Run, *, now: datetime, running: Collection[str] = ()) -> Action:
    """Decide what to do next.

    Args:
        run: The rollback.
        now: The time.
        running: Ids of the steps that this worker is carrying out at the moment. A step that the journal calls
            started and that is not among them has an unknown outcome.
    """
    match run.state:
        case State.REQUESTED | State.CHECKING:
            return CheckPlan()
        case State.AWAITING_AUTHORITY:
            asked: events.AuthorityAsked = run.last(events.AuthorityAsked)
            return Expire() if now >= asked.expires_at else Wait(until=asked.expires_at)
        case State.AUTHORISED:
            return BeginExecution()
        case State.EXECUTING | State.VERIFYING:
            return _advance(run, running)
        case State.HELD:
            return _held(run)
        case State.COMPLETE | State.ABORTED:
            return WriteRecords()
        case _:
            return Done()


def _held(run: Run) -> Action:
    held: events.Held = run.last(events.Held)
    since = run.history[run.state_seq :]
    for event in since:
        if isinstance(event, events.Decided) and event.choice is Choice.ABORT:
            return Abort(who=event.who, reason=event.why)
    if any(run.status(step).state is StepState.HELD for step in held.steps):
        return Wait()
    return Resume()


def _advance(run: Run, running: Collection[str]) -> Action:
    verifying = run.state is State.VERIFYING
    groups = (run.plan.verification.steps,) if verifying else tuple(phase.steps for phase in run.plan.phases)
    for steps in groups:
        if any(run.status(step.id).state not in SETTLED for step in steps):
            return _within(run, steps, running)
    return Complete() if verifying else BeginVerification()


def _within(run: Run, steps: tuple[Step, ...], running: Collection[str]) -> Action:
    start: list[str] = []
    doubtful: list[str] = []
    stuck: list[str] = []
    for step in steps:
        status = run.status(step.id)
        if step.id in running or status.state in SETTLED:
            continue
        if status.state is StepState.FAILED and not may_retry(run, step):
            stuck.append(step.id)
        elif status.state is StepState.STARTED:
            doubtful.append(step.id)
        elif status.state is StepState.HELD:
            stuck.append(step.id)
        elif all(run.status(needed).state in SETTLED for needed in step.needs):
            start.append(step.id)
    if stuck:
        # Nothing new begins beside a step that somebody must decide about; what runs may end.
        if doubtful:
            # What had begun is brought to a known end before anybody is asked, or gives up.
            return RunSteps(start=(), observe_first=tuple(doubtful))
        return Await() if running else Hold(tuple(stuck), _why_held(run, stuck))
    if start or doubtful:
        return RunSteps(start=tuple(start), observe_first=tuple(doubtful))
    return Await()


def may_retry(run: Run, step: Step) -> bool:
    """Return whether a failed step may be tried again without asking anybody.

    Only when the fault is a passing one, the target was read and does not have the effect, and tries are left.
    """
    status = run.status(step.id)
    failure = status.failure
    return (
        failure is not None
        and failure.transient
        and (failure.presence is Presence.ABSENT or step.reads_only)
        and status.tries < step.attempts
    )


def _why_held(run: Run, stuck: list[str]) -> str:
    parts = []
    for step_id in stuck:
        failure = run.status(step_id).failure
        if failure is None:
            parts.append(f"{step_id}: somebody must decide")
        elif failure.presence is Presence.UNKNOWN and not run.plan.step(step_id).reads_only:
            parts.append(f"{step_id}: outcome unknown ({failure.seen or failure.brief})")
        else:
            parts.append(f"{step_id}: {failure.brief}")
    return "; ".join(parts)
