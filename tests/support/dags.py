"""Plans of any shape, for properties of execution."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bot.domain.plan import Plan, Step
from bot.domain.run import SETTLED, Run
from tests.support import plans


@st.composite
def _dags(draw: st.DrawFn, prefix: str, *, probes_only: bool, by_hand: bool = False) -> list[dict[str, Any]]:
    """Draw steps of one phase; each may need any of those before it, listed in any order."""
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        earlier = [step["id"] for step in found]
        needs = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        make = plans.probe if probes_only or draw(st.integers(0, 3)) == 0 else plans.act
        name = f"{prefix}{number}"
        if by_hand and draw(st.integers(0, 3)) == 0:
            found.append(plans.by_hand(name, needs=needs))
        else:
            found.append(make(name, needs=needs, attempts=draw(st.integers(1, 3))))
    return draw(st.permutations(found))


@st.composite
def any_plan(draw: st.DrawFn, *, by_hand: bool = False) -> Plan:
    """Draw a plan of one to three phases whose steps form any directed acyclic graph.

    Args:
        draw: Hypothesis' own.
        by_hand: Whether people do some of the steps.
    """
    numbers = range(draw(st.integers(1, 3)))
    phases = [draw(_dags(f"p{number}s", probes_only=False, by_hand=by_hand)) for number in numbers]
    return plans.plan_of(phases, verification=draw(_dags("v", probes_only=True)))


def settled(run: Run, steps: tuple[Step, ...]) -> bool:
    """Return whether all of these steps are done or skipped."""
    return all(run.status(step.id).state in SETTLED for step in steps)


def group_of(run: Run, step_id: str) -> int:
    """Return the number of the step's phase; the verification comes after all phases."""
    groups = (*(phase.steps for phase in run.plan.phases), run.plan.verification.steps)
    return next(number for number, steps in enumerate(groups) if any(step.id == step_id for step in steps))


def may_begin(run: Run, step: Step) -> bool:
    """Return whether every phase before the step's own and every step that it needs is settled."""
    groups = (*(phase.steps for phase in run.plan.phases), run.plan.verification.steps)
    before = all(settled(run, steps) for steps in groups[: group_of(run, step.id)])
    return before and all(run.status(need).state in SETTLED for need in step.needs)
