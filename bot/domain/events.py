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
from bot.domain.times import Moment


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


class CheckFinding(Model):
    """One precondition as it was found."""

    subject: str
    verdict: Verdict
    words: str
    resolution: str = ""


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


class ExecutionBegan(Event):
    """The first phase begins."""

    kind: Literal["execution_began"] = "execution_began"


class StepStarted(Event):
    """Written before the actuator acts."""

    kind: Literal["step_started"] = "step_started"
    step: str
    attempt: int


class StepSucceeded(Event):
    """The effect is there; `found` if it was found by looking instead of being brought about by this attempt."""

    kind: Literal["step_succeeded"] = "step_succeeded"
    step: str
    attempt: int
    words: str
    facts: dict[str, Any] = Field(default_factory=dict)
    output: str = ""
    found: bool = False


class StepFailed(Event):
    """The attempt ended badly; what the target looked like afterwards is in `presence`."""

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
    | Checked
    | Refused
    | AuthorityAsked
    | Authorised
    | Rejected
    | Expired
    | ExecutionBegan
    | StepStarted
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
