"""A plan's steps as task cards, folded as far as the room demands.

https://docs.slack.dev/reference/block-kit/blocks/plan-block and .../task-card-block
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from bot.domain.actuation import Progress
from bot.domain.plan import Step
from bot.domain.run import SETTLED, Run, StepState, StepStatus
from bot.domain.times import in_words
from handlers.slack.render import standing
from handlers.slack.render.message import Block
from handlers.slack.render.rich import clean, clip, paragraph, words

VERIFICATION: Final = "Verification"
_STATUS: Final = {
    StepState.PENDING: "pending",
    StepState.STARTED: "in_progress",
    StepState.ASKED: "in_progress",
    StepState.DONE: "complete",
    StepState.SKIPPED: "complete",
    StepState.FAILED: "error",
    StepState.HELD: "error",
}
_URGENCY: Final = {
    state: number
    for number, state in enumerate(
        (StepState.HELD, StepState.ASKED, StepState.FAILED, StepState.STARTED, StepState.PENDING)
    )
}
_TITLE: Final = 150


@dataclass(frozen=True)
class Room:
    """How much may be shown.

    Attributes:
        cards: Up to that many steps, each gets a card of its own; above it what is over or to come is folded.
        active: Cards of a phase that is under way, when phases are folded.
        words: Characters of details on a card.
    """

    cards: int
    active: int
    words: int


ROOMS: Final = (Room(60, 60, 240), Room(24, 24, 200), Room(16, 12, 160), Room(8, 6, 100))
"""From the widest to one that always fits."""


@dataclass(frozen=True)
class _Group:
    name: str
    steps: tuple[Step, ...]


def plan_block(run: Run, progress: Mapping[str, Progress], room: Room) -> Block:
    """Return the plan with a task card for each step, or for what is folded."""
    groups = [*(_Group(phase.name, phase.steps) for phase in run.plan.phases)]
    groups.append(_Group(VERIFICATION, run.plan.verification.steps))
    steps = [step for group in groups for step in group.steps]
    done = sum(run.status(step.id).state in SETTLED for step in steps)
    if len(steps) <= room.cards:
        cards = [_card(run, group, step, progress, room) for group in groups for step in group.steps]
    else:
        cards = list(_folded(run, groups, progress, room))
    return {"type": "plan", "title": f"{done} of {len(steps)} steps are done", "tasks": cards}


def _folded(run: Run, groups: list[_Group], progress: Mapping[str, Progress], room: Room) -> Iterator[Block]:
    over: list[_Group] = []
    ahead: list[_Group] = []
    active: list[_Group] = []
    for group in groups:
        states = {run.status(step.id).state for step in group.steps}
        if states <= SETTLED:
            over.append(group)
        elif states == {StepState.PENDING}:
            ahead.append(group)
        else:
            active.append(group)
    if over:
        yield _summary("folded-over", over, "complete", "done")
    for index, group in enumerate(active):
        yield from _within(run, group, progress, room, index)
    if ahead:
        yield _summary("folded-ahead", ahead, "pending", "to come")


def _within(run: Run, group: _Group, progress: Mapping[str, Progress], room: Room, index: int) -> Iterator[Block]:
    # What needs a person or is under way is never folded before what waits or is over.
    ranked = sorted(group.steps, key=lambda step: _URGENCY.get(run.status(step.id).state, len(_URGENCY)))
    shown = {step.id for step in ranked[: room.active]}
    yield from (_card(run, group, step, progress, room) for step in group.steps if step.id in shown)
    more = [step for step in group.steps if step.id not in shown]
    if more:
        over = sum(run.status(step.id).state in SETTLED for step in more)
        title = f"{group.name} · … and {len(more)} more steps"
        told = f"{over} done, {len(more) - over} to come"
        yield _task(f"folded-{index}", title, "complete" if over == len(more) else "pending", told)


def _summary(task_id: str, groups: list[_Group], status: str, state: str) -> Block:
    count = sum(len(group.steps) for group in groups)
    names = clip(", ".join(group.name for group in groups), 200)
    expected = in_words(sum((step.expected for group in groups for step in group.steps), timedelta()))
    phases = f"{len(groups)} phase{'s' if len(groups) > 1 else ''}"
    told = f"{count} steps {state}: {names}" + (
        f" (steps' expected time: {expected})" if state == "to come" else ""
    )
    return _task(task_id, f"{phases} {state}", status, told)


def _card(run: Run, group: _Group, step: Step, progress: Mapping[str, Progress], room: Room) -> Block:
    status = run.status(step.id)
    told = clip(_told(step, status, progress.get(step.id)), room.words)
    return _task(step.id, f"{group.name} · {step.words()}", _STATUS[status.state], told)


def _task(task_id: str, title: str, status: str, told: str) -> Block:
    card = {"type": "task_card", "task_id": task_id, "title": clip(clean(title), _TITLE), "status": status}
    return {**card, "details": paragraph([words(told)])} if told else card


def _told(step: Step, status: StepStatus, progress: Progress | None) -> str:
    attempt = f"attempt {status.attempt}" if status.attempt > 1 else ""
    match status.state:
        case StepState.PENDING:
            return "; ".join(part for part in (status.words, f"expected {in_words(step.expected)}") if part)
        case StepState.STARTED:
            going = standing.amount(progress) if progress else f"expected {in_words(step.expected)}"
            return "; ".join(part for part in (attempt, going) if part)
        case StepState.ASKED:
            return "; ".join(part for part in (attempt, "waits for a person, see the thread") if part)
        case StepState.DONE | StepState.SKIPPED:
            return "; ".join(part for part in (_took(status), attempt, status.words) if part)
        case StepState.FAILED:
            return "; ".join(part for part in (attempt, status.words) if part)
        case StepState.HELD:
            return f"a person must decide; {status.words}" if status.words else "a person must decide"


def _took(status: StepStatus) -> str:
    if status.started_at is None or status.ended_at is None:
        return ""
    took = status.ended_at - status.started_at
    return in_words(took) if took >= timedelta(seconds=1) else f"{took.total_seconds():.1f} seconds"
