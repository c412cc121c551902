"""What to do next with a rollback: a decision without I/O, computed from the journal alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from bot.domain import events, forecast, helping, manual
from bot.domain.actions import (
    Abort,
    Action,
    AskPerson,
    Await,
    BeginExecution,
    BeginVerification,
    CheckPlan,
    Complete,
    Done,
    DraftExtension,
    Expire,
    Extend,
    FileCause,
    HandOver,
    Hold,
    Resume,
    RunSteps,
    Survey,
    View,
    Wait,
    WriteRecords,
)
from bot.domain.actuation import Presence
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Step
from bot.domain.run import SETTLED, Run, StepState

MOST_INTERRUPTIONS = 10
"""How often a step is begun again after its worker was lost: one that takes its worker down must come to an end."""


def next_action(run: Run, view: View) -> Action:
    """Decide what to do next.

    Args:
        run: The rollback.
        view: What the asking worker knows beside the journal.
    """
    match run.state:
        case State.REQUESTED | State.CHECKING:
            return _check(run, view)
        case State.AWAITING_AUTHORITY:
            asked: events.AuthorityAsked = run.last(events.AuthorityAsked)
            return Expire() if view.now >= asked.expires_at else Wait(until=asked.expires_at)
        case State.AUTHORISED:
            return _authorised(run, view)
        case State.EXECUTING | State.VERIFYING | State.HELD:
            return _under_way(run, view)
        case State.COMPLETE | State.ABORTED:
            return WriteRecords()
        case _:
            return Done()


def zones_to_check(run: Run) -> tuple[str, ...]:
    """Return the zones whose workers have not looked at the preconditions yet, sorted."""
    seen = {event.zone for event in run.history if isinstance(event, events.PartlyChecked)}
    targets = {step.target for step in run.plan.steps()} | {run.plan.metrics}
    return tuple(sorted({run.zone_of(target) for target in targets} - seen))


def _check(run: Run, view: View) -> Action:
    zones = zones_to_check(run)
    if view.zone is None or not zones:
        return CheckPlan()
    if view.zone in zones:
        return CheckPlan(last=len(zones) == 1)
    return HandOver(zones[0])


def _authorised(run: Run, view: View) -> Action:
    destroying = next((step.target for step in run.plan.steps() if step.destroys), None)
    if destroying and not view.reaches(run, destroying):
        return HandOver(run.zone_of(destroying))  # whoever begins measures the loss
    asked: events.AuthorityAsked = run.last(events.AuthorityAsked)
    authorised: events.Authorised = run.last(events.Authorised)
    valid_until = authorised.at + (asked.expires_at - asked.at)
    if run.open_confirmation and view.now < valid_until:
        return Wait(until=valid_until)
    return BeginExecution()


def _under_way(run: Run, view: View) -> Action:
    leaving = run.giving_up
    if leaving:
        return _give_up(run, view, leaving)
    exceeded = forecast.exceeded(run, now=view.now, paces=view.paces, progress=view.progress)
    if exceeded:
        return Extend(exceeded)
    overrun = forecast.overrun(run, now=view.now, paces=view.paces, progress=view.progress)
    if overrun:
        return DraftExtension(overrun)
    return _held(run, view) if run.state is State.HELD else _advance(run, view)


def _give_up(run: Run, view: View, word: events.AbortAsked | events.Decided) -> Action:
    if view.running:
        return Await(stop=isinstance(word, events.AbortAsked) and word.stop)
    doubtful = [key for key, status in run.steps.items() if status.state is StepState.STARTED]
    if doubtful:
        return _look(run, view, doubtful)
    seen = {found.step for event in run.history if isinstance(event, events.Surveyed) for found in event.found}
    unseen = [step for step in run.plan.steps() if not step.reads_only and step.id not in seen]
    mine = tuple(step.id for step in unseen if view.reaches(run, step.target))
    if mine:
        return Survey(mine)
    return HandOver(run.zone_of(unseen[0].target)) if unseen else Abort(who=word.who, reason=word.why)


def _look(run: Run, view: View, doubtful: list[str]) -> Action:
    """Bring what had begun to a known end without beginning it again."""
    mine = tuple(key for key in doubtful if view.reaches(run, helping.target_of(run, key)))
    if mine:
        return RunSteps(start=(), observe_first=mine, only_look=True)
    return HandOver(run.zone_of(helping.target_of(run, doubtful[0])))


def _held(run: Run, view: View) -> Action:
    remedies = helping.next_remedy(run, view)
    if remedies:
        return remedies
    declined = manual.declined(run)
    if declined:
        # Said while others were being decided about: people hear of it now, and not when those are done with.
        return Hold(declined, _why_held(run, _Group(stuck=list(declined))))
    if any(status.state is StepState.HELD for status in run.steps.values()) or run.pause:
        if run.unfiled_cause:
            return FileCause()
        return Wait(until=view.look_again(run))
    return Resume()


def _advance(run: Run, view: View) -> Action:
    verifying = run.state is State.VERIFYING
    groups = (run.plan.verification.steps,) if verifying else tuple(phase.steps for phase in run.plan.phases)
    for steps in groups:
        if any(run.status(step.id).state not in SETTLED for step in steps):
            return _within(run, steps, view)
    if run.pause:
        return Hold((), _why_held(run, _Group()))  # whoever holds it does not want to read that it is complete
    return Complete() if verifying else BeginVerification()


@dataclass
class _Group:
    """The unfinished steps of a phase, sorted by what they need."""

    start: list[Step] = field(default_factory=list)
    ask: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    doubtful: list[Step] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    reason: str = ""


def _within(run: Run, steps: tuple[Step, ...], view: View) -> Action:
    group = _sorted(run, steps, view)
    late = [step for step in group.doubtful if beyond_return(run, step, now=view.now)]
    if late:
        # Interrupted before the point of no return: it is looked at, and not begun again after it by itself.
        return _reached(run, view, [], late, only_look=True)
    until = view.look_again(run)
    if group.stuck or run.pause:
        # Nothing new begins beside a step that somebody must decide about; what runs may end.
        if group.doubtful:
            # What had begun is brought to a known end before anybody is asked, or gives up.
            return _reached(run, view, [], group.doubtful, only_look=run.pause is not None)
        return Await(until) if view.running else Hold(tuple(group.stuck), _why_held(run, group))
    if group.ask:
        return AskPerson(group.ask[0])
    if group.start or group.doubtful:
        return _reached(run, view, group.start, group.doubtful)
    # For a person nobody keeps a worker: the lease goes back until the answer comes.
    return Wait(until) if group.asked and not view.running else Await(until)


def _sorted(run: Run, steps: tuple[Step, ...], view: View) -> _Group:
    group = _Group()
    for step in steps:
        status = run.status(step.id)
        if step.id in view.running or status.state in SETTLED:
            continue
        if status.state is StepState.FAILED and not may_retry(run, step):
            group.stuck.append(step.id)
        elif status.state is StepState.STARTED:
            group.doubtful.append(step)
        elif status.state is StepState.HELD:
            group.stuck.append(step.id)
        elif status.state is StepState.ASKED:
            group.asked.append(step.id)
        elif all(run.status(needed).state in SETTLED for needed in step.needs):
            if beyond_return(run, step, now=view.now):
                group.stuck.append(step.id)
                group.reason = f"{step.id}: the point of no return passed: {run.plan.point_of_no_return.reason}"
            elif isinstance(step, manual.ManualStep):
                group.ask.append(step.id)
            else:
                group.start.append(step)
    return group


def _reached(run: Run, view: View, start: list[Step], doubtful: list[Step], *, only_look: bool = False) -> Action:
    """Return those steps that this worker can reach, or whose turn it is once this worker's own have ended."""
    mine = RunSteps(
        start=tuple(step.id for step in start if view.reaches(run, step.target)),
        observe_first=tuple(step.id for step in doubtful if view.reaches(run, step.target)),
        only_look=only_look,
    )
    if mine.start or mine.observe_first:
        return mine
    if view.running:
        return Await(until=view.look_again(run))  # with the lease would go what these steps are about to report
    return HandOver(run.zone_of((*start, *doubtful)[0].target))


def _loss_confirmed(run: Run) -> bool:
    """Return whether the loss was confirmed, and no remedy has put another backup in its place since."""
    since = run.after(events.LossConfirmed)
    if run.last(events.LossConfirmed) is None:
        return False
    chosen = [event.remedy for event in since if isinstance(event, events.RemedyChosen)]
    return not any(helping[1].settles for key in chosen if (helping := run.remedy(key)))


def beyond_return(run: Run, step: Step, *, now: datetime) -> bool:
    """Return whether the step would destroy data beyond the point of no return, and no second person confirmed it.

    The time that passes while a rollback runs or is held counts as well. What was written since is measured when
    the rollback begins.
    """
    limit = run.plan.no_return_at()
    if not step.destroys or now < limit or _loss_confirmed(run):
        return False
    decided = [e for e in run.history if isinstance(e, events.Decided) and e.step == step.id and e.at >= limit]
    return all(decision.choice is not Choice.RETRY for decision in decided)


def may_retry(run: Run, step: Step) -> bool:
    """Return whether a failed step may be tried again without asking anybody.

    Only when the fault is a passing one, the target was read and does not have the effect, and tries are left.
    """
    status = run.status(step.id)
    failure = status.failure
    return (
        failure is not None
        and failure.transient
        and (failure.presence is Presence.ABSENT or step.reads_only)
        and status.tries < step.attempts
    )


def _why_held(run: Run, group: _Group) -> str:
    parts = [f"{run.pause.name} holds it: {run.pause.why}"] if run.pause else []
    parts += [group.reason] if group.reason else []
    for step_id in group.stuck:
        failure = run.status(step_id).failure
        if failure is None and group.reason.startswith(f"{step_id}:"):
            continue
        if failure is None:
            parts.append(f"{step_id}: somebody must decide")
        elif failure.presence is Presence.UNKNOWN and not (failure.name or run.plan.step(step_id).reads_only):
            parts.append(f"{step_id}: outcome unknown ({failure.seen or failure.brief})")
        else:
            parts.append(f"{step_id}: {failure.brief}")
    return "; ".join(parts)
