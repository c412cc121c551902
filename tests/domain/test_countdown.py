"""What people read of the window and the point of no return, and the extension's message."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain import forecast
from bot.domain.actuation import Progress, Verdict
from bot.domain.announcements import Standard
from bot.domain.events import AnyEvent, ConfirmationAsked, LossConfirmed, LossFound
from bot.domain.forecast import Pace, countdown, extension
from bot.domain.lifecycle import State
from bot.domain.run import Run
from tests.support import stories, windows
from tests.support.plans import COMMANDER, MODEL, MODERATE, at, document
from tests.support.windows import BEGAN, Scene, scenes

MINUTE = timedelta(minutes=1)
WHY = "new transactions depend on the new schema"
POINT = f"Point of no return: comes in 15 minutes, 16:15 UTC: {WHY}"
RESTORING = (
    *(stories.started(at("15:47"), "stop"), stories.succeeded(at("15:47:30"), "stop")),
    *(stories.started(at("15:47:30"), "drain"), stories.succeeded(at("15:48"), "drain")),
    *(stories.started(at("15:48"), "safety"), stories.succeeded(at("15:48:30"), "safety")),
    stories.started(at("15:48"), "restore"),
)


def begun(*history: AnyEvent, run: Run | None = None) -> Run:
    """Return the example, deployed 15:45, from the beginning of its execution on."""
    return stories.happened(stories.run_in(State.AUTHORISED, run=run), stories.began(BEGAN), *history)


def shown(run: Run, now: str, **more: Any) -> tuple[str, ...]:
    """Return the lines at that time."""
    found = countdown(run, now=at(now), **{"paces": {}, **more})
    assert found is not None
    assert found.title == "ROLLBACK WINDOW"
    return found.lines


def planned(**point: Any) -> Run:
    """Return the example with other words about its point of no return, before anything happened."""
    of = document()
    of["point_of_no_return"] = {**of["point_of_no_return"], **point}
    return stories.unstarted(MODEL.model_validate(of))


def test_the_extension_has_the_lines_of_the_specification() -> None:
    """ROLLBACK EXTENSION says the plan's window, the new estimate, the reason and how far the rollback is."""
    why = "Database restore taking longer than planned due to size"
    event = windows.extended(at("16:12"), 45 * MINUTE, 60 * MINUTE, why=why, share=0.65)
    earlier = windows.extended(at("16:10"), 30 * MINUTE, 45 * MINUTE)
    assert extension(begun(earlier, event), event) == Standard(
        "ROLLBACK EXTENSION",
        (
            "Original window: 30 minutes",
            "New estimate: 60 minutes",
            f"Reason: {why}",
            "Current status: 65% complete",
        ),
        "warn",
    )


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0%"), (0.29, "29%"), (0.57, "57%"), (0.6599, "65%"), (0.999, "99%"), (1.0, "100%")]
)
def test_per_cent_are_whole_and_never_rounded_up(share: float, words: str) -> None:
    """A rollback is 100% complete only when nothing is left."""
    event = windows.extended(at("16:12"), 30 * MINUTE, 60 * MINUTE, share=share)
    assert extension(begun(event), event).lines[-1] == f"Current status: {words} complete"


def test_under_way() -> None:
    """The countdown says what is used of the window, when it will end, what is done, and the point of no return."""
    assert shown(begun(*RESTORING), "16:00:59") == (
        "Window: 13 minutes of 30 minutes used, ends in 17 minutes, 16:17 UTC",
        "Forecast: ends 16:04 UTC, nine times in ten by 16:07 UTC (the plan's durations)",
        "Done: 66% of the work",
        POINT,
    )


def test_exceeded_and_passed() -> None:
    """What is over is told as over, how long ago, and set off as bad."""
    found = countdown(begun(*RESTORING), now=at("16:20"), paces={})
    assert found is not None
    assert found.tone == "bad"
    assert found.lines[0] == "Window: 33 minutes of 30 minutes used, ended 3 minutes ago, 16:17 UTC"
    assert found.lines[-1] == f"Point of no return: passed 5 minutes ago, 16:15 UTC: {WHY}"


@pytest.mark.parametrize(
    ("now", "tone"), [("15:50", "info"), ("16:11", "info"), ("16:14", "warn"), ("16:15", "warn"), ("16:17", "bad")]
)
def test_the_tone(now: str, tone: str) -> None:
    """A forecast beyond the window's end, or a point of no return that is passed, is a warning."""
    found = countdown(begun(*RESTORING), now=at(now), paces={})
    assert found is not None
    assert found.tone == tone


def test_a_point_of_no_return_warns_by_itself() -> None:
    """A rollback in good time is a warning all the same once it is past its point of no return."""
    run = begun(run=planned(after="5m"))
    found = countdown(run, now=at("15:50"), paces={})
    assert found is not None
    assert (found.tone, found.lines[-1]) == (
        "warn",
        f"Point of no return: passed less than a minute ago, 15:50 UTC: {WHY}",
    )


def test_with_history_progress_and_extension() -> None:
    """Earlier rollbacks, progress and an extension are all told."""
    paces = {step.id: Pace(7, MINUTE, MINUTE) for step in begun().plan.steps()}
    run = begun(*RESTORING, windows.extended(at("15:49"), 30 * MINUTE, 60 * MINUTE))
    lines = shown(run, "15:49", paces=paces, progress={"restore": Progress(done=50, total=100, unit="tables")})
    assert lines[:3] == (
        "Window: 2 minutes of 60 minutes (30 minutes planned) used, ends in 58 minutes, 16:47 UTC",
        "Forecast: ends 15:56 UTC (median of 7 earlier rollbacks)",
        "Done: 26% of the work",
    )


def test_while_it_is_held() -> None:
    """A held rollback is forecast as if it went on at once, and the countdown says so."""
    run = begun(*RESTORING, stories.failed(at("15:58"), "restore"), stories.held(at("15:58"), "restore"))
    late = "nine times in ten by 16:19 UTC"
    assert (
        shown(run, "16:00")[1] == f"Forecast: ends 16:13 UTC if it goes on at once, {late} (the plan's durations)"
    )


def test_the_steps_beyond_which_giving_up_is_hard() -> None:
    """Each step with a point of no return of its own is named once it has begun, at its first attempt."""
    of = document()
    for step, words in (
        ("stop", "the service is down"),
        ("restore", "the\ncopy grows"),
        ("swap", "clients see it"),
    ):
        next(s for s in of["phases"][0]["steps"] if s["id"] == step)["point_of_no_return"] = words
    run = begun(
        *RESTORING,
        stories.failed(at("15:50"), "restore"),
        stories.started(at("15:51"), "restore", 2),
        run=stories.unstarted(MODEL.model_validate(of)),
    )
    assert shown(run, "16:00")[4:] == (
        "Passed at 15:47 UTC with servers.stop on payments-servers: the service is down",
        "Passed at 15:48 UTC with Restore the payments database: the copy grows",
    )


def test_what_is_written_may_pass_the_point_earlier() -> None:
    """Limits on what was written since the backup are named until the time alone decides."""
    limits = {
        "rows": {"target": "payments-db", "above": 100},
        "query": {"target": "payments-db", "sql": "SELECT 1"},
    }
    run = begun(run=planned(**limits))
    early = "comes in 15 minutes, 16:15 UTC, earlier if too much is written to payments-db"
    assert shown(run, "16:00")[3] == f"Point of no return: {early}: {WHY}"
    assert shown(run, "16:15")[3] == f"Point of no return: passed less than a minute ago, 16:15 UTC: {WHY}"


def test_a_loss_that_was_measured() -> None:
    """What was found written since passes the point, and who confirmed the loss stands beside it."""
    loss = LossFound(
        step="swap", subject="payments-db", verdict=Verdict.WARN, words="412 rows", since=at("15:00"), rows=412
    )
    asked = ConfirmationAsked(at=at("15:46"), who="worker-1", why="412 rows of\ntransactions", losses=(loss,))
    run = stories.happened(stories.run_in(State.AUTHORISED), asked)
    passed = f"Point of no return: passed at 15:46 UTC, 412 rows of transactions: {WHY}"
    assert shown(run, "15:46")[0] == passed
    confirmed = LossConfirmed(at=at("15:47"), who=COMMANDER, why="known", name="C. Mander", words="412 rows")
    run = stories.happened(run, confirmed, stories.began(at("15:47")))
    assert shown(run, "15:50")[3:] == (passed, "Loss confirmed by C. Mander: 412 rows")
    assert shown(run, "16:20")[3].startswith("Point of no return: passed 5 minutes ago")


def test_while_people_are_asked() -> None:
    """Before execution the point of no return and the approval's expiry count down."""
    run = stories.run_in(State.AWAITING_AUTHORITY)
    assert shown(run, "16:00") == (POINT, "Approval: expires in 45 minutes, 16:45 UTC")
    assert shown(run, "16:45")[1] == "Approval: expired less than a minute ago, 16:45 UTC"
    found = countdown(run, now=at("16:15"), paces={})
    assert found is not None
    assert found.tone == "warn"


def test_while_a_worker_is_awaited() -> None:
    """An approval lapses as long after it was given as it might have taken."""
    run = stories.run_in(State.AUTHORISED)
    assert shown(run, "16:00") == (POINT, "Approval: lapses in 45 minutes, 16:45 UTC, unless execution begins")
    nobody_asked = replace(run, history=tuple(e for e in run.history if e.kind != "authority_asked"))
    assert shown(nobody_asked, "16:00") == (POINT,)


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (stories.run_in(State.COMPLETE), "25 minutes of 30 minutes used, complete 2024-01-15 16:12 UTC"),
        (stories.run_in(State.CLOSED), "25 minutes of 30 minutes used, complete 2024-01-15 16:12 UTC"),
        (begun(stories.aborted(at("16:00"))), "13 minutes of 30 minutes used, given up 2024-01-15 16:00 UTC"),
        (
            begun(windows.extended(at("15:48"), 30 * MINUTE, 60 * MINUTE), stories.aborted(at("15:47:30"))),
            "less than a minute of 60 minutes (30 minutes planned) used, given up 2024-01-15 15:47 UTC",
        ),
        (
            stories.happened(stories.run_in(State.AWAITING_AUTHORITY), stories.expired(at("16:45"))),
            "Not begun: expired 2024-01-15 16:45 UTC",
        ),
        (
            stories.happened(stories.run_in(State.AWAITING_AUTHORITY), stories.rejected(at("15:50"))),
            "Not begun: stood down 2024-01-15 15:50 UTC",
        ),
        (
            stories.happened(stories.run_in(State.AUTHORISED), stories.refused(at("15:50"))),
            "Not begun: refused 2024-01-15 15:50 UTC",
        ),
    ],
)
def test_the_end(run: Run, line: str) -> None:
    """What has ended keeps one line, whenever it is looked at."""
    for now in ("16:20", "+3 10:00"):
        assert shown(run, now) == (line,)


@pytest.mark.parametrize("state", [State.REQUESTED, State.CHECKING])
def test_before_anybody_is_asked(state: State) -> None:
    """Nothing counts down before anybody was asked, nor for what was refused by its checks."""
    run = stories.run_in(state)
    assert countdown(run, now=at("15:46"), paces={}) is None
    if state is State.CHECKING:
        refused = stories.happened(run, stories.refused(at("15:46")))
        assert countdown(refused, now=at("15:47"), paces={}) is None


def test_an_unfinished_end_says_nothing() -> None:
    """A rollback that neither completed nor was given up has no last line."""
    assert countdown(replace(begun(), state=State.CLOSED), now=at("16:00"), paces={}) is None


def test_the_next_day() -> None:
    """Times of another day carry their date."""
    run = begun(*RESTORING)
    assert shown(run, "+1 00:10")[0].endswith("ended 473 minutes ago, 2024-01-15 16:17 UTC")


@MODERATE
@given(scenes(), st.integers(0, 59), st.integers(0, 59))
def test_the_text_changes_with_the_minute(scene: Scene, second: int, other: int) -> None:
    """Within one minute the text stays as it is, unless a limit passes in it."""
    run, minute = scene.run, scene.now.replace(second=0)
    limits = (forecast.window_ends(run), run.plan.no_return_at())
    one, two = (minute + timedelta(seconds=s) for s in sorted((second, other)))
    if any(limit and one < limit <= two for limit in limits):
        return
    first = countdown(run, now=one, paces=scene.paces, progress=scene.progress)
    assert first == countdown(run, now=two, paces=scene.paces, progress=scene.progress)
    assert first is not None
    assert all("\n" not in line for line in first.lines)
