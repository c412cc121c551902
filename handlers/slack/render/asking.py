"""The questions that a running rollback asks in its thread, and the controls on its card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bot.domain import control, events, steering
from bot.domain.lifecycle import State
from bot.domain.messages import Asks, Question
from bot.domain.run import Run, StepState
from bot.domain.times import in_words, utc_minute
from handlers.slack import ids
from handlers.slack.render import by_hand, kit
from handlers.slack.render.message import MOST_TEXT_EDITED, Block, Message, first_that_fits, squeezed
from handlers.slack.render.rich import Line, Part, clip, fallback, paragraph, row, text, user, words
from handlers.slack.tickets import ButtonValue

_MOST_REMEDIES: Final = 12
_MOST_NAMED: Final = 10
_LONGEST_TITLE: Final = 150
_MOST_LOSSES: Final = 10
_IN_A_ROW: Final = 5


def question(run: Run, asked: Question) -> Message:
    """Return the question as it stands now; without buttons once it is answered or void.

    Raises:
        IndexError: If the rollback's journal has no such event.
    """
    event, waits = run.history[asked.seq - 1], is_open(run, asked)
    title = _TITLES[asked.about][0 if waits else 1]
    rows = list(_SAID[asked.about](run, asked, event))
    if waits:
        rows.append([text(_call(run, asked), bold=True)])
    asking = buttons(run, asked) if waits else [paragraph([_answer(run, asked)])]
    top = [kit.header(title), paragraph(rows)]
    blocks = first_that_fits([*squeezed(top, width), *asking] for width in (2_000, 600, 200))
    plain = "; ".join("".join(part.get("text", "") for part in line) for line in rows)
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
        case Asks.MANUAL:
            return steerable and by_hand.is_open(run, asked)


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
    Asks.MANUAL: (("Done", "done", "primary"), ("Cannot be done", "cannot", "")),
}


def _remedies(run: Run, asked: Question) -> list[Block]:
    made = []
    for number, offered in enumerate(_offered(run, asked)[:_MOST_REMEDIES]):
        key = str(offered.step["id"])
        if _under_way(run, key):
            continue
        value = ButtonValue(id=run.id, v=asked.seq, step=asked.step, about=asked.about.value, remedy=key)
        made.append(kit.button(offered.title, f"{ids.say('remedy')}_{number}", value.text()))
    return [kit.actions(*made[n : n + _IN_A_ROW]) for n in range(0, len(made), _IN_A_ROW)]


def _under_way(run: Run, remedy: str) -> bool:
    """Return whether a remedy was chosen and has not come to its end: until then it cannot be chosen again."""
    return remedy in run.steps and run.status(remedy).state in (StepState.PENDING, StepState.STARTED)


def _offered(run: Run, asked: Question) -> tuple[events.RemedyOffered, ...]:
    event = run.history[asked.seq - 1]
    return event.remedies if isinstance(event, events.RemediesOffered) else ()


def _pause(run: Run, _asked: Question, event: events.AnyEvent) -> list[Line]:
    return [row("Rollback", _titled(run)), row("Why", event.why)]


def _what_may_help(run: Run, asked: Question, _event: events.AnyEvent) -> list[Line]:
    offered = _offered(run, asked)
    lines = [row("Held", f"{run.words_of(asked.step)} ({asked.step})")]
    lines += [_remedy_line(run, each) for each in offered[:_MOST_REMEDIES]]
    more = offered[_MOST_REMEDIES:]
    if more:
        named = ", ".join(clip(each.id, 60) for each in more[:_MOST_NAMED])
        rest = f" and {len(more) - _MOST_NAMED} more" if len(more) > _MOST_NAMED else ""
        typed = f"remedy {run.id} {clip(asked.step, 60)} {clip(more[0].id, 60)}"
        lines.append([text(f"Without a button: {named}{rest}. Type "), text(typed, code=True), text(".")])
    return lines


def _remedy_line(run: Run, offered: events.RemedyOffered) -> Line:
    kind = "changes something, needs who may approve" if offered.acts else "only looks"
    settles = ", and settles the step" if offered.settles else ""
    going = " ⏳ running" if _under_way(run, str(offered.step["id"])) else ""
    return [
        text(f"• {clip(offered.title, _LONGEST_TITLE)}", bold=True),
        text(f" ({clip(offered.id, 60)}: {kind}{settles}){going} {clip(offered.words, 300)}"),
    ]


def _titled(run: Run) -> str:
    return f"{run.id}, {run.plan.title_line()}"


def _extension(run: Run, _asked: Question, event: events.AnyEvent) -> list[Line]:
    if not isinstance(event, events.ExtensionDrafted):
        return [row("Rollback", _titled(run))]
    return [
        row("Rollback", _titled(run)),
        row("Window", in_words(event.window)),
        row("New estimate", in_words(event.estimate)),
        row("Reason", event.why),
        row("Current status", f"{event.share * 100:.0f}% complete"),
    ]


def _window(run: Run, _asked: Question, event: events.AnyEvent) -> list[Line]:
    warning = control.abort_warning(run)
    return [
        row("Rollback", _titled(run)),
        *([row("New estimate", in_words(event.estimate))] if isinstance(event, events.Extended) else []),
        row("Reason", event.why),
        *([row("If you abort", warning)] if warning else []),
    ]


def _loss(run: Run, _asked: Question, event: events.AnyEvent) -> list[Line]:
    losses = event.losses if isinstance(event, events.ConfirmationAsked) else ()
    lines = [
        row(each.subject, f"{each.words} (backup of {utc_minute(each.since)})", most=400)
        for each in losses[:_MOST_LOSSES]
    ]
    if len(losses) > _MOST_LOSSES:
        lines.append([text(f"… and {len(losses) - _MOST_LOSSES} more losses, see the journal")])
    return [row("Rollback", _titled(run)), row("Why this is asked", event.why), *lines]


def _deployments(run: Run, asked: Question, _event: events.AnyEvent) -> list[Line]:
    if not is_open(run, asked):
        return [[text(f"{run.id} does not block deployments of {run.plan.service} any more.")]]
    check = f"rollback hold check {run.plan.service}"
    return [words(steering.blocked_words(run)), [text("Pipelines ask with "), text(check, code=True), text(".")]]


def _by_hand(run: Run, asked: Question, _event: events.AnyEvent) -> list[Line]:
    return [row("Rollback", _titled(run)), *by_hand.lines(run, asked.step)]


def _call(run: Run, asked: Question) -> str:
    """Return what is wanted of the reader; said only as long as the question is open."""
    if asked.about is not Asks.LOSS:
        return _CALLS[asked.about]
    authorised: events.Authorised | None = run.last(events.Authorised)
    by = f" {authorised.name} authorised the rollback:" if authorised else ""
    return f"Nothing has been run.{by} a second person must confirm the loss, or stand down."


_CALLS: Final = {
    Asks.PAUSE: "Nothing new begins until somebody resumes.",
    Asks.REMEDIES: "Afterwards decide about the step itself: Retry, Mark done, Skip or Abort, above.",
    Asks.EXTENSION: "One click sends it to everybody. Otherwise it sends itself when the window is exceeded.",
    Asks.WINDOW: "Go on, or fix forward? It goes on until somebody decides.",
    Asks.DEPLOYMENTS: "Lift it when a good version is ready to be deployed.",
    Asks.MANUAL: "Do it, then say so here. What needs it waits; everything else goes on.",
}
_TITLES: Final = {
    Asks.PAUSE: ("⏸ The rollback is on hold", "▶ The rollback was on hold"),
    Asks.REMEDIES: ("🩹 What may help", "🩹 What might have helped"),
    Asks.EXTENSION: ("⏳ Send ROLLBACK EXTENSION now?", "⏳ ROLLBACK EXTENSION was drafted"),
    Asks.WINDOW: ("⏰ The rollback window is exceeded", "⏰ The rollback window was exceeded"),
    Asks.LOSS: ("⚠️ Data would be lost", "⚠️ Data would be lost"),
    Asks.DEPLOYMENTS: ("🔒 Deployments are blocked", "🔓 Deployments were blocked"),
    Asks.MANUAL: ("🙋 A step for a person", "🙋 A step for a person"),
}
_SAID: Final[dict[Asks, Callable[[Run, Question, events.AnyEvent], list[Line]]]] = {
    Asks.PAUSE: _pause,
    Asks.REMEDIES: _what_may_help,
    Asks.EXTENSION: _extension,
    Asks.WINDOW: _window,
    Asks.LOSS: _loss,
    Asks.DEPLOYMENTS: _deployments,
    Asks.MANUAL: _by_hand,
}
_ENDED: Final = (events.AbortAsked, events.Rejected)
_ANSWERS: Final[dict[Asks, tuple[type[events.Event], ...]]] = {
    Asks.PAUSE: (events.ResumeAsked, *_ENDED),
    Asks.REMEDIES: (events.Decided, *_ENDED),
    Asks.EXTENSION: (events.Extended, *_ENDED),
    Asks.WINDOW: (events.ContinuationChosen, events.Extended, *_ENDED),
    Asks.LOSS: (events.LossConfirmed, *_ENDED),
    Asks.DEPLOYMENTS: (events.DeploymentsReleased,),
    Asks.MANUAL: (events.StepSucceeded, events.StepFailed, *_ENDED),
}
_SAID_SO: Final[dict[type[events.Event], str]] = {
    events.ResumeAsked: "resumed it",
    events.AbortAsked: "gave the rollback up",
    events.Rejected: "stood the rollback down; nothing was run",
    events.Extended: "extended the window",
    events.ContinuationChosen: "chose to go on",
    events.LossConfirmed: "confirmed the loss",
    events.DeploymentsReleased: "lifted the hold on deployments",
    events.StepSucceeded: "did it",
    events.StepFailed: "says that it cannot be done",
}


def _answer(run: Run, asked: Question) -> Line:
    """Return who answered what; what somebody said about another step is no answer."""
    kinds = _ANSWERS[asked.about]
    for event in run.history[asked.seq :]:
        if isinstance(event, kinds) and not _about_another(event, asked):
            return _answered(event)
    return [text("This needs no decision any more.")]


def _about_another(event: events.Event, asked: Question) -> bool:
    if isinstance(event, events.Decided) and event.choice is events.Choice.ABORT:
        return False
    told = (events.Decided, events.StepSucceeded, events.StepFailed)
    return isinstance(event, told) and event.step != asked.step


def _answered(event: events.Event) -> Line:
    done = _SAID_SO.get(type(event), "")
    if isinstance(event, events.Decided):
        done = f"decided: {event.choice.value.replace('_', ' ')}"
    if isinstance(event, events.Extended) and event.exceeded:
        return [text(f"The window was exceeded, and the extension sent itself at {utc_minute(event.at)}.")]
    shown = event.evidence if isinstance(event, events.StepSucceeded) else ""
    more = [text(" — evidence: "), *words(shown)] if shown else []
    when = text(f" {done} at {utc_minute(event.at)}. ", bold=True)
    return [user(event.who), when, *words(event.why, most=500), *more]
