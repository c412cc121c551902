"""What is said about people's words to a running rollback, about remedies, the window and the data lost."""

from __future__ import annotations

from bot.domain import control, events, forecast
from bot.domain.events import AnyEvent
from bot.domain.manual import ManualStep
from bot.domain.messages import Asks, Note, Question, Standard
from bot.domain.run import Run
from bot.domain.times import utc_minute

extension = forecast.extension


def content_of(run: Run, event: AnyEvent, number: int) -> Note | Question | None:
    """Return what the thread says about an event that came from a person or for one; None for others.

    Args:
        run: The rollback.
        event: What became true.
        number: Its number in the journal.
    """
    match event:
        case events.RemediesOffered() if event.remedies:
            return Question(Asks.REMEDIES, number, event.step)
        case events.ExtensionDrafted():
            return Question(Asks.EXTENSION, number)
        case _:
            words = _words(run, event)
            return Note(words) if words else None


def _words(run: Run, event: AnyEvent) -> str:  # noqa: C901 - one case an event
    match event:
        case events.RemedyChosen():
            return f"{event.name} wants: {run.words_of(event.remedy)}, for {run.words_of(event.step)}. {event.why}"
        case events.HoldAsked():
            return f"{event.name} holds the rollback: running steps end, nothing new begins. {event.why}"
        case events.ResumeAsked():
            return f"{event.name} resumes the rollback. {event.why}"
        case events.AbortAsked():
            how = "running steps are stopped" if event.stop else "running steps may end"
            read = f" Confirmed beyond the point of no return: {event.confirmed}" if event.confirmed else ""
            return f"{event.name} gives the rollback up, {how}. {event.why}{read}"
        case events.LeadHandedOver():
            return f"{event.name} hands the lead over to <@{event.to}>. {event.why}"
        case events.ContinuationChosen():
            return f"{event.name} decided to go on beyond the window. {event.why}"
        case events.CauseReported():
            return f"{event.name} reports another cause; it gets an incident of its own. {event.why}"
        case events.CauseFiled():
            return f"Incident {event.incident} is open for the actual cause: {event.why}"
        case events.LossConfirmed():
            return f"{event.name} confirmed the loss of data: {event.words}. {event.why}"
        case events.DeploymentsReleased():
            return f"{event.name} lifted the hold on deployments of {run.plan.service}. {event.why}"
        case _:
            return ""


def targets(run: Run) -> Standard | None:
    """Return how every target stood when the rollback was given up, and what a forward-fix needs."""
    lines = tuple(f"{target}: {words}" for target, words in control.states_of_targets(run))
    warning = control.abort_warning(run)
    if not lines:
        return None
    return Standard("STATE OF EVERY TARGET", (*lines, *((f"Forward-fix: {warning}",) if warning else ())), "warn")


def please_confirm(run: Run, event: events.ConfirmationAsked) -> Standard:
    """Return the direct message to those who may confirm a loss."""
    return Standard(
        "A SECOND PERSON MUST CONFIRM THE LOSS OF DATA",
        (
            f"Change: {run.plan.title_line()}",
            f"Why: {event.why}",
            *(f"{loss.subject}: {loss.words} (backup of {utc_minute(loss.since)})" for loss in event.losses),
            "Nothing has been run. Confirm or stand down with the buttons in the rollback's thread.",
        ),
        "bad",
    )


def please_do(run: Run, event: events.ManualAsked) -> Standard:
    """Return the direct message to those whom a step waits for that a person does."""
    step = run.plan.step(event.step)
    who = (f"Who may confirm it: {step.who_may()}",) if isinstance(step, ManualStep) else ()
    return Standard(
        "A STEP NEEDS A PERSON",
        (
            f"Change: {run.plan.title_line()}",
            f"What: {step.words()} ({step.id}, on {step.target})",
            *who,
            f"Bridge: {run.plan.bridge.url}",
            "How it is done, and the buttons that say how it ended, stand in the rollback's thread.",
        ),
        "warn",
    )


def blocked_words(run: Run) -> str:
    """Return that, since when and why deployments of the service are blocked."""
    since = run.started_at
    when = f" since {utc_minute(since)}" if since else ""
    return (
        f"Deployments of {run.plan.service} are blocked{when} by {run.id} ({run.plan.title_line()}), so that the "
        f"failed {run.plan.versions.deployed} does not come back by itself."
    )
