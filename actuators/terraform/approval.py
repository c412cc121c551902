"""Whether a plan is what was approved, or the rest of it; and what is said where it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from actuators.remedies import shown, titled
from actuators.terraform.changes import Manifest, strange
from actuators.terraform.preview import hidden, lines_of
from actuators.terraform.saved import SavedPlan
from actuators.terraform.steps import Expect, TerraformApply
from actuators.terraform.values import Summary
from bot.domain.actuation import Context, Fault, Remedy
from bot.domain.errors import ActuatorError

MOST_SHOWN = 420
"""Lines of a plan in a thread."""
_SHORT = 12
"""Characters of a seal, for people."""
_SHOWN_IN_WORDS = 8
_REFUSED = re.compile(r"\Aplan ([0-9a-f]{64}): (\d+) to add, (\d+) to change, (\d+) to destroy")
"""The first line of what a refusal shows, which the remedy goes by."""


def seal_for(step: TerraformApply, context: Context) -> str:
    """Return the digest of the only plan that may be applied; empty: none was approved."""
    return step.seal or context.approved.get(step.id, "")


def refusal(
    step: TerraformApply,
    context: Context,
    plan: SavedPlan,
    *,
    seal: str,
    approved: Manifest | None,
    secrets: tuple[str, ...],
) -> ActuatorError | None:
    """Return why a plan may not be applied; None: it was approved, or is the rest of what was.

    Args:
        step: The step.
        context: The run.
        plan: The plan that would do what is left now.
        seal: Its seal.
        approved: What was approved, where that is known on this worker.
        secrets: Values that nobody may see.
    """
    wanted = seal_for(step, context)
    strangers = strange(plan.document, approved) if approved is not None else ()
    beyond = over(step.expect, plan.summary)
    if beyond:
        brief = (
            f"The plan for {step.target} would do more than was approved: {beyond}. It has {plan.summary.words()};"
            f" approved are {step.expect.words()} at most."
        )
    elif not wanted:
        brief = f"No plan for {step.target} was shown and approved; it would be {told(plan.summary)}."
    elif seal == wanted or (approved is not None and not strangers):
        return None
    else:
        keys = [entry.key for entry in strangers]
        differing = f" Not approved: {_some(keys)}." if keys else " What was approved is not known here."
        brief = (
            f"The plan for {step.target} is not the approved {wanted[:_SHORT]}, nor the rest of it: it is"
            f" {seal[:_SHORT]}, {plan.summary.words()}.{differing}"
        )
    masked = hidden(plan.document, secrets)
    strange_lines = [line for entry in strangers for line in lines_of(entry, masked=masked)]
    lines = [
        *(["Not approved:", *strange_lines, "The whole plan:"] if strange_lines else []),
        *plan.preview(secrets=secrets),
    ]
    return ActuatorError(
        brief,
        untouched="Nothing was applied.",
        resolution=f"Look at the plan. If it is meant, {_way_on(step)}; else find out who has changed what"
        " since the approval.",
        # The first line is what the remedy goes by; no secret may happen to mask a part of it.
        output=f"plan {seal}: {plan.summary.words()}\n{shown(lines, secrets=secrets)}",
    )


def _way_on(step: TerraformApply) -> str:
    # A remedy has none itself: it is the failed step that offers them.
    return "retry the failed step, which offers it" if step.seal else "the remedy applies exactly this one"


def remedy(step: TerraformApply, fault: Fault) -> Iterator[Remedy]:
    """Yield the remedy for a plan that was refused: exactly that one, for whoever may authorise the rollback."""
    told_of = _REFUSED.search(fault.output)
    if told_of is None:
        return
    seal, counts = told_of[1], dict(zip(("add", "change", "destroy"), map(int, told_of.groups()[1:]), strict=True))
    some = ", ".join(f"{count} to {verb}" for verb, count in counts.items() if count) or "outputs or records alone"
    yield Remedy(
        f"apply-{seal[:_SHORT]}",
        titled(f"Apply the new plan {seal[:8]} ({some})"),
        f"Applies exactly the plan {seal[:_SHORT]} that was refused and shown: {Expect(**counts).words()}. One that"
        " differs from it is refused again.",
        step.model_copy(update={"id": "apply", "needs": (), "title": "", "expect": Expect(**counts), "seal": seal}),
        settles=True,
    )


def over(limits: Expect, summary: Summary) -> str:
    """Return in words what is beyond the limits; empty: nothing."""
    found = (
        f"{len(addresses)} instead of {limit} to {name} ({_some(addresses)})"
        for name, limit, addresses in (
            ("destroy", limits.destroy, summary.destroy),
            ("change", limits.change, summary.change),
            ("add", limits.add, summary.add),
        )
        if len(addresses) > limit
    )
    return "; ".join(found)


def told(summary: Summary) -> str:
    """Return counts and addresses."""
    lines = summary.lines()
    return f"{summary.words()} ({_some(lines)})" if lines else summary.words()


def _some(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - _SHOWN_IN_WORDS} more" if len(lines) > _SHOWN_IN_WORDS else ""
    return f"{', '.join(lines[:_SHOWN_IN_WORDS])}{more}"
