"""What people say to a rollback that runs: the typed words, the buttons and the forms end in the same use cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from bot.domain.control import ConfirmationNeededError
from bot.domain.errors import RefusedError
from bot.domain.events import Choice
from bot.domain.run import Run, StepState
from bot.domain.times import parse_duration
from bot.engine.service import Actor, Service
from handlers.slack import outlook
from handlers.slack.commands import EXAMPLES, Say, reason_of

CONFIRMED: Final = "confirmed"
"""Typed first behind abort: what giving up means beyond the point of no return has been read."""
STOP: Final = "now"
"""Typed first behind abort: running steps are stopped instead of being let to end."""
EVIDENCE: Final = "evidence:"
"""Typed behind what was done by hand: what follows shows it."""

_NEEDS_REASON: Final = frozenset(EXAMPLES) - {"remedy", "extend", "handover"}
_LISTED: Final = 15
_DECISIONS: Final = {"retry": Choice.RETRY, "done": Choice.MARK_DONE, "skip": Choice.SKIP}


@dataclass(frozen=True)
class Word:
    """What a person says to a rollback, understood.

    Attributes:
        verb: One of `handlers.slack.commands.SAYINGS`.
        reason: Why.
        step: The step, for retry, done, cannot, skip and remedy.
        remedy: Id of the remedy.
        person: User id of the next lead.
        by: How much longer; None: as drafted.
        stop: Whether an abort stops running steps.
        confirmed: Whether an abort beyond the point of no return was confirmed.
        version: What the button carried; None: typed, so it means the rollback as it stands.
        by_hand: Whether the step waits for a person who does it; else it is held.
        evidence: What shows that it was done.
    """

    verb: str
    reason: str
    step: str = ""
    remedy: str = ""
    person: str = ""
    by: timedelta | None = None
    stop: bool = False
    confirmed: bool = False
    version: int | None = None
    by_hand: bool = False
    evidence: str = ""


async def say(  # noqa: C901, PLR0912 - one case a verb
    service: Service, rollback_id: str, actor: Actor, word: Word
) -> Run:
    """Do what was said.

    Raises:
        RollbackError: The service refuses.
        DuplicateDeliveryError: Slack delivered it again.
    """
    reason = word.reason
    match word.verb:
        case "hold":
            return await service.hold(rollback_id, actor, reason=reason)
        case "resume":
            return await service.resume(rollback_id, actor, reason=reason)
        case "abort":
            return await service.abort(rollback_id, actor, reason=reason, stop=word.stop, confirmed=word.confirmed)
        case "done" if word.by_hand:
            return await service.done(
                rollback_id, actor, version=word.version, step=word.step, reason=reason, evidence=word.evidence
            )
        case "cannot":
            return await service.cannot(rollback_id, actor, version=word.version, step=word.step, reason=reason)
        case "retry" | "done" | "skip":
            return await service.decide(
                rollback_id,
                actor,
                version=word.version,
                step=word.step,
                choice=_DECISIONS[word.verb],
                reason=reason,
            )
        case "remedy":
            return await service.remedy(rollback_id, actor, step=word.step, remedy=word.remedy, reason=reason)
        case "extend":
            return await service.extend(rollback_id, actor, by=word.by, reason=reason)
        case "continue":
            return await service.go_on(rollback_id, actor, reason=reason)
        case "handover":
            return await service.hand_over(rollback_id, actor, to=word.person, reason=reason)
        case "confirm":
            return await service.confirm_loss(rollback_id, actor, version=word.version, reason=reason)
        case "incident":
            return await service.report_cause(rollback_id, actor, reason=reason)
        case "unblock":
            return await service.lift(rollback_id, actor, reason=reason)
        case _:
            raise RefusedError(f"Nothing is known of {word.verb[:40]!r}.", untouched="Nothing was changed.")


async def typed(service: Service, actor: Actor, said: Say) -> Run:
    """Do what was typed behind the command; `handlers.slack.outlook.what_next` tells what happens next.

    Raises:
        RollbackError: It cannot be told what is meant, something is missing, or the service refuses.
        DuplicateDeliveryError: Slack delivered it again.
    """
    run = await _meant(service, said)
    outlook.refuse_what_cannot_be(run, said.verb)
    word = understood(run, said)
    try:
        return await say(service, run.id, actor, word)
    except ConfirmationNeededError as error:
        now = f" {STOP}" if word.stop else ""
        error.resolution = f"To give it up all the same: abort {run.id}{now} {CONFIRMED} and the reason."
        raise


def understood(run: Run, said: Say) -> Word:
    """Return the typed words with their meaning for this rollback.

    Raises:
        RefusedError: Something is missing.
    """
    word = _read(run, said)
    if not word.reason and said.verb in _NEEDS_REASON:
        raise RefusedError(
            f"Why? What is said to {run.id} goes on record with its reason.",
            untouched="Nothing was changed.",
            resolution=outlook.example(said.verb),
        )
    return word


def _read(run: Run, said: Say) -> Word:
    words = list(said.words)
    match said.verb:
        case "abort":
            flags = set()
            while words and words[0].lower() in (CONFIRMED, STOP):
                flags.add(words.pop(0).lower())
            reason = reason_of(words)
            return Word("abort", reason, stop=STOP in flags, confirmed=CONFIRMED in flags)
        case "retry" | "done" | "cannot" | "skip" | "remedy":
            return _about_step(run, said.verb, words)
        case "extend":
            by = _duration(words[0]) if words else None
            return Word("extend", reason_of(words[1:] if by else words), by=by)
        case "handover":
            return _to_somebody(said, words)
        case _:
            return Word(said.verb, reason_of(words))


async def _meant(service: Service, said: Say) -> Run:
    lifting = said.verb == "unblock"
    found = await (service.blocked() if lifting and not said.rollback else service.status(said.rollback))
    if len(found) == 1:
        return found[0]
    if said.rollback:
        raise RefusedError(
            f"There is no rollback {said.rollback}.",
            untouched="Nothing was changed.",
            resolution="List shows the latest ones with their ids.",
        )
    if not found:
        none = "No rollback blocks deployments." if lifting else "No rollback is under way."
        raise RefusedError(none, untouched="Nothing was changed.")
    known = ", ".join(f"{run.id} ({run.plan.change})" for run in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    which = "Blocking deployments" if lifting else "Under way"
    raise RefusedError(
        f"Which rollback? {which}: {known}{more}.",
        untouched="Nothing was changed.",
        resolution=f"Name it. {outlook.example(said.verb)}",
    )


def _about_step(run: Run, verb: str, words: list[str]) -> Word:
    held = outlook.answerable(run, verb)
    known = {step.id.lower(): step.id for step in run.plan.steps()}
    named = known.get(words[0].strip("\"'`\u00ab\u00bb,.:").lower()) if words else None
    if named:
        step = named
        words = words[1:]
    elif len(held) == 1:
        step = held[0]
    else:
        wait = "a person" if verb == "cannot" else "a decision"
        raise RefusedError(
            f"Which step? Waiting for {wait}: {', '.join(held[:_LISTED]) or 'none'}.",
            untouched="Nothing was changed.",
            resolution=f"Name it: {verb} {run.id} {held[0]} and the reason." if held else outlook.example(verb),
        )
    if verb == "remedy" and not words:
        offered = ", ".join(each.id for each in run.remedies(step)) or "none at the moment"
        raise RefusedError(
            f"Which remedy? Offered for {step}: {offered}.",
            untouched="Nothing was run.",
            resolution=outlook.example(verb),
        )
    remedy = words.pop(0).strip("\"'`\u00ab\u00bb,.:") if verb == "remedy" else ""
    if run.status(step).state is not StepState.ASKED:
        return Word(verb, reason_of(words), step=step, remedy=remedy)
    did, shown = _with_evidence(words)
    return Word(verb, reason_of(did), step=step, remedy=remedy, by_hand=True, evidence=" ".join(shown))


def _with_evidence(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return what was done and what shows it: ``renewed it evidence: https://...``."""
    for number, word in enumerate(words):
        if word.lower().startswith(EVIDENCE):
            first = word[len(EVIDENCE) :]
            return words[:number], [*([first] if first else []), *words[number + 1 :]]
    return words, ()


def _to_somebody(said: Say, words: Sequence[str]) -> Word:
    if not said.person:
        raise RefusedError(
            "Hand over to whom?",
            untouched="The lead stays.",
            resolution=f"Mention the person. {outlook.example('handover')}",
        )
    return Word("handover", reason_of(words), person=said.person)


def _duration(word: str) -> timedelta | None:
    try:
        return parse_duration(word)
    except ValueError:
        return None
