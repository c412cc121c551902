"""Rollbacks under way, at any point and at any speed, for properties of the window's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import strategies as st

from bot.domain.actuation import Progress
from bot.domain.events import AnyEvent, Choice, Extended, ExtensionDrafted
from bot.domain.lifecycle import State
from bot.domain.pace import Pace, Paces
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from tests.support import dags, plans, stories
from tests.support.plans import at

BEGAN = at("15:47")
"""When execution begins."""


@dataclass(frozen=True)
class Scene:
    """A rollback under way as a worker sees it."""

    run: Run
    now: datetime
    paces: Paces
    progress: dict[str, Progress]


def seconds(least: float, most: float) -> st.SearchStrategy[timedelta]:
    """Draw a duration, mostly whole seconds."""
    return st.integers(int(least), int(most)).map(lambda count: timedelta(seconds=count))


@st.composite
def timed_plan(draw: st.DrawFn) -> Plan:
    """Draw a plan of any shape whose steps take any time, with any window."""
    document = draw(dags.any_plan()).model_dump(mode="json")
    groups = [phase["steps"] for phase in document["phases"]] + [document["verification"]["steps"]]
    for step in (step for steps in groups for step in steps):
        step["expected"] = draw(seconds(0, 900))
    document["window"] = draw(seconds(60, 5400))
    return plans.MODEL.model_validate(document)


@st.composite
def any_paces(draw: st.DrawFn, plan: Plan) -> Paces:
    """Draw what is known of some of the plan's steps."""
    found: dict[str, Pace] = {}
    for step in plan.steps():
        if draw(st.booleans()):
            median = draw(seconds(0, 900))
            found[step.id] = Pace(draw(st.integers(1, 9)), median, median + draw(seconds(0, 600)))
    return found


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Draw a rollback somewhere between its beginning and its end, as any engine may have brought it there."""
    plan = draw(timed_plan())
    run = stories.run_in(State.AUTHORISED, run=stories.unstarted(plan))
    run, now = stories.happened(run, stories.began(BEGAN)), BEGAN
    for _ in range(draw(st.integers(0, 14))):
        now += draw(seconds(0, 400))
        options = _next(run, now)
        if options:
            run = stories.happened(run, draw(st.sampled_from(options)))
    now += draw(seconds(0, 400))
    progress = {
        step.id: Progress(done=draw(st.floats(0, 100)), total=draw(st.sampled_from([None, 100.0])), unit="files")
        for step in plan.steps()
        if draw(st.integers(0, 3)) == 0
    }
    return Scene(run, now, draw(any_paces(plan)), progress)


def _next(run: Run, now: datetime) -> list[AnyEvent]:
    """Return what may be written next."""
    if run.state is State.HELD:
        stuck = [step.id for step in run.plan.steps() if run.status(step.id).state is StepState.HELD]
        choices = (Choice.RETRY, Choice.SKIP, Choice.MARK_DONE)
        return [stories.decided(now, step, choice) for step in stuck for choice in choices] or [
            stories.resumed(now)
        ]
    found: list[AnyEvent] = []
    running = [step.id for step in run.plan.steps() if run.status(step.id).state is StepState.STARTED]
    for name in running:
        attempt = run.status(name).attempt
        found += [stories.succeeded(now, name, attempt)] * 2 + [stories.failed(now, name, attempt)]
    failed = [step.id for step in run.plan.steps() if run.status(step.id).state is StepState.FAILED]
    if failed and not running:
        found.append(stories.held(now, *failed))
    verifying = run.state is State.VERIFYING
    groups = (run.plan.verification.steps,) if verifying else tuple(phase.steps for phase in run.plan.phases)
    for step in (step for steps in groups for step in steps):
        if run.status(step.id).state in (StepState.PENDING, StepState.FAILED) and dags.may_begin(run, step):
            found.append(stories.started(now, step.id, run.status(step.id).attempt + 1))
    if not found and not verifying and not running:
        found.append(stories.verification_began(now))
    return found


def drafted(when: datetime, window: timedelta, estimate: timedelta) -> ExtensionDrafted:
    """An extension is ready."""
    return ExtensionDrafted(at=when, who="worker-1", why="slow", window=window, estimate=estimate, share=0.5)


def extended(
    when: datetime, window: timedelta, estimate: timedelta, *, why: str = "slow", share: float = 0.65
) -> Extended:
    """The window is extended."""
    return Extended(at=when, who="worker-1", why=why, window=window, estimate=estimate, share=share)
