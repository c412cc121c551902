"""What a rollback's journal holds: facts, in the order in which they became true.

An event is written once and never changed. The state of a rollback is what its events fold to (`bot.domain.run`).
Times (`at`) are the writer's clock, UTC; the store adds the database's own time to each row.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from bot.domain.actuation import Presence, Verdict
from bot.domain.criteria import Decision, Reading
from bot.domain.inventory import Model
from bot.domain.times import Duration, Moment


class Event(Model):
    """Something that became true.

    Attributes:
        at: When, UTC.
        who: Slack user id, ``policy`` or the worker's name.
        why: The reason, in words.
    """

    at: Moment
    who: str
    why: str


def _unused(value: object) -> bool:
    """Leave a field that was added later out of the journal where it is not used."""
    return not value


class CheckFinding(Model):
    """One precondition as it was found.

    Attributes:
        subject: What was looked at.
        verdict: How it came out.
        words: What was found.
        resolution: What to do next; empty when all is well.
        detail: What an approver may want to read, line by line, redacted.
        seal: The digest of what a step would do, which the approval binds to.
        step: The step whose seal it is.
    """

    subject: str
    verdict: Verdict
    words: str
    resolution: str = ""
    detail: str = Field(default="", exclude_if=_unused)
    seal: str = Field(default="", exclude_if=_unused)
    step: str = Field(default="", exclude_if=_unused)


class PartlyChecked(Event):
    """The preconditions that one network zone can reach were looked at; another zone looks at the rest."""

    kind: Literal["partly_checked"] = "partly_checked"
    zone: str
    findings: tuple[CheckFinding, ...]
    reading: Reading | None = None


class Requested(Event):
    """Somebody asked for the rollback."""

    kind: Literal["requested"] = "requested"


class CheckingBegan(Event):
    """A worker began to look at plan, backups, access and metrics."""

    kind: Literal["checking_began"] = "checking_began"


class Checked(Event):
    """The preconditions were looked at."""

    kind: Literal["checked"] = "checked"
    findings: tuple[CheckFinding, ...]
    reading: Reading
    decision: Decision


class Refused(Event):
    """The rollback may not run; nothing was touched."""

    kind: Literal["refused"] = "refused"


class AuthorityAsked(Event):
    """The approvers were asked. The approval will bind to exactly these digests."""

    kind: Literal["authority_asked"] = "authority_asked"
    expires_at: Moment
    plan_digest: str
    targets_digest: str
    who_may: str


class Authorised(Event):
    """A person authorised the rollback. `why` is the reason that goes on record."""

    kind: Literal["authorised"] = "authorised"
    name: str
    role: str
    grounds: str
    plan_digest: str
    targets_digest: str


class Rejected(Event):
    """A person with authority said no."""

    kind: Literal["rejected"] = "rejected"
    name: str


class Expired(Event):
    """Nobody authorised it in time."""

    kind: Literal["expired"] = "expired"


class LossFound(CheckFinding):
    """What one step would destroy, as it was measured."""

    step: str
    since: Moment
    rows: int | None = None


class ConfirmationAsked(Event):
    """The point of no return is passed: a second person must confirm the loss. `why` says by what it is passed."""

    kind: Literal["confirmation_asked"] = "confirmation_asked"
    losses: tuple[LossFound, ...]


class LossConfirmed(Event):
    """A second person confirmed that these data may be lost; `words` names them as they were shown."""

    kind: Literal["loss_confirmed"] = "loss_confirmed"
    name: str
    words: str


class ExecutionBegan(Event):
    """The first phase begins.

    Attributes:
        blocks: Whether deployments of the service are blocked from now on, until somebody lifts the hold.
    """

    kind: Literal["execution_began"] = "execution_began"
    blocks: bool = False


class StepStarted(Event):
    """Written before the actuator acts."""

    kind: Literal["step_started"] = "step_started"
    step: str
    attempt: int


class ManualAsked(Event):
    """The turn of a step has come that a person does: from now on it waits for that person's word."""

    kind: Literal["manual_asked"] = "manual_asked"
    step: str
    attempt: int


class StepSucceeded(Event):
    """The effect is there; `found` if it was found by looking instead of being brought about by this attempt.

    Of a step that a person does, `who` is that person, and `why` what was done.

    Attributes:
        name: The person who did it; empty: a worker.
        role: Under which role the person may say so.
        evidence: The text or link that the person gave to show it.
    """

    kind: Literal["step_succeeded"] = "step_succeeded"
    step: str
    attempt: int
    words: str
    facts: dict[str, Any] = Field(default_factory=dict)
    output: str = ""
    found: bool = False
    name: str = Field(default="", exclude_if=_unused)
    role: str = Field(default="", exclude_if=_unused)
    evidence: str = Field(default="", exclude_if=_unused)


class StepFailed(Event):
    """The attempt ended badly; what the target looked like afterwards is in `presence`.

    Attributes:
        name: The person who said that the step cannot be done; empty: a worker tried it.
        role: Under which role the person may say so.
    """

    kind: Literal["step_failed"] = "step_failed"
    step: str
    attempt: int
    brief: str
    untouched: str = ""
    resolution: str = ""
    output: str = ""
    transient: bool = False
    presence: Presence = Presence.UNKNOWN
    seen: str = ""
    name: str = Field(default="", exclude_if=_unused)
    role: str = Field(default="", exclude_if=_unused)


class Held(Event):
    """A person must decide about these steps."""

    kind: Literal["held"] = "held"
    steps: tuple[str, ...]


class Choice(StrEnum):
    """What a person may decide about a held step."""

    RETRY = "retry"
    MARK_DONE = "mark_done"
    SKIP = "skip"
    ABORT = "abort"


class Decided(Event):
    """A person decided about a held step. With ABORT `step` is the one that was held."""

    kind: Literal["decided"] = "decided"
    choice: Choice
    step: str
    name: str


class RemedyOffered(Model):
    """A remedy as it was offered: its button, and the step that it runs, as JSON.

    Attributes:
        id: Its name among the remedies of the failed step.
        title: The button.
        words: What it does.
        acts: Whether it changes anything; a diagnosis does not.
        settles: Whether the failed step counts as done when the remedy is.
        step: The step, to be read by `bot.domain.actuation.Registry.read`; its id is unique within the rollback.
    """

    id: str
    title: str
    words: str
    acts: bool
    settles: bool
    step: dict[str, Any]


class RemediesOffered(Event):
    """What may help the held step, as its actuator found out."""

    kind: Literal["remedies_offered"] = "remedies_offered"
    step: str
    remedies: tuple[RemedyOffered, ...]


class RemedyChosen(Event):
    """A person wants a remedy to be run: this authorises exactly the step that was offered."""

    kind: Literal["remedy_chosen"] = "remedy_chosen"
    step: str
    remedy: str
    name: str
    role: str = ""


class HoldAsked(Event):
    """A person wants the rollback to pause: running steps end, nothing new begins."""

    kind: Literal["hold_asked"] = "hold_asked"
    name: str


class ResumeAsked(Event):
    """A person ends the pause."""

    kind: Literal["resume_asked"] = "resume_asked"
    name: str


class AbortAsked(Event):
    """A person gives the rollback up.

    Attributes:
        stop: Whether running steps are stopped; otherwise they may end.
        confirmed: The words that were confirmed a second time beyond the point of no return; else empty.
    """

    kind: Literal["abort_asked"] = "abort_asked"
    name: str
    stop: bool = False
    confirmed: str = ""


class TargetFound(Model):
    """How one step's target stands: whether the step's effect is there."""

    step: str
    target: str
    presence: Presence
    words: str


class Surveyed(Event):
    """Every target was looked at before the rollback is given up."""

    kind: Literal["surveyed"] = "surveyed"
    found: tuple[TargetFound, ...]


class LeadHandedOver(Event):
    """Another person leads the rollback from now on."""

    kind: Literal["lead_handed_over"] = "lead_handed_over"
    to: str
    to_name: str
    name: str


class ExtensionDrafted(Event):
    """The forecast passes the end of the window: a ROLLBACK EXTENSION is ready to be sent. `why` is its reason.

    Attributes:
        window: The window in force, from the beginning of execution.
        estimate: The new one that is proposed.
        share: Part of the work that is done, 0..1.
    """

    kind: Literal["extension_drafted"] = "extension_drafted"
    window: Duration
    estimate: Duration
    share: float = Field(ge=0, le=1)


class Extended(Event):
    """The window was extended: ROLLBACK EXTENSION is sent. `why` is its reason.

    Attributes:
        window: The window in force until now, from the beginning of execution.
        estimate: The new one.
        share: Part of the work that is done, 0..1.
        exceeded: Whether the window had been exceeded before anybody extended it.
        name: Who extended it; empty: it was exceeded, and the message sent itself.
    """

    kind: Literal["extended"] = "extended"
    window: Duration
    estimate: Duration
    share: float = Field(ge=0, le=1)
    exceeded: bool = False
    name: str = ""


class ContinuationChosen(Event):
    """Asked whether to go on beyond the window or to fix forward, a person chose to go on."""

    kind: Literal["continuation_chosen"] = "continuation_chosen"
    name: str


class WorkerMissing(Event):
    """No worker of the zone that must go on has taken the rollback for a while."""

    kind: Literal["worker_missing"] = "worker_missing"
    zone: str


class CauseReported(Event):
    """A person found that the deployment was not the cause of the trouble: the actual one gets its own incident."""

    kind: Literal["cause_reported"] = "cause_reported"
    name: str


class CauseFiled(Event):
    """The incident of the actual cause is written. `why` repeats what was reported."""

    kind: Literal["cause_filed"] = "cause_filed"
    incident: str


class DeploymentsReleased(Event):
    """A person lifted the hold on deployments of the service."""

    kind: Literal["deployments_released"] = "deployments_released"
    name: str


class Resumed(Event):
    """Every held step has its decision; execution goes on."""

    kind: Literal["resumed"] = "resumed"


class VerificationBegan(Event):
    """All phases are done; the probes begin."""

    kind: Literal["verification_began"] = "verification_began"


class Completed(Event):
    """Every probe is green."""

    kind: Literal["completed"] = "completed"


class Aborted(Event):
    """The rollback was given up; forward-fix is the way."""

    kind: Literal["aborted"] = "aborted"


class IncidentOpened(Event):
    """The incident that the rollback belongs to is known."""

    kind: Literal["incident_opened"] = "incident_opened"
    incident: str


class ReviewScheduled(Event):
    """The post-incident review has a time."""

    kind: Literal["review_scheduled"] = "review_scheduled"
    review_at: Moment


class Closed(Event):
    """The records are written and linked."""

    kind: Literal["closed"] = "closed"
    incident: str
    problem: str


AnyEvent = Annotated[
    Requested
    | CheckingBegan
    | PartlyChecked
    | ConfirmationAsked
    | LossConfirmed
    | RemediesOffered
    | RemedyChosen
    | HoldAsked
    | ResumeAsked
    | AbortAsked
    | Surveyed
    | LeadHandedOver
    | ExtensionDrafted
    | Extended
    | ContinuationChosen
    | WorkerMissing
    | CauseReported
    | CauseFiled
    | DeploymentsReleased
    | Checked
    | Refused
    | AuthorityAsked
    | Authorised
    | Rejected
    | Expired
    | ExecutionBegan
    | StepStarted
    | ManualAsked
    | StepSucceeded
    | StepFailed
    | Held
    | Decided
    | Resumed
    | VerificationBegan
    | Completed
    | Aborted
    | IncidentOpened
    | ReviewScheduled
    | Closed,
    Field(discriminator="kind"),
]
"""Any event of a journal."""

EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
"""Reads an event back from its JSON."""
