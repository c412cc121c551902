"""The App Home: what runs, what waits for the reader, what was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from bot.domain.announcements import ask_of
from bot.domain.authority import Policy, may_approve
from bot.domain.lifecycle import State
from bot.domain.run import Run
from bot.domain.times import utc_second
from handlers.slack.render import kit, passport, questions
from handlers.slack.render.answers import line_of
from handlers.slack.render.cards import buttons
from handlers.slack.render.message import Block, View
from handlers.slack.render.rich import Line, paragraph, row, text, words

_WAITING: Final = 8
_RUNNING: Final = 8
_HELD: Final = 3
_RECENT: Final = 10


def home(
    user: str, *, active: Sequence[Run], recent: Sequence[Run], policy: Policy, now: datetime, command: str
) -> View:
    """Return the App Home of one person, within its 100 blocks.

    Args:
        user: Whose home it is.
        active: The rollbacks that have not ended.
        recent: The latest ones, whatever their state.
        policy: Decides which of them wait for this person.
        now: The time, for the policy and to say how old the page is.
        command: The slash command.
    """
    mine = [run for run in active if _waits_for(run, user, policy, now)]
    others = [run for run in active if run not in mine]
    ended = [run for run in recent if run.id not in {each.id for each in active}][:_RECENT]
    blocks = [kit.header("Waiting for your approval")]
    for run in mine[:_WAITING]:
        rows = [line_of(run), passport.reverted(run), passport.trigger(run), *passport.metrics(run, policy)]
        blocks += [paragraph([*rows, *passport.authority(run, policy)]), *buttons(run)]
    blocks += _rest(len(mine), _WAITING, "Nothing waits for you.")
    blocks += [kit.divider(), kit.header("Under way")]
    for run in others[:_RUNNING]:
        blocks += _running(run)
    blocks += _rest(len(others), _RUNNING, "No rollback is under way.")
    blocks += [kit.divider(), kit.header("Latest")]
    blocks.append(paragraph([line_of(run) for run in ended] or [[text("There was none yet.")]]))
    blocks.append(kit.context(f"As of {utc_second(now)}. Type {command} to begin, {command} help for the rest."))
    return {"type": "home", "blocks": blocks}


def home_trouble(sentence: str) -> View:
    """Return an App Home that says why there is nothing to see."""
    return {"type": "home", "blocks": [paragraph([words(line, most=900) for line in sentence.split("\n")])]}


def _running(run: Run) -> list[Block]:
    waiting = [step for step in run.plan.steps() if questions.is_open(run, step.id)]
    if not waiting:
        return [paragraph([line_of(run)]), *buttons(run)]
    blocks = [paragraph([line_of(run)])]
    for step in waiting[:_HELD]:
        line: Line = row("✋ Held", f"{step.words()}: {run.status(step.id).words}", most=300)
        blocks += [paragraph([line]), *questions.buttons(run, step.id)]
    return blocks + _rest(len(waiting), _HELD, "")


def _rest(count: int, shown: int, none: str) -> list[Block]:
    if count > shown:
        return [kit.context(f"… and {count - shown} more")]
    return [kit.context(none)] if none and count == 0 else []


def _waits_for(run: Run, user: str, policy: Policy, now: datetime) -> bool:
    return run.state is State.AWAITING_AUTHORITY and may_approve(policy, ask_of(run), user, now=now).granted
