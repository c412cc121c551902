"""Who may authorise a rollback, and why."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.domain.announcements import ask_of
from bot.domain.authority import (
    Answer,
    Ask,
    BusinessHours,
    Person,
    Policy,
    Role,
    Ruling,
    approving_roles,
    may_approve,
    may_operate,
)
from bot.domain.criteria import Reading
from tests.support import plans, stories
from tests.support.plans import COMMANDER, MANAGER, MODERATE, ON_CALL, OTHER_OWNER, OWNER, STRANGER, at

POLICY = plans.policy()
DAYTIME, NIGHT, SUNDAY = at("15:45"), at("03:00"), at("-1 15:45")
BAD, MILD, UNKNOWN = Reading(error_rate=0.123), Reading(error_rate=0.05), Reading(p95=timedelta(seconds=9))
_users = st.sampled_from([MANAGER, OWNER, ON_CALL, OTHER_OWNER, COMMANDER, STRANGER])
_moments = st.timedeltas(timedelta(0), timedelta(days=365)).map(lambda later: plans.DAY + later)
_rates = st.none() | st.floats(min_value=0, max_value=1)
_roles = st.none() | st.lists(st.sampled_from(Role), unique=True).map(tuple)


def _ask(reading: Reading = BAD, *, requester: str | None = STRANGER, touch: tuple[Role, ...] | None = None) -> Ask:
    return Ask(service="payments", requester=requester, touch=touch, reading=reading)


def _answer(user: str, ask: Ask, now: datetime) -> Answer:
    return may_approve(POLICY, ask, user, now=now).answer


@pytest.mark.parametrize("reading", [BAD, MILD, UNKNOWN])
@pytest.mark.parametrize(
    ("user", "answer"),
    [
        (MANAGER, Answer.GRANTED),
        (OWNER, Answer.GRANTED),
        (OTHER_OWNER, Answer.REFUSED),
        (ON_CALL, Answer.REFUSED),
        (COMMANDER, Answer.REFUSED),
        (STRANGER, Answer.REFUSED),
    ],
)
def test_business_hours(user: str, answer: Answer, reading: Reading) -> None:
    """In business hours the change manager or the service's own owner authorises, whatever the metrics say."""
    assert _answer(user, _ask(reading, requester=None), DAYTIME) is answer


@pytest.mark.parametrize("now", [NIGHT, SUNDAY])
@pytest.mark.parametrize(
    ("reading", "answer"), [(BAD, Answer.GRANTED), (MILD, Answer.REFUSED), (UNKNOWN, Answer.REFUSED)]
)
def test_delegation(now: datetime, reading: Reading, answer: Answer) -> None:
    """Out of hours the on-call engineer authorises above the threshold; at it, or with no data, nobody new does."""
    assert _answer(ON_CALL, _ask(reading), now) is answer
    assert _answer(MANAGER, _ask(reading), now) is Answer.GRANTED
    assert _answer(OTHER_OWNER, _ask(reading), now) is Answer.REFUSED


@MODERATE
@given(user=_users, now=_moments, rate=_rates, touch=_roles)
def test_nobody_approves_their_own(
    user: str, now: datetime, rate: float | None, touch: tuple[Role, ...] | None
) -> None:
    """Nobody authorises their own request, at no time, by no role and at no error rate."""
    assert not may_approve(
        POLICY, _ask(Reading(error_rate=rate), requester=user, touch=touch), user, now=now
    ).granted


def test_two_people() -> None:
    """Who could authorise but asked themself is told which second person can."""
    ruling = may_approve(POLICY, _ask(requester=MANAGER), MANAGER, now=DAYTIME)
    assert ruling.answer is Answer.MISSING
    assert "a second person is needed (A. Okafor)" in ruling.reason


def test_alone() -> None:
    """Who is the only one with the role is told that another holder is needed."""
    alone = Policy(people=(Person(id=MANAGER, name="J. Smith", roles=(Role.CHANGE_MANAGER,)),))
    ruling = may_approve(alone, _ask(requester=MANAGER), MANAGER, now=DAYTIME)
    assert "(somebody else with that role)" in ruling.reason


@MODERATE
@given(user=_users, now=_moments, rate=_rates, touch=st.lists(st.sampled_from(Role), unique=True).map(tuple))
def test_reservation(user: str, now: datetime, rate: float | None, touch: tuple[Role, ...]) -> None:
    """Targets that are reserved for roles are approved under one of these only, delegated or not."""
    ruling = may_approve(POLICY, _ask(Reading(error_rate=rate), touch=touch), user, now=now)
    assert ruling.role in touch if ruling.granted else ruling.role is None


@MODERATE
@given(now=_moments, touch=_roles, reading=st.sampled_from([Reading(), UNKNOWN, MILD]))
def test_unknown_delegates_nothing(now: datetime, touch: tuple[Role, ...] | None, reading: Reading) -> None:
    """Without a measured error rate above the threshold the on-call engineer never holds authority."""
    roles, _ = approving_roles(POLICY, _ask(reading, touch=touch), now=now)
    assert Role.ON_CALL_ENGINEER not in roles


@pytest.mark.parametrize(
    ("ask", "now", "reason"),
    [
        (_ask(), DAYTIME, "business hours: change manager or service owner"),
        (_ask(touch=()), DAYTIME, "business hours: nobody"),
        (_ask(), NIGHT, "out of hours, error rate 12.3% above 5%: delegated to the on-call engineer"),
        (
            _ask(touch=(Role.CHANGE_MANAGER,)),
            NIGHT,
            (
                "out of hours, error rate 12.3% above 5%, but the targets are not open to the on-call engineer: "
                "nothing is delegated"
            ),
        ),
        (_ask(MILD), NIGHT, "out of hours, but error rate 5% is not above 5%: nothing is delegated"),
        (_ask(UNKNOWN), NIGHT, "out of hours, but error rate unknown is not above 5%: nothing is delegated"),
    ],
)
def test_reasons(ask: Ask, now: datetime, reason: str) -> None:
    """Every answer about the approving roles says why."""
    assert approving_roles(POLICY, ask, now=now)[1] == reason


def test_no_role_twice() -> None:
    """An on-call engineer who is an approver anyway is named once when authority is delegated as well."""
    policy = plans.policy(approvers=(Role.ON_CALL_ENGINEER,))
    assert approving_roles(policy, _ask(), now=NIGHT)[0] == (Role.ON_CALL_ENGINEER,)


@pytest.mark.parametrize(
    ("user", "touch", "reason"),
    [
        (STRANGER, None, "You hold no role here. Needed now: Change Manager or Service Owner"),
        (COMMANDER, None, "C. Mander may not authorise this. Needed now: Change Manager or Service Owner"),
        (MANAGER, (), "J. Smith may not authorise this. Needed now: nobody"),
    ],
)
def test_refusals(user: str, touch: tuple[Role, ...] | None, reason: str) -> None:
    """Who may not authorise is told which roles may now, or that nobody may."""
    assert may_approve(POLICY, _ask(touch=touch), user, now=DAYTIME).reason.startswith(reason)


def test_granted() -> None:
    """A granted authority names the role it was granted under, and the grounds for the record."""
    assert may_approve(POLICY, _ask(), MANAGER, now=DAYTIME) == Ruling(
        Answer.GRANTED, "Change Manager; business hours: change manager or service owner", Role.CHANGE_MANAGER
    )


def test_owner_of_all() -> None:
    """A service owner without a list of services owns every service."""
    policy = plans.policy(people=(Person(id=OWNER, name="A. Okafor", roles=(Role.SERVICE_OWNER,)),))
    assert may_approve(policy, _ask(), OWNER, now=DAYTIME).granted


@pytest.mark.parametrize(
    ("touch", "expected"),
    [
        ({}, None),
        ({"payments_db": ("change_manager", "service_owner")}, (Role.CHANGE_MANAGER, Role.SERVICE_OWNER)),
        (
            {"payments_db": ("change_manager", "service_owner"), "payments_servers": ("service_owner",)},
            (Role.SERVICE_OWNER,),
        ),
        ({"payments_db": ("change_manager",), "payments_servers": ("service_owner",)}, ()),
    ],
)
def test_all_targets_must_admit(touch: dict[str, tuple[str, ...]], expected: tuple[Role, ...] | None) -> None:
    """A rollback needs a role that every reserved target admits; where there is none, nobody may."""
    run = stories.unstarted(targets=plans.inventory(**touch))
    assert ask_of(run).touch == expected


def test_ask_of_run() -> None:
    """Authority is asked for with the requester, the service and the metrics as they were checked."""
    run = stories.happened(stories.unstarted(), stories.requested(DAYTIME))
    assert ask_of(run) == Ask(service="payments", requester=ON_CALL)
    run = stories.happened(run, stories.checking_began(DAYTIME), stories.checked(DAYTIME))
    assert ask_of(run) == Ask(service="payments", requester=ON_CALL, reading=plans.READING)


@pytest.mark.parametrize(
    ("user", "granted", "reason"),
    [
        (ON_CALL, True, "On-call Engineer"),
        (MANAGER, True, "Change Manager"),
        (COMMANDER, False, "C. Mander may not operate rollbacks. Needed: Change Manager or On-call Engineer."),
        (STRANGER, False, "You hold no role here. Ask the change manager to enter you in the policy."),
    ],
)
def test_operators(user: str, *, granted: bool, reason: str) -> None:
    """Rollbacks are requested, and held steps decided about, by the policy's operators alone."""
    policy = plans.policy(operators=(Role.CHANGE_MANAGER, Role.ON_CALL_ENGINEER))
    ruling = may_operate(policy, user)
    assert (ruling.granted, ruling.reason) == (granted, reason)


@pytest.mark.parametrize(
    ("local", "inside"),
    [
        ("2024-01-15 08:59:59", False),
        ("2024-01-15 09:00:00", True),
        ("2024-01-15 17:29:59", True),
        ("2024-01-15 17:30:00", False),
        ("2024-01-19 12:00:00", True),
        ("2024-01-20 12:00:00", False),
        ("2024-01-21 12:00:00", False),
    ],
)
def test_hours(local: str, *, inside: bool) -> None:
    """Business hours begin with their first minute, end before the minute of their end, and rest on the weekend."""
    moment = datetime.fromisoformat(local).replace(tzinfo=UTC)
    assert BusinessHours().contains(moment) is inside


@pytest.mark.parametrize(
    ("zone", "utc", "inside"),
    [
        ("Europe/London", "2024-03-29 08:30", False),  # Friday before the change: London is on UTC
        ("Europe/London", "2024-04-01 08:30", True),  # Monday after it: 09:30 British summer time
        ("Europe/London", "2024-04-01 16:30", False),  # 17:30 British summer time
        ("America/New_York", "2024-03-08 13:30", False),  # 08:30 EST
        ("America/New_York", "2024-03-11 13:30", True),  # 09:30 EDT
        ("Pacific/Auckland", "2024-01-14 20:30", True),  # Monday 09:30 there, still Sunday in UTC
        ("Pacific/Auckland", "2024-01-19 20:30", False),  # Saturday there, still Friday in UTC
    ],
)
def test_time_zones(zone: str, utc: str, *, inside: bool) -> None:
    """Business hours are the people's own: their zone's weekday and clock count, summer time included."""
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert BusinessHours(timezone=zone).contains(moment) is inside


@MODERATE
@given(moment=_moments, zone=st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]))
def test_same_moment(moment: datetime, zone: str) -> None:
    """The answer depends on the moment, not on the zone in which the moment is written."""
    hours = BusinessHours(timezone="Europe/London")
    assert hours.contains(moment) is hours.contains(moment.astimezone(ZoneInfo(zone)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"timezone": "Europe/Londn"}, "not an IANA time zone"),
        ({"timezone": "../etc/passwd"}, "not an IANA time zone"),
        ({"days": (0, 1)}, "greater than or equal to 1"),
        ({"start": time(9), "end": time(9)}, "the working day ends at 09:00, before it starts at 09:00"),
        ({"start": time(22), "end": time(6)}, "before it starts at 22:00"),
        ({"end": 1050}, "write the time in quotes"),
        ({"start": "09:00Z"}, "without a zone of their own"),
    ],
)
def test_wrong_hours(wrong: dict[str, Any], words: str) -> None:
    """Hours that would never come, or that YAML reads differently, are refused with what is wrong."""
    with pytest.raises(ValidationError, match=words):
        BusinessHours.model_validate(wrong)


def test_each_person_once() -> None:
    """A person who is entered twice is refused: the second entry's roles would count in some places only."""
    twice = (Person(id=MANAGER, name="J. Smith"), Person(id=MANAGER, name="Jo Smith"))
    with pytest.raises(ValidationError, match=f"enter each person once, with all roles: {MANAGER}"):
        Policy(people=twice)


def test_holders() -> None:
    """The holders of roles are those who hold one of them for the service."""
    found = POLICY.holders((Role.SERVICE_OWNER, Role.INCIDENT_COMMANDER), service="payments")
    assert [person.id for person in found] == [OWNER, COMMANDER]
