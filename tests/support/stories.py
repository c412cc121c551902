"""The specification's payments example as a story: a run, and the events that drive it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from bot.domain import run as runs
from bot.domain.actuation import Presence, Verdict
from bot.domain.criteria import Reading, Thresholds, decide
from bot.domain.events import (
    Aborted,
    AnyEvent,
    Authorised,
    AuthorityAsked,
    Checked,
    CheckFinding,
    CheckingBegan,
    Choice,
    Closed,
    Completed,
    Decided,
    ExecutionBegan,
    Expired,
    Held,
    IncidentOpened,
    Refused,
    Rejected,
    Requested,
    Resumed,
    ReviewScheduled,
    StepFailed,
    StepStarted,
    StepSucceeded,
    VerificationBegan,
)
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run
from tests.support.plans import MANAGER, ON_CALL, READING, at, inventory, plan


def unstarted(of: Plan | None = None, *, targets: Inventory | None = None, rollback_id: str = "rb-0004") -> Run:
    """Return a run whose journal is empty."""
    chosen = of or plan()
    return Run(id=rollback_id, plan=chosen, inventory=(targets or inventory()).only(chosen.all_targets()))


_WORKER = "worker-1"


def requested(when: datetime, *, who: str = ON_CALL, why: str = "Card payments fail") -> Requested:
    """Somebody asks."""
    return Requested(at=when, who=who, why=why)


def checking_began(when: datetime) -> CheckingBegan:
    """A worker begins to look."""
    return CheckingBegan(at=when, who=_WORKER, why="the rollback was requested")


def checked(when: datetime, reading: Reading = READING, *findings: CheckFinding) -> Checked:
    """The preconditions hold, unless other findings are given."""
    found = findings or (CheckFinding(subject="Backup db-before", verdict=Verdict.OK, words="readable"),)
    decision = decide(reading, plan().baseline, Thresholds())
    return Checked(at=when, who=_WORKER, why="preconditions", findings=found, reading=reading, decision=decision)


def refused(when: datetime) -> Refused:
    """It may not run."""
    return Refused(at=when, who=_WORKER, why="Backup db-before: file not found. Nothing was changed.")


def asked(when: datetime, run: Run, *, valid: timedelta = timedelta(hours=1)) -> AuthorityAsked:
    """The approvers are asked."""
    return AuthorityAsked(
        at=when,
        who=_WORKER,
        why="all preconditions hold",
        expires_at=when + valid,
        plan_digest=run.plan.digest(),
        targets_digest=run.inventory.digest(),
        who_may="J. Smith, A. Okafor",
    )


def authorised(
    when: datetime, run: Run, *, why: str = "Transaction error rate exceeds 5% threshold (current: 12.3%)"
) -> Authorised:
    """The change manager says yes."""
    return Authorised(
        at=when,
        who=MANAGER,
        why=why,
        name="J. Smith",
        role="Change Manager",
        grounds="Change Manager; business hours",
        plan_digest=run.plan.digest(),
        targets_digest=run.inventory.digest(),
    )


def rejected(when: datetime) -> Rejected:
    """The change manager says no."""
    return Rejected(at=when, who=MANAGER, why="we fix forward", name="J. Smith")


def expired(when: datetime) -> Expired:
    """Nobody answers."""
    return Expired(at=when, who="policy", why="nobody authorised it in time")


def began(when: datetime) -> ExecutionBegan:
    """Execution begins."""
    return ExecutionBegan(at=when, who=MANAGER, why="Error rate")


def started(when: datetime, step: str, attempt: int = 1) -> StepStarted:
    """A step is about to act."""
    return StepStarted(at=when, who=_WORKER, why=step, step=step, attempt=attempt)


def succeeded(
    when: datetime, step: str, attempt: int = 1, *, found: bool = False, facts: dict[str, Any] | None = None
) -> StepSucceeded:
    """A step's effect is there."""
    return StepSucceeded(
        at=when, who=_WORKER, why=step, step=step, attempt=attempt, words="done", facts=facts or {}, found=found
    )


def failed(
    when: datetime,
    step: str,
    attempt: int = 1,
    *,
    transient: bool = False,
    presence: Presence = Presence.ABSENT,
    seen: str = "",
) -> StepFailed:
    """A step's attempt ends badly."""
    return StepFailed(
        at=when,
        who=_WORKER,
        why=step,
        step=step,
        attempt=attempt,
        brief="The host refused the connection.",
        untouched="The service was left stopped.",
        resolution="Start sshd, then retry.",
        transient=transient,
        presence=presence,
        seen=seen,
    )


def held(when: datetime, *steps: str) -> Held:
    """A person must decide."""
    return Held(at=when, who=_WORKER, why="outcome unknown", steps=steps)


def decided(when: datetime, step: str, choice: Choice, *, who: str = MANAGER) -> Decided:
    """A person decides."""
    return Decided(at=when, who=who, why="seen on the host", choice=choice, step=step, name="J. Smith")


def resumed(when: datetime) -> Resumed:
    """Execution goes on."""
    return Resumed(at=when, who=_WORKER, why="every held step is decided")


def verification_began(when: datetime) -> VerificationBegan:
    """The probes begin."""
    return VerificationBegan(at=when, who=_WORKER, why="all phases are done")


def completed(when: datetime) -> Completed:
    """Every probe is green."""
    return Completed(at=when, who=_WORKER, why="every probe is green")


def aborted(when: datetime) -> Aborted:
    """The rollback is given up."""
    return Aborted(at=when, who=MANAGER, why="we fix forward")


def incident_opened(when: datetime) -> IncidentOpened:
    """The incident is known."""
    return IncidentOpened(at=when, who=_WORKER, why="degraded", incident="INC0056789")


def review_scheduled(when: datetime, review_at: datetime) -> ReviewScheduled:
    """The review has a time."""
    return ReviewScheduled(at=when, who=_WORKER, why="two working days after", review_at=review_at)


def closed(when: datetime) -> Closed:
    """The records are written."""
    return Closed(at=when, who=_WORKER, why="written", incident="INC0056789", problem="PRB0003456")


def happened(run: Run, *history: AnyEvent) -> Run:
    """Return the run after these events."""
    return runs.fold(run, history)


def story(run: Run) -> tuple[AnyEvent, ...]:
    """Return every event of the specification's example, for a run of the example's plan."""
    steps: list[AnyEvent] = []
    for phase in run.plan.phases:
        for step in phase.steps:
            steps += [started(at("15:48"), step.id), succeeded(at("16:05"), step.id)]
    probes: list[AnyEvent] = []
    for step in run.plan.verification.steps:
        facts: dict[str, Any] = (
            {"error_rate": 0.003, "p95_seconds": 0.18} if step.kind == "metrics.baseline" else {}
        )
        probes += [started(at("16:08"), step.id), succeeded(at("16:11"), step.id, facts=facts)]
    return (
        requested(at("15:45")),
        checking_began(at("15:45")),
        checked(at("15:45")),
        asked(at("15:45"), run),
        authorised(at("15:45"), run),
        began(at("15:47")),
        incident_opened(at("15:47")),
        *steps,
        verification_began(at("16:07")),
        *probes,
        completed(at("16:12")),
        review_scheduled(at("16:12"), at("+2 10:00")),
        closed(at("16:12")),
    )


def run_in(state: State, *, run: Run | None = None) -> Run:
    """Return the example's run as soon as it is in that state of the straight way."""
    current = run or unstarted()
    for event in story(current):
        current = runs.apply(current, event)
        if current.state is state:
            return current
    raise ValueError(f"the straight way does not lead through {state}")
