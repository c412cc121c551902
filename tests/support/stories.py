"""The specification's payments example as a story: a run, and the events that drive it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from bot.domain import run as runs
from bot.domain.actuation import Presence, Verdict
from bot.domain.criteria import Reading, Thresholds, decide
from bot.domain.events import (
    AbortAsked,
    Aborted,
    AnyEvent,
    Authorised,
    AuthorityAsked,
    CauseFiled,
    CauseReported,
    Checked,
    CheckFinding,
    CheckingBegan,
    Choice,
    Closed,
    Completed,
    ConfirmationAsked,
    ContinuationChosen,
    Decided,
    DeploymentsReleased,
    ExecutionBegan,
    Expired,
    Extended,
    ExtensionDrafted,
    Held,
    HoldAsked,
    IncidentOpened,
    LeadHandedOver,
    LossConfirmed,
    LossFound,
    ManualAsked,
    PartlyChecked,
    Refused,
    Rejected,
    RemediesOffered,
    RemedyChosen,
    RemedyOffered,
    Requested,
    ResumeAsked,
    Resumed,
    ReviewScheduled,
    StepFailed,
    StepStarted,
    StepSucceeded,
    Surveyed,
    TargetFound,
    VerificationBegan,
    WorkerMissing,
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


def began(when: datetime, *, blocks: bool = False) -> ExecutionBegan:
    """Execution begins."""
    return ExecutionBegan(at=when, who=MANAGER, why="Error rate", blocks=blocks)


def partly_checked(
    when: datetime, zone: str, *findings: CheckFinding, reading: Reading | None = None
) -> PartlyChecked:
    """The preconditions of one zone were looked at."""
    return PartlyChecked(at=when, who=_WORKER, why=f"zone {zone}", zone=zone, findings=findings, reading=reading)


def confirmation_asked(when: datetime, step: str = "swap", *, rows: int | None = 412) -> ConfirmationAsked:
    """A second person must confirm a loss."""
    loss = LossFound(
        subject="Swap the databases",
        verdict=Verdict.WARN,
        words="412 rows of transactions; all writes of 31 minutes",
        step=step,
        since=at("14:30"),
        rows=rows,
    )
    return ConfirmationAsked(at=when, who=_WORKER, why="5 minutes past the point of no return", losses=(loss,))


def loss_confirmed(when: datetime, *, who: str = ON_CALL) -> LossConfirmed:
    """A second person confirms the loss."""
    words = "Swap the databases: 412 rows of transactions"
    return LossConfirmed(at=when, who=who, why="the rows are in the queue", name="O. Neill", words=words)


def remedy(step: str, remedy_id: str = "look", *, acts: bool = False, settles: bool = False) -> RemedyOffered:
    """Return a remedy as it is offered for a step, run on the step's own target."""
    document = {"id": f"remedy.{remedy_id}.9.0", "kind": "postgres.drain", "target": "payments-db"}
    return RemedyOffered(
        id=remedy_id,
        title=f"{remedy_id.capitalize()} at {step}",
        words="Names who is connected.",
        acts=acts,
        settles=settles,
        step=document,
    )


def offered(when: datetime, step: str, *remedies: RemedyOffered) -> RemediesOffered:
    """The actuator says what may help."""
    return RemediesOffered(at=when, who=_WORKER, why="what may help", step=step, remedies=remedies)


def chosen(when: datetime, step: str, remedy_id: str = "look", *, who: str = MANAGER) -> RemedyChosen:
    """A person wants a remedy to be run."""
    key = f"remedy.{remedy_id}.9.0"
    return RemedyChosen(
        at=when, who=who, why="to see", step=step, remedy=key, name="J. Smith", role="Change Manager"
    )


def hold_asked(when: datetime, *, who: str = ON_CALL) -> HoldAsked:
    """A person holds the rollback."""
    return HoldAsked(at=when, who=who, why="we look at the replica first", name="O. Neill")


def resume_asked(when: datetime, *, who: str = ON_CALL) -> ResumeAsked:
    """A person ends the pause."""
    return ResumeAsked(at=when, who=who, why="the replica is fine", name="O. Neill")


def abort_asked(when: datetime, *, stop: bool = False, confirmed: str = "") -> AbortAsked:
    """A person gives the rollback up."""
    return AbortAsked(at=when, who=MANAGER, why="we fix forward", name="J. Smith", stop=stop, confirmed=confirmed)


def surveyed(when: datetime, *steps: str, presence: Presence = Presence.ABSENT) -> Surveyed:
    """Every target was looked at."""
    found = tuple(TargetFound(step=step, target="payments-db", presence=presence, words="seen") for step in steps)
    return Surveyed(at=when, who=_WORKER, why="how every target stands", found=found)


def handed_over(when: datetime, to: str = MANAGER) -> LeadHandedOver:
    """Another person leads."""
    return LeadHandedOver(at=when, who=ON_CALL, why="end of my shift", to=to, to_name="J. Smith", name="O. Neill")


def extension_drafted(when: datetime, *, window: int = 30, estimate: int = 60) -> ExtensionDrafted:
    """The forecast passes the end of the window; minutes."""
    return ExtensionDrafted(
        at=when,
        who=_WORKER,
        why="Database restore taking longer than planned",
        window=timedelta(minutes=window),
        estimate=timedelta(minutes=estimate),
        share=0.65,
    )


def extended(
    when: datetime, *, window: int = 30, estimate: int = 60, exceeded: bool = False, who: str = MANAGER
) -> Extended:
    """The window is extended; minutes."""
    return Extended(
        at=when,
        who=who,
        why="Database restore taking longer than planned due to size",
        window=timedelta(minutes=window),
        estimate=timedelta(minutes=estimate),
        share=0.65,
        exceeded=exceeded,
        name="" if exceeded else "J. Smith",
    )


def continuation_chosen(when: datetime) -> ContinuationChosen:
    """A person chooses to go on beyond the window."""
    return ContinuationChosen(at=when, who=MANAGER, why="ten more minutes", name="J. Smith")


def worker_missing(when: datetime, zone: str = "dmz") -> WorkerMissing:
    """No worker of the zone takes the rollback."""
    return WorkerMissing(at=when, who=_WORKER, why=f"no worker of zone {zone} has taken it", zone=zone)


def cause_reported(when: datetime) -> CauseReported:
    """A person finds another cause."""
    return CauseReported(at=when, who=ON_CALL, why="the card scheme is down", name="O. Neill")


def cause_filed(when: datetime) -> CauseFiled:
    """Its incident is written."""
    return CauseFiled(at=when, who=_WORKER, why="the card scheme is down", incident="INC0056790")


def deployments_released(when: datetime) -> DeploymentsReleased:
    """A person lifts the hold on deployments."""
    return DeploymentsReleased(at=when, who=MANAGER, why="v2.4.1 is ready", name="J. Smith")


def started(when: datetime, step: str, attempt: int = 1) -> StepStarted:
    """A step is about to act."""
    return StepStarted(at=when, who=_WORKER, why=step, step=step, attempt=attempt)


def manual_asked(when: datetime, step: str, attempt: int = 1) -> ManualAsked:
    """The turn of a step has come that a person does."""
    return ManualAsked(at=when, who=_WORKER, why=step, step=step, attempt=attempt)


def done_by_hand(when: datetime, step: str, attempt: int = 1, *, evidence: str = "") -> StepSucceeded:
    """The person says that it is done."""
    return StepSucceeded(
        at=when,
        who=ON_CALL,
        why="turned it",
        step=step,
        attempt=attempt,
        words="done by O. Neill: turned it",
        name="O. Neill",
        role="On-call Engineer",
        evidence=evidence,
    )


def cannot(when: datetime, step: str, attempt: int = 1) -> StepFailed:
    """The person says that it cannot be done."""
    return StepFailed(
        at=when,
        who=ON_CALL,
        why="the key is lost",
        step=step,
        attempt=attempt,
        brief="O. Neill says that it cannot be done: the key is lost.",
        name="O. Neill",
        role="On-call Engineer",
    )


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
