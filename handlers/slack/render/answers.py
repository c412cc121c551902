"""Answers to what a person asked, for their eyes only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bot.domain.errors import PlanInvalidError, RollbackError
from bot.domain.run import SETTLED, Run
from bot.domain.times import in_words, utc_minute
from handlers.slack import commands
from handlers.slack.render import kit, standing
from handlers.slack.render.message import Message
from handlers.slack.render.rich import (
    Line,
    clip,
    escape,
    fallback,
    paragraph,
    preformatted,
    rich,
    text,
    user,
    words,
)

_SHOWN = 15
_PROBLEMS = 20


def runs_message(title: str, runs: Sequence[Run], *, none: str) -> Message:
    """Return a list of rollbacks, one line each.

    Args:
        title: What the list is.
        runs: The rollbacks, in the order to be shown; the first 15 are.
        none: What to say if there is none.
    """
    if not runs:
        return saying(none)
    lines = [[text(title, bold=True)], *(line_of(run) for run in runs[:_SHOWN])]
    if len(runs) > _SHOWN:
        lines.append([text(f"… and {len(runs) - _SHOWN} more")])
    plain = "\n".join([title, *("".join(_plain(part) for part in line) for line in lines[1:])])
    return Message(fallback(plain, 3_000), [paragraph(lines)])


def line_of(run: Run) -> Line:
    """Return a rollback in one line: where it stands, how long it took, who asked."""
    steps = list(run.plan.steps())
    done = sum(run.status(step.id).state in SETTLED for step in steps)
    asked = f", asked {utc_minute(run.history[0].at)}" if run.history else ""
    how = f"took {in_words(run.duration)}" if run.duration is not None else f"{done} of {len(steps)} steps done"
    state = standing.in_words(run.state)
    return [
        text(f"{standing.emoji(run.state)} "),
        text(f"{run.id} {run.plan.change}", bold=True),
        text(f" {clip(run.plan.title, 80)}: {state}, {how}{asked} by "),
        user(run.requester),
    ]


def saying(sentence: str, *, detail: str = "") -> Message:
    """Return a sentence of ours or of the service's, `detail` below it; neither can mention or format anything."""
    parts = [paragraph([words(line, most=900) for line in sentence.split("\n")])]
    return Message(
        fallback(sentence, 3_000), [*parts, *([rich(preformatted(clip(detail, 4_000)))] if detail else [])]
    )


def refusal(error: RollbackError) -> Message:
    """Return why something was refused, what was left untouched and what to do next, each on a line."""
    lines = (f"⛔ {error.brief}", error.untouched, error.resolution)
    problems = ""
    if isinstance(error, PlanInvalidError):
        more = len(error.problems) - _PROBLEMS
        shown = [clip(problem, 300) for problem in error.problems[:_PROBLEMS]]
        problems = "\n".join([*shown, *([f"… and {more} more"] if more > 0 else [])])
    return saying("\n".join(line for line in lines if line), detail=problems)


def not_understood(command: str, unknown: commands.Unknown) -> Message:
    """Return that the words are not known, with the nearest command."""
    line = words(f"{unknown.problem} " if unknown.problem else "")
    line += [text("I do not understand "), text(f"{command} {unknown.word}", code=True), text(". ")]
    if unknown.suggestion:
        line += [text("Did you mean "), text(f"{command} {unknown.suggestion}", code=True), text("? ")]
    else:
        line += [text("See "), text(f"{command} help", code=True), text(". ")]
    line.append(text("Nothing was started."))
    return Message(escape("".join(_plain(part) for part in line)), [paragraph([line])])


def help_message(command: str) -> Message:
    """Return what one can type."""
    lines = [[text("What you can type", bold=True)], *_typed(command, _ASKED)]
    lines += [[text("To a rollback that runs", bold=True), text(" (its id may be left out if it is the only one)")]]
    lines += _typed(command, _SAID)
    lines.append([text("Nothing runs before somebody with authority has approved it.")])
    plain = "\n".join("".join(_plain(part) for part in line) for line in lines)
    return Message(escape(plain), [kit.header("Rollbacks"), paragraph(lines)])


_ASKED: Final = (
    ("CHG0012345 error rate 12 %", "roll a change back: checks first, then a second person approves"),
    ("", "choose from the recent changes"),
    ("status", "the rollbacks under way"),
    ("status CHG0012345", "one rollback, by its change or its id (rb-0001)"),
    ("list", "the latest rollbacks"),
    ("plan CHG0012345", "read a rollback plan"),
    ("help", "this"),
)
_SAID: Final = (
    ("hold rb-0001 why", "pause: running steps end, nothing new begins"),
    ("resume rb-0001 why", "end the pause"),
    ("abort rb-0001 why", "give it up; running steps may end"),
    ("abort rb-0001 now why", "give it up and stop running steps as well"),
    ("retry rb-0001 step why", "run a held step again"),
    ("done rb-0001 step why", "you have seen the effect of a held step; needs who may approve"),
    ("done rb-0001 step what evidence: link", "you did what a step asks a person to do"),
    ("cannot rb-0001 step why", "what a step asks a person to do cannot be done"),
    ("skip rb-0001 step why", "go on without a held step; needs who may approve"),
    ("remedy rb-0001 step remedy why", "run what may help a held step; the thread names the remedies"),
    ("extend rb-0001 20m why", "extend the window and tell everybody"),
    ("continue rb-0001 why", "go on beyond the window"),
    ("handover rb-0001 @name why", "let another person lead"),
    ("confirm rb-0001 why", "confirm, as a second person, that data are lost"),
    ("incident rb-0001 why", "errors have another cause: open an incident for it"),
    ("unblock rb-0001 why", "let deployments of the service through again"),
)


def _typed(command: str, entries: Sequence[tuple[str, str]]) -> list[Line]:
    return [[text(f"{command} {typed}".strip(), code=True), text(f"  {meaning}")] for typed, meaning in entries]


def _plain(part: dict[str, str]) -> str:
    return part.get("text") or part.get("user_id", part.get("url", ""))


def begun(run: Run, place: dict[str, str]) -> Message:
    """Return that a rollback was requested, and the channel (a rich text element) where its card is."""
    sentence = f"{run.id}: the checks of {run.plan.change} begin. Nothing is changed before it is approved. See "
    return Message(
        f"{escape(sentence)}<#{place['channel_id']}>.", [paragraph([[text(sentence), place, text(".")]])]
    )


def read_only(message: Message) -> Message:
    """Return a message without its buttons and its mark, for the eyes of one person."""
    return Message(message.text, [block for block in message.blocks if block["type"] != "actions"])
