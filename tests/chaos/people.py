"""The people of a chaos run: they ask for rollbacks, approve them, steer them, and decide about what is held."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random

from bot.demo.scenario import MANAGER, OPERATOR
from bot.domain.control import ConfirmationNeededError
from bot.domain.errors import RefusedError, StoreUnavailableError
from bot.domain.events import Choice, RemedyOffered
from bot.domain.lifecycle import FINAL, State
from bot.domain.ports import Clock, TargetBusyError
from bot.domain.run import Run, StepState
from bot.engine.service import Actor, DuplicateDeliveryError, Service
from tests.chaos.crew import Diary
from tests.chaos.site import HOPELESS
from tests.chaos.steps import Fate
from tests.chaos.wire import line

_ROUND_SECONDS = 0.3
_OUTAGE_SECONDS = 0.5
_TWICE = 0.3
"""Share of the words that the chat delivers twice."""
_REJECTED = 0.03
_STEERED = 0.015
"""How probable it is that somebody steers a rollback that runs, each round."""

Word = Callable[[Actor, str], Awaitable[Run]]
"""Something that is said to the service, given who says it and the reason, which is unique to it."""


class People:
    """Ask, approve, steer and decide until every rollback has ended or is left held.

    Args:
        service: The use cases, as the chat reaches them.
        witness: Where the targets can be looked at and repaired.
        random: Decides what cannot be known.
        diary: Takes every word and how it was received.
        clock: The time.
    """

    def __init__(self, service: Service, *, witness: Path, random: Random, diary: Diary, clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        self.runs: dict[str, str] = {}
        self._service = service
        self._witness = witness
        self._random = random
        self._diary = diary
        self._clock = clock
        self._words = 0

    async def ask_for(self, change: str, *, after: float) -> None:
        """Ask for a rollback, and again while its targets are busy, until it has begun.

        Args:
            change: Which.
            after: Seconds to wait first.
        """
        await self._clock.sleep(after)
        while change not in self.runs:
            try:
                run = await self._say("request", OPERATOR, partial(self._request, change))
                self.runs[change] = run.id
            except TargetBusyError:
                await self._clock.sleep(self._random.uniform(0.5, 2.5))
            except (RefusedError, StoreUnavailableError, DuplicateDeliveryError):
                await self._clock.sleep(_OUTAGE_SECONDS)
                await self._adopt(change)

    async def _request(self, change: str, who: Actor, why: str) -> Run:
        return await self._service.request(change, who, reason=why)

    async def _adopt(self, change: str) -> None:
        """Find a rollback whose request was obeyed although its answer was lost."""
        try:
            found = await self._service.status(change)
        except StoreUnavailableError:
            return
        if found:
            self.runs[change] = found[0].id

    async def attend(self) -> None:
        """Approve, steer and decide until cancelled."""
        while True:
            try:
                for run in await self._service.status():
                    await self._attend(run)
            except StoreUnavailableError:
                await self._clock.sleep(_OUTAGE_SECONDS)
            except (RefusedError, DuplicateDeliveryError):
                pass  # the rollback went on meanwhile: they look again
            await self._clock.sleep(_ROUND_SECONDS)

    async def settled(self, changes: Sequence[str]) -> bool:
        """Return whether every change has its rollback, and each has ended or is left to somebody for good."""
        if any(change not in self.runs for change in changes):
            return False
        try:
            live = [run for run in await self._service.status() if run.state not in FINAL]
        except StoreUnavailableError:
            return False
        return all(run.state is State.HELD and _left(run) for run in live)

    async def _attend(self, run: Run) -> None:
        whim = self._random.random()
        match run.state:
            case State.AWAITING_AUTHORITY if whim < _REJECTED:
                await self._say("reject", MANAGER, partial(self._authority, run, self._service.reject))
            case State.AWAITING_AUTHORITY:
                await self._say("approve", MANAGER, partial(self._authority, run, self._service.approve))
            case State.EXECUTING | State.VERIFYING if whim < _STEERED and not run.giving_up:
                await self._steer(run)
            case State.HELD if not run.giving_up:
                await self._help(run)
            case _:
                pass

    async def _authority(self, run: Run, word: Callable[..., Awaitable[Run]], who: Actor, why: str) -> Run:
        return await word(run.id, who, version=run.state_seq, reason=why)

    async def _steer(self, run: Run) -> None:
        """Say what can be said to a rollback that runs."""
        say = self._random.choice(("hold", "hold", "extend", "hand over", "abort"))
        words: dict[str, Word] = {
            "hold": lambda who, why: self._service.hold(run.id, who, reason=why),
            "extend": lambda who, why: self._service.extend(run.id, who, by=timedelta(minutes=5), reason=why),
            "hand over": lambda who, why: self._service.hand_over(run.id, who, to=MANAGER, reason=why),
        }
        if say == "abort":
            await self._abort(run, stop=self._random.random() < 0.5)
        else:
            await self._say(say, OPERATOR, words[say])

    async def _abort(self, run: Run, *, stop: bool) -> None:
        """Give a rollback up, and confirm it if that is asked for."""
        try:
            await self._say(
                "abort", MANAGER, lambda who, why: self._service.abort(run.id, who, reason=why, stop=stop)
            )
        except ConfirmationNeededError:
            await self._say(
                "abort all the same",
                MANAGER,
                lambda who, why: self._service.abort(run.id, who, reason=why, stop=stop, confirmed=True),
            )

    async def _help(self, run: Run) -> None:
        """End a pause, and decide about every held step."""
        for step_id, status in run.steps.items():
            if status.state is StepState.HELD and step_id != HOPELESS:
                await self._decide(run, step_id)
        if run.pause:
            await self._say("resume", OPERATOR, lambda who, why: self._service.resume(run.id, who, reason=why))

    async def _decide(self, run: Run, step_id: str) -> None:
        found = await self._choose(run, step_id)
        if found is Choice.ABORT:
            await self._abort(run, stop=False)
        elif isinstance(found, Choice):
            await self._say(
                found.value.replace("_", " "),
                MANAGER,
                lambda who, why: self._service.decide(
                    run.id, who, version=run.state_seq, step=step_id, choice=found, reason=why
                ),
            )
        elif found is not None:
            await self._say(
                f"remedy {found.id}",
                MANAGER,
                lambda who, why: self._service.remedy(run.id, who, step=step_id, remedy=found.id, reason=why),
            )

    async def _choose(self, run: Run, step_id: str) -> Choice | RemedyOffered | None:
        """Look at the target as a person would, repair it if need be, and decide; None: wait for a remedy."""
        fate = getattr(run.plan.step(step_id), "fate", Fate.PLAIN)
        whim = self._random.random()
        offered = {remedy.id: remedy for remedy in run.remedies(step_id)}
        tried = {key: run.status(str(remedy.step["id"])).state for key, remedy in offered.items()}
        if {StepState.PENDING, StepState.STARTED} & {
            tried[k] for k, o in offered.items() if o.step["id"] in run.steps
        }:
            return None
        if offered and not set(tried.values()) & {StepState.DONE} and whim < 0.6:
            return offered["mend"] if whim < 0.3 else offered["other"] if whim < 0.5 else offered["look"]
        async with line(self._witness, self._clock) as witness:
            token = f"{run.id}-{step_id}"
            found = await witness.ask(op="look", token=token)
            if fate in (Fate.BROKEN, Fate.SILENT) and not found["present"] and whim > 0.8:
                return Choice.SKIP if whim > 0.9 else Choice.ABORT
            await witness.ask(op="repair", token=token)
        if found["present"] and not (fate is Fate.UNREADABLE and whim < 0.3):
            return Choice.MARK_DONE
        return Choice.RETRY

    async def _say(self, what: str, user: str, word: Word) -> Run:
        """Say something to the service, sometimes by a delivery that comes twice."""
        self._words += 1
        why, actor = f"{what} {self._words}", Actor(user, delivery=f"delivery-{self._words}")
        times = 2 if self._random.random() < _TWICE else 1
        answers = await asyncio.gather(*(word(actor, why) for _ in range(times)), return_exceptions=True)
        for answer in answers:
            how = "obeyed" if isinstance(answer, Run) else type(answer).__name__
            self._diary.note(
                "word", why=why, user=user, how=how, words="" if how == "obeyed" else str(answer)[:300]
            )
        obeyed = [answer for answer in answers if isinstance(answer, Run)]
        self.counts[what if obeyed else f"{what} refused"] += 1
        if obeyed:
            return obeyed[0]
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        telling = [answer for answer in failed if not isinstance(answer, DuplicateDeliveryError)]
        raise (telling or failed)[0]


def _left(run: Run) -> bool:
    """Return whether people leave the rollback held: what is broken there, nobody repairs today."""
    return run.status(HOPELESS).state is StepState.HELD
