"""The one message of a rollback: edited in place from the request to the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from bot.domain import control, events, forecast, manual
from bot.domain.actuation import Progress
from bot.domain.announcements import CARD
from bot.domain.authority import Policy
from bot.domain.criteria import milliseconds, percent
from bot.domain.lifecycle import State
from bot.domain.run import Run, StepState
from bot.domain.times import in_words, utc_minute
from handlers.slack import ids
from handlers.slack.render import asking, kit, passport, standing
from handlers.slack.render.message import MOST_TEXT_EDITED, Block, Message, first_that_fits, squeezed
from handlers.slack.render.questions import is_open
from handlers.slack.render.rich import Line, clip, fallback, paragraph, row, text, user, words
from handlers.slack.render.tasks import ROOMS, Room, plan_block
from handlers.slack.tickets import ButtonValue

_BEFORE: Final = frozenset({State.REQUESTED, State.CHECKING, State.AWAITING_AUTHORITY})
_STOPPED: Final[dict[State, type[events.Event]]] = {
    State.REFUSED: events.Refused,
    State.EXPIRED: events.Expired,
    State.STOOD_DOWN: events.Rejected,
    State.ABORTED: events.Aborted,
}
_MOST_HELD: Final = 4


def card(run: Run, policy: Policy, progress: Mapping[str, Progress]) -> Message:
    """Return the card as the rollback stands now.

    Args:
        run: The rollback.
        policy: Who may approve, and the thresholds that the metrics are shown against.
        progress: The newest progress by step.

    Returns:
        A message within Slack's limits, however large the plan; marked as the card of this rollback.
    """
    blocks = first_that_fits(_shorter_and_shorter(run, policy, progress))
    return Message(_text(run), blocks).marked(run.id, CARD.key)


def buttons(run: Run) -> list[Block]:
    """Return the buttons that the rollback's state calls for: at most one row."""
    value = ButtonValue(id=run.id, v=run.state_seq).text()
    plan = kit.button("View plan", ids.VIEW_PLAN, value)
    if run.state is not State.AWAITING_AUTHORITY:
        return [kit.actions(*asking.controls(run), plan)]
    approve = kit.button("Approve", ids.APPROVE, value, style="primary")
    reject = kit.button("Reject", ids.REJECT, value, style="danger")
    return [kit.actions(approve, reject, plan)]


def title(run: Run) -> str:
    """Return how the rollback stands in one line, without markup."""
    aborted = run.last(events.Aborted) is not None
    state = standing.in_words(run.state, aborted=aborted)
    return f"{standing.emoji(run.state)} Rollback of {run.plan.change}: {state}"


def _shorter_and_shorter(run: Run, policy: Policy, progress: Mapping[str, Progress]) -> Iterator[list[Block]]:
    blocks: list[Block] = []
    for room in ROOMS:
        blocks = _blocks(run, policy, progress, room)
        yield blocks
    yield from (squeezed(blocks, most) for most in (160, 80, 40))


def _blocks(run: Run, policy: Policy, progress: Mapping[str, Progress], room: Room) -> list[Block]:
    if run.state in _BEFORE:
        body = _before(run, policy)
    elif run.started_at is None and run.state in _STOPPED:
        body = _not_begun(run)
    else:
        body = _begun(run, progress, room)
    return [kit.header(title(run)), *body, *buttons(run), kit.context(_foot(run))]


def _before(run: Run, policy: Policy) -> list[Block]:
    rows = [
        passport.change(run),
        passport.reverted(run),
        passport.requested(run),
        passport.trigger(run),
        passport.window(run),
        passport.point_of_no_return(run),
        *passport.metrics(run, policy),
        passport.backups(run),
        passport.digests(run),
    ]
    if run.state is State.AWAITING_AUTHORITY:
        rows += passport.authority(run, policy)
    checks = passport.checks(run)
    return [*([checks] if checks else []), paragraph(rows)]


def _not_begun(run: Run) -> list[Block]:
    rows = [_why_stopped(run), passport.change(run), passport.reverted(run), passport.requested(run)]
    checks = passport.checks(run)
    nothing = row("Left untouched", "no step was run, nothing was changed")
    return [paragraph([*rows, nothing]), *([checks] if checks else [])]


def _begun(run: Run, progress: Mapping[str, Progress], room: Room) -> list[Block]:
    rows = [*_end(run), passport.change(run), passport.reverted(run), passport.trigger(run)]
    rows += [passport.requested(run), *_authorised(run), *_lead(run), _times(run)]
    return [paragraph([*rows, *_held(run)]), plan_block(run, progress, room)]


def _authorised(run: Run) -> Iterator[Line]:
    event: events.Authorised | None = run.last(events.Authorised)
    if event:
        said = [user(event.who), text(f" ({clip(event.role, 80)}) at {utc_minute(event.at)}: ")]
        yield row("Authorised by", [*said, *words(event.why, most=400)])


def _lead(run: Run) -> Iterator[Line]:
    if run.lead != run.requester:
        yield row("Lead", [user(run.lead)])


def _times(run: Run) -> Line:
    ends = forecast.window_ends(run)
    if run.started_at is None or ends is None:
        return passport.window(run)
    expected, longer = in_words(run.plan.expected()), forecast.window(run) - run.plan.window
    extended = f" (extended by {in_words(longer)})" if longer else ""
    began = f"{utc_minute(run.started_at)}; expected duration {expected}"
    return row("Started", f"{began}; window until {utc_minute(ends)}{extended}")


def _held(run: Run) -> Iterator[Line]:
    """Yield what keeps the rollback from going on, and where it is answered."""
    leaving = run.giving_up
    if leaving and run.state in control.STEERABLE:
        said = [text(f"{leaving.name}: "), *words(leaving.why, most=300)]
        yield row("🛑 Being given up by", [*said, text(" — every target is looked at, see the thread")])
        return
    if run.pause and run.state in control.STEERABLE:
        running = any(run.status(step.id).state is StepState.STARTED for step in run.plan.steps())
        when = "⏸ On hold as soon as the running steps end, by" if running else "⏸ On hold by"
        yield row(when, [text(f"{run.pause.name}: "), *words(run.pause.why, most=300)])
    waiting = manual.waiting(run) if run.state in control.STEERABLE else ()
    if waiting:
        names = ", ".join(clip(step.words(), 80) for step in waiting[:_MOST_HELD])
        yield row("🙋 Waits for a person", f"{names}: say in the thread how it ended")
    if run.state is State.HELD:
        held = [step for step in run.plan.steps() if is_open(run, step.id)]
        for step in held[:_MOST_HELD]:
            yield row("✋ Held", f"{step.words()}: {clip(run.status(step.id).words, 200)}")
        if len(held) > _MOST_HELD:
            yield [text(f"✋ … and {len(held) - _MOST_HELD} more steps")]
        if held:
            yield [text("Decide with the buttons in the thread.", bold=True)]
    if run.state is State.AUTHORISED and run.open_confirmation:
        yield row("⚠️ Data would be lost", words(run.open_confirmation.why, most=300))
        yield [text("A second person must confirm with the buttons in the thread. Nothing runs before.", bold=True)]


def _end(run: Run) -> Iterator[Line]:
    if run.last(events.Aborted):
        yield _why_stopped(run)
    elif run.completed_at and run.duration is not None:
        done = f"{utc_minute(run.completed_at)} after {in_words(run.duration)}"
        yield row("Restored", f"{run.plan.versions.restored}, {done}")
        yield _measured(run)
    opened: events.IncidentOpened | None = run.last(events.IncidentOpened)
    closed: events.Closed | None = run.last(events.Closed)
    review: events.ReviewScheduled | None = run.last(events.ReviewScheduled)
    if opened:
        problem = f"; problem {closed.problem}" if closed else ""
        yield row("Records", f"incident {opened.incident}{problem}")
    if review:
        yield row("Post-incident review", utc_minute(review.review_at))


def _measured(run: Run) -> Line:
    rate, p95, baseline = run.fact("error_rate"), run.fact("p95_seconds"), run.plan.baseline
    failing = percent(rate) if isinstance(rate, int | float) else "unknown"
    speed = f"{p95 * 1000:.0f}ms" if isinstance(p95, int | float) else "unknown"
    compared = f"error rate {failing} (baseline {percent(baseline.error_rate)})"
    return row("Measured", f"{compared}; response time {speed} p95 (baseline {milliseconds(baseline.p95)})")


def _why_stopped(run: Run) -> Line:
    kind = events.Aborted if run.last(events.Aborted) else _STOPPED[run.state]
    event: events.Event | None = run.last(kind)
    if event is None:
        return row("Ended", standing.in_words(run.state))
    said = [*words(event.why, most=500), text(" — "), user(event.who)]
    return row("Why", [*said, text(f" at {utc_minute(event.at)}")])


def _foot(run: Run) -> str:
    return f"{run.id} · plan {run.plan.digest()[:12]} · details in the thread"


def _text(run: Run) -> str:
    plan = run.plan
    line = (
        f"{title(run)}. {plan.title}: {plan.service} {plan.versions.deployed} → {plan.versions.restored} ({run.id})"
    )
    return fallback(line, MOST_TEXT_EDITED)
