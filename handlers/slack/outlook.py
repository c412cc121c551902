"""What becomes of a word that a person says to a rollback: why it cannot count, or what happens next. Pure."""

from __future__ import annotations

from typing import Final

from bot.domain import control, events, forecast, manual
from bot.domain.errors import RefusedError
from bot.domain.lifecycle import FINAL, State
from bot.domain.run import Run, StepState
from bot.domain.times import in_words, utc_minute
from handlers.slack.commands import EXAMPLES
from handlers.slack.render import standing
from handlers.slack.render.rich import clip

_ABOUT_STEPS: Final = frozenset({"retry", "done", "cannot", "skip", "remedy"})
_BEFORE_TOO: Final = frozenset({"abort", "handover"})
"""What can be said before anything runs, too."""
_TITLE: Final = 120


def refuse_what_cannot_be(run: Run, verb: str) -> None:
    """Refuse a typed word that makes no sense as the rollback stands, in words about the rollback.

    The service refuses the same, but in words about a button.

    Raises:
        RefusedError: It makes no sense.
    """
    words, instead = _why_not(run, verb)
    if words:
        raise RefusedError(words, untouched="Nothing was changed.", resolution=instead)


def what_next(run: Run, verb: str) -> str:  # noqa: C901, PLR0912 - one case a word
    """Return what happens now that the word is in the journal, and what can be said next.

    Args:
        run: The rollback, with the word.
        verb: One of `handlers.slack.commands.SAYINGS`.
    """
    match verb:
        case "hold":
            return _held(run)
        case "resume":
            return _goes_on(run, f"{run.id} is resumed")
        case "abort":
            return _given_up(run)
        case "cannot":
            return f"{run.id} has it on record. As soon as nothing else runs, the thread asks what is to be done."
        case "done" if isinstance(run.history[-1], events.StepSucceeded):
            return _goes_on(run, f"{run.id}: {titled(run, [run.history[-1].step])} is done")
        case "retry" | "done" | "skip":
            return _decided(run, verb)
        case "remedy":
            return _helped(run)
        case "extend":
            return _extended(run)
        case "continue":
            return f"{run.id} goes on beyond its window. The choice is told in the thread."
        case "handover":
            handed: events.LeadHandedOver = run.last(events.LeadHandedOver)
            return f"{handed.to_name} leads {run.id} from now on, and is told so in the thread."
        case "confirm":
            return f"{run.id}: the loss is confirmed, and the rollback begins now. Its card shows every step."
        case "incident":
            return f"{run.id}: an incident is opened for the actual cause, and its number is told in the thread."
        case _:
            return f"{run.id} no longer blocks deployments of {run.plan.service}."


def titled(run: Run, step_ids: list[str]) -> str:
    """Return steps in words, the first three."""
    shown = [f"«{clip(run.words_of(step), _TITLE)}»" for step in step_ids[:3]]
    more = len(step_ids) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def in_state(run: Run, state: StepState) -> list[str]:
    """Return the ids of the plan's steps in a state."""
    return [step.id for step in run.plan.steps() if run.status(step.id).state is state]


def answerable(run: Run, verb: str) -> list[str]:
    """Return the ids of the steps that a word can be about: those that are held, or wait for who does them."""
    asked = [step.id for step in manual.waiting(run)]
    if verb == "cannot":
        return asked
    held = in_state(run, StepState.HELD)
    return [*held, *asked] if verb == "done" else held


def _why_not(run: Run, verb: str) -> tuple[str, str]:
    """Return why a word makes no sense now, and what to do instead; empty if it may count."""
    stands = standing.in_words(run.state, aborted=run.last(events.Aborted) is not None)
    if verb == "unblock":
        return "", ""
    if verb == "confirm":
        asked = run.state is State.AUTHORISED and run.open_confirmation is not None
        return ("", "") if asked else (f"{run.id} asks for no confirmation of a loss: it is {stands}.", "")
    if run.giving_up and run.state in control.STEERABLE and verb != "handover":
        return f"{run.id} is being given up already.", "Its thread tells how every target stands."
    if run.state in control.NOT_BEGUN and verb not in _BEFORE_TOO:
        return f"{run.id} is {stands}: no step runs yet.", f"To stop it: abort {run.id} and the reason."
    if run.state in FINAL or run.state in (State.COMPLETE, State.ABORTED):
        return f"{run.id} is {stands}: there is nothing left to {_DOES.get(verb, verb)}.", ""
    if verb in _ABOUT_STEPS and not answerable(run, verb):
        waits = "a person who does it" if verb == "cannot" else "a decision"
        return f"No step of {run.id} waits for {waits}: it is {stands}.", ""
    return "", ""


_DOES: Final = {
    "done": "mark as done",
    "cannot": "do by hand",
    "remedy": "remedy",
    "continue": "go on with",
    "handover": "hand over",
    "incident": "report for",
}


def _held(run: Run) -> str:
    running = in_state(run, StepState.STARTED)
    go_on = f"Nothing new begins until somebody says resume {run.id} and the reason."
    if running:
        ends = "ends" if len(running) == 1 else "end"
        return f"{run.id} is on hold as soon as {titled(run, running)} {ends}. {go_on}"
    return f"{run.id} is on hold. {go_on}"


def _goes_on(run: Run, said: str) -> str:
    held = in_state(run, StepState.HELD)
    if held:
        return f"{said}, but still waits for a decision about {titled(run, held)}: see the buttons in the thread."
    if run.pause:
        return f"{said}, but {run.pause.name} holds the rollback: it goes on after resume {run.id} and the reason."
    return f"{said}: it goes on now."


def _given_up(run: Run) -> str:
    if run.state is State.STOOD_DOWN:
        return f"{run.id} is stood down. Nothing was run, nothing was changed."
    word, running = run.giving_up, in_state(run, StepState.STARTED)
    first = "Nothing new begins."
    if running:
        stop = isinstance(word, events.AbortAsked) and word.stop
        how = "is being stopped" if stop else "may end"
        first = f"Nothing new begins; {titled(run, running)} {how}."
    return (
        f"{run.id} is being given up. {first} Then every target is looked at, and the thread tells how it stands."
    )


def _decided(run: Run, verb: str) -> str:
    decided: events.Decided = run.last(events.Decided)
    title = titled(run, [decided.step])
    said = {
        "retry": f"{run.id}: {title} runs again",
        "done": f"{run.id}: {title} counts as done",
        "skip": f"{run.id}: {title} is skipped",
    }[verb]
    return _goes_on(run, said)


def _helped(run: Run) -> str:
    chosen: events.RemedyChosen = run.last(events.RemedyChosen)
    offered = run.remedy(chosen.remedy)
    then = (
        "the held step counts as done with it" if offered and offered[1].settles else "then decide about the step"
    )
    title = titled(run, [chosen.remedy])
    return f"{run.id}: {title} is run now. The thread tells what came of it; {then}."


def _extended(run: Run) -> str:
    ends = forecast.window_ends(run)
    until = f", until {utc_minute(ends)}" if ends else ""
    return (
        f"{run.id}: the window is {in_words(forecast.window(run))} now{until}. ROLLBACK EXTENSION is being sent to "
        "the channel and the escalation path."
    )


def example(verb: str) -> str:
    """Return how a word is written."""
    return f"For example: {EXAMPLES[verb]}"
