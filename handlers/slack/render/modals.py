"""The modals: ask for a change and a reason, ask for the reason of a decision, show a plan, say what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bot.domain.events import Choice
from bot.domain.ports import PlanSummary
from bot.domain.times import utc_minute
from handlers.slack import ids
from handlers.slack.commands import LONGEST_REASON
from handlers.slack.render import kit
from handlers.slack.render.message import Block, Message, View
from handlers.slack.render.rich import clip, paragraph, row, text, words
from handlers.slack.tickets import Ticket

_OPTIONS: Final = 100
_DECISIONS: Final = {
    Choice.RETRY: ("Retry the step", "Retry", "The step runs again."),
    Choice.MARK_DONE: ("Mark the step done", "Mark done", "You have looked, and the effect of the step is there."),
    Choice.SKIP: ("Skip the step", "Skip", "The rollback goes on without this step."),
    Choice.ABORT: ("Abort the rollback", "Abort", "The rollback is given up; forward-fix is the way then."),
}


def request_modal(changes: Sequence[PlanSummary], ticket: Ticket) -> View:
    """Return the modal that asks which change to roll back, and why.

    Args:
        changes: The changes that have a plan, the newest first; the first 100 can be chosen.
        ticket: Comes back with the submission.
    """
    options = list({summary.change: _option(summary) for summary in changes}.values())[:_OPTIONS]
    if not options:
        words_ = "There is no change with a rollback plan. Nothing runs without one; ask the change manager."
        return saying_modal("Roll back a change", words_)
    select = {
        "type": "static_select",
        "action_id": ids.CHANGE,
        "placeholder": kit.plain("Choose a change", 150),
        "options": options,
    }
    choose = {"type": "input", "block_id": ids.CHANGE, "label": kit.plain("Change", 150), "element": select}
    note = kit.context("The checks begin at once; nothing is changed before somebody with authority approves.")
    blocks = [choose, _reason("Why must it go back?"), note]
    return _form("Roll back a change", "Check", ids.REQUEST_VIEW, blocks, ticket)


def reject_modal(ticket: Ticket) -> View:
    """Return the modal that asks why a rollback is rejected."""
    told = paragraph([row("Rollback", ticket.id), [text("It is stood down; nothing will be run.")]])
    return _form("Reject the rollback", "Reject", ids.REJECT_VIEW, [told, _reason("Why?")], ticket)


def decide_modal(ticket: Ticket, choice: Choice) -> View:
    """Return the modal that asks why a person decides so about a held step."""
    title, submit, meaning = _DECISIONS[choice]
    told = paragraph([row("Rollback", ticket.id), row("Step", ticket.step), [text(meaning)]])
    return _form(title, submit, ids.DECIDE_VIEW, [told, _reason("Why?")], ticket)


def loading_modal(title: str) -> View:
    """Return a modal that holds the place of what is being read: a trigger lives for three seconds only."""
    return saying_modal(title, "One moment…")


def saying_modal(title: str, sentence: str) -> View:
    """Return a modal that says something."""
    lines = [words(line, most=900) for line in sentence.split("\n")]
    return _shown(title, [paragraph(lines)])


def message_modal(title: str, message: Message) -> View:
    """Return a modal that shows what would have been a message."""
    return _shown(title, message.blocks)


def _shown(title: str, blocks: list[Block]) -> View:
    return {"type": "modal", "title": kit.plain(title, 24), "close": kit.plain("Close", 24), "blocks": blocks}


def _form(title: str, submit: str, callback_id: str, blocks: list[Block], ticket: Ticket) -> View:
    return {
        "type": "modal",
        "callback_id": callback_id,
        "title": kit.plain(title, 24),
        "submit": kit.plain(submit, 24),
        "close": kit.plain("Cancel", 24),
        "private_metadata": ticket.text(),
        "blocks": blocks,
    }


def _reason(label: str) -> Block:
    field = {
        "type": "plain_text_input",
        "action_id": ids.REASON,
        "multiline": True,
        "min_length": 3,
        "max_length": LONGEST_REASON,
        "placeholder": kit.plain("It goes on record", 150),
    }
    return {"type": "input", "block_id": ids.REASON, "label": kit.plain(label, 150), "element": field}


def _option(summary: PlanSummary) -> dict[str, Any]:
    usable = "" if summary.valid else " (plan unusable)"
    deployed = f"deployed {utc_minute(summary.deployed_at)}" if summary.deployed_at else "deployment time unknown"
    label = f"{clip(f'{summary.change} {summary.title}', 75 - len(usable))}{usable}"
    described = kit.plain(f"{clip(summary.service, 30)}, {deployed}", 75)
    return {"text": kit.plain(label, 75), "value": clip(summary.change, 150), "description": described}
