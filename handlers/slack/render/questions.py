"""The question about a held step, with its four answers."""

from __future__ import annotations

from bot.domain import events
from bot.domain.lifecycle import State
from bot.domain.run import Run, StepState
from handlers.slack import ids
from handlers.slack.render import kit
from handlers.slack.render.message import MOST_TEXT_EDITED, Block, Message, first_that_fits, squeezed
from handlers.slack.render.notes import output
from handlers.slack.render.rich import Line, fallback, paragraph, row, text, user, words
from handlers.slack.tickets import ButtonValue

_LABELS = (("Retry", "primary"), ("Mark done", ""), ("Skip", ""), ("Abort", "danger"))
_MEANING = (
    "Retry: run the step again. Mark done: you looked, and its effect is there. Skip: go on without it (both need "
    "who may approve). Abort: give the rollback up; forward-fix is the way then. You will be asked for the reason."
)


def held(run: Run, step_id: str) -> Message:
    """Return the question about the step; without buttons once it is answered.

    Raises:
        KeyError: If the plan has no such step.
    """
    step = run.plan.step(step_id)
    title = f"Held: {step.words()}"
    rows = [row("Step", f"{step.words()} ({step.id}, {step.kind} on {step.target})"), *_failure(run, step_id)]
    asked = [*buttons(run, step_id), kit.context(_MEANING)]
    if not is_open(run, step_id):
        asked = [paragraph([_answer(run, step_id)])]
    failure = run.status(step_id).failure
    log = failure.output if failure else ""
    top = [kit.header(f"✋ {title}"), paragraph(rows)]
    blocks = first_that_fits(
        [*squeezed(top, width), *([output(log, most=most)] if log.strip() else []), *asked]
        for width, most in ((2_000, 5_000), (600, 2_000), (200, 800))
    )
    return Message(fallback(f"✋ {title}: {run.status(step_id).words} ({run.id})", MOST_TEXT_EDITED), blocks)


def is_open(run: Run, step_id: str) -> bool:
    """Return whether the step still waits for a decision: an abort decides about every one."""
    if run.state is not State.HELD or run.giving_up or run.status(step_id).state is not StepState.HELD:
        return False
    decided = [event for event in run.history[run.state_seq :] if isinstance(event, events.Decided)]
    return all(event.step != step_id for event in decided)


def buttons(run: Run, step_id: str) -> list[Block]:
    """Return the row of the four answers."""
    value = ButtonValue(id=run.id, v=run.state_seq, step=step_id).text()
    made = [
        kit.button(label, action_id, value, style=style)
        for action_id, (label, style) in zip(ids.DECIDE, _LABELS, strict=True)
    ]
    if run.plan.step(step_id).reads_only and run.last(events.CauseReported) is None:
        # A probe that stays red after everything went back: the deployment may not have been the cause.
        other = ButtonValue(id=run.id, v=run.state_seq, step=step_id).text()
        made.append(kit.button("Another cause: open incident", ids.say("incident"), other))
    return [kit.actions(*made)]


def _failure(run: Run, step_id: str) -> list[Line]:
    failure = run.status(step_id).failure
    if failure is None:
        return [row("What happened", run.status(step_id).words or "the outcome of the last attempt is unknown")]
    said = (
        ("What happened", f"attempt {failure.attempt}: {failure.brief}"),
        ("Left untouched", failure.untouched),
        ("Seen afterwards", f"{failure.presence.value}: {failure.seen}" if failure.seen else ""),
        ("What to do", failure.resolution),
    )
    return [row(label, told, most=1_500) for label, told in said if told]


def _answer(run: Run, step_id: str) -> Line:
    for event in reversed(run.history):
        if isinstance(event, events.Decided) and event.step == step_id:
            choice = event.choice.value.replace("_", " ")
            return [user(event.who), text(f" decided: {choice}. ", bold=True), *words(event.why, most=500)]
        if isinstance(event, events.AbortAsked):
            return [user(event.who), text(" gave the rollback up. ", bold=True), *words(event.why, most=500)]
    return [text("This needs no decision any more.")]
