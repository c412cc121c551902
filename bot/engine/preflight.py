"""Before anything is touched: the checks, the question for authority, the loss, and whether the approval binds."""

from __future__ import annotations

from datetime import timedelta

from bot.domain import events
from bot.domain.actuation import Loss, Verdict
from bot.domain.announcements import ask_of
from bot.domain.authority import approving_roles
from bot.domain.plan import Step
from bot.domain.run import Run
from bot.domain.times import in_words
from bot.engine.aid import Aid
from bot.engine.checks import Checks
from bot.engine.drift import difference
from bot.engine.journal import Hold, unchanged
from bot.engine.world import World


class Preflight:
    """Takes one rollback from the request to the beginning of execution.

    Args:
        world: What the engine works with.
        hold: The lease and the journal.
        aid: Measures what would be lost.
    """

    def __init__(self, world: World, hold: Hold, *, aid: Aid) -> None:
        self._world = world
        self._hold = hold
        self._aid = aid

    async def check(self, run: Run, *, last: bool) -> None:
        """Look at the preconditions that this zone reaches; the last zone draws the conclusion."""
        world = self._world
        if run.last(events.CheckingBegan) is None:
            began = events.CheckingBegan(
                at=world.clock.now(), who=world.settings.owner, why="the rollback was requested"
            )
            await self._hold.write(began, still=unchanged(run))
            return
        found = await Checks(world, aid=self._aid).look(run, last=last)
        if await self._hold.write(found, still=unchanged(run)) and isinstance(found, events.Checked):
            await self._conclude(self._hold.run, found)

    async def begin(self, run: Run) -> bool:
        """Begin if the approval still binds and no unconfirmed data would be lost; return whether it began."""
        world = self._world
        authorised: events.Authorised = run.last(events.Authorised)
        void = await self._why_void(run, authorised)
        if void:
            await self._refuse(run, f"the approval is void, {void}. Nothing was run.")
            return False
        question = None if run.last(events.LossConfirmed) else await self._question(run)
        if question:
            await self._hold.write(question, still=unchanged(run))
            return False
        began = events.ExecutionBegan(at=world.clock.now(), who=authorised.who, why=authorised.why, blocks=True)
        return await self._hold.write(began, still=unchanged(run))

    async def _question(self, run: Run) -> events.ConfirmationAsked | None:
        """Return what a second person must confirm: the losses, if the point of no return is passed."""
        losses = await self._aid.losses(run, run.plan.steps())
        why = past_return(run, losses, since=self._world.clock.now() - run.plan.no_return_at())
        if not why:
            return None
        return events.ConfirmationAsked(
            at=self._world.clock.now(),
            who=self._world.settings.owner,
            why=why,
            losses=tuple(_found(step, loss) for step, loss in losses),
        )

    async def _conclude(self, run: Run, checked: events.Checked) -> None:
        blocking = [finding for finding in checked.findings if finding.verdict is Verdict.FAIL]
        if blocking:
            first = blocking[0]
            parts = [f"{first.subject}: {first.words}", first.resolution]
            if len(blocking) > 1:
                parts.append(f"{len(blocking) - 1} more checks failed, see the thread")
            why = " ".join(f"{part.rstrip('.')}." for part in (*parts, "Nothing was changed") if part)
            await self._refuse(run, why)
        else:
            await self._hold.write(self._asking(run), still=unchanged(run))

    async def _refuse(self, run: Run, why: str) -> None:
        world = self._world
        refused = events.Refused(at=world.clock.now(), who=world.settings.owner, why=why)
        await self._hold.write(refused, still=unchanged(run))

    def _asking(self, run: Run) -> events.AuthorityAsked:
        world = self._world
        now = world.clock.now()
        roles, why = approving_roles(world.policy, ask_of(run), now=now)
        names = [p.name for p in world.policy.holders(roles, service=run.plan.service) if p.id != run.requester]
        return events.AuthorityAsked(
            at=now,
            who=world.settings.owner,
            why="all preconditions hold",
            expires_at=now + world.policy.approval_valid,
            plan_digest=run.plan.digest(),
            targets_digest=run.inventory.digest(),
            who_may=f"{', '.join(names) or 'nobody'} ({why})",
        )

    async def _why_void(self, run: Run, authorised: events.Authorised) -> str:
        """Return why the approval does not permit to begin now; empty if it does."""
        asked: events.AuthorityAsked = run.last(events.AuthorityAsked)
        valid = asked.expires_at - asked.at  # as it was promised: the policy may be another one by now
        if self._world.clock.now() >= authorised.at + valid:
            return f"no worker could begin within {in_words(valid)} of it"
        changes = await difference(run, plans=self._world.plans, inventory=self._world.inventory)
        bound = (authorised.plan_digest, authorised.targets_digest)
        if changes or bound != (run.plan.digest(), run.inventory.digest()):
            what = "; ".join(changes) or "it was given for another plan or other targets"
            return f"the plan or its targets changed: {what}"
        return ""


def past_return(run: Run, losses: tuple[tuple[Step, Loss], ...], *, since: timedelta) -> str:
    """Return by what the point of no return is passed, as far as the plan's steps destroy data; empty: it is not.

    Args:
        run: The rollback.
        losses: What its steps would destroy.
        since: Time since the point of no return; negative before it.
    """
    reasons = [f"{in_words(since)} past the point of no return ({run.plan.point_of_no_return.reason})"]
    by_time = reasons if since >= timedelta(0) and any(step.destroys for step in run.plan.steps()) else []
    return "; ".join(dict.fromkeys((*by_time, *(loss.beyond for _, loss in losses if loss.beyond))))


def _found(step: Step, loss: Loss) -> events.LossFound:
    return events.LossFound(
        subject=step.words(), verdict=Verdict.WARN, words=loss.words, step=step.id, since=loss.since, rows=loss.rows
    )
