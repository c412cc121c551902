"""What is said about people's words to a running rollback, and what giving up means."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.domain import control, events, steering
from bot.domain.actions import Await, HandOver, RunSteps, View, Wait
from bot.domain.actuation import Presence
from bot.domain.announcements import Announcement, Asks, Note, Place, Question, Standard, announcements
from bot.domain.events import AnyEvent
from bot.domain.execution import beyond_return, next_action
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.run import Run
from tests.support import plans, stories
from tests.support.plans import at
from tests.support.stories import happened, run_in

NOW = at("15:50")
POLICY = plans.policy()


def executing(*history: AnyEvent) -> Run:
    """Return the example's run in execution, and what happened then."""
    return happened(run_in(State.EXECUTING), *history)


def said(run: Run, kind: str) -> list[Announcement]:
    """Return what the events of that kind call for."""
    return [each for each in announcements(run, POLICY) if f"-{kind}" in each.key]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (stories.hold_asked(NOW), "O. Neill holds the rollback: running steps end, nothing new begins."),
        (stories.resume_asked(NOW), "O. Neill resumes the rollback. the replica is fine"),
        (stories.abort_asked(NOW), "J. Smith gives the rollback up, running steps may end. we fix forward"),
        (
            stories.abort_asked(NOW, stop=True, confirmed="v2.4.1"),
            "running steps are stopped. we fix forward Confirmed",
        ),
        (stories.handed_over(NOW), "O. Neill hands the lead over to <@U0SMITH>. end of my shift"),
        (stories.continuation_chosen(NOW), "J. Smith decided to go on beyond the window. ten more minutes"),
        (stories.loss_confirmed(NOW), "O. Neill confirmed the loss of data: Swap the databases: 412"),
        (stories.cause_reported(NOW), "O. Neill reports another cause; it gets an incident of its own. the card"),
        (stories.cause_filed(NOW), "Incident INC0056790 is open for the actual cause: the card scheme is down"),
        (stories.deployments_released(NOW), "J. Smith lifted the hold on deployments of payments. v2.4.1 is ready"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, events.Event) else "",
)
def test_words_of_people(event: AnyEvent, words: str) -> None:
    """What a person says to a rollback stands in its thread, with the name and the reason."""
    (posted,) = said(executing(event), event.kind)
    assert isinstance(posted.content, Note)
    assert words in posted.content.text
    assert posted.place is Place.THREAD


def test_chosen_remedy() -> None:
    """The thread says which remedy is wanted for which step, and names the remedy when it has been run."""
    run = executing(
        stories.held(NOW, "drain"),
        stories.offered(NOW, "drain", stories.remedy("drain")),
        stories.chosen(NOW, "drain"),
        stories.started(NOW, "remedy.look.9.0"),
        stories.succeeded(NOW, "remedy.look.9.0"),
    )
    (wanted,) = said(run, "remedy_chosen")
    assert wanted.content == Note("J. Smith wants: Look at drain, for postgres.drain on payments-db. to see")
    (done,) = said(run, "step_succeeded")
    assert done.content == Note("Look at drain: done", "", "good")


@pytest.mark.parametrize(
    ("history", "kind", "about", "step"),
    [
        ([stories.held(NOW)], "held", Asks.PAUSE, ""),
        ([stories.offered(NOW, "drain", stories.remedy("drain"))], "remedies_offered", Asks.REMEDIES, "drain"),
        ([stories.extension_drafted(NOW)], "extension_drafted", Asks.EXTENSION, ""),
    ],
)
def test_questions(history: list[AnyEvent], kind: str, about: Asks, step: str) -> None:
    """What waits for a person is a question in the thread that carries the number of its event."""
    run = executing(*history)
    found = [each.content for each in said(run, kind) if each.place is Place.THREAD]
    assert found == [Question(about, run.seq, step)]


def test_nothing_to_offer() -> None:
    """An actuator that knows no remedy for this fault adds nothing to the thread."""
    assert said(executing(stories.offered(NOW, "drain")), "remedies_offered") == []


def test_extension_sent_by_a_person() -> None:
    """An extension that a person sent goes to the channel and to the escalation path, and asks nothing."""
    posted = said(executing(stories.extended(NOW)), "extended")
    assert [each.place for each in posted] == [Place.CHANNEL, Place.DIRECT, Place.DIRECT]
    assert isinstance(posted[0].content, Standard)
    assert posted[0].content.title == "ROLLBACK EXTENSION"


def test_extension_of_itself() -> None:
    """A window that is exceeded is told to everybody, and whether to go on is asked in the thread."""
    run = executing(stories.extended(at("16:17"), exceeded=True))
    asked = [each.content for each in said(run, "extended") if isinstance(each.content, Question)]
    assert asked == [Question(Asks.WINDOW, run.seq)]


def test_loss_is_asked() -> None:
    """Who may confirm a loss is told directly with the data named, all but whoever authorised."""
    run = happened(run_in(State.AUTHORISED), stories.confirmation_asked(NOW))
    posted = said(run, "confirmation_asked")
    assert posted[0].content == Question(Asks.LOSS, run.seq)
    told = {each.user for each in posted[1:]}
    assert plans.MANAGER not in told
    assert plans.ON_CALL in told
    assert isinstance(posted[1].content, Standard)
    assert (
        "412 rows of transactions; all writes of 31 minutes (backup of 2024-01-15 14:30 UTC)"
        in posted[1].content.text()
    )
    assert run.open_confirmation == run.history[-1]
    assert happened(run, stories.loss_confirmed(NOW)).open_confirmation is None


def _aborted(*found: events.Surveyed) -> Run:
    history: tuple[AnyEvent, ...] = (
        stories.started(NOW, "swap"),
        stories.succeeded(NOW, "swap"),
        stories.abort_asked(NOW),
        *found,
        stories.aborted(NOW),
    )
    return happened(run_in(State.AUTHORISED), stories.began(NOW, blocks=True), *history)


def test_abort_tells_the_state_of_every_target() -> None:
    """After an abort the people in charge read how each target stands and what a forward-fix needs."""
    run = _aborted(stories.surveyed(NOW, "swap", "drain", presence=Presence.UNKNOWN))
    posted = {each.key: each.content for each in said(run, "aborted")}
    key = f"{run.seq:04d}-aborted"
    table = posted[f"{key}-targets"]
    assert isinstance(table, Standard)
    assert table.lines[0].startswith("payments-db: postgres.swap on payments-db: unknown, seen; postgres.drain")
    assert table.lines[1].startswith("Forward-fix: postgres.swap on payments-db: what came in after the backup")
    assert posted[f"{key}-deployments"] == Question(Asks.DEPLOYMENTS, 6)
    direct = posted[f"{key}-{plans.ON_CALL}"]
    assert isinstance(direct, Standard)
    assert table.lines[0] in direct.lines


def test_abort_without_a_survey() -> None:
    """An abort of the first version, without a survey, is told without a table."""
    posted = {each.key for each in said(_aborted(), "aborted")}
    assert all(not key.endswith("-targets") for key in posted)


def test_complete_says_that_deployments_are_blocked() -> None:
    """With COMPLETE comes the notice that deployments are blocked; old rollbacks block nothing."""
    assert said(run_in(State.CLOSED), "completed-deployments") == []
    history: tuple[AnyEvent, ...] = tuple(
        event.model_copy(update={"blocks": True}) if isinstance(event, events.ExecutionBegan) else event
        for event in run_in(State.CLOSED).history
    )
    run = happened(stories.unstarted(), *history)
    (notice,) = [each.content for each in said(run, "completed") if isinstance(each.content, Question)]
    assert notice.about is Asks.DEPLOYMENTS
    assert run.blocks_deployments
    assert "Deployments of payments are blocked since 2024-01-15 15:47 UTC by rb-0004" in steering.blocked_words(
        run
    )
    assert not happened(run, stories.deployments_released(NOW)).blocks_deployments


def test_blocked_words_before_the_beginning() -> None:
    """A rollback that has not begun can be named without a time."""
    assert "are blocked by rb-0004" in steering.blocked_words(run_in(State.AUTHORISED))


def test_lead_in_progress() -> None:
    """ROLLBACK IN PROGRESS names who led when it began; what comes later goes to whoever leads then."""
    run = happened(run_in(State.AUTHORISED), stories.handed_over(NOW, plans.OWNER), stories.began(NOW))
    run = happened(run, stories.handed_over(NOW, plans.MANAGER), stories.held(NOW, "stop"))
    (first, *_) = said(run, "execution_began")
    assert isinstance(first.content, Standard)
    assert f"Lead: <@{plans.OWNER}>" in first.content.lines
    assert plans.MANAGER in {each.user for each in said(run, "held")}


@pytest.mark.parametrize(
    ("history", "warned"),
    [
        ([], False),
        ([stories.started(NOW, "swap")], True),
        ([stories.started(NOW, "swap"), stories.failed(NOW, "swap", presence=Presence.ABSENT)], False),
        ([stories.started(NOW, "swap"), stories.failed(NOW, "swap", presence=Presence.UNKNOWN)], True),
        ([stories.held(NOW, "swap"), stories.decided(NOW, "swap", events.Choice.MARK_DONE)], True),
        ([stories.held(NOW, "swap"), stories.decided(NOW, "swap", events.Choice.SKIP)], False),
        ([stories.started(NOW, "safety"), stories.succeeded(NOW, "safety")], False),
    ],
)
def test_abort_warning(history: list[AnyEvent], warned: bool) -> None:  # noqa: FBT001 - a table's column
    """Giving up needs a second word once a step that destroys data may have acted, and not before."""
    assert bool(control.abort_warning(executing(*history))) is warned


def _in_zones() -> dict[str, Any]:
    document = plans.inventory().model_dump(mode="json")
    document["databases"]["payments-db"]["zone"] = "data"
    return document


@pytest.mark.parametrize(
    ("zone", "action"),
    [
        ("data", RunSteps(start=("remedy.look.9.0",), observe_first=())),
        ("default", HandOver("data")),
    ],
)
def test_remedies_by_zone(zone: str, action: RunSteps | HandOver) -> None:
    """A chosen remedy is run by the zone of its target."""
    run = happened(
        run_in(State.EXECUTING, run=stories.unstarted(targets=Inventory.model_validate(_in_zones()))),
        stories.held(NOW, "drain"),
        stories.offered(NOW, "drain", stories.remedy("drain")),
        stories.chosen(NOW, "drain"),
    )
    assert next_action(run, View(NOW, zone=zone)) == action


def test_doubt_of_another_zone() -> None:
    """What was begun in another zone is looked at there before the rollback is given up."""
    run = happened(
        run_in(State.EXECUTING, run=stories.unstarted(targets=Inventory.model_validate(_in_zones()))),
        stories.started(NOW, "drain"),
        stories.abort_asked(NOW),
    )
    assert next_action(run, View(NOW, zone="default")) == HandOver("data")


def test_remedy_that_runs() -> None:
    """While a remedy runs the worker waits for it, whatever was decided meanwhile."""
    run = executing(
        stories.held(NOW, "drain"),
        stories.offered(NOW, "drain", stories.remedy("drain")),
        stories.chosen(NOW, "drain"),
        stories.started(NOW, "remedy.look.9.0"),
        stories.decided(NOW, "drain", events.Choice.RETRY),
    )
    action = next_action(run, View(NOW, running=("remedy.look.9.0",)))
    assert isinstance(action, Await)
    assert action.until is None or action.until > NOW + timedelta(0)


def test_nobody_goes_on() -> None:
    """When no worker of a zone takes the rollback, its thread and the people in charge are told directly."""
    posted = said(executing(stories.worker_missing(NOW)), "worker_missing")
    assert posted[0].content == Note("Stands still: no worker of zone dmz has taken it.", tone="bad")
    assert {each.user for each in posted[1:]} >= {plans.ON_CALL, plans.OWNER}


@pytest.mark.parametrize(("settles", "asked"), [(True, True), (False, False)])
def test_another_backup_is_another_loss(settles: bool, asked: bool) -> None:  # noqa: FBT001 - a table's columns
    """A confirmed loss no longer counts once a remedy has put another backup in the place of the plan's."""
    late = at("16:30")
    offer = stories.offered(NOW, "restore", stories.remedy("restore", acts=True, settles=settles))
    confirmed = happened(run_in(State.AUTHORISED), stories.confirmation_asked(NOW), stories.loss_confirmed(NOW))
    run = happened(confirmed, stories.began(NOW), offer, stories.chosen(NOW, "restore"))
    assert not beyond_return(confirmed, confirmed.plan.step("swap"), now=late)
    assert beyond_return(run, run.plan.step("swap"), now=late) is asked


def test_an_old_remedy_is_not_run() -> None:
    """A remedy that was chosen for an earlier failure is not run for a later one, whose remedies are others."""
    again = stories.remedy("drain", "other")
    run = executing(
        stories.started(NOW, "drain"),
        stories.failed(NOW, "drain"),
        stories.held(NOW, "drain"),
        stories.offered(NOW, "drain", stories.remedy("drain")),
        stories.chosen(NOW, "drain"),
        stories.decided(NOW, "drain", events.Choice.RETRY),
        stories.resumed(NOW),
        stories.started(NOW, "drain", 2),
        stories.failed(NOW, "drain", 2),
        stories.held(NOW, "drain"),
        stories.offered(NOW, "drain", again),
    )
    assert isinstance(next_action(run, View(NOW)), Wait)
