"""Taking people's words into the journals: once each, with the right to say them, or refused and audited."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from bot.domain import ports
from bot.domain.authority import Policy
from bot.domain.errors import RefusedError
from bot.domain.events import AnyEvent
from bot.domain.inventory import Inventory
from bot.domain.run import Run

_log = logging.getLogger(__name__)
_ATTEMPTS = 5


@dataclass(frozen=True)
class Actor:
    """Who asks, and by which delivery of the chat.

    Attributes:
        user: Slack user id.
        delivery: Unique id of the delivery; the same delivery twice is obeyed once. Empty: not deduplicated.
    """

    user: str
    delivery: str = ""


class DuplicateDeliveryError(Exception):
    """The chat delivered the same request again; it has been or is being answered."""


class Reception:
    """What every use case needs. Every method raises RefusedError with words for the person who asked.

    Args:
        runs: The rollbacks.
        plans: Where plans come from.
        inventory: All targets.
        policy: Who may do what.
        carrier: Brings a worker.
        audit: Takes what belongs to no journal.
        chat: Reaches the change manager when there is no plan.
        clock: The time.
    """

    def __init__(
        self,
        *,
        runs: ports.Runs,
        plans: ports.PlanSource,
        inventory: Inventory,
        policy: Policy,
        carrier: ports.Carrier,
        audit: ports.Audit,
        chat: ports.Teller,
        clock: ports.Clock,
    ) -> None:
        self._runs = runs
        self._plans = plans
        self._inventory = inventory
        self._policy = policy
        self._carrier = carrier
        self._audit = audit
        self._chat = chat
        self._clock = clock

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    async def _put(self, rollback_id: str, actor: Actor, make: Callable[[Run], Awaitable[AnyEvent]]) -> Run:
        """Write the event that `make` returns for the rollback as it stands; it is asked anew when that changes."""
        await self._once(actor)
        for _ in range(_ATTEMPTS):
            run = await self._load(rollback_id)
            appended = await self._try_append(run, await make(run))
            if appended:
                return appended
        raise self._moved_on(rollback_id)

    async def _try_append(self, run: Run, event: AnyEvent) -> Run | None:
        try:
            appended = await self._runs.append(run, event, lease=None, wake=True)
        except ports.ConflictError:
            return None
        await self._wake(appended)
        return appended

    async def _wake(self, run: Run) -> None:
        try:
            await self._carrier.defer(run.id, run.inventory.zone())
        except Exception:  # noqa: BLE001 - the decision stands, whatever the carrier raises
            # The event is written; the sweep of every bot and worker finds the run within seconds.
            _log.exception("no job could be queued for %s; the sweep will pick it up", run.id)

    async def _load(self, rollback_id: str) -> Run:
        try:
            return await self._runs.load(rollback_id)
        except KeyError as error:
            raise RefusedError(
                f"There is no rollback {rollback_id!r}.", resolution="See `/rollback status`."
            ) from error

    async def _once(self, actor: Actor) -> None:
        if actor.delivery and not await self._audit.first_delivery(actor.delivery):
            raise DuplicateDeliveryError(actor.delivery)

    async def _refuse(self, actor: Actor, what: str, error: RefusedError, run: Run | None = None) -> NoReturn:
        await self._note(actor, what, str(error), {"rollback": run.id} if run else {})
        raise error

    async def _note(self, actor: Actor, what: str, why: str, detail: dict[str, str]) -> None:
        entry = ports.AuditEntry(at=self._clock.now(), who=actor.user, what=what, why=why, detail=dict(detail))
        await self._audit.write(entry)

    def _name(self, user: str) -> str:
        person = self._policy.person(user)
        return person.name if person else user

    @staticmethod
    def _stale(run: Run) -> RefusedError:
        return RefusedError(
            f"This button is out of date: {run.id} is {run.state.value.replace('_', ' ')} now.",
            untouched="Your click changed nothing.",
            resolution="The card of the rollback shows what can be done now.",
        )

    @staticmethod
    def _moved_on(rollback_id: str) -> RefusedError:
        return RefusedError(
            f"{rollback_id} keeps changing while you decide.",
            untouched="Your click changed nothing.",
            resolution="Look at its card and click again.",
        )


def required(reason: str) -> str:
    """Return the reason; a decision without one does not count."""
    if not reason.strip():
        raise RefusedError("A decision needs a reason.", untouched="Nothing was changed.", resolution="Give one.")
    return reason.strip()


def given(reason: str) -> str:
    """Return the reason, or words that say that there is none."""
    return reason.strip() or "no reason given"
