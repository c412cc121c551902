"""terraform.apply: earlier code, planned, compared with what was approved, and applied as that saved plan."""

from __future__ import annotations

import re
from collections.abc import Iterator

from actuators.remedies import shown
from actuators.terraform import aid, code, core, places
from actuators.terraform.core import Core, LockedError, SavedPlan
from actuators.terraform.steps import Expect, TerraformApply
from actuators.terraform.values import Summary
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Remedy, Verdict
from bot.domain.errors import ActuatorError

_ONE_DONE = re.compile(r"^(\S.*): (?:Creation|Modifications|Destruction) complete")
_SHOWN_IN_WORDS = 8


class ApplyActuator:
    """Brings a stack back to the code of a pinned commit."""

    async def check(self, step: TerraformApply, context: Context) -> tuple[Check, ...]:
        """Verify the tool, the code, the state and its lock, and show what the plan would do now; read only."""
        found: list[Check] = []
        subject = f"Tool of {step.target}"
        try:
            stack = places.stack_of(step, context)
            found.append(Check(subject, Verdict.OK, f"{await core.version(stack)} on the worker"))
            subject = f"Code of {step.target}"
            found.append(Check(subject, Verdict.OK, await code.verify(stack, step.commit)))
            subject = f"State of {step.target}"
            async with core.opened(step, context) as tool:
                found.append(Check(subject, Verdict.OK, (await tool.state()).words()))
                subject = f"Plan for {step.target}"
                plan = await tool.plan()
        except LockedError as error:
            # The lock may be free again by the time that the step runs.
            found.append(Check(f"Lock of {step.target}", Verdict.WARN, error.brief, error.resolution))
        except ActuatorError as error:
            found.append(aid.failed(subject, error))
        else:
            found.append(_preview(subject, step, plan))
        return tuple(found)

    async def observe(self, step: TerraformApply, context: Context) -> Observation:
        """Plan, and look whether anything is left to do."""
        try:
            async with core.opened(step, context) as tool:
                plan = await tool.plan()
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        if plan.changes:
            words = f"{step.target} is not as {step.commit[:10]} describes it: {_told(plan.summary)}"
            return Observation(Presence.ABSENT, words, plan.summary.counts())
        words = f"{step.target} is as {step.commit[:10]} describes it: no changes"
        return Observation(Presence.PRESENT, words, plan.summary.counts())

    async def apply(self, step: TerraformApply, context: Context) -> Outcome:
        """Plan, refuse what is more than was approved, keep the state, and apply the saved plan."""
        places.forget_leftovers(step, context)
        async with core.opened(step, context) as tool:
            before = await tool.state()
            context.report(Progress(0, None, "resources", "Planning"))
            plan = await tool.plan()
            facts = {"commit": step.commit, "plan_sha256": plan.sha256, **plan.summary.counts()}
            if not plan.changes:
                return Outcome(f"{step.target} is as {step.commit[:10]} describes it: no changes", facts)
            _must_fit(step, plan.summary)
            kept = places.keep(before, step, context)
            await _apply(tool, plan, context)
            after = await tool.state()
        words = f"{step.target}: {plan.summary.words()}, done by the saved plan {plan.sha256[:12]}; {after.words()}"
        return Outcome(words, {**facts, **kept, "serial": after.serial}, shown(plan.summary.lines()))

    async def remedies(self, step: TerraformApply, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what shows the state, and what mends it as far as the failure tells how."""
        return await aid.remedies(step, fault, context)


async def _apply(tool: Core, plan: SavedPlan, context: Context) -> None:
    """Apply exactly the plan that was looked at.

    Raises:
        ActuatorError: If the file is another one now, the state has moved on, or applying failed.
    """
    total = sum(plan.summary.counts().values())
    context.report(Progress(0, total, "resources", "Applying the saved plan"))
    if places.digest(plan.file.read_bytes()) != plan.sha256:
        raise ActuatorError(
            f"The saved plan for {tool.target} was changed after it had been looked at.",
            untouched="Nothing was applied.",
            resolution="Look who else can write to the stack's `folder`.",
        )
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
        if "plan is stale" not in error.output:
            raise
        raise ActuatorError(
            f"The state of {tool.target} was changed by somebody else after the plan had been made.",
            untouched="Nothing was applied.",
            resolution="The next attempt plans again, and compares again with what was approved.",
            transient=True,
            output=error.output,
        ) from None


def _must_fit(step: TerraformApply, summary: Summary) -> None:
    """Check that the plan does no more than was approved.

    Raises:
        ActuatorError: If it does, with its summary.
    """
    over = "; ".join(_over(step.expect, summary))
    if over:
        raise ActuatorError(
            f"The plan for {step.target} would do more than was approved: {over}. It has {summary.words()};"
            f" approved are {step.expect.words()} at most.",
            untouched="Nothing was applied.",
            resolution="Look at the addresses. If they are meant, have a plan with these limits approved; else look"
            " what has changed since the deployment.",
            output=shown(summary.lines()),
        )


def _over(limits: Expect, summary: Summary) -> Iterator[str]:
    for name, limit, found in (
        ("destroy", limits.destroy, summary.destroy),
        ("change", limits.change, summary.change),
        ("add", limits.add, summary.add),
    ):
        if len(found) > limit:
            yield f"{len(found)} instead of {limit} to {name} ({_some(found)})"


def _preview(subject: str, step: TerraformApply, plan: SavedPlan) -> Check:
    if not plan.changes:
        return Check(subject, Verdict.OK, "no changes: nothing is left to do")
    over = "; ".join(_over(step.expect, plan.summary))
    if not over:
        return Check(subject, Verdict.OK, _told(plan.summary))
    words = f"More than the step permits: {over}. Nothing was applied."
    resolution = "Look at the addresses; correct `expect` if they are meant, or the `commit`."
    return Check(subject, Verdict.FAIL, words, resolution)


def _told(summary: Summary) -> str:
    lines = summary.lines()
    return f"{summary.words()} ({_some(lines)})" if lines else summary.words()


def _some(lines: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(lines) - _SHOWN_IN_WORDS} more" if len(lines) > _SHOWN_IN_WORDS else ""
    return f"{', '.join(lines[:_SHOWN_IN_WORDS])}{more}"
