"""What to do about the remedies of held steps: offer them, run what is chosen, take over its effect."""

from __future__ import annotations

from bot.domain import events
from bot.domain.actions import Action, Await, HandOver, OfferRemedies, RunSteps, Settle, View
from bot.domain.plan import Step
from bot.domain.run import Run, StepState


def target_of(run: Run, step_id: str) -> str:
    """Return the target of a step of the plan or of a remedy."""
    helping = run.remedy(step_id)
    return str(helping[1].step["target"]) if helping else run.plan.step(step_id).target


def next_remedy(run: Run, view: View) -> Action | None:
    """Return what to do about remedies: offer them, run the chosen ones, and take over what they brought about."""
    held = [step for step in run.plan.steps() if run.status(step.id).state is StepState.HELD]
    for step in held:
        for offered in run.remedies(step.id):
            if offered.settles and run.status(offered.step["id"]).state is StepState.DONE:
                return Settle(step.id, offered.step["id"])
    chosen = [key for key in run.steps if run.remedy(key) and key not in view.running]
    doubtful = [key for key in chosen if run.status(key).state is StepState.STARTED]
    start = _apart(run, view, [key for key in chosen if run.status(key).state is StepState.PENDING], doubtful)
    mine = [key for key in (*start, *doubtful) if view.reaches(run, target_of(run, key))]
    if mine:
        return RunSteps(
            start=tuple(key for key in start if key in mine),
            observe_first=tuple(key for key in doubtful if key in mine),
            only_look=run.pause is not None,
        )
    if view.running:
        return Await(until=view.look_again(run))
    if start or doubtful:
        return HandOver(run.zone_of(target_of(run, (*start, *doubtful)[0])))
    unasked = [
        step for step in held if run.status(step.id).failure and _unasked(run, step) and step.id in view.helpful
    ]
    for step in unasked:
        return OfferRemedies(step.id) if view.reaches(run, step.target) else HandOver(run.zone_of(step.target))
    return None


def _apart(run: Run, view: View, pending: list[str], doubtful: list[str]) -> list[str]:
    """Return the chosen remedies that may begin, one on a target at a time: two restores must not meet."""
    busy = {target_of(run, key) for key in (*view.running, *doubtful)}
    found = []
    for key in pending:
        if _wanted(run, key) and target_of(run, key) not in busy:
            busy.add(target_of(run, key))
            found.append(key)
    return found


def _wanted(run: Run, remedy: str) -> bool:
    """Return whether a chosen remedy may begin.

    Only while its step is held and it is among what is offered; in a pause only if it was chosen since, knowing of
    the pause.
    """
    helping = run.remedy(remedy)
    if helping is None or run.status(helping[0]).state is not StepState.HELD:
        return False
    if helping[1] not in run.remedies(helping[0]):
        return False
    since = run.after(events.HoldAsked) if run.pause else run.history
    return any(isinstance(event, events.RemedyChosen) and event.remedy == remedy for event in since)


def _unasked(run: Run, step: Step) -> bool:
    return run.status(step.id).offered != run.status(step.id).attempt
