"""What people can say while a rollback runs: hold, resume, decide, give up, extend, hand over, confirm, lift."""

from __future__ import annotations

import difflib
from datetime import timedelta

from bot.domain import authority, control, events, forecast
from bot.domain.announcements import ask_of
from bot.domain.authority import Ruling
from bot.domain.errors import RefusedError, UnknownServiceError
from bot.domain.events import AnyEvent, Choice
from bot.domain.execution import beyond_return
from bot.domain.lifecycle import State
from bot.domain.run import Run, StepState
from bot.domain.times import in_words
from bot.engine.reception import Actor, Reception, given, required

_LONGEST_EXTENSION = timedelta(hours=24)


class Controls(Reception):
    """People's words to a rollback that runs. Every one is checked, needs a reason, and is recorded."""

    async def hold(self, rollback_id: str, actor: Actor, *, reason: str) -> Run:
        """Pause: running steps end, nothing new begins, until somebody resumes."""

        async def make(run: Run) -> AnyEvent:
            await self._steerable(run, actor, "rollback.hold")
            if run.pause:
                await self._no(run, actor, "rollback.hold", f"{run.pause.name} holds {run.id} already.")
            return events.HoldAsked(
                at=self._clock.now(), who=actor.user, why=required(reason), name=self._name(actor.user)
            )

        return await self._put(rollback_id, actor, make)

    async def resume(self, rollback_id: str, actor: Actor, *, reason: str) -> Run:
        """End a pause. Held steps still need their decisions."""

        async def make(run: Run) -> AnyEvent:
            await self._steerable(run, actor, "rollback.resume")
            if run.pause is None:
                held = [step.id for step in run.plan.steps() if run.status(step.id).state is StepState.HELD]
                more = f" Decide about {', '.join(held)} instead." if held else ""
                await self._no(run, actor, "rollback.resume", f"Nobody holds {run.id}.{more}")
            return events.ResumeAsked(
                at=self._clock.now(), who=actor.user, why=required(reason), name=self._name(actor.user)
            )

        return await self._put(rollback_id, actor, make)

    async def abort(
        self, rollback_id: str, actor: Actor, *, reason: str, stop: bool = False, confirmed: bool = False
    ) -> Run:
        """Give a rollback up; before anything was touched it is stood down.

        Args:
            rollback_id: Which.
            actor: Who says so.
            reason: Why.
            stop: Whether running steps are stopped; otherwise they may end.
            confirmed: Whether the person has read what giving up means beyond the point of no return.

        Raises:
            ConfirmationNeededError: The point of no return is passed, and it was not confirmed.
        """

        async def make(run: Run) -> AnyEvent:
            name, now = self._name(actor.user), self._clock.now()
            if run.state in control.NOT_BEGUN:
                await self._allowed(run, actor, "rollback.abort", authority.may_operate(self._policy, actor.user))
                return events.Rejected(at=now, who=actor.user, why=required(reason), name=name)
            await self._steerable(run, actor, "rollback.abort")
            warning = control.abort_warning(run)
            if warning and not confirmed:
                await self._refuse(actor, "rollback.abort", control.ConfirmationNeededError(warning), run)
            return events.AbortAsked(
                at=now, who=actor.user, why=required(reason), name=name, stop=stop, confirmed=warning
            )

        return await self._put(rollback_id, actor, make)

    async def decide(
        self,
        rollback_id: str,
        actor: Actor,
        *,
        version: int | None,
        step: str,
        choice: Choice,
        reason: str,
        confirmed: bool = False,
    ) -> Run:
        """Decide about a held step. To go on without having seen its effect needs who may authorise the rollback.

        Args:
            rollback_id: Which.
            actor: Who decides.
            version: The version that the button carries, an older one is stale; None: as it stands.
            step: The step that is held.
            choice: What is to happen.
            reason: Why.
            confirmed: With ABORT, see `abort`.
        """

        async def make(run: Run) -> AnyEvent:
            await self._held(run, actor, step, version)
            await self._allowed(run, actor, "rollback.decide", self._ruling(run, actor, step, choice))
            return events.Decided(
                at=self._clock.now(),
                who=actor.user,
                why=required(reason),
                choice=choice,
                step=step,
                name=self._name(actor.user),
            )

        if choice is Choice.ABORT:
            await self._held(await self._load(rollback_id), actor, step, version)
            return await self.abort(rollback_id, actor, reason=reason, confirmed=confirmed)
        return await self._put(rollback_id, actor, make)

    async def remedy(self, rollback_id: str, actor: Actor, *, step: str, remedy: str, reason: str) -> Run:
        """Let a remedy be run that was offered for a held step.

        Args:
            rollback_id: Which.
            actor: Who wants it.
            step: The step that is held.
            remedy: The remedy's id, or the id of the step that it runs.
            reason: Why.
        """

        async def make(run: Run) -> AnyEvent:
            await self._held(run, actor, step, None)
            offered = next((o for o in run.remedies(step) if remedy in (o.id, o.step["id"])), None)
            if offered is None:
                known = ", ".join(o.id for o in run.remedies(step)) or "none"
                words = f"No remedy {remedy[:60]!r} is offered for {step[:60]}. Offered: {known}."
                await self._refuse(actor, "rollback.remedy", RefusedError(words, untouched="Nothing was run."), run)
            key = str(offered.step["id"])
            if run.status(key).state in (StepState.PENDING, StepState.STARTED) and key in run.steps:
                await self._no(run, actor, "rollback.remedy", f"{offered.title!r} is under way already.")
            ruling = self._may_waive(run, actor) if offered.acts else self._may_steer(run, actor)
            await self._allowed(run, actor, "rollback.remedy", ruling)
            return events.RemedyChosen(
                at=self._clock.now(),
                who=actor.user,
                why=given(reason),
                step=step,
                remedy=key,
                name=self._name(actor.user),
                role=ruling.role.words() if ruling.role else "",
            )

        return await self._put(rollback_id, actor, make)

    async def extend(self, rollback_id: str, actor: Actor, *, by: timedelta | None, reason: str) -> Run:
        """Extend the window and send ROLLBACK EXTENSION.

        Args:
            rollback_id: Which.
            actor: Who says so.
            by: By how much; None: as the draft proposes.
            reason: Why; empty: the draft's reason.
        """

        async def make(run: Run) -> AnyEvent:
            await self._steerable(run, actor, "rollback.extend")
            now, window = self._clock.now(), forecast.window(run)
            drafted: events.ExtensionDrafted | None = run.last(events.ExtensionDrafted)
            draft = drafted if drafted and drafted.window == window else None
            if by is None and draft is None:
                words = f"No extension of {run.id} is drafted."
                error = RefusedError(words, untouched="The window stands.", resolution="Say by how much, e.g. 20m.")
                await self._refuse(actor, "rollback.extend", error, run)
            if by is not None and not timedelta(0) < by <= _LONGEST_EXTENSION:
                limit = in_words(_LONGEST_EXTENSION)
                error = RefusedError(f"A window is extended by up to {limit}.", untouched="The window stands.")
                await self._refuse(actor, "rollback.extend", error, run)
            estimate = window + by if by is not None else draft.estimate if draft else window
            return events.Extended(
                at=now,
                who=actor.user,
                why=required(reason or (draft.why if draft else "")),
                window=window,
                estimate=estimate,
                share=forecast.forecast(run, now=now, paces={}).share,
                name=self._name(actor.user),
            )

        return await self._put(rollback_id, actor, make)

    async def go_on(self, rollback_id: str, actor: Actor, *, reason: str) -> Run:
        """Choose to go on beyond the window instead of fixing forward."""

        async def make(run: Run) -> AnyEvent:
            await self._steerable(run, actor, "rollback.continue")
            return events.ContinuationChosen(
                at=self._clock.now(), who=actor.user, why=required(reason), name=self._name(actor.user)
            )

        return await self._put(rollback_id, actor, make)

    async def report_cause(self, rollback_id: str, actor: Actor, *, reason: str) -> Run:
        """Report that the deployment was not the cause: the actual one gets an incident of its own."""

        async def make(run: Run) -> AnyEvent:
            await self._steerable(run, actor, "rollback.incident")
            if run.last(events.CauseReported):
                await self._no(run, actor, "rollback.incident", "Another cause was reported already.")
            return events.CauseReported(
                at=self._clock.now(), who=actor.user, why=required(reason), name=self._name(actor.user)
            )

        return await self._put(rollback_id, actor, make)

    async def hand_over(self, rollback_id: str, actor: Actor, *, to: str, reason: str) -> Run:
        """Let another person lead, who must be able to."""

        async def make(run: Run) -> AnyEvent:
            if run.state not in control.STEERABLE | control.NOT_BEGUN:
                await self._refuse(actor, "rollback.hand_over", self._stale(run), run)
            await self._allowed(run, actor, "rollback.hand_over", self._may_steer(run, actor))
            ruling = authority.may_steer(self._policy, ask_of(run), to)
            if not ruling.granted:
                words = f"{self._name(to)[:80]} cannot lead this rollback: they may not operate it."
                await self._refuse(actor, "rollback.hand_over", RefusedError(words), run)
            return events.LeadHandedOver(
                at=self._clock.now(),
                who=actor.user,
                why=given(reason),
                to=to,
                to_name=self._name(to),
                name=self._name(actor.user),
            )

        return await self._put(rollback_id, actor, make)

    async def confirm_loss(self, rollback_id: str, actor: Actor, *, version: int | None, reason: str) -> Run:
        """Confirm, as a second person, that the data named in the question may be lost.

        Args:
            rollback_id: Which.
            actor: Who confirms.
            version: Number of the question's event; another question is stale. None: as it stands.
            reason: Why.
        """

        async def make(run: Run) -> AnyEvent:
            asked = run.open_confirmation
            if run.state is not State.AUTHORISED or asked is None:
                await self._refuse(actor, "rollback.confirm_loss", self._stale(run), run)
            if version not in (None, run.history.index(asked) + 1):
                await self._refuse(actor, "rollback.confirm_loss", self._stale(run), run)
            authorised: events.Authorised = run.last(events.Authorised)
            ruling = authority.may_confirm(self._policy, ask_of(run), actor.user, authoriser=authorised.who)
            await self._allowed(run, actor, "rollback.confirm_loss", ruling)
            words = "; ".join(f"{loss.subject}: {loss.words}" for loss in asked.losses) or asked.why
            return events.LossConfirmed(
                at=self._clock.now(), who=actor.user, why=required(reason), name=self._name(actor.user), words=words
            )

        return await self._put(rollback_id, actor, make)

    async def lift(self, rollback_id: str, actor: Actor, *, reason: str) -> Run:
        """Lift the hold on deployments of the service that a rollback left behind."""

        async def make(run: Run) -> AnyEvent:
            await self._allowed(run, actor, "deployments.lift", self._may_steer(run, actor))
            if not run.blocks_deployments:
                await self._no(run, actor, "deployments.lift", f"{run.id} blocks no deployments.")
            if run.state in control.STEERABLE:
                words = f"{run.id} is still {run.state.value}: deployments of {run.plan.service} stay blocked."
                await self._no(run, actor, "deployments.lift", words)
            return events.DeploymentsReleased(
                at=self._clock.now(), who=actor.user, why=required(reason), name=self._name(actor.user)
            )

        return await self._put(rollback_id, actor, make)

    async def blocking(self, service: str) -> tuple[Run, ...]:
        """Return the rollbacks because of which deployments of a service are blocked, the newest first.

        Raises:
            UnknownServiceError: If nothing blocks it and the inventory does not know it: a name that was misspelt
                must not read as a yes. Without an inventory, as on a pipeline's machine, nobody can tell.
        """
        found = await self._runs.blocking(service)
        known = sorted({target.service for _, target in self._inventory.items()})
        if known and not found and service not in known:
            near = difflib.get_close_matches(service, known, n=1)
            raise UnknownServiceError(
                f"No target of the inventory belongs to a service {service[:80]!r}.",
                untouched="Nothing was looked up.",
                resolution=f"Did you mean {near[0]}?" if near else "Ask for a service that the inventory knows.",
            )
        return found

    async def blocked(self) -> tuple[Run, ...]:
        """Return the rollbacks because of which deployments of any service are blocked, the newest first."""
        return await self._runs.blocked()

    async def _held(self, run: Run, actor: Actor, step: str, version: int | None) -> None:
        if run.state is not State.HELD or version not in (None, run.state_seq):
            await self._refuse(actor, "rollback.decide", self._stale(run), run)
        status = run.status(step)
        if status.state is not StepState.HELD:
            words = f"Step {step[:80]} does not wait for a decision: it is {status.state.value}. {status.words}"
            await self._no(run, actor, "rollback.decide", words.strip())

    async def _steerable(self, run: Run, actor: Actor, what: str) -> None:
        if run.state not in control.STEERABLE or run.giving_up:
            await self._refuse(actor, what, self._stale(run), run)
        await self._allowed(run, actor, what, self._may_steer(run, actor))

    async def _allowed(self, run: Run, actor: Actor, what: str, ruling: Ruling) -> None:
        if not ruling.granted:
            error = RefusedError(ruling.reason, untouched="Nothing was changed.")
            await self._refuse(actor, what, error, run)

    async def _no(self, run: Run, actor: Actor, what: str, words: str) -> None:
        await self._refuse(actor, what, RefusedError(words, untouched="Nothing was changed."), run)

    def _may_steer(self, run: Run, actor: Actor) -> Ruling:
        return authority.may_steer(self._policy, ask_of(run), actor.user)

    def _may_waive(self, run: Run, actor: Actor) -> Ruling:
        return authority.may_approve(self._policy, ask_of(run), actor.user, now=self._clock.now())

    def _ruling(self, run: Run, actor: Actor, step: str, choice: Choice) -> Ruling:
        if choice is not Choice.RETRY:
            return self._may_waive(run, actor)
        if beyond_return(run, run.plan.step(step), now=self._clock.now()):
            authorised: events.Authorised = run.last(events.Authorised)
            return authority.may_confirm(self._policy, ask_of(run), actor.user, authoriser=authorised.who)
        return self._may_steer(run, actor)
