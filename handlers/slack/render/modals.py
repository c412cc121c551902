"""The modals: ask for a change and a reason, ask for the reason of a decision, show a plan, say what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from bot.domain import control, events, forecast
from bot.domain.authority import Policy
from bot.domain.events import Choice
from bot.domain.ports import PlanSummary
from bot.domain.run import Run
from bot.domain.times import utc_minute
from handlers.slack import ids
from handlers.slack.commands import LONGEST_REASON
from handlers.slack.render import by_hand, kit
from handlers.slack.render.message import Block, Message, View
from handlers.slack.render.rich import Line, clip, paragraph, row, text, words
from handlers.slack.tickets import Ticket

_OPTIONS: Final = 100
_LOSSES: Final = 10
_DECISIONS: Final = {
    Choice.RETRY: ("Retry the step", "Retry", "The step runs again."),
    Choice.MARK_DONE: ("Mark the step done", "Mark done", "You have looked, and the effect of the step is there."),
    Choice.SKIP: ("Skip the step", "Skip", "The rollback goes on without this step."),
    Choice.ABORT: ("Abort the rollback", "Abort", "The rollback is given up; forward-fix is the way then."),
}

_SAYINGS: Final = {
    "hold": ("Hold the rollback", "Hold", "Running steps end; nothing new begins until somebody resumes."),
    "resume": ("Resume the rollback", "Resume", "The rollback goes on. Held steps still need their decisions."),
    "abort": (
        "Abort the rollback",
        "Abort",
        "The rollback is given up; forward-fix is the way then. The thread tells how every target stands.",
    ),
    "remedy": (
        "Run a remedy",
        "Run",
        "It runs as a step of its own, and is recorded.",
    ),
    "extend": ("Extend the window", "Extend", "ROLLBACK EXTENSION is sent to everybody."),
    "continue": ("Go on beyond the window", "Go on", "The rollback goes on; the choice is recorded."),
    "handover": ("Hand over the lead", "Hand over", "Another person leads from now on."),
    "confirm": (
        "Confirm the loss of data",
        "Confirm the loss",
        "The rollback begins as soon as you confirm. These data will be gone for the service:",
    ),
    "incident": (
        "Report another cause",
        "Open incident",
        "The deployment was not the cause: the actual one gets an incident of its own. The rollback goes on.",
    ),
    "unblock": ("Lift the hold", "Lift", "Deployments of the service are possible again."),
    "done": ("Confirm a step", "Done", "You did it, or saw that it is done. The rollback goes on with it."),
    "cannot": ("A step cannot be done", "Cannot be done", "The rollback is held, and somebody decides about it."),
}
FORMS: Final = frozenset(_SAYINGS)
"""The words that are said by a button; decisions about held steps have buttons of their own."""
_STAND_DOWN: Final = ("Stand down", "Stand down", "Nothing has been run, and nothing will be.")


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


def decide_modal(ticket: Ticket, choice: Choice, warning: str = "") -> View:
    """Return the modal that asks why a person decides so about a held step.

    Args:
        ticket: Comes back with the submission.
        choice: What the person chose.
        warning: What giving up means beyond the point of no return; empty before it.
    """
    title, submit, meaning = _DECISIONS[choice]
    told = [row("Rollback", ticket.id), row("Step", ticket.step), [text(meaning)]]
    if warning:
        told.append(row("⚠️ The point of no return is passed", warning, most=2_000))
    return _form(title, submit, ids.DECIDE_VIEW, [paragraph(told), _reason("Why?")], ticket)


def say_modal(ticket: Ticket, run: Run, policy: Policy) -> View:
    """Return the modal that asks why somebody says so to a rollback that runs, and what else must be known."""
    begun = run.state not in control.NOT_BEGUN
    standing_down = ticket.verb == "abort" and not begun
    title, submit, meaning = _STAND_DOWN if standing_down else _SAYINGS[ticket.verb]
    told = [row("Rollback", f"{run.id}, {run.plan.title_line()}"), *_about(ticket, run), [text(meaning)]]
    if ticket.warned:
        told.append(row("⚠️ The point of no return is passed", control.abort_warning(run), most=2_000))
    if ticket.verb == "confirm" and run.open_confirmation:
        told += _losses(run.open_confirmation)
    more = None if standing_down else _SAY_FIELDS.get(ticket.verb)
    fields = more(run, policy) if more else by_hand.fields(ticket, run)
    optional = ticket.verb in ("remedy", "handover") or (ticket.verb == "extend" and _drafted(run))
    why = "What was done?" if ticket.verb == "done" else "Why?"
    blocks = [paragraph(told), *fields, _reason(why, optional=optional)]
    return _form(title, "Abort all the same" if ticket.warned else submit, ids.SAY_VIEW, blocks, ticket)


def _about(ticket: Ticket, run: Run) -> list[Line]:
    """Return which step and which remedy it is about."""
    if not ticket.step:
        return []
    lines = [row("Step", run.words_of(ticket.step))]
    chosen = run.remedy(ticket.remedy)
    if chosen:
        settles = "counts as done" if chosen[1].settles else "still needs its decision"
        lines.append(row("Remedy", f"{chosen[1].title}: {chosen[1].words}"))
        lines.append([text(f"When it is done, the held step {settles}.")])
    return lines


def _losses(asked: events.ConfirmationAsked) -> list[Line]:
    lines = [row(loss.subject, f"{loss.words} (backup of {utc_minute(loss.since)})") for loss in asked.losses]
    rest = [[text(f"… and {len(lines) - _LOSSES} more losses, see the thread")]] if len(lines) > _LOSSES else []
    return [*lines[:_LOSSES], *rest]


def _drafted(run: Run) -> bool:
    """Return whether an extension of the window in force is drafted, which an empty form then sends."""
    drafted: events.ExtensionDrafted | None = run.last(events.ExtensionDrafted)
    return drafted is not None and drafted.window == forecast.window(run)


def _by(run: Run, _policy: Policy) -> list[Block]:
    drafted = _drafted(run)
    field = {
        "type": "plain_text_input",
        "action_id": ids.BY,
        "max_length": 40,
        "placeholder": kit.plain("20m; empty: as drafted" if drafted else "for example 20m", 150),
    }
    label = kit.plain("By how much?", 150)
    asked = {"type": "input", "block_id": ids.BY, "label": label, "element": field}
    return [{**asked, "optional": True} if drafted else asked]


def _to(run: Run, policy: Policy) -> list[Block]:
    people = [p for p in policy.holders(policy.operators, service=run.plan.service) if p.id != run.lead]
    options = [{"text": kit.plain(person.name, 75), "value": person.id} for person in people][:_OPTIONS]
    if not options:
        return [kit.context("The policy names nobody else who may lead this rollback.")]
    select = {
        "type": "static_select",
        "action_id": ids.TO,
        "placeholder": kit.plain("Choose a person", 150),
        "options": options,
    }
    label = kit.plain("Who leads from now on?", 150)
    return [{"type": "input", "block_id": ids.TO, "label": label, "element": select}]


def _running(_run: Run, _policy: Policy) -> list[Block]:
    options = [
        {"text": kit.plain("Let running steps end", 75), "value": "end"},
        {"text": kit.plain("Stop running steps now", 75), "value": "stop"},
    ]
    select = {
        "type": "static_select", "action_id": ids.RUNNING, "options": options, "initial_option": options[0],
    }  # fmt: skip
    label = kit.plain("Steps that run at the moment", 150)
    return [{"type": "input", "block_id": ids.RUNNING, "label": label, "element": select}]


_SAY_FIELDS: Final[dict[str, Callable[[Run, Policy], list[Block]]]] = {
    "extend": _by,
    "handover": _to,
    "abort": _running,
}


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


def _reason(label: str, *, optional: bool = False) -> Block:
    field = {
        "type": "plain_text_input",
        "action_id": ids.REASON,
        "multiline": True,
        "min_length": 3,
        "max_length": LONGEST_REASON,
        "placeholder": kit.plain("It goes on record", 150),
    }
    asked = {"type": "input", "block_id": ids.REASON, "label": kit.plain(label, 150), "element": field}
    return {**asked, "optional": True} if optional else asked


def _option(summary: PlanSummary) -> dict[str, Any]:
    usable = "" if summary.valid else " (plan unusable)"
    deployed = f"deployed {utc_minute(summary.deployed_at)}" if summary.deployed_at else "deployment time unknown"
    label = f"{clip(f'{summary.change} {summary.title}', 75 - len(usable))}{usable}"
    described = kit.plain(f"{clip(summary.service, 30)}, {deployed}", 75)
    return {"text": kit.plain(label, 75), "value": clip(summary.change, 150), "description": described}
