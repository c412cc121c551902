"""Steps that a person does: what they say, how they stand, and what becomes of the rollback meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bot.domain import actions, announcements, control, events, forecast, manual
from bot.domain.actuation import Presence
from bot.domain.authority import Ask, Role, may_do
from bot.domain.events import AnyEvent, Choice
from bot.domain.execution import next_action
from bot.domain.lifecycle import State
from bot.domain.manual import ManualStep
from bot.domain.messages import Asks, Note, Place, Question, Standard
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from tests.support import plans, stories
from tests.support.plans import MANAGER, ON_CALL, OTHER_OWNER, OWNER, STRANGER, act, at, by_hand, probe
from tests.support.stories import happened, run_in

NOW = at("15:50")
BASE: dict[str, Any] = {"id": "key", "target": "payments-servers", "title": "Turn it", "instructions": "Left."}


def plan(**more: Any) -> Plan:
    """Return a plan in which a person turns a key beside `a`; `b` needs the key, and `c` comes after all."""
    first = [act("a"), by_hand("key", **more), act("b", needs=["key"])]
    return plans.plan_of([first, [act("c")]], verification=[probe("m")])


def begun(*history: AnyEvent, **more: Any) -> Run:
    """Return a run in execution, and what happened in it."""
    return happened(run_in(State.EXECUTING, run=stories.unstarted(plan(**more))), *history)


def asked(*history: AnyEvent, **more: Any) -> Run:
    """Return a run in which `a` is done and the key is asked for, and what happened then."""
    before = (
        stories.manual_asked(at("15:48"), "key"),
        stories.started(at("15:48"), "a"),
        stories.succeeded(at("15:49"), "a"),
    )
    return begun(*before, *history, **more)


def following(run: Run, *, running: tuple[str, ...] = ()) -> actions.Action:
    """Return what is to be done next."""
    return next_action(run, actions.View(NOW, running))


def step_of(run: Run, name: str = "key") -> ManualStep:
    """Return the manual step."""
    step = run.plan.step(name)
    assert isinstance(step, ManualStep)
    return step


def test_asked_first_and_in_parallel() -> None:
    """When its turn comes the person is asked at once, and whatever does not need the step goes on meanwhile."""
    run = begun()
    assert following(run) == actions.AskPerson("key")
    run = happened(run, stories.manual_asked(NOW, "key"))
    assert run.status("key").state is StepState.ASKED
    assert run.status("key").attempt == 1
    assert following(run) == actions.RunSteps(start=("a",), observe_first=())
    run = happened(run, stories.started(NOW, "a"))
    assert isinstance(following(run, running=("a",)), actions.Await)


def test_waits_without_a_worker() -> None:
    """While only the person is waited for, the lease goes back until the window's clock has something to say."""
    wait = following(asked())
    assert isinstance(wait, actions.Wait)
    assert wait.until is not None
    assert wait.until > NOW + timedelta(seconds=3), "nobody looks every few seconds at what only a person ends"


def test_done_goes_on() -> None:
    """The person's word lets begin what needs the step, and the next phase only after all of it."""
    run = asked(stories.done_by_hand(NOW, "key"))
    assert run.status("key").state is StepState.DONE
    assert following(run) == actions.RunSteps(start=("b",), observe_first=())


def test_cannot_be_done_is_held() -> None:
    """What cannot be done is a failure with the usual choices; a retry asks once more, under a new number."""
    run = asked(stories.cannot(NOW, "key"))
    hold = following(run)
    assert hold == actions.Hold(("key",), "key: O. Neill says that it cannot be done: the key is lost.")
    run = happened(run, stories.held(NOW, "key"))
    assert isinstance(following(run), actions.Wait)
    run = happened(run, stories.decided(NOW, "key", Choice.RETRY), stories.resumed(NOW))
    assert following(run) == actions.AskPerson("key")
    run = happened(run, stories.manual_asked(NOW, "key", 2))
    assert manual.asked(run, "key") == run.seq
    skipped = happened(
        asked(stories.cannot(NOW, "key"), stories.held(NOW, "key")),
        *(stories.decided(NOW, "key", Choice.SKIP), stories.resumed(NOW)),
    )
    assert following(skipped) == actions.RunSteps(start=("b",), observe_first=())


def test_another_failure_does_not_wait_for_the_person() -> None:
    """A step that fails beside it is held at once; the person's word counts meanwhile, be it yes or no."""
    failing = (stories.manual_asked(NOW, "key"), stories.started(NOW, "a"), stories.failed(NOW, "a"))
    run = begun(*failing)
    assert isinstance(following(run), actions.Hold)
    run = happened(run, stories.held(NOW, "a"))
    assert isinstance(following(run), actions.Wait)
    assert isinstance(following(happened(run, stories.done_by_hand(NOW, "key"))), actions.Wait)
    no = happened(run, stories.cannot(NOW, "key"))
    hold = following(no)
    assert isinstance(hold, actions.Hold)
    assert hold.steps == ("key",), "people hear of it although the rollback is held already"
    both = happened(no, stories.held(NOW, "key"))
    assert both.state is State.HELD
    assert isinstance(following(both), actions.Wait)


def test_a_pause_asks_nobody_and_takes_answers() -> None:
    """In a pause nobody is asked anew; who was asked may still answer, and the rollback is held meanwhile."""
    held = begun(stories.hold_asked(NOW))
    assert isinstance(following(held), actions.Hold)
    run = asked(stories.hold_asked(NOW))
    assert following(run) == actions.Hold((), "O. Neill holds it: we look at the replica first")
    run = happened(run, stories.held(NOW), stories.done_by_hand(NOW, "key"))
    assert isinstance(following(run), actions.Wait)
    run = happened(run, stories.resume_asked(NOW))
    assert isinstance(following(run), actions.Resume)


def test_giving_up_waits_for_nobody() -> None:
    """Given up, the rollback leaves the person's step as it is: it counts as something that may have been done."""
    run = asked(stories.abort_asked(NOW))
    survey = following(run)
    assert survey == actions.Survey(("a", "key", "b", "c"))
    warned = asked(point_of_no_return="the key breaks when it is turned back")
    assert control.abort_warning(warned) == "Do key: the key breaks when it is turned back."
    assert control.abort_warning(begun(point_of_no_return="it breaks")) == ""
    told = forecast.countdown(warned, now=NOW, paces={})
    assert told is not None
    assert "Passed at 15:48 UTC with Do key: the key breaks when it is turned back" in told.lines


def test_how_it_stands_is_what_people_said() -> None:
    """Present is only what a person confirmed or marked; before anybody was asked it is absent, else unknown."""

    def seen(run: Run) -> Presence:
        return manual.seen(run, step_of(run)).presence

    assert seen(begun()) is Presence.ABSENT
    assert seen(asked()) is Presence.UNKNOWN
    assert seen(asked(stories.done_by_hand(NOW, "key"))) is Presence.PRESENT
    no = (stories.cannot(NOW, "key"), stories.held(NOW, "key"))
    assert seen(asked(*no)) is Presence.UNKNOWN
    assert seen(asked(*no, stories.decided(NOW, "key", Choice.MARK_DONE))) is Presence.PRESENT
    assert "cannot be done" in manual.seen(asked(*no), step_of(asked())).words


def test_counts_in_the_forecast() -> None:
    """The time that a person takes is the step's own: it is expected, and told as the reason of an extension."""
    run = asked()
    early = forecast.forecast(run, now=at("15:49"), paces={})
    late = forecast.forecast(run, now=at("16:08"), paces={})
    assert early.ends_at - at("15:49") > timedelta(minutes=9)
    assert late.slowest == "key"
    draft = forecast.draft(run, now=at("16:08"), paces={})
    assert draft.reason == "Do key taking longer than planned: 20 minutes so far, 10 minutes planned"
    again = happened(
        asked(stories.cannot(at("15:50"), "key"), stories.held(at("15:50"), "key")),
        *(stories.decided(at("15:50"), "key", Choice.RETRY), stories.resumed(at("15:50"))),
        stories.manual_asked(at("15:50"), "key", 2),
    )
    reason = forecast.draft(again, now=at("16:08"), paces={}).reason
    assert reason == "Do key taking longer than planned: 20 minutes so far, attempt 2, 10 minutes planned"


@pytest.mark.parametrize(
    ("user", "roles", "granted"),
    [
        (ON_CALL, (), True),
        (STRANGER, (), False),
        (STRANGER, (Role.SERVICE_OWNER,), False),
        (ON_CALL, (Role.SERVICE_OWNER,), False),
        (OWNER, (Role.SERVICE_OWNER,), True),
        (OTHER_OWNER, (Role.SERVICE_OWNER,), False),
        (MANAGER, (Role.SERVICE_OWNER, Role.CHANGE_MANAGER), True),
    ],
)
def test_who_may_confirm(user: str, roles: tuple[Role, ...], granted: bool) -> None:  # noqa: FBT001 - a table
    """Any operator where the step names nobody, else who holds one of its roles for the service; nobody without."""
    ask = Ask(service="payments", requester=ON_CALL)
    ruling = may_do(plans.policy(), ask, user, roles=roles)
    assert ruling.granted is granted
    assert ruling.reason


def test_a_reservation_is_not_widened() -> None:
    """Where targets are reserved, the roles that a step names count as far as they are admitted."""
    ask = Ask(service="payments", requester=ON_CALL, touch=(Role.CHANGE_MANAGER,))
    refused = may_do(plans.policy(), ask, OWNER, roles=(Role.SERVICE_OWNER,))
    assert not refused.granted
    assert "Needed: nobody" in refused.reason
    assert may_do(plans.policy(), ask, MANAGER, roles=(Role.SERVICE_OWNER, Role.CHANGE_MANAGER)).granted


def test_the_thread_asks_and_people_are_told() -> None:
    """The question stands in the thread; the lead hears of it, and whoever holds a role that the step names."""
    run = asked(roles=["service_owner"])
    made = announcements.announcements(run, plans.policy())
    number = manual.asked(run, "key")
    assert any(
        a.place is Place.THREAD and a.content == Question(Asks.MANUAL, number, "key")
        for a in made
    )  # fmt: skip
    told = {a.user: a.content for a in made if a.key.startswith(f"{number:04d}-manual_asked-")}
    assert set(told) == {ON_CALL, OWNER}
    content = told[OWNER]
    assert isinstance(content, Standard)
    assert "What: Do key (key, on payments-servers)" in content.lines
    assert "Who may confirm it: Service Owner" in content.lines
    anybody = announcements.announcements(asked(), plans.policy())
    assert {a.user for a in anybody if "-manual_asked-" in a.key} == {ON_CALL}
    automatic = stories.requested(at("15:45"), who="policy")
    nobody = happened(stories.unstarted(plan()), automatic, *begun().history[1:], stories.manual_asked(NOW, "key"))
    assert not [a for a in announcements.announcements(nobody, plans.policy()) if "-manual_asked-" in a.key]


def test_the_answer_is_told_with_its_evidence() -> None:
    """Who did it and what shows it stands in the thread; so does why it cannot be done."""
    run = asked(stories.done_by_hand(NOW, "key", evidence="https://vault.example.org/audit/7"))
    note = announcements.announcements(run, plans.policy())[-1].content
    assert isinstance(note, Note)
    assert note.text == "Do key: done by O. Neill: turned it — evidence: https://vault.example.org/audit/7"
    no = announcements.announcements(asked(stories.cannot(NOW, "key")), plans.policy())[-1].content
    assert isinstance(no, Note)
    assert "O. Neill says that it cannot be done: the key is lost." in no.text


def test_old_journals_stay_as_they_are() -> None:
    """What a worker did carries none of the fields that a person's word has."""
    written = stories.succeeded(NOW, "a").model_dump(mode="json") | stories.failed(NOW, "a").model_dump(mode="json")
    assert not {"name", "role", "evidence"} & written.keys()
    assert {"name", "role"} <= stories.cannot(NOW, "key").model_dump(mode="json").keys()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"timeout": "5m"}, "a person is not stopped"),
        ({"title": ""}, "at least 1 character"),
        ({"instructions": ""}, "at least 1 character"),
        ({"roles": ["king"]}, "change_manager"),
        ({"evidence": "maybe"}, "required"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(wrong: dict[str, Any], says: str) -> None:
    """A person has no timeout, and must be told what to do."""
    with pytest.raises(ValidationError, match=says):
        ManualStep.model_validate({**BASE, **wrong})


def test_who_may_in_words() -> None:
    """A step says in words who may confirm it; it takes ten minutes unless it says otherwise, and acts."""
    step = ManualStep.model_validate({**BASE, "roles": ["service_owner", "change_manager"]})
    assert step.who_may() == "Service Owner or Change Manager"
    assert ManualStep.model_validate(BASE).who_may() == "any operator"
    assert step.expected == timedelta(minutes=10)
    assert not step.reads_only
    assert isinstance(
        events.EVENT.validate_python(stories.manual_asked(NOW, "key").model_dump()), events.ManualAsked
    )
