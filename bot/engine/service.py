"""The use cases: one method for each thing that a person asks of the bot."""

from __future__ import annotations

import logging
import re

from bot.domain import authority, events, ports
from bot.domain.announcements import ask_of
from bot.domain.authority import Answer, Role
from bot.domain.errors import PlanInvalidError, PlanUnavailableError, RefusedError, RollbackError
from bot.domain.events import AnyEvent
from bot.domain.lifecycle import FINAL, State
from bot.domain.plan import Plan
from bot.domain.run import Run
from bot.engine.by_hand import ByHand
from bot.engine.drift import difference
from bot.engine.reception import Actor, DuplicateDeliveryError, given, required

__all__ = ["Actor", "DuplicateDeliveryError", "Service"]

_log = logging.getLogger(__name__)
_CHANGE = re.compile(r"CHG\d{4,12}", re.ASCII)


class Service(ByHand):
    """What people can ask of the bot. Every method raises RefusedError with words for the person who asked.

    Asking for a rollback and deciding whether it may run stand here; what can be said while it runs, in `Controls`,
    and to steps that people do, in `ByHand`.
    """

    async def request(self, change: str, actor: Actor, *, reason: str) -> Run:
        """Ask for the rollback of a change: lock its targets and let a worker begin with the checks.

        Raises:
            PlanUnavailableError: There is no plan; the change manager has been told.
            PlanInvalidError: The plan is unusable; the change manager has been told.
            RefusedError: The person may not, the change is rolled back already, or a target is busy.
        """
        await self._once(actor)
        change = change.upper()
        if not _CHANGE.fullmatch(change):
            await self._refuse(
                actor,
                "rollback.request",
                RefusedError(
                    f"{change[:40]!r} is not the number of a change.",
                    untouched="Nothing was started.",
                    resolution="Write for example `/rollback CHG0012345 error rate 12 %`.",
                ),
            )
        ruling = authority.may_operate(self._policy, actor.user)
        if not ruling.granted:
            await self._refuse(
                actor, "rollback.request", RefusedError(ruling.reason, untouched="Nothing was started.")
            )
        await self._refuse_repetition(change, actor)
        plan = await self._plan(change, actor)
        inventory = self._inventory.only(plan.all_targets())
        event = events.Requested(at=self._clock.now(), who=actor.user, why=given(reason))
        try:
            run = await self._runs.create(plan, inventory, event, locks=plan.targets())
        except ports.TargetBusyError as error:
            await self._refuse(actor, "rollback.request", error)
        await self._wake(run)
        return run

    async def approve(self, rollback_id: str, actor: Actor, *, version: int | None, reason: str = "") -> Run:
        """Authorise a rollback. The approval binds to the plan and the targets as they were checked.

        Args:
            rollback_id: Which.
            actor: Who clicked.
            version: The version that the button carries, an older one is stale; None: as it stands.
            reason: The reason for the record; by default what triggered the rollback.
        """

        async def authorise(run: Run) -> AnyEvent:
            await self._require_awaiting(run, actor, version)
            ruling = authority.may_approve(self._policy, ask_of(run), actor.user, now=self._clock.now())
            if not ruling.granted or ruling.role is None:
                error = RefusedError(ruling.reason, untouched="The rollback still waits for authority.")
                await self._refuse(actor, "rollback.approve", error, run)
            await self._void_if_changed(run, actor)
            return self._authorisation(run, actor, ruling, ruling.role, reason)

        return await self._put(rollback_id, actor, authorise)

    async def reject(self, rollback_id: str, actor: Actor, *, version: int | None, reason: str) -> Run:
        """Stand a rollback down before it acts: whoever may approve it, or who requested it."""

        async def stand_down(run: Run) -> AnyEvent:
            await self._require_awaiting(run, actor, version)
            ruling = authority.may_approve(self._policy, ask_of(run), actor.user, now=self._clock.now())
            if ruling.answer is Answer.REFUSED and actor.user != run.requester:
                error = RefusedError(ruling.reason, untouched="The rollback still waits for authority.")
                await self._refuse(actor, "rollback.reject", error, run)
            return events.Rejected(
                at=self._clock.now(), who=actor.user, why=required(reason), name=self._name(actor.user)
            )

        return await self._put(rollback_id, actor, stand_down)

    async def status(self, word: str = "") -> tuple[Run, ...]:
        """Return the rollbacks that have not ended, or the newest one of a change or id."""
        if not word:
            return await self._runs.active()
        if word.upper().startswith("CHG"):
            latest = await self._runs.latest_of(word.upper())
            return (latest,) if latest else ()
        try:
            return (await self._runs.load(word.lower()),)
        except KeyError:
            return ()

    async def recent(self, limit: int = 10) -> tuple[Run, ...]:
        """Return the newest rollbacks, whatever their state."""
        return await self._runs.recent(limit)

    async def plan(self, change: str) -> Plan:
        """Return the plan of a change, to be read.

        Raises:
            PlanUnavailableError: There is none.
            PlanInvalidError: It is unusable.
        """
        if not _CHANGE.fullmatch(change.upper()):
            raise RefusedError(f"{change[:40]!r} is not the number of a change.", resolution="Write CHG0012345.")
        return await self._plans.find(change.upper())

    async def changes(self) -> tuple[ports.PlanSummary, ...]:
        """Return the changes that have a plan, the newest first."""
        return await self._plans.list()

    async def _plan(self, change: str, actor: Actor) -> Plan:
        try:
            return await self._plans.find(change)
        except (PlanUnavailableError, PlanInvalidError) as error:
            await self._note(actor, "rollback.no_plan", str(error), {"change": change})
            await self._tell_change_managers(change, actor, error)
            raise

    async def _tell_change_managers(self, change: str, actor: Actor, error: RollbackError) -> None:
        users = [p.id for p in self._policy.holders((Role.CHANGE_MANAGER,), service="")]
        text = (
            f"<@{actor.user}> asked to roll back {change}. {error.brief} "
            "Nothing runs without a documented plan. Please provide one, or decide on a forward-fix."
        )
        try:
            await self._chat.tell(users, text)
        except Exception:  # noqa: BLE001 - the answer must not depend on what the chat raises
            # The requester is told in any case; the audit holds that the escalation could not be delivered.
            _log.exception("the change managers could not be told of the missing plan of %s", change)
            await self._note(actor, "escalation.undelivered", "the chat did not take it", {"change": change})

    async def _refuse_repetition(self, change: str, actor: Actor) -> None:
        latest = await self._runs.latest_of(change)
        if latest is None:
            return
        if latest.state not in FINAL and latest.state not in (State.COMPLETE, State.ABORTED):
            words = f"{change} is being rolled back already: {latest.id} is {latest.state.value.replace('_', ' ')}."
            await self._refuse(
                actor, "rollback.request", RefusedError(words, untouched="It was left alone."), latest
            )
        done = latest.completed_at
        if done is None:
            return
        plan = await self._plan(change, actor)
        if plan.deployed_at < done:
            error = RefusedError(
                f"{change} was rolled back already by {latest.id}, and has not been deployed since.",
                untouched="Nothing was started: restoring again would lose what has been written since.",
                resolution="If it was deployed again, enter the new deployed_at and backups in the plan.",
            )
            await self._refuse(actor, "rollback.request", error, latest)

    async def _require_awaiting(self, run: Run, actor: Actor, version: int | None) -> None:
        if run.state is not State.AWAITING_AUTHORITY or version not in (None, run.state_seq):
            await self._refuse(actor, "rollback.stale", self._stale(run), run)
        asked: events.AuthorityAsked = run.last(events.AuthorityAsked)
        now = self._clock.now()
        if now < asked.expires_at:
            return
        await self._try_append(run, events.Expired(at=now, who="policy", why="nobody authorised it in time"))
        error = RefusedError(
            f"The request for authority of {run.id} expired.",
            untouched="Nothing was run.",
            resolution=f"Ask again with `/rollback {run.plan.change}`; the checks are made anew.",
        )
        await self._refuse(actor, "rollback.expired", error, run)

    async def _void_if_changed(self, run: Run, actor: Actor) -> None:
        changes = await difference(run, plans=self._plans, inventory=self._inventory)
        if not changes:
            return
        why = f"the plan or its targets changed since the checks: {'; '.join(changes)}"
        await self._try_append(run, events.Refused(at=self._clock.now(), who=actor.user, why=why))
        error = RefusedError(
            f"The approval does not count: {why}.",
            untouched="Nothing was run.",
            resolution=f"Read the change and ask again with `/rollback {run.plan.change}`.",
        )
        await self._refuse(actor, "rollback.voided", error, run)

    def _authorisation(
        self, run: Run, actor: Actor, ruling: authority.Ruling, role: Role, reason: str
    ) -> events.Authorised:
        asked: events.AuthorityAsked = run.last(events.AuthorityAsked)
        return events.Authorised(
            at=self._clock.now(),
            who=actor.user,
            why=reason.strip() or run.trigger,
            name=self._name(actor.user),
            role=role.words(),
            grounds=ruling.reason,
            plan_digest=asked.plan_digest,
            targets_digest=asked.targets_digest,
        )
