"""Who may authorise a rollback, and why. Every answer carries its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from bot.domain.criteria import Reading, Thresholds, percent
from bot.domain.inventory import Model
from bot.domain.times import Duration, parse_duration

UserId = Annotated[str, Field(pattern=r"^[UW][A-Z0-9]{2,}$")]
"""Slack's immutable id of a user; people are never known by their names."""


class Role(StrEnum):
    """What a person may answer for."""

    CHANGE_MANAGER = "change_manager"
    SERVICE_OWNER = "service_owner"
    ON_CALL_ENGINEER = "on_call_engineer"
    INCIDENT_COMMANDER = "incident_commander"

    def words(self) -> str:
        """Return the role as the records name it."""
        return {
            Role.CHANGE_MANAGER: "Change Manager",
            Role.SERVICE_OWNER: "Service Owner",
            Role.ON_CALL_ENGINEER: "On-call Engineer",
            Role.INCIDENT_COMMANDER: "Incident Commander",
        }[self]


class Person(Model):
    """Somebody with roles.

    Attributes:
        id: Slack user id.
        name: For records and messages only, never for decisions.
        roles: What the person may answer for.
        services: The services a service owner owns; empty: all.
    """

    id: UserId
    name: str = Field(min_length=1, max_length=80)
    roles: tuple[Role, ...] = ()
    services: tuple[str, ...] = ()


class BusinessHours(Model):
    """When people are at work.

    Attributes:
        timezone: IANA name.
        days: ISO weekdays, Monday is 1.
        start: First minute of work, local time.
        end: First minute after it.
    """

    timezone: str = "UTC"
    days: tuple[Annotated[int, Field(ge=1, le=7)], ...] = (1, 2, 3, 4, 5)
    start: time = time(9, 0)
    end: time = time(17, 30)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is not an IANA time zone; write for example Europe/London") from error
        return value

    @field_validator("start", "end", mode="before")
    @classmethod
    def _written_out(cls, value: Any) -> Any:
        if isinstance(value, int | float):
            # YAML 1.1 reads a bare 17:30 as the number 1050, which would count as 17.5 minutes past midnight.
            raise ValueError('write the time in quotes, for example "17:30"')  # noqa: TRY004 - pydantic's contract
        return value

    @model_validator(mode="after")
    def _ordered(self) -> BusinessHours:
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError("start and end are local times of `timezone`; write them without a zone of their own")
        if self.start >= self.end:
            raise ValueError(f"the working day ends at {self.end:%H:%M}, before it starts at {self.start:%H:%M}")
        return self

    def contains(self, moment: datetime) -> bool:
        """Return whether the moment lies in business hours."""
        local = moment.astimezone(ZoneInfo(self.timezone))
        return local.isoweekday() in self.days and self.start <= local.time() < self.end


class Policy(Model):
    """Who may do what, as data.

    Attributes:
        people: Everybody with a role.
        hours: Business hours.
        approvers: Roles that may authorise at any time.
        operators: Roles that may request a rollback and decide about a held step.
        approval_valid: How long a request waits for authority before it expires.
        thresholds: When the impact is beyond what must be waited for.
    """

    people: tuple[Person, ...] = ()
    hours: BusinessHours = BusinessHours()
    approvers: tuple[Role, ...] = (Role.CHANGE_MANAGER, Role.SERVICE_OWNER)
    operators: tuple[Role, ...] = tuple(Role)
    approval_valid: Duration = parse_duration("60m")
    thresholds: Thresholds = Thresholds()

    @field_validator("people")
    @classmethod
    def _once(cls, people: tuple[Person, ...]) -> tuple[Person, ...]:
        ids = [person.id for person in people]
        twice = sorted({user for user in ids if ids.count(user) > 1})
        if twice:
            raise ValueError(f"enter each person once, with all roles: {', '.join(twice)}")
        return people

    def person(self, user_id: str) -> Person | None:
        """Return the person of that Slack user id."""
        return next((person for person in self.people if person.id == user_id), None)

    def holders(self, roles: Sequence[Role], *, service: str) -> tuple[Person, ...]:
        """Return everybody who holds one of the roles for the service."""
        return tuple(
            person for person in self.people if any(_holds(person, role, service=service) for role in roles)
        )


class Answer(StrEnum):
    """How a question of authority was answered."""

    GRANTED = "granted"
    MISSING = "missing"
    REFUSED = "refused"


@dataclass(frozen=True)
class Ruling:
    """An answer with its reason.

    Attributes:
        answer: Granted, missing (somebody else must agree) or refused.
        reason: Why, in words for the person and the auditor.
        role: The role under which it was granted.
    """

    answer: Answer
    reason: str
    role: Role | None = None

    @property
    def granted(self) -> bool:
        """Whether the answer is yes."""
        return self.answer is Answer.GRANTED


@dataclass(frozen=True)
class Ask:
    """What authority is asked for.

    Attributes:
        service: The service that is rolled back.
        requester: User id of who asked for the rollback; None for an automatic trigger.
        touch: Roles that every target involved admits; None: no target is reserved.
        reading: The metrics as they were checked.
    """

    service: str
    requester: str | None
    touch: tuple[Role, ...] | None = None
    reading: Reading = field(default_factory=Reading)


def _holds(person: Person, role: Role, *, service: str) -> bool:
    owns = role is not Role.SERVICE_OWNER or not person.services or service in person.services
    return role in person.roles and owns


def _admitted(roles: Sequence[Role], ask: Ask) -> tuple[Role, ...]:
    return tuple(role for role in roles if ask.touch is None or role in ask.touch)


def approving_roles(policy: Policy, ask: Ask, *, now: datetime) -> tuple[tuple[Role, ...], str]:
    """Return the roles that may authorise now, and why.

    In business hours these are the policy's approvers. Out of hours the on-call engineer holds delegated authority
    as long as the impact is above the threshold; unknown metrics delegate nothing. Nothing widens a reservation.
    """
    roles = _admitted(policy.approvers, ask)
    if policy.hours.contains(now):
        return roles, f"business hours: {' or '.join(role.words().lower() for role in roles) or 'nobody'}"
    limit = policy.thresholds.delegation_error_rate
    rate = ask.reading.error_rate
    if rate is not None and rate > limit:
        why = f"out of hours, error rate {percent(rate)} above {percent(limit)}"
        if not _admitted((Role.ON_CALL_ENGINEER,), ask):
            return roles, f"{why}, but the targets are not open to the on-call engineer: nothing is delegated"
        delegated = tuple(dict.fromkeys((*roles, Role.ON_CALL_ENGINEER)))
        return delegated, f"{why}: delegated to the on-call engineer"
    shown = "unknown" if rate is None else percent(rate)
    return roles, f"out of hours, but error rate {shown} is not above {percent(limit)}: nothing is delegated"


def may_approve(policy: Policy, ask: Ask, user_id: str, *, now: datetime) -> Ruling:
    """Decide whether a person may authorise the rollback now."""
    person = policy.person(user_id)
    roles, why = approving_roles(policy, ask, now=now)
    needed = " or ".join(role.words() for role in roles) or "nobody"
    if person is None:
        return Ruling(Answer.REFUSED, f"You hold no role here. Needed now: {needed} ({why}).")
    held = next((role for role in roles if _holds(person, role, service=ask.service)), None)
    if held is None:
        return Ruling(Answer.REFUSED, f"{person.name} may not authorise this. Needed now: {needed} ({why}).")
    if user_id == ask.requester:
        others = [p.name for p in policy.holders(roles, service=ask.service) if p.id != user_id]
        who = ", ".join(others) or "somebody else with that role"
        return Ruling(
            Answer.MISSING, f"Nobody authorises their own request alone: a second person is needed ({who})."
        )
    return Ruling(Answer.GRANTED, f"{held.words()}; {why}", held)


def may_steer(policy: Policy, ask: Ask, user_id: str) -> Ruling:
    """Decide whether a person may hold, resume, retry, extend, hand over or give up a rollback that runs.

    An operator may, unless a target is reserved for roles that the person does not hold.
    """
    ruling = may_operate(policy, user_id)
    person = policy.person(user_id)
    if not ruling.granted or person is None or ask.touch is None:
        return ruling
    held = next((role for role in ask.touch if _holds(person, role, service=ask.service)), None)
    if held is None:
        needed = " or ".join(role.words() for role in ask.touch) or "nobody"
        return Ruling(Answer.REFUSED, f"The targets are reserved. {person.name} is not among: {needed}.")
    return Ruling(Answer.GRANTED, held.words(), held)


def may_do(policy: Policy, ask: Ask, user_id: str, *, roles: Sequence[Role]) -> Ruling:
    """Decide whether a person may say how a step ended that a person does.

    Anyone who may steer, if the step names no roles; else whoever holds one of them. Nothing widens a reservation.
    """
    if not roles:
        return may_steer(policy, ask, user_id)
    person = policy.person(user_id)
    needed = " or ".join(role.words() for role in _admitted(roles, ask)) or "nobody"
    if person is None:
        return Ruling(Answer.REFUSED, f"You hold no role here. Needed for this step: {needed}.")
    held = next((role for role in _admitted(roles, ask) if _holds(person, role, service=ask.service)), None)
    if held is None:
        return Ruling(Answer.REFUSED, f"{person.name} may not confirm this step. Needed: {needed}.")
    return Ruling(Answer.GRANTED, held.words(), held)


def may_confirm(policy: Policy, ask: Ask, user_id: str, *, authoriser: str) -> Ruling:
    """Decide whether a person may confirm that data are lost: anyone who may steer, but whoever authorised."""
    ruling = may_steer(policy, ask, user_id)
    if ruling.granted and user_id == authoriser:
        return Ruling(Answer.MISSING, "You authorised the rollback: a second person must confirm the loss of data.")
    return ruling


def may_operate(policy: Policy, user_id: str) -> Ruling:
    """Decide whether a person may request a rollback."""
    person = policy.person(user_id)
    if person is None:
        return Ruling(Answer.REFUSED, "You hold no role here. Ask the change manager to enter you in the policy.")
    held = next((role for role in policy.operators if role in person.roles), None)
    if held is None:
        needed = " or ".join(role.words() for role in policy.operators)
        return Ruling(Answer.REFUSED, f"{person.name} may not operate rollbacks. Needed: {needed}.")
    return Ruling(Answer.GRANTED, held.words(), held)
