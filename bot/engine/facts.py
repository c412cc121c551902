"""The events that follow from a decision alone, without looking at anything outside."""

from __future__ import annotations

from datetime import datetime

from bot.domain import actions, events
from bot.domain.run import Run

Plain = (
    actions.Expire
    | actions.Hold
    | actions.Resume
    | actions.Settle
    | actions.AskPerson
    | actions.Abort
    | actions.DraftExtension
    | actions.Extend
    | actions.BeginVerification
    | actions.Complete
)
"""Actions that are carried out by writing them down."""


def fact_of(action: Plain, run: Run, *, at: datetime, who: str) -> events.AnyEvent:
    """Return the event that carries the action out.

    Args:
        action: What was decided.
        run: The rollback.
        at: The time.
        who: The worker's name.
    """
    match action:
        case actions.Expire():
            return events.Expired(at=at, who="policy", why="nobody authorised it in time")
        case actions.Hold():
            return events.Held(at=at, who=who, why=action.reason, steps=action.steps)
        case actions.Resume():
            return events.Resumed(at=at, who=who, why="every held step is decided")
        case actions.Settle():
            return _settled(action, run, at=at, who=who)
        case actions.AskPerson(step):
            attempt = run.status(step).attempt + 1
            return events.ManualAsked(at=at, who=who, why=run.words_of(step), step=step, attempt=attempt)
        case actions.Abort():
            return events.Aborted(at=at, who=action.who, why=action.reason)
        case actions.DraftExtension(draft):
            return events.ExtensionDrafted(
                at=at, who=who, why=draft.reason, window=draft.window, estimate=draft.estimate, share=draft.share
            )
        case actions.Extend(draft):
            return events.Extended(
                at=at,
                who="policy",
                why=draft.reason,
                window=draft.window,
                estimate=draft.estimate,
                share=draft.share,
                exceeded=True,
            )
        case actions.BeginVerification():
            return events.VerificationBegan(at=at, who=who, why="all phases are done")
        case _:  # Complete; the type checker holds that nothing else comes here
            return events.Completed(at=at, who=who, why=_why_complete(run))


def _settled(action: actions.Settle, run: Run, *, at: datetime, who: str) -> events.StepSucceeded:
    helped, remedy = run.status(action.step), run.status(action.remedy)
    return events.StepSucceeded(
        at=at,
        who=who,
        why=run.words_of(action.remedy),
        step=action.step,
        attempt=helped.attempt,
        words=f"brought about by a remedy: {remedy.words}",
        facts=dict(remedy.facts),
        found=True,
    )


def _why_complete(run: Run) -> str:
    waived = [f"{e.name} decided to {e.choice.value.replace('_', ' ')} {e.step}: {e.why}" for e in run.overrides]
    return f"by decision: {'; '.join(waived)}" if waived else "every probe is green"
