"""terraform.apply: earlier code, planned and shown by the checks, applied as exactly the plan that was approved."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from actuators.remedies import cannot_look, shown
from actuators.terraform import aid, approval, code, core, places, saved
from actuators.terraform.core import Core, LockedError
from actuators.terraform.preview import hidden
from actuators.terraform.saved import SavedPlan
from actuators.terraform.steps import TerraformApply
from actuators.terraform.values import State
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Remedy, Verdict
from bot.domain.errors import ActuatorError

_ONE_DONE = re.compile(r"^(\S.*): (?:Creation|Modifications|Destruction) complete")
_STALE = re.compile(r"plan is stale", re.IGNORECASE)


class StaleError(ActuatorError):
    """The state has been written since the plan was made."""


class ApplyActuator:
    """Brings a stack back to the code of a pinned commit."""

    async def check(self, step: TerraformApply, context: Context) -> tuple[Check, ...]:
        """Verify the tool, the code, the state and its lock; show and keep what the plan would do. Read only."""
        found: list[Check] = []
        subject = f"Tool of {step.target}"
        try:
            stack = places.stack_of(step, context)
            found.append(Check(subject, Verdict.OK, f"{await core.version(stack)} on the worker"))
            subject = f"Code of {step.target}"
            found.append(Check(subject, Verdict.OK, await code.verify(stack, step.commit)))
            subject = f"State of {step.target}"
            saved.forget_step(step, context, noted=True)
            async with core.opened(step, context) as tool:
                found.append(Check(subject, Verdict.OK, (await tool.state()).words()))
                subject = f"Plan for {step.target}"
                plan, held = await _looked(tool)
                if held is not None:
                    found.append(Check(f"Lock of {step.target}", Verdict.WARN, held.brief, held.resolution))
                found.append(await _preview(subject, step, plan, tool, context))
        except ActuatorError as error:
            found.append(cannot_look(subject, error))
        return tuple(found)

    async def observe(self, step: TerraformApply, context: Context) -> Observation:
        """Plan, and look whether anything is left to do."""
        try:
            async with core.opened(step, context) as tool:
                plan = await tool.plan()
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        if plan.changes:
            words = f"{step.target} is not as {step.commit[:10]} describes it: {approval.told(plan.summary)}"
            return Observation(Presence.ABSENT, words, plan.summary.counts())
        words = f"{step.target} is as {step.commit[:10]} describes it: no changes"
        return Observation(Presence.PRESENT, words, plan.summary.counts())

    async def apply(self, step: TerraformApply, context: Context) -> Outcome:
        """Apply the plan that was approved; where it is lost or stale, one that does the same or the rest of it."""
        saved.forget_step(step, context, noted=False)
        seal = approval.seal_for(step, context)
        kept = await asyncio.to_thread(saved.find, step, context, seal) if seal else None
        outcome = await _as_saved(step, context, kept) if kept is not None and kept.intact() else None
        outcome = outcome or await _anew(step, context, kept)
        saved.forget(step, context)
        return outcome

    async def remedies(self, step: TerraformApply, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what shows the state, and what mends it as far as the failure tells how."""
        return await aid.remedies(step, fault, context)


async def _looked(tool: Core) -> tuple[SavedPlan, LockedError | None]:
    """Return the plan for the approver, and who holds the lock, which may be free again when the step runs."""
    try:
        return await tool.plan(), None
    except LockedError as held:
        return await tool.plan(lock=False), held


async def _preview(subject: str, step: TerraformApply, plan: SavedPlan, tool: Core, context: Context) -> Check:
    seal = await asyncio.to_thread(plan.manifest.seal)
    if not plan.changes:
        return Check(subject, Verdict.OK, "no changes: nothing is left to do", seal=seal)
    detail = shown(plan.preview(secrets=tool.secrets), most=approval.MOST_SHOWN, secrets=tool.secrets)
    over = approval.over(step.expect, plan.summary)
    if over:
        words = f"More than the step permits: {over}. Nothing was applied."
        resolution = "Look at the addresses; correct `expect` if they are meant, or the `commit`."
        return Check(subject, Verdict.FAIL, words, resolution, detail)
    if step.seal not in {None, seal}:
        words = f"The plan is {seal[:12]}, not the pinned {str(step.seal)[:12]}: {approval.told(plan.summary)}."
        return Check(subject, Verdict.FAIL, words, "Look at the plan, and pin this one if it is meant.", detail)
    saved.keep(tool.folder, context, manifest=plan.manifest, seal=seal, sha256=plan.sha256)
    return Check(subject, Verdict.OK, approval.told(plan.summary), detail=detail, seal=seal)


async def _as_saved(step: TerraformApply, context: Context, kept: saved.Kept) -> Outcome | None:
    """Apply the plan that waits on this worker; None: it is of no use any more, and nothing was applied."""
    async with core.reopened(step, context, kept.folder) as tool:
        try:
            await tool.init()
            plan = await tool.saved_plan()
        except ActuatorError:
            # The folder is not what it was. If the backend is the reason, planning anew says so.
            return None
        if plan.manifest != kept.manifest or approval.over(step.expect, plan.summary):
            return None
        try:
            return await _carry_out(tool, plan, await tool.state(), step, context)
        except StaleError:
            kept.spend()
            return None


async def _anew(step: TerraformApply, context: Context, kept: saved.Kept | None) -> Outcome:
    """Plan, refuse what was not approved, and apply that plan.

    Raises:
        ActuatorError: If it would do anything that was not approved, or could not be applied.
    """
    async with core.opened(step, context) as tool:
        # First: where there is no state, a plan would create all of it once more.
        before = await tool.state()
        context.report(Progress(0, None, "resources", "Planning"))
        plan = await tool.plan()
        if not plan.changes:
            facts = _facts(step, plan)
            return Outcome(f"{step.target} is as {step.commit[:10]} describes it: no changes", facts)
        seal = await asyncio.to_thread(plan.manifest.seal)
        refusal = approval.refusal(
            step, context, plan, seal=seal, approved=kept.manifest if kept else None, secrets=tool.secrets
        )
        if refusal is not None:
            waiting = await asyncio.to_thread(saved.find, step, context, seal)
            if waiting is None or not waiting.intact():
                # It waits for somebody who approves it as a remedy.
                saved.keep(tool.folder, context, manifest=plan.manifest, seal=seal, sha256=plan.sha256)
            raise refusal
        return await _carry_out(tool, plan, before, step, context)


async def _carry_out(tool: Core, plan: SavedPlan, before: State, step: TerraformApply, context: Context) -> Outcome:
    """Keep the state, and apply the saved plan; never on a state that does not know what was done before."""
    waiting = places.unsaved(before, step, context)
    if waiting is not None:
        raise ActuatorError(
            f"The state of {step.target} after an earlier attempt was never written. What it should hold"
            f" {aid.rescued(waiting['kept_state'], waiting['kept_sha256'])}.",
            untouched="Nothing was applied.",
            resolution="Restore that state first; if it is not wanted, move the file away. Then retry.",
        )
    kept = places.keep(before, step, context)
    await _apply(tool, plan, step, context)
    after = await tool.state()
    words = f"{step.target}: {plan.summary.words()}, done by the saved plan {plan.sha256[:12]}; {after.words()}"
    facts = {**_facts(step, plan), **kept, "serial": after.serial}
    return Outcome(words, facts, shown(plan.summary.lines()))


def _facts(step: TerraformApply, plan: SavedPlan) -> dict[str, str | int]:
    return {"commit": step.commit, "plan_sha256": plan.sha256, **plan.summary.counts()}


async def _apply(tool: Core, plan: SavedPlan, step: TerraformApply, context: Context) -> None:
    """Apply exactly the plan that was looked at.

    Raises:
        StaleError: If the state has moved on.
        ActuatorError: If the file is another one now, or applying failed.
    """
    total = sum(plan.summary.counts().values())
    context.report(Progress(0, total, "resources", "Applying the saved plan"))
    if places.digest(plan.file.read_bytes()) != plan.sha256:
        raise ActuatorError(
            f"The saved plan for {tool.target} was changed after it had been looked at.",
            untouched="Nothing was applied.",
            resolution="Look who else can write to the stack's `folder`.",
        )
    # A provider may quote in an error what the code marks as sensitive.
    tool = replace(tool, secrets=hidden(plan.document, tool.secrets))
    done = 0

    def progress(line: str) -> None:
        nonlocal done
        match = _ONE_DONE.match(line)
        if match is not None:
            done += 1
            context.report(Progress(min(done, total), total, "resources", match[1]))

    try:
        await tool.run("apply", "-input=false", "-no-color", "-lock-timeout=0s", str(plan.file), on_line=progress)
    except ActuatorError as error:
        if _STALE.search(error.output) is None:
            raise _unsaved(tool, error, places.rescue(tool.module, step, context)) from None
        raise StaleError(
            f"The state of {tool.target} was changed by somebody else after the plan had been made.",
            untouched="Nothing was applied.",
            resolution="The next attempt plans again, and compares again with what was approved.",
            transient=True,
            output=error.output,
        ) from None
    except asyncio.CancelledError:
        places.rescue(tool.module, step, context)
        raise


def _unsaved(tool: Core, error: ActuatorError, rescued: dict[str, str] | None) -> ActuatorError:
    """Return a failure with where the state is, if the backend did not take it: the folder of the run goes."""
    if rescued is None:
        return error
    return ActuatorError(
        f"The state of {tool.target} could not be written after applying. What it should hold"
        f" {aid.rescued(rescued['kept_state'], rescued['kept_sha256'])}.",
        untouched="What was done until then stays, and the state does not know it.",
        resolution="See to the backend, then restore that state before anything else; after that, retry.",
        output=error.output,
    )
