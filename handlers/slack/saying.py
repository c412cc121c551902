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
from handlers.slack.commands import Say, reason_of

CONFIRMED: Final = "confirmed"
"""Typed first behind abort: what giving up means beyond the point of no return has been read."""
STOP: Final = "now"
"""Typed first behind abort: running steps are stopped instead of being let to end."""

_DECISIONS: Final = {"retry": Choice.RETRY, "done": Choice.MARK_DONE, "skip": Choice.SKIP}


@dataclass(frozen=True)
class Word:
    """What a person says to a rollback, understood.

    Attributes:
        verb: One of `handlers.slack.commands.SAYINGS`.
        reason: Why.
        step: The held step, for retry, done, skip and remedy.
        remedy: Id of the remedy.
        person: User id of the next lead.
        by: How much longer; None: as drafted.
        stop: Whether an abort stops running steps.
        confirmed: Whether an abort beyond the point of no return was confirmed.
        version: What the button carried; None: typed, so it means the rollback as it stands.
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


async def say(  # noqa: C901 - one case a verb
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
        case "unblock":
            return await service.lift(rollback_id, actor, reason=reason)
        case _:
            raise RefusedError(f"Nothing is known of {word.verb[:40]!r}.", untouched="Nothing was changed.")


async def typed(service: Service, actor: Actor, said: Say) -> Run:
    """Do what was typed behind the command.

    Raises:
        RollbackError: It cannot be told which rollback or step is meant, or the service refuses.
        DuplicateDeliveryError: Slack delivered it again.
    """
    run = await _meant(service, said)
    try:
        return await say(service, run.id, actor, understood(run, said))
    except ConfirmationNeededError as error:
        error.resolution = f"To give it up all the same: abort {run.id} {CONFIRMED} <reason>."
        raise


def understood(run: Run, said: Say) -> Word:
    """Return the typed words with their meaning for this rollback.

    Raises:
        RefusedError: Something is missing.
    """
    words = list(said.words)
    match said.verb:
        case "abort":
            flags = set()
            while words and words[0].lower() in (CONFIRMED, STOP):
                flags.add(words.pop(0).lower())
            reason = reason_of(words)
            return Word("abort", reason, stop=STOP in flags, confirmed=CONFIRMED in flags)
        case "retry" | "done" | "skip" | "remedy":
            return _about_step(run, said.verb, words)
        case "extend":
            by = _duration(words[0]) if words else None
            return Word("extend", reason_of(words[1:] if by else words), by=by)
        case "handover":
            return _to_somebody(said, words)
        case _:
            return Word(said.verb, reason_of(words))


async def _meant(service: Service, said: Say) -> Run:
    found = await (
        service.blocked() if said.verb == "unblock" and not said.rollback else service.status(said.rollback)
    )
    if len(found) == 1:
        return found[0]
    if said.rollback:
        raise RefusedError(f"There is no rollback {said.rollback}.", resolution="See `/rollback list`.")
    known = ", ".join(f"{run.id} ({run.plan.change})" for run in found) or "none"
    raise RefusedError(
        f"Which rollback? {'Under way' if said.verb != "unblock" else 'Blocking deployments'}: {known}.",
        untouched="Nothing was changed.",
        resolution=f"Name it: {said.verb} rb-0001 and the reason.",
    )


def _about_step(run: Run, verb: str, words: list[str]) -> Word:
    held = [step.id for step in run.plan.steps() if run.status(step.id).state is StepState.HELD]
    if words and words[0] in {step.id for step in run.plan.steps()}:
        step = words.pop(0)
    elif len(held) == 1:
        step = held[0]
    else:
        raise RefusedError(
            f"Which step? Held: {', '.join(held) or 'none'}.",
            untouched="Nothing was changed.",
            resolution=f"Write for example: {verb} {run.id} {held[0] if held else 'stop'} and the reason.",
        )
    remedy = words.pop(0) if verb == "remedy" and words else ""
    return Word(verb, reason_of(words), step=step, remedy=remedy)


def _to_somebody(said: Say, words: Sequence[str]) -> Word:
    if not said.person:
        raise RefusedError(
            "Hand over to whom?",
            untouched="The lead stays.",
            resolution="Mention the person: handover rb-0001 @name and the reason.",
        )
    return Word("handover", reason_of(words), person=said.person)


def _duration(word: str) -> timedelta | None:
    try:
        return parse_duration(word)
    except ValueError:
        return None
