"""When a rollback will end: its critical path by the plan, by earlier rollbacks, and by what runs."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.actuation import Progress
from bot.domain.events import AnyEvent, Choice
from bot.domain.forecast import Pace, forecast
from bot.domain.lifecycle import State
from bot.domain.run import SETTLED, Run, StepState
from tests.support import plans, stories
from tests.support.plans import MODERATE, at
from tests.support.windows import Scene, scenes

BEGAN = at("15:47")
RESTORING = (
    *(stories.started(at("15:47"), "stop"), stories.succeeded(at("15:47:30"), "stop")),
    *(stories.started(at("15:47:30"), "drain"), stories.succeeded(at("15:48"), "drain")),
    *(stories.started(at("15:48"), "safety"), stories.succeeded(at("15:48:30"), "safety")),
    stories.started(at("15:48"), "restore"),
)
"""The example as planned so far: the restore of 10 minutes runs since 15:48."""


def begun(*history: AnyEvent) -> Run:
    """Return the example from the beginning of its execution on."""
    run = stories.run_in(State.AUTHORISED)
    return stories.happened(run, stories.began(BEGAN), *history)


def at_share(done: float) -> dict[str, Progress]:
    """Return what the restore reports."""
    return {"restore": Progress(done=done, total=100, unit="tables")}


def test_the_critical_path_of_the_plan() -> None:
    """Phases run in turn, and within one the longest way through `needs` counts: 11.5 + 1 + 1.5 minutes."""
    found = forecast(begun(), now=BEGAN, paces={})
    assert found.ends_at == at("16:01")
    assert found.late_at == at("16:08")  # half as long again
    assert (found.at, found.share, found.basis, found.slowest) == (BEGAN, 0.0, "the plan's durations", "")


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("15:48", "16:01"),
        ("15:53", "16:01"),
        ("15:58", "16:01"),  # 10 minutes: it should be done
        ("15:58:10", "16:02:11"),  # past it: another tenth of 610 s, and 3 minutes after it
        ("16:08", "16:13"),
        ("16:28", "16:35"),
    ],
)
def test_a_step_past_its_expectation(now: str, ends: str) -> None:
    """A running step that is past its expectation is taken to need a tenth of the time that it has run."""
    found = forecast(begun(*RESTORING), now=at(now), paces={})
    assert found.ends_at == at(ends)
    assert found.slowest == ("restore" if at(now) > at("15:58") else "")


@pytest.mark.parametrize(
    ("done", "ends"),
    [
        (0, "15:58"),  # nothing done yet: by time
        (10, "16:08"),  # three quarters by time (5 minutes), a quarter by its own speed (45 minutes)
        (20, "16:13"),  # by its own speed alone: 5 minutes for a fifth
        (50, "15:58"),
        (100, "15:53"),
        (-3, "15:58"),  # nonsense is left out
    ],
)
def test_progress_corrects_a_running_step(done: float, ends: str) -> None:
    """What a step reports counts the more the further it is; nonsense does not count."""
    found = forecast(begun(*RESTORING), now=at("15:53"), paces={}, progress=at_share(done))
    assert found.ends_at == at(ends) + timedelta(minutes=3)
    assert found.slowest == ("restore" if done in (10, 20) else "")


def test_progress_of_a_step_that_does_not_run_is_old() -> None:
    """What an earlier attempt reported says nothing of the one that is to come."""
    run = begun(*RESTORING, stories.failed(at("15:53"), "restore"))
    assert forecast(run, now=at("15:53"), paces={}, progress=at_share(99)).ends_at == at("16:06")


def test_a_hundred_per_cent_is_not_the_end() -> None:
    """A step that reports all done and goes on past its expectation still needs the remainder."""
    found = forecast(begun(*RESTORING), now=at("16:08"), paces={}, progress=at_share(100))
    assert found.ends_at == at("16:13")
    assert found.share < 1


def test_earlier_rollbacks_count_from_three_on() -> None:
    """A step of three earlier rollbacks counts with their median and p90, one of two with the plan's duration."""
    paces = {
        "restore": Pace(3, timedelta(minutes=20), timedelta(minutes=26)),
        "swap": Pace(2, timedelta(hours=1), timedelta(hours=2)),
    }
    found = forecast(begun(), now=BEGAN, paces=paces)
    assert found.ends_at == at("16:11")
    assert found.late_at == BEGAN + timedelta(minutes=26) + 1.5 * timedelta(minutes=4)
    assert found.basis == "median of 3 earlier rollbacks for 1 of 13 steps, else the plan's durations"


@pytest.mark.parametrize(("least", "words"), [(7, "7"), (3, "3 to 7")])
def test_the_basis_in_words(least: int, words: str) -> None:
    """The basis says how many earlier rollbacks stand behind the forecast."""
    paces = {step.id: Pace(7, timedelta(minutes=1), timedelta(minutes=2)) for step in plans.plan().steps()}
    paces["stop"] = Pace(least, timedelta(minutes=1), timedelta(minutes=2))
    assert forecast(begun(), now=BEGAN, paces=paces).basis == f"median of {words} earlier rollbacks"


def test_share_of_the_work() -> None:
    """The share is the work done by expected time: 1.5 of 16 minutes, then half of the restore as well."""
    run = begun(*RESTORING)
    assert forecast(run, now=at("15:48"), paces={}).share == pytest.approx(1.5 / 16)
    assert forecast(run, now=at("15:53"), paces={}).share == pytest.approx(6.5 / 16)
    assert forecast(run, now=at("15:53"), paces={}, progress=at_share(80)).share == pytest.approx(9.5 / 16)
    late = forecast(run, now=at("17:00"), paces={}).share
    assert late == pytest.approx((1.5 + 10 / 1.1) / 16)


def test_a_plan_without_durations() -> None:
    """Steps that take no time are no work, and all of it is done when they are."""
    document = plans.plan_of([[plans.act("one")]], verification=[plans.probe("two")]).model_dump(mode="json")
    for step in (document["phases"][0]["steps"][0], document["verification"]["steps"][0]):
        step["expected"] = "0s"
    run = stories.run_in(State.EXECUTING, run=stories.unstarted(plans.MODEL.model_validate(document)))
    run = stories.happened(run, stories.started(BEGAN, "one"))
    assert forecast(run, now=BEGAN, paces={}).share == 0.0
    run = stories.happened(
        run,
        *(stories.succeeded(BEGAN, "one"), stories.verification_began(BEGAN)),
        *(stories.started(BEGAN, "two"), stories.succeeded(BEGAN, "two")),
    )
    assert forecast(run, now=BEGAN, paces={}).share == 1.0


def test_skipped_steps_need_no_time() -> None:
    """A step that people waived, or marked done, is done."""
    run = begun(
        *RESTORING,
        *(stories.failed(at("15:49"), "restore"), stories.held(at("15:49"), "restore")),
        *(stories.decided(at("15:50"), "restore", Choice.SKIP), stories.resumed(at("15:50"))),
    )
    found = forecast(run, now=at("15:50"), paces={})
    assert found.ends_at == at("15:53")
    assert found.share == pytest.approx(11.5 / 16)


def test_the_slowest_step_counts_all_its_attempts() -> None:
    """Attempts that failed or lost their worker are part of what a step took; what people took to decide is not."""
    run = begun(
        *RESTORING,
        stories.failed(at("15:50"), "restore"),
        stories.held(at("15:50"), "restore"),
        stories.decided(at("16:30"), "restore", Choice.RETRY),
        stories.resumed(at("16:30")),
        stories.started(at("16:30"), "restore", 2),
        stories.started(at("16:31"), "restore", 3),
        stories.succeeded(at("16:36"), "restore", 3),
    )
    assert forecast(run, now=at("16:36"), paces={}).slowest == ""  # 2 + 1 + 5 of 10 minutes
    swapping = stories.happened(run, stories.started(at("16:36"), "swap"))
    assert forecast(swapping, now=at("16:37"), paces={}).slowest == "swap"


def test_no_duration_leads_beyond_time() -> None:
    """A step that is expected to take a million years is reckoned with a year, not refused by the calendar."""
    document = plans.plan().model_dump(mode="json")
    document["phases"][0]["steps"][0]["expected"] = "365000000d"
    run = stories.unstarted(plans.MODEL.model_validate(document))
    found = forecast(run, now=BEGAN, paces={"drain": Pace(5, timedelta.max, timedelta.max)})
    assert BEGAN + timedelta(days=730) < found.ends_at <= found.late_at < BEGAN + timedelta(days=1500)


def test_a_clock_that_is_behind() -> None:
    """A worker whose clock is behind that of the one who began a step does not take it for done in advance."""
    found = forecast(begun(*RESTORING), now=at("15:40"), paces={})
    assert found.ends_at == at("15:53")
    assert found.share == pytest.approx(1.5 / 16)


@MODERATE
@given(scenes())
def test_never_before_now(scene: Scene) -> None:
    """The end is never before now, the late end never before the end, the share a share, whatever happened."""
    found = forecast(scene.run, now=scene.now, paces=scene.paces, progress=scene.progress)
    assert scene.now == found.at <= found.ends_at <= found.late_at
    assert 0 <= found.share <= 1
    steps = {step.id for step in scene.run.plan.steps()}
    assert found.slowest in {"", *steps}
    settled = all(scene.run.status(step).state in SETTLED for step in steps)
    assert found.ends_at == scene.now or not settled
    assert found.share == 1 or not settled


@MODERATE
@given(scenes(), st.data())
def test_share_rises_as_steps_get_done(scene: Scene, data: st.DataObject) -> None:
    """However steps end well one after the other, and however long that takes, the share never falls."""
    run, now, paces = scene.run, scene.now, scene.paces
    if run.state is State.HELD:
        return
    share = forecast(run, now=now, paces=paces).share
    while unsettled := [step.id for step in run.plan.steps() if run.status(step.id).state not in SETTLED]:
        step = data.draw(st.sampled_from(unsettled))
        status = run.status(step)
        if status.state is not StepState.STARTED:
            run = stories.happened(run, stories.started(now, step, status.attempt + 1))
        now += timedelta(seconds=data.draw(st.integers(0, 1000)))
        for event in ((), (stories.succeeded(now, step, run.status(step).attempt),)):
            run = stories.happened(run, *event)
            more = forecast(run, now=now, paces=paces).share
            assert more >= share - 1e-9
            share = more
    assert share == 1


@MODERATE
@given(scenes(), st.integers(0, 4000))
def test_the_end_never_comes_nearer_by_itself(scene: Scene, seconds: int) -> None:
    """While nothing happens the forecast only moves away: so the moment of an overrun can be told in advance."""

    def ends(now: datetime) -> datetime:
        return forecast(scene.run, now=now, paces=scene.paces, progress=scene.progress).ends_at

    assert ends(scene.now + timedelta(seconds=seconds)) >= ends(scene.now)
