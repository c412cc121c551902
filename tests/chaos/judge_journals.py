"""Judges a chaos run by its journals: order, truth, what people said, and that nothing was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bot.domain import events
from bot.domain.lifecycle import FINAL, State
from bot.domain.run import SETTLED, Run, StepState, apply
from tests.chaos.evidence import Entry, Life
from tests.chaos.judge import Court, Finding, Rule
from tests.support.dags import may_begin

_ENDED_BY_TERM = -15
_OBEDIENT_SECONDS = 15.0
_WORDS = (
    events.Requested, events.Authorised, events.Rejected, events.HoldAsked, events.ResumeAsked, events.AbortAsked,
    events.Decided, events.RemedyChosen, events.Extended, events.LeadHandedOver,
)  # fmt: skip
"""What people's words become."""
_OF_A_STEP = (events.StepStarted, events.StepSucceeded, events.StepFailed)


def on_journals(court: Court) -> Iterator[Finding]:
    """Judge by what was written."""
    yield from _none_lost(court)
    for run_id in court.evidence.runs:
        yield from _journal(court, run_id)
    yield from _words(court)
    for life in court.evidence.lives:
        yield from _end(court, life)


def _none_lost(court: Court) -> Iterator[Finding]:
    evidence = court.evidence
    begun = Counter(run.plan.change for run in evidence.runs.values())
    for change in evidence.changes:
        if not begun[change]:
            yield Finding(Rule.LOST, f"{change} was asked for and has no rollback")
    for run_id, state in evidence.states.items():
        if State(state) in FINAL:
            continue
        held = [entry.event for entry in evidence.journals[run_id] if isinstance(entry.event, events.Held)]
        if State(state) is not State.HELD or not held or not held[-1].why:
            yield Finding(Rule.LOST, f"{run_id} stands still in {state}")


def _journal(court: Court, run_id: str) -> Iterator[Finding]:
    run = court.evidence.runs[run_id]
    fence = 0
    for number, entry in enumerate(court.evidence.journals[run_id], start=1):
        if entry.seq != number:
            yield Finding(Rule.TRUE, f"{run_id}: event {number} has the number {entry.seq}")
        if entry.fence is not None:
            if entry.fence < fence:
                yield Finding(Rule.WORKER, f"{run_id}: fence {entry.fence} wrote after fence {fence}")
            fence = entry.fence
        yield from _by_its_owner(court, run_id, entry)
        if isinstance(entry.event, events.StepStarted):
            yield from _beginning(run, entry.event)
        elif isinstance(entry.event, events.StepSucceeded) and run.status(entry.event.step).state in SETTLED:
            yield Finding(Rule.ONCE, f"{run_id}: {entry.event.step} succeeded when it was settled")
        try:
            run = apply(run, entry.event)
        except ValueError as error:
            yield Finding(Rule.TRUE, str(error))
            return
    yield from _ending(court, run)


def _by_its_owner(court: Court, run_id: str, entry: Entry) -> Iterator[Finding]:
    if isinstance(entry.event, _OF_A_STEP):
        owners = {lease.owner for lease in court.leases_of(run_id) if lease.fence == entry.fence and lease.owner}
        if owners != {entry.event.who}:
            what = f"{entry.event.kind} of {entry.event.step} by {entry.event.who}"
            yield Finding(Rule.WORKER, f"{run_id}: {what} under the fence of {owners}")


def _beginning(run: Run, event: events.StepStarted) -> Iterator[Finding]:
    status = run.status(event.step)
    if status.state in SETTLED:
        yield Finding(Rule.ONCE, f"{run.id}: {event.step} was started again when it was {status.state}")
    if event.attempt != status.attempt + 1:
        yield Finding(Rule.ORDER, f"{run.id}: attempt {event.attempt} of {event.step} follows {status.attempt}")
    word = run.giving_up or (run.pause if run.state is not State.HELD else None)
    if word:
        yield Finding(Rule.ORDER, f"{run.id}: {event.step} was started after somebody said {word.why!r}")
    chosen = {e.remedy for e in run.history if isinstance(e, events.RemedyChosen)}
    if event.step not in chosen and (run.remedy(event.step) or not may_begin(run, run.plan.step(event.step))):
        yield Finding(Rule.ORDER, f"{run.id}: {event.step} was started before its turn")


def _ending(court: Court, run: Run) -> Iterator[Finding]:
    """Compare how a rollback ended with what is on its targets."""
    if run.state.value != court.evidence.states[run.id]:
        yield Finding(Rule.TRUE, f"{run.id} is {court.evidence.states[run.id]}, its journal says {run.state}")
    marked = {e.step for e in run.overrides}
    for step in run.plan.steps():
        state = run.status(step.id).state
        there = any(f"{run.id}-{name}" in court.present for name in (step.id, *_instead(run, step.id)))
        if state is StepState.DONE and not step.reads_only and not there:
            how = "marked done" if step.id in marked else "done"
            yield Finding(Rule.TRUE, f"{run.id}: {step.id} is {how}, and its effect is not there")
        if run.state in FINAL and state is StepState.STARTED:
            yield Finding(Rule.LOST, f"{run.id} ended, and nobody knows how {step.id} did")
        if run.completed_at and state not in SETTLED:
            yield Finding(Rule.TRUE, f"{run.id} is complete, and {step.id} is {state}")


def _instead(run: Run, step_id: str) -> list[str]:
    """Return the remedies that settled a step: what they created stands for it."""
    return [
        offered.step["id"]
        for event in run.history
        if isinstance(event, events.RemediesOffered) and event.step == step_id
        for offered in event.remedies
        if offered.settles and run.status(offered.step["id"]).state is StepState.DONE
    ]


def _words(court: Court) -> Iterator[Finding]:
    """Compare what people were told about their words with what the journals hold of them."""
    written = Counter(
        entry.event.why
        for journal in court.evidence.journals.values()
        for entry in journal
        if isinstance(entry.event, _WORDS)
    )
    for told in court.evidence.told:
        found = written[told.why]
        obeyed = told.how.count("obeyed")
        unknown = told.how.count("StoreUnavailableError")
        if not obeyed <= found <= min(1, obeyed + unknown):
            words = f"{told.why!r} stands {found} times in the journals; its deliveries were {', '.join(told.how)}"
            yield Finding(Rule.WORDS, words)


def _end(court: Court, life: Life) -> Iterator[Finding]:
    name = f"{life.worker} ({life.pid})"
    if life.until is None or life.code is None:
        yield Finding(Rule.ENDS, f"{name} was never seen to end")
    elif life.killed is not None:
        awake = not any(nap.until > (life.told or 0.0) for nap in court.naps_of(life.pid))
        if life.told is not None and awake and life.killed - life.told > _OBEDIENT_SECONDS:
            yield Finding(Rule.ENDS, f"{name} did not end within {_OBEDIENT_SECONDS:g} s of being told to")
    elif life.told is None:
        # A process that finds no store when it starts says so and ends; it is started again.
        away = any(outage.since < life.until and outage.until > life.since for outage in court.evidence.outages)
        if life.ready is not None or not away:
            yield Finding(Rule.ENDS, f"{name} ended by itself with {life.code}")
    elif life.code and (life.code != _ENDED_BY_TERM or life.ready is not None):
        yield Finding(Rule.ENDS, f"{name} was told to end and ended with {life.code}")
