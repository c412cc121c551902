"""A rollback plan, to be read before it is approved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.domain.plan import Plan, Step
from bot.domain.times import in_words, utc_minute
from handlers.slack.render import kit
from handlers.slack.render.message import Block, Message, View, first_that_fits, squeezed
from handlers.slack.render.rich import Line, bullets, clip, escape, heading, paragraph, rich, row, text, words

_COMMON = frozenset(Step.model_fields)


@dataclass(frozen=True)
class _Room:
    """How many phases, how many steps of each, how many characters of a step's own fields."""

    phases: int
    steps: int
    fields: int


_ROOMS = (_Room(30, 100, 400), _Room(30, 100, 120), _Room(20, 40, 0), _Room(10, 6, 0), _Room(6, 3, 0))


def plan_message(plan: Plan) -> Message:
    """Return the plan as a message."""
    return Message(escape(f"The rollback plan of {plan.title_line()}"), _shown(plan))


def plan_modal(plan: Plan) -> View:
    """Return the plan as a modal."""
    title = kit.plain(f"Plan {plan.change}", 24)
    return {"type": "modal", "title": title, "close": kit.plain("Close", 24), "blocks": _shown(plan)}


def _shown(plan: Plan) -> list[Block]:
    return first_that_fits(_candidates(plan))


def _candidates(plan: Plan) -> Iterator[list[Block]]:
    blocks: list[Block] = []
    for room in _ROOMS:
        phases = [(phase.name, in_words(phase.expected), phase.steps) for phase in plan.phases[: room.phases]]
        blocks = [kit.header(plan.title_line()), paragraph(_facts(plan))]
        blocks += [_phase(f"{name}, {expected}", steps, room) for name, expected, steps in phases]
        if len(plan.phases) > room.phases:
            blocks.append(kit.context(f"… and {len(plan.phases) - room.phases} more phases"))
        verified = f"Verification, {in_words(plan.verification.expected)}"
        blocks.append(_phase(verified, plan.verification.steps, room))
        yield blocks
    yield from (squeezed(blocks, most) for most in (120, 60))


def _facts(plan: Plan) -> list[Line]:
    point = plan.point_of_no_return
    contacts = ", ".join(f"{contact.role} {contact.user}" for contact in plan.communication.escalation[:8])
    backups = "; ".join(
        f"{b.id}: {b.kind.value} at {b.location}, {utc_minute(b.taken_at)}" for b in plan.backups[:8]
    )
    baseline = plan.baseline
    facts = [
        row("Service", f"{plan.service} ({plan.criticality.value} criticality)"),
        row("Versions", f"{clip(plan.versions.deployed, 80)} → {clip(plan.versions.restored, 80)}"),
        row("Deployed", utc_minute(plan.deployed_at)),
        row("Window", f"{in_words(plan.window)}; expected duration {in_words(plan.expected())}"),
        row("Point of no return", f"{in_words(point.after)} after the deployment: {point.reason}"),
        row("Backups", backups, most=900),
        row("Baseline", f"error rate {baseline.error_rate:.2%}, {in_ms(baseline.p95.total_seconds())} p95"),
        row("Escalation", contacts),
        row("Bridge", plan.bridge.url),
        row("Digest", [text(plan.digest(), code=True)]),
    ]
    if baseline.schema_version:
        facts.append(row("Schema version", baseline.schema_version))
    return facts


def in_ms(seconds: float) -> str:
    """Return a response time in milliseconds."""
    return f"{seconds * 1000:.0f}ms"


def _phase(name: str, steps: Sequence[Step], room: _Room) -> Block:
    items = [_step(step, room) for step in steps[: room.steps]]
    if len(steps) > room.steps:
        items.append([text(f"… and {len(steps) - room.steps} more steps")])
    return rich(heading(name), bullets(items))


def _step(step: Step, room: _Room) -> Line:
    line = [text(step.id, bold=True), *words(f": {step.words()}", most=160)]
    line.append(text(f" — {step.kind} on {step.target}, {in_words(step.expected)}"))
    if step.needs:
        line.append(text(f", after {clip(', '.join(step.needs), 120)}"))
    own = {key: value for key, value in step.model_dump(mode="json").items() if key not in _COMMON and value}
    if own and room.fields:
        said = ", ".join(f"{key}={value}" for key, value in own.items())
        line += [text(" "), text(clip(said, room.fields), code=True)]
    return line
