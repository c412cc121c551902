"""A step that a person does: what is to be done, as its question and its form show it."""

from __future__ import annotations

from bot.domain import manual
from bot.domain.manual import ManualStep
from bot.domain.messages import Question
from bot.domain.run import Run, StepState
from bot.domain.times import in_words
from handlers.slack import ids
from handlers.slack.render import kit
from handlers.slack.render.message import Block
from handlers.slack.render.rich import Line, row
from handlers.slack.tickets import Ticket


def is_open(run: Run, asked: Question) -> bool:
    """Return whether the question is the newest one about its step, and the step still waits."""
    return run.status(asked.step).state is StepState.ASKED and manual.asked(run, asked.step) == asked.seq


def lines(run: Run, step_id: str) -> list[Line]:
    """Return what is to be done, on what, by whom, and what must be shown."""
    step = run.plan.step(step_id)
    found = [row("Step", f"{step.words()} ({step.id}, on {step.target})")]
    if isinstance(step, ManualStep):
        found.append(row("How", step.instructions, most=2_000))
        found.append(row("Who may confirm", step.who_may()))
        if step.evidence == "required":
            found.append(row("Evidence", "needed: a text or a link that shows it"))
    return [*found, row("Expected to take", in_words(step.expected))]


def fields(ticket: Ticket, run: Run) -> list[Block]:
    """Return the field for the evidence in the form behind Done; nothing in any other."""
    step = next((each for each in manual.waiting(run) if each.id == ticket.step), None)
    if ticket.verb != "done" or step is None:
        return []
    field = {
        "type": "plain_text_input",
        "action_id": ids.EVIDENCE,
        "multiline": True,
        "max_length": manual.LONGEST_EVIDENCE,
        "placeholder": kit.plain("A link, or a few lines that show it; no secrets", 150),
    }
    label = kit.plain("Evidence", 150)
    return [
        {
            "type": "input",
            "block_id": ids.EVIDENCE,
            "label": label,
            "element": field,
            "optional": step.evidence == "optional",
        }
    ]
