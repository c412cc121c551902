"""The window's clock: drafts before its end, extensions after it, and when to look again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.domain import forecast
from bot.domain.actuation import Progress
from bot.domain.events import AbortAsked, AnyEvent, Choice, HoldAsked, Resumed
from bot.domain.forecast import Draft, Pace
from bot.domain.lifecycle import State
from bot.domain.run import SETTLED, Run
from tests.support import stories, windows
from tests.support.plans import MANAGER, MODEL, MODERATE, at, document
from tests.support.windows import BEGAN, Scene, scenes

MINUTE = timedelta(minutes=1)
ENDS = at("16:17")
PLANNED = (
    *(stories.started(at("15:47"), "stop"), stories.succeeded(at("15:47:30"), "stop")),
    *(stories.started(at("15:47:30"), "drain"), stories.succeeded(at("15:48"), "drain")),
    *(stories.started(at("15:48"), "safety"), stories.succeeded(at("15:48:30"), "safety")),
)
RESTORING = (*PLANNED, stories.started(at("15:48"), "restore"))
HELD = (*RESTORING, stories.failed(at("15:58"), "restore"), stories.held(at("15:58"), "restore"))
WHEN_LATE = at("15:48") + (at("16:17") - at("15:48") - 3 * MINUTE) / 1.1
"""The restore has run for x, needs x / 10 more, and 3 minutes come after it: from here on that is too late."""


def begun(*history: AnyEvent) -> Run:
    """Return the example from the beginning of its execution on; its window is 30 minutes, until 16:17."""
    return stories.happened(stories.run_in(State.AUTHORISED), stories.began(BEGAN), *history)


def due(run: Run, now: datetime) -> Draft | None:
    """Return what the worker would write now."""
    return forecast.exceeded(run, now=now, paces={}) or forecast.overrun(run, now=now, paces={})


def test_the_window_in_force() -> None:
    """The window is the plan's until it is extended, and runs from the beginning of execution."""
    assert forecast.window_ends(stories.run_in(State.AUTHORISED)) is None
    run = begun()
    assert (forecast.window(run), forecast.window_ends(run)) == (30 * MINUTE, ENDS)
    run = stories.happened(run, windows.extended(at("16:00"), 30 * MINUTE, 60 * MINUTE))
    assert (forecast.window(run), forecast.window_ends(run)) == (60 * MINUTE, at("16:47"))


def test_a_window_beyond_time() -> None:
    """A window of a million years ends within the times that there are."""
    run = stories.unstarted(MODEL.model_validate(document(window="365000000d")))
    ends = forecast.window_ends(stories.run_in(State.EXECUTING, run=run))
    assert ends is not None
    assert ends > at("+9999 00:00")


def test_the_example_is_drafted_in_time() -> None:
    """The restore that takes too long is told before the window of 30 minutes ends, with what the message needs."""
    run = begun(*RESTORING)
    assert forecast.overrun(run, now=WHEN_LATE - timedelta(seconds=1), paces={}) is None
    assert forecast.exceeded(run, now=ENDS - timedelta(seconds=1), paces={}) is None
    found = forecast.overrun(run, now=at("16:12"), paces={})
    assert found is not None
    assert replace(found, share=0) == Draft(
        window=30 * MINUTE,
        estimate=35 * MINUTE,
        reason="Restore the payments database taking longer than planned: 24 minutes so far, 10 minutes planned",
        share=0,
    )
    assert found.share == pytest.approx((1.5 + 10 / 1.1) / 16)


def test_one_draft_a_window() -> None:
    """An extension is drafted once for each window; exceeding it is said all the same."""
    run = begun(*RESTORING, windows.drafted(at("16:12"), 30 * MINUTE, 35 * MINUTE))
    assert forecast.overrun(run, now=at("16:16"), paces={}) is None
    assert forecast.next_look(run, now=at("16:12"), paces={}) == ENDS
    assert forecast.exceeded(run, now=ENDS, paces={}) is not None
    assert forecast.overrun(run, now=ENDS, paces={}) is None
    run = stories.happened(run, windows.extended(ENDS, 30 * MINUTE, 40 * MINUTE))
    assert due(run, ENDS) is None
    assert forecast.overrun(run, now=at("16:26"), paces={}) is not None


def test_a_window_that_was_shortened_again() -> None:
    """A draft for a window that was left and came back is not taken for one of the window in force."""
    run = begun(
        *RESTORING,
        windows.drafted(at("16:12"), 30 * MINUTE, 35 * MINUTE),
        windows.extended(at("16:12"), 30 * MINUTE, 60 * MINUTE),
        windows.extended(at("16:13"), 60 * MINUTE, 30 * MINUTE),
    )
    assert forecast.overrun(run, now=at("16:14"), paces={}) is not None


@pytest.mark.parametrize("state", [s for s in State if s not in (State.EXECUTING, State.HELD, State.VERIFYING)])
def test_the_clock_runs_under_way_only(state: State) -> None:
    """Before execution and after the end there is nothing to extend, however late it is."""
    run = replace(begun(*RESTORING), state=state)
    late = at("+1 12:00")
    assert forecast.overrun(run, now=at("16:16"), paces={}) is None
    assert forecast.exceeded(run, now=late, paces={}) is None
    assert forecast.next_look(run, now=late, paces={}) is None


def test_who_gives_up_extends_nothing() -> None:
    """A rollback that is being given up is not extended while its running step ends."""
    word = AbortAsked(at=at("16:00"), who=MANAGER, why="we fix forward", name="J. Smith")
    assert due(begun(*RESTORING, word), at("16:30")) is None
    assert forecast.next_look(begun(*RESTORING, word), now=at("16:30"), paces={}) is None


def test_without_a_beginning() -> None:
    """There is no extension of what has not begun."""
    with pytest.raises(ValueError, match="rb-0004 has not begun"):
        forecast.draft(stories.run_in(State.AUTHORISED), now=BEGAN, paces={})


@pytest.mark.parametrize(
    ("history", "now", "minutes"),
    [
        (RESTORING, "15:50", 35),  # at least five minutes more
        (RESTORING, "16:17", 40),  # 36.5 minutes in nine cases of ten
        (RESTORING, "16:47", 75),  # 1.25 x 60 minutes
        (HELD, "16:17", 60),  # twice what it has taken while it is held
        (HELD, "16:17:01", 65),
        ((*RESTORING, windows.extended(at("16:00"), 30 * MINUTE, 92 * MINUTE)), "16:01", 100),
    ],
)
def test_the_estimate(history: tuple[AnyEvent, ...], now: str, minutes: int) -> None:
    """The estimate is a round number that holds, the more generous the longer it has taken."""
    assert forecast.draft(begun(*history), now=at(now), paces={}).estimate == minutes * MINUTE


SLOW = "Restore the payments database taking longer than"


@pytest.mark.parametrize(
    ("history", "now", "reason"),
    [
        ((*RESTORING, stories.succeeded(at("16:14"), "restore")), "16:16",
         "Restore the payments database took longer than planned: 26 minutes, 10 minutes planned"),
        ((*RESTORING, stories.failed(at("16:05"), "restore"), stories.started(at("16:06"), "restore", 2)), "16:15",
         f"{SLOW} planned: 26 minutes so far, attempt 2, 10 minutes planned"),
        ((*RESTORING, stories.failed(at("16:05"), "restore")), "16:15",
         f"{SLOW} planned: 17 minutes spent on 1 failed attempt, 10 minutes planned"),
        ((*RESTORING, stories.failed(at("16:05"), "restore"), stories.started(at("16:05"), "restore", 2),
          stories.failed(at("16:06"), "restore", 2)), "16:15",
         f"{SLOW} planned: 18 minutes spent on 2 failed attempts, 10 minutes planned"),
        (HELD, "16:15", "held since 15:58 UTC: outcome unknown"),
        (HELD, "+1 00:01", "held since 2024-01-15 15:58 UTC: outcome unknown"),
        ((*HELD, stories.decided(at("16:13"), "restore", Choice.SKIP), stories.resumed(at("16:13"))), "16:15",
         "held for 15 minutes until people had decided"),
        ((*HELD, stories.decided(at("15:59"), "restore", Choice.SKIP), stories.resumed(at("15:58:30"))), "16:15",
         "3 minutes of work left by the plan's durations, 2 minutes left of the window"),
        (PLANNED, "16:16",
         "13 minutes of work left by the plan's durations, 1 minute left of the window"),
        (PLANNED, "16:30", "13 minutes of work left by the plan's durations, and the window is over"),
        ((*RESTORING, stories.succeeded(at("15:58:10"), "restore")), "16:16",
         "3 minutes of work left by the plan's durations, 1 minute left of the window"),
    ],
)  # fmt: skip
def test_the_reason(history: tuple[AnyEvent, ...], now: str, reason: str) -> None:
    """The reason names what cost the time: the slowest step, people who had to decide, or a plan that was tight."""
    assert forecast.draft(begun(*history), now=at(now), paces={}).reason == reason


def test_the_reason_measured_by_earlier_rollbacks() -> None:
    """A step that is slower than in earlier rollbacks is slower than usual, not than planned."""
    paces = {"restore": Pace(7, 4 * MINUTE, 5 * MINUTE)}
    found = forecast.draft(begun(*RESTORING), now=at("16:00"), paces=paces)
    usual = "4 minutes in the median of 7 earlier rollbacks"
    assert found.reason == f"{SLOW} usual: 12 minutes so far, {usual}"


def test_the_reason_by_progress() -> None:
    """A step whose own speed tells that it will take too long is named before its time is over."""
    progress = {"restore": Progress(done=16, total=100, unit="tables")}
    run = begun(*RESTORING)
    assert forecast.overrun(run, now=at("15:55"), paces={}) is None
    found = forecast.overrun(run, now=at("15:55"), paces={}, progress=progress)
    assert found is not None
    assert found.reason == f"{SLOW} planned: 16% done after 7 minutes, 10 minutes planned"


def test_a_long_reason_is_cut() -> None:
    """What a tool printed does not make a message unreadable: one line, cut."""
    held = stories.held(at("15:58"), "restore").model_copy(update={"why": "no\nspace " * 100})
    reason = forecast.draft(begun(*HELD[:-1], held), now=at("16:17"), paces={}).reason
    assert reason.startswith("held since 15:58 UTC: no space no")
    assert reason.endswith(" …")
    assert len(reason) <= 300


def test_pauses_add_up() -> None:
    """Each time that a rollback was held counts, from its first question to its going on."""
    again = (
        *HELD,
        stories.held(at("15:59"), "restore"),
        stories.decided(at("16:03"), "restore", Choice.SKIP),
        stories.resumed(at("16:03")),
        Resumed(at=at("16:03"), who="worker-1", why="said twice"),
        stories.held(at("16:04")),
        stories.resumed(at("16:14")),
    )
    found = forecast.draft(begun(*again), now=at("16:15"), paces={})
    assert found.reason == "held for 15 minutes until people had decided"


def test_next_look_is_when_it_becomes_late() -> None:
    """The next look is the moment at which the forecast passes the window's end, to a tenth of a second."""
    look = forecast.next_look(begun(*RESTORING), now=at("15:50"), paces={})
    assert look is not None
    assert timedelta(0) <= look - WHEN_LATE <= timedelta(milliseconds=100)


def test_next_look_while_progress_may_come() -> None:
    """While a step runs that may report its progress, the clock is looked at every few seconds."""
    running, now = begun(*RESTORING), at("15:50")
    soon = now + timedelta(seconds=3)
    assert forecast.next_look(running, now=now, paces={}, progress={}) == soon
    assert forecast.next_look(begun(*HELD), now=now, paces={}, progress={}) > soon  # type: ignore[operator]
    drafted = stories.happened(running, windows.drafted(now, 30 * MINUTE, 35 * MINUTE))
    assert forecast.next_look(drafted, now=now, paces={}, progress={}) == ENDS


def test_next_look_never_spins() -> None:
    """What is due already is asked again in a few seconds, never at once."""
    run = begun(*RESTORING)
    for now in (at("16:16"), ENDS, at("16:30")):
        assert due(run, now) is not None
        look = forecast.next_look(run, now=now, paces={})
        assert look is not None
        assert now < look <= now + timedelta(seconds=3)


def test_a_rollback_whose_probes_are_green_is_not_extended() -> None:
    """Nothing is left to do: it completes at once, and nobody is told of an extension."""
    run = stories.run_in(State.VERIFYING)
    for step in run.plan.verification.steps:
        run = stories.happened(run, stories.started(at("16:08"), step.id), stories.succeeded(at("16:11"), step.id))
    assert due(run, at("18:00")) is None
    assert forecast.next_look(run, now=at("18:00"), paces={}) is None


def test_a_pause_after_the_last_step_is_extended() -> None:
    """A rollback that people hold exceeds its window even if nothing but their word is missing."""
    run = stories.run_in(State.VERIFYING)
    pause = HoldAsked(at=at("16:09"), who=MANAGER, why="wait for the CDN", name="J. Smith")
    for step in run.plan.verification.steps:
        run = stories.happened(run, stories.started(at("16:08"), step.id), stories.succeeded(at("16:08"), step.id))
    run = stories.happened(run, pause, stories.held(at("16:10")))
    assert forecast.overrun(run, now=at("16:16"), paces={}) is None
    assert forecast.next_look(run, now=at("16:16"), paces={}) == ENDS
    found = forecast.exceeded(run, now=ENDS, paces={})
    assert found is not None
    assert (found.estimate, found.share) == (60 * MINUTE, 1.0)


@MODERATE
@given(scenes())
def test_next_look_agrees_with_every_second(scene: Scene) -> None:
    """Looking at every second finds the same first moment as the one that is foretold."""
    run, now = scene.run, scene.now

    def said(at_time: datetime) -> bool:
        return bool(
            forecast.exceeded(run, now=at_time, paces=scene.paces)
            or forecast.overrun(run, now=at_time, paces=scene.paces)
        )

    assume(not said(now))
    look = forecast.next_look(run, now=now, paces=scene.paces)
    if look is None:
        assert all(run.status(step.id).state in SETTLED for step in run.plan.steps())
        assert not said(now + timedelta(days=3))
        return
    assert look > now
    assert said(look)
    whole_seconds = int((look - now - timedelta(milliseconds=100)).total_seconds())
    assert not any(said(now + timedelta(seconds=second)) for second in range(whole_seconds + 1))


@MODERATE
@given(scenes())
def test_what_is_due_is_sound(scene: Scene) -> None:
    """Every extension is whole 5 minutes, longer than the window and than the time taken, with a reason."""
    run, now = scene.run, scene.now
    drafts = (
        forecast.overrun(run, now=now, paces=scene.paces, progress=scene.progress),
        forecast.exceeded(run, now=now, paces=scene.paces, progress=scene.progress),
    )
    assert None in drafts
    for found in filter(None, drafts):
        assert found.estimate % (5 * MINUTE) == timedelta(0)
        assert found.estimate >= found.window + 5 * MINUTE
        assert found.estimate >= 1.25 * (now - BEGAN)
        assert found.window == forecast.window(run)
        assert 0 <= found.share <= 1
        assert found.reason
        assert "\n" not in found.reason
        extended = stories.happened(run, windows.extended(now, found.window, found.estimate))
        assert forecast.exceeded(extended, now=now, paces=scene.paces) is None


@MODERATE
@given(st.integers(15, 60).map(lambda minutes: timedelta(minutes=minutes)), st.integers(0, 20))
def test_a_day_on_hold_is_no_spam(window: timedelta, minutes: int) -> None:
    """A rollback that is held for a day extends itself at growing intervals, eight times at most."""
    run = stories.unstarted(MODEL.model_validate(document(window=f"{int(window.total_seconds())}s")))
    run = stories.run_in(State.EXECUTING, run=run)
    now = BEGAN + timedelta(minutes=minutes)
    run = stories.happened(run, stories.held(now))
    sent: list[datetime] = []
    drafts = 0
    while now < BEGAN + timedelta(days=1):
        exceeded = forecast.exceeded(run, now=now, paces={})
        overrun = forecast.overrun(run, now=now, paces={})
        if exceeded:
            run = stories.happened(run, windows.extended(now, exceeded.window, exceeded.estimate))
            sent.append(now)
        elif overrun:
            run = stories.happened(run, windows.drafted(now, overrun.window, overrun.estimate))
            drafts += 1
        else:
            look = forecast.next_look(run, now=now, paces={})
            assert look is not None
            now = look
    assert 4 <= len(sent) <= 8
    assert drafts <= len(sent) + 1
    gaps = [later - earlier for earlier, later in zip([BEGAN, *sent], sent, strict=False)]
    assert gaps == sorted(gaps)
