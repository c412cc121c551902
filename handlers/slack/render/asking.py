"""The questions that a running rollback asks in its thread, and the controls on its card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from bot.domain import control, events, steering
from bot.domain.lifecycle import State
from bot.domain.messages import Asks, Question
from bot.domain.run import Run, StepState
from bot.domain.times import in_words, utc_minute
from handlers.slack import ids
from handlers.slack.render import kit
from handlers.slack.render.message import MOST_TEXT_EDITED, Block, Message, first_that_fits, squeezed
from handlers.slack.render.rich import Line, Part, clip, fallback, paragraph, row, text, user, words
from handlers.slack.tickets import ButtonValue

_MOST_REMEDIES: Final = 12
_IN_A_ROW: Final = 5


def question(run: Run, asked: Question) -> Message:
    """Return the question as it stands now; without buttons once it is answered or void.

    Raises:
        IndexError: If the rollback's journal has no such event.
    """
    event = run.history[asked.seq - 1]
    title, rows = _SAID[asked.about](run, asked, event)
    rows_ = list(rows)
    asking = buttons(run, asked) if is_open(run, asked) else [paragraph([_answer(run, asked)])]
    top = [kit.header(title), paragraph(rows_)]
    blocks = first_that_fits([*squeezed(top, width), *asking] for width in (2_000, 600, 200))
    plain = "; ".join("".join(part.get("text", "") for part in line) for line in rows_)
    return Message(fallback(f"{title} {plain} ({run.id})", MOST_TEXT_EDITED), blocks)


def is_open(run: Run, asked: Question) -> bool:
    """Return whether the question still waits for an answer."""
    steerable = run.state in control.STEERABLE and run.giving_up is None
    since = run.history[asked.seq :]
    match asked.about:
        case Asks.PAUSE:
            return run.state is State.HELD and run.pause is not None and run.giving_up is None
        case Asks.REMEDIES:
            held = run.state is State.HELD and run.status(asked.step).state is StepState.HELD
            return held and run.giving_up is None and run.remedies(asked.step) == _offered(run, asked)
        case Asks.EXTENSION:
            return steerable and not any(isinstance(e, events.Extended) for e in since)
        case Asks.WINDOW:
            ended = (events.ContinuationChosen, events.Extended)
            return steerable and not any(isinstance(e, ended) for e in since)
        case Asks.LOSS:
            open_ = run.open_confirmation
            return run.state is State.AUTHORISED and open_ is not None and open_ is run.history[asked.seq - 1]
        case Asks.DEPLOYMENTS:
            return run.blocks_deployments


def buttons(run: Run, asked: Question) -> list[Block]:
    """Return the rows of buttons by which the question is answered."""
    if asked.about is Asks.REMEDIES:
        return _remedies(run, asked)
    value = ButtonValue(id=run.id, v=asked.seq, step=asked.step, about=asked.about.value).text()
    made = [kit.button(label, ids.say(verb), value, style=style) for label, verb, style in _BUTTONS[asked.about]]
    return [kit.actions(*made)]


def controls(run: Run) -> list[Part]:
    """Return the buttons by which a rollback that runs is steered, for its card."""
    if run.state not in control.STEERABLE or run.giving_up:
        return []
    value = ButtonValue(id=run.id, v=run.state_seq).text()
    pause = ("Resume", "resume", "primary") if run.pause else ("Hold", "hold", "")
    offered = (pause, ("Extend", "extend", ""), ("Hand over", "handover", ""), ("Abort", "abort", "danger"))
    return [kit.button(label, ids.say(verb), value, style=style) for label, verb, style in offered]


_BUTTONS: Final[dict[Asks, tuple[tuple[str, str, str], ...]]] = {
    Asks.PAUSE: (("Resume", "resume", "primary"), ("Abort", "abort", "danger")),
    Asks.EXTENSION: (("Send extension", "extend", "primary"), ("Abort: fix forward", "abort", "danger")),
    Asks.WINDOW: (("Go on", "continue", "primary"), ("Abort: fix forward", "abort", "danger")),
    Asks.LOSS: (("Confirm the loss", "confirm", "danger"), ("Stand down", "abort", "")),
    Asks.DEPLOYMENTS: (("Lift the hold", "unblock", ""),),
}


def _remedies(run: Run, asked: Question) -> list[Block]:
    made = []
    for number, offered in enumerate(_offered(run, asked)[:_MOST_REMEDIES]):
        value = ButtonValue(
            id=run.id, v=asked.seq, step=asked.step, about=asked.about.value, remedy=str(offered.step["id"])
        )
        made.append(kit.button(offered.title, f"{ids.say('remedy')}_{number}", value.text()))
    return [kit.actions(*made[n : n + _IN_A_ROW]) for n in range(0, len(made), _IN_A_ROW)]


def _offered(run: Run, asked: Question) -> tuple[events.RemedyOffered, ...]:
    event = run.history[asked.seq - 1]
    return event.remedies if isinstance(event, events.RemediesOffered) else ()


def _pause(_run: Run, _asked: Question, event: events.AnyEvent) -> tuple[str, Iterable[Line]]:
    return "⏸ The rollback is on hold", [row("Why", event.why)]


def _what_may_help(run: Run, asked: Question, _event: events.AnyEvent) -> tuple[str, Iterable[Line]]:
    lines = [row("Held", run.words_of(asked.step))]
    for offered in _offered(run, asked)[:_MOST_REMEDIES]:
        kind = "acts, needs who may approve" if offered.acts else "only looks"
        lines.append([text(f"• {offered.title}", bold=True), text(f" ({kind}): {clip(offered.words, 300)}")])
    return "🩹 What may help", lines


def _extension(_run: Run, _asked: Question, event: events.AnyEvent) -> tuple[str, Iterable[Line]]:
    if not isinstance(event, events.ExtensionDrafted):
        return "ROLLBACK EXTENSION", []
    return "⏳ ROLLBACK EXTENSION is ready to be sent", [
        row("Window", in_words(event.window)),
        row("New estimate", in_words(event.estimate)),
        row("Reason", event.why),
        row("Current status", f"{event.share * 100:.0f}% complete"),
        [text("It sends itself when the window is exceeded.")],
    ]


def _window(run: Run, _asked: Question, event: events.AnyEvent) -> tuple[str, Iterable[Line]]:
    lines = [row("Reason", event.why), [text("Is going on still the right way, or is fixing forward better now?")]]
    warning = control.abort_warning(run)
    return "⏰ The rollback window is exceeded", [*lines, *([row("If you abort", warning)] if warning else [])]


def _loss(_run: Run, _asked: Question, event: events.AnyEvent) -> tuple[str, Iterable[Line]]:
    losses = event.losses if isinstance(event, events.ConfirmationAsked) else ()
    lines = [row(each.subject, f"{each.words} (backup of {utc_minute(each.since)})") for each in losses]
    second = [
        text("Nothing has been run. A second person, not who authorised it, must confirm the loss.", bold=True)
    ]
    return "⚠️ Data would be lost", [row("Why this is asked", event.why), *lines, second]


def _deployments(run: Run, _asked: Question, _event: events.AnyEvent) -> tuple[str, Iterable[Line]]:
    check = f"rollback hold check {run.plan.service}"
    return "🔒 Deployments are blocked", [
        words(steering.blocked_words(run)),
        [text("Pipelines ask with "), text(check, code=True), text(".")],
    ]


_SAID: Final[dict[Asks, Callable[[Run, Question, events.AnyEvent], tuple[str, Iterable[Line]]]]] = {
    Asks.PAUSE: _pause,
    Asks.REMEDIES: _what_may_help,
    Asks.EXTENSION: _extension,
    Asks.WINDOW: _window,
    Asks.LOSS: _loss,
    Asks.DEPLOYMENTS: _deployments,
}
_ANSWERS: Final = (
    events.ResumeAsked,
    events.AbortAsked,
    events.Rejected,
    events.Extended,
    events.ContinuationChosen,
    events.LossConfirmed,
    events.DeploymentsReleased,
    events.RemedyChosen,
    events.Decided,
)


def _answer(run: Run, asked: Question) -> Line:
    answer = next((event for event in run.history[asked.seq :] if isinstance(event, _ANSWERS)), None)
    if answer is None:
        return [text("This needs no decision any more.")]
    what = answer.kind.replace("_", " ")
    return [
        user(answer.who),
        text(f": {what} at {utc_minute(answer.at)}. ", bold=True),
        *words(answer.why, most=500),
    ]
