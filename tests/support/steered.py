"""A rollback that people steer, without I/O: what workers and people may write next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from bot.domain import actions, control, events, execution, manual
from bot.domain.actuation import Presence
from bot.domain.events import AnyEvent, Choice, RemedyOffered
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from bot.engine import facts
from tests.support import dags, plans, stories

ZONES = ("app", "dmz")
"""The zone of the servers, the probes and the metrics, and the zone of the database."""
_VALID = timedelta(hours=1)


@st.composite
def any_plan(draw: st.DrawFn) -> Plan:
    """Draw a plan of any shape whose steps act in two zones, some of them destroying data."""
    document = draw(dags.any_plan(by_hand=True)).model_dump(mode="json")
    for phase in document["phases"]:
        phase["steps"] = [draw(_elsewhere(step)) for step in phase["steps"]]
    return plans.MODEL.model_validate(document)


@st.composite
def _elsewhere(draw: st.DrawFn, step: dict[str, Any]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["servers.start", "servers.start", "postgres.drain", "postgres.swap"]))
    if step["kind"] != "servers.start" or kind == "servers.start":
        return step
    return {**step, "kind": kind, "target": "payments-db"}


def inventory() -> Inventory:
    """Return the example's targets in two zones."""
    document = plans.inventory().model_dump(mode="json")
    for section in document.values():
        for name, target in section.items():
            target["zone"] = ZONES[name == "payments-db"]
    return Inventory.model_validate(document)


@dataclass(frozen=True)
class Doing:
    """What a worker is at with one step.

    Attributes:
        seen: The rollback as it stood when this was decided.
        at: When it was decided.
        looking: Whether the target is looked at first, because an earlier attempt has no known end.
        only_look: Whether nothing is begun after that.
        attempt: The attempt that is acting; 0: STARTED is not written yet.
    """

    seen: Run
    at: datetime
    looking: bool = False
    only_look: bool = False
    attempt: int = 0


def after_looking(run: Run, step: str, doing: Doing, presence: Presence, *, at: datetime) -> AnyEvent | None:
    """Return the known end of a step that was looked at; None: it is not there and is to be begun again."""
    status = doing.seen.status(step)
    if run.remedy(step) is None and run.plan.step(step).reads_only:
        presence = Presence.ABSENT
    if presence is Presence.PRESENT:
        return stories.succeeded(at, step, status.attempt, found=True)
    absent = presence is Presence.ABSENT
    if absent and not doing.only_look and status.interrupted < execution.MOST_INTERRUPTIONS:
        return None
    return stories.failed(at, step, status.attempt, transient=absent and doing.only_look, presence=presence)


def offer(run: Run, step: str, kinds: list[tuple[bool, bool]], *, at: datetime) -> events.RemediesOffered:
    """Return the remedies of a held step: (acts, settles) of each."""
    found = tuple(
        RemedyOffered(
            id=f"help-{number}",
            title=f"Help {number}",
            words="May help.",
            acts=acts,
            settles=settles,
            step={"id": f"remedy.{run.seq}.{number}", "kind": "postgres.drain", "target": _target(run, step)},
        )
        for number, (acts, settles) in enumerate(kinds)
    )
    return events.RemediesOffered(at=at, who="worker-1", why="what may help", step=step, remedies=found)


def _target(run: Run, step: str) -> str:
    return run.plan.step(step).target


def beginning(run: Run, *, lossy: bool, at: datetime) -> AnyEvent:
    """Return what a worker writes when an approval is to be acted upon.

    Args:
        run: The rollback.
        lossy: Whether too much was written since the backup.
        at: The time.
    """
    authorised: events.Authorised = run.last(events.Authorised)
    if at >= authorised.at + _VALID:
        return stories.refused(at)
    destroys = any(step.destroys for step in run.plan.steps())
    if destroys and not run.last(events.LossConfirmed) and (lossy or at >= run.plan.no_return_at()):
        return stories.confirmation_asked(at)
    return stories.began(at, blocks=True)


def facts_of(run: Run, action: actions.Action, zone: str, *, at: datetime) -> list[AnyEvent]:
    """Return what a worker of a zone writes to carry an action out, all being well."""
    match action:
        case actions.CheckPlan() if run.state is State.REQUESTED:
            return [stories.checking_began(at)]
        case actions.CheckPlan(last=True):
            return [stories.checked(at), stories.asked(at, run)]
        case actions.CheckPlan():
            return [stories.partly_checked(at, zone)]
        case actions.Survey(steps):
            return [stories.surveyed(at, *steps)]
        case actions.FileCause():
            return [stories.cause_filed(at)]
        case actions.FileCause():
            return [stories.cause_filed(at)]
        case actions.WriteRecords():
            return [stories.closed(at)]
        case (
            actions.RunSteps() | actions.HandOver() | actions.Await() | actions.Wait() | actions.Done()
            | actions.OfferRemedies() | actions.BeginExecution()
        ):  # fmt: skip
            raise AssertionError(f"{action} is carried out elsewhere")
        case _:
            return [facts.fact_of(action, run, at=at, who="worker-1")]


def ends(word: AnyEvent) -> bool:
    """Return whether nothing more is to be begun after a person's word."""
    gives_up = isinstance(word, events.Decided) and word.choice is Choice.ABORT
    return gives_up or isinstance(word, events.AbortAsked | events.Rejected)


def words(run: Run, *, at: datetime) -> Iterator[AnyEvent]:
    """Yield whatever people can say to the rollback now, as the service lets them."""
    if run.state in control.NOT_BEGUN:
        yield stories.rejected(at)
    if run.state is State.AWAITING_AUTHORITY:
        yield from [stories.authorised(at, run)] * 4
    if run.state is State.AUTHORISED and run.open_confirmation:
        yield from [stories.loss_confirmed(at)] * 4
    if run.state in control.STEERABLE and run.giving_up is None:
        yield stories.resume_asked(at) if run.pause else stories.hold_asked(at)
        yield from (stories.abort_asked(at, stop=stop) for stop in (False, True))
        yield from (stories.continuation_chosen(at), stories.handed_over(at), stories.extended(at))
        if run.last(events.CauseReported) is None:
            yield stories.cause_reported(at)
        for step in manual.waiting(run):
            attempt = run.status(step.id).attempt
            yield from [stories.done_by_hand(at, step.id, attempt)] * 2
            yield stories.cannot(at, step.id, attempt)
    if run.state is State.HELD:
        yield from decisions(run, at=at)


def decisions(run: Run, *, at: datetime) -> Iterator[AnyEvent]:
    """Yield whatever people can decide about held steps."""
    for step in run.plan.steps():
        if run.status(step.id).state is not StepState.HELD:
            continue
        yield from [stories.decided(at, step.id, Choice.RETRY)] * 2
        yield from (stories.decided(at, step.id, choice) for choice in (Choice.MARK_DONE, Choice.SKIP))
        if run.giving_up is None:
            yield stories.decided(at, step.id, Choice.ABORT)  # as programs before the word to abort wrote it
        for offered in run.remedies(step.id):
            key = str(offered.step["id"])
            if key not in run.steps or run.status(key).state not in (StepState.PENDING, StepState.STARTED):
                yield from [remedy_chosen(step.id, key, at=at)] * 2


def remedy_chosen(step: str, key: str, *, at: datetime) -> events.RemedyChosen:
    """A person wants a remedy to be run."""
    return events.RemedyChosen(
        at=at, who=plans.MANAGER, why="to see", step=step, remedy=key, name="J. Smith", role="Change Manager"
    )
