"""What people say to a step that they do themselves: that it is done, or that it cannot be done."""

from __future__ import annotations

from bot.domain import authority, control, events, manual
from bot.domain.announcements import ask_of
from bot.domain.authority import Ruling
from bot.domain.errors import RefusedError
from bot.domain.events import AnyEvent
from bot.domain.run import Run, StepState
from bot.engine.controls import Controls
from bot.engine.reception import Actor, required


class ByHand(Controls):
    """People's words to a step that waits for a person. Each needs the right to say it, and goes on record."""

    async def done(
        self, rollback_id: str, actor: Actor, *, version: int | None, step: str, reason: str, evidence: str = ""
    ) -> Run:
        """Confirm that a step was done that a person does.

        Args:
            rollback_id: Which.
            actor: Who did it, or answers for it.
            version: Number of the event by which it was asked for; another one is stale. None: as it stands.
            step: The step.
            reason: What was done.
            evidence: A text or link that shows it; some steps demand one.
        """

        async def make(run: Run) -> AnyEvent:
            asked, ruling = await self._answerable(run, actor, "rollback.done", step, version)
            did, shown = required(reason), evidence.strip()
            if asked.evidence == "required" and not shown:
                error = RefusedError(
                    f"Step {step} needs evidence: a text or a link that shows that it was done.",
                    untouched="It still waits.",
                    resolution=f"Say it once more with the evidence: done {run.id} {step} WHAT evidence: LINK.",
                )
                await self._refuse(actor, "rollback.done", error, run)
            name = self._name(actor.user)
            return events.StepSucceeded(
                at=self._clock.now(),
                who=actor.user,
                why=did,
                step=step,
                attempt=run.status(step).attempt,
                words=f"done by {name}: {did}",
                name=name,
                role=ruling.role.words() if ruling.role else "",
                evidence=shown[: manual.LONGEST_EVIDENCE],
            )

        return await self._put(rollback_id, actor, make)

    async def cannot(self, rollback_id: str, actor: Actor, *, version: int | None, step: str, reason: str) -> Run:
        """Say that a step cannot be done that a person does: then somebody decides about it as about any failure.

        Args:
            rollback_id: Which.
            actor: Who says so.
            version: Number of the event by which it was asked for; another one is stale. None: as it stands.
            step: The step.
            reason: Why not.
        """

        async def make(run: Run) -> AnyEvent:
            _, ruling = await self._answerable(run, actor, "rollback.cannot", step, version)
            why, name = required(reason), self._name(actor.user)
            return events.StepFailed(
                at=self._clock.now(),
                who=actor.user,
                why=why,
                step=step,
                attempt=run.status(step).attempt,
                brief=f"{name} says that it cannot be done: {why.rstrip('.')}.",
                resolution="Decide: retry asks for it once more, mark done and skip go on without it.",
                name=name,
                role=ruling.role.words() if ruling.role else "",
            )

        return await self._put(rollback_id, actor, make)

    async def _answerable(
        self, run: Run, actor: Actor, what: str, step_id: str, version: int | None
    ) -> tuple[manual.ManualStep, Ruling]:
        """Return the step and by which right the person answers; refuse what waits for nobody, or not for them."""
        if run.state not in control.STEERABLE or run.giving_up or version not in (None, manual.asked(run, step_id)):
            await self._refuse(actor, what, self._stale(run), run)
        step = next((each for each in manual.waiting(run) if each.id == step_id), None)
        if step is None:
            status = run.status(step_id)
            told = f"it is {status.state.value}. {status.words}" if status.state is not StepState.PENDING else ""
            words = f"Step {step_id[:80]} does not wait for a person{f': {told}' if told else '.'}".strip()
            await self._refuse(actor, what, RefusedError(words, untouched="Nothing was changed."), run)
        ruling = authority.may_do(self._policy, ask_of(run), actor.user, roles=step.roles)
        await self._allowed(run, actor, what, ruling)
        return step, ruling
