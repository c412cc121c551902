"""Waiting until a workload is as it was pinned, with what its pods are doing in words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from actuators.kubernetes import objects
from actuators.kubernetes.api import FIELD_MANAGER, Api, ApiError, Json
from actuators.kubernetes.particulars import particulars
from actuators.kubernetes.pods import Pod, tally
from actuators.kubernetes.rollout import rollout
from actuators.kubernetes.watching import mirrored
from actuators.kubernetes.workload import Workload, build, look
from bot.domain.actuation import Context, Progress
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from bot.domain.times import in_words, utc_second

_LINES = 20
_MARGIN = 5.0
"""Seconds before the step's own deadline, so that the reasons of the pods are told, not just that it was late."""


@dataclass(frozen=True)
class Goal:
    """What a workload shall be.

    Attributes:
        holds: Whether its template is the wanted one.
        wanted: Whether a pod is one of the wanted form.
        label: What such pods run, in a word.
        pinned: Whether nobody else may set another template meanwhile.
        explain: Returns lines for people on what is not as wanted, beside the pods' own troubles.
        other: What is said of a pod that is called the same and is not wanted.
    """

    holds: Callable[[Workload], bool]
    wanted: Callable[[Workload, Pod], bool]
    label: Callable[[Workload], str]
    pinned: bool = True
    explain: Callable[[Workload], list[str]] | None = None
    other: str = "of another revision"

    def tally(self, workload: Workload) -> str:
        """Say how the pods stand."""
        label = self.label(workload)
        return tally(
            workload.pods,
            lambda pod: self.wanted(workload, pod),
            total=workload.total,
            label=label,
            other=self.other,
        )

    def good(self, workload: Workload) -> int:
        """Return how many pods are as wanted and ready."""
        return sum(pod.ready and not pod.leaving and self.wanted(workload, pod) for pod in workload.pods)

    def reached(self, workload: Workload) -> bool:
        """Whether the rollout is complete, and every pod that stays is of the wanted form and ready."""
        staying = sum(not pod.leaving for pod in workload.pods)
        whole = self.good(workload) == staying >= workload.total
        return whole and self.holds(workload) and rollout(workload).complete


def patience(step: Step) -> float:
    """Return the seconds that an attempt may wait."""
    deadline = step.deadline().total_seconds()
    return max(deadline - _MARGIN, deadline * 0.9)


async def until_reached(
    api: Api,
    context: Context,
    goal: Goal,
    *,
    before: Workload,
    seconds: float,
    help_along: Callable[[Workload], Awaitable[None]] | None = None,
) -> Workload:
    """Follow a workload until the goal is reached.

    Args:
        api: The API server.
        context: The run.
        goal: What is waited for.
        before: The workload before anything was changed: an old verdict of its controller does not count.
        seconds: How long to wait.
        help_along: Called with every state on the way.

    Returns:
        The workload when it was reached.

    Raises:
        ActuatorError: If time is up, its controller gives up, or somebody sets another template. It says how the
            pods stand and what keeps them from being ready.
    """
    latest, told = before, ""
    try:
        async with asyncio.timeout(seconds), mirrored(api, *before.queries()) as mirror:
            while True:
                latest = _built(before, mirror.objects(0), mirror.objects(1), mirror.objects(2))
                told = report(context, goal, latest, told=told)
                if goal.reached(latest):
                    return latest
                if goal.pinned and not goal.holds(latest):
                    latest = await _afresh(api, latest)
                trouble = _trouble(goal, latest, before)
                if trouble:
                    break
                if help_along is not None:
                    await help_along(latest)
                await mirror.changed()
    except TimeoutError:
        time = in_words(timedelta(seconds=seconds))
        trouble = f"did not come to {goal.label(latest)} within {time}: {rollout(latest).words}"
    raise await _failure(api, goal, latest, trouble)


def report(context: Context, goal: Goal, workload: Workload, *, told: str) -> str:
    """Tell how far it is, if that differs from what was told before; return what is told now."""
    words = goal.tally(workload)
    if words != told:
        context.report(Progress(goal.good(workload), workload.total, "pods", words))
    return words


def _built(before: Workload, found: list[Json], revisions: list[Json], pods: list[Json]) -> Workload:
    if found:
        return build(before.title, found[0], revisions, pods)
    raise _deleted(before)


async def _afresh(api: Api, workload: Workload) -> Workload:
    """Read a workload whose template seems to be another one: the watches tell of its parts one after the other."""
    try:
        return await look(api, workload.title)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            raise _deleted(workload) from None
        raise


def _deleted(workload: Workload) -> ActuatorError:
    return ActuatorError(
        f"{workload.title} was deleted while the rollout was waited for.",
        resolution="Find out who deleted it; it has to be deployed anew.",
    )


def _trouble(goal: Goal, latest: Workload, before: Workload) -> str:
    """Return why waiting is of no use; empty while it is."""
    if not goal.pinned:
        return ""
    if not goal.holds(latest):
        who, when = objects.last_writer(latest.obj, "spec", besides=FIELD_MANAGER)
        by = f" by {who}" if who else ""
        at = f" at {utc_second(when)}" if when else ""
        return f"was set to another template ({latest.version}){by}{at} while the rollout went on"
    gave_up = rollout(latest).failed
    # A rollout that failed before leaves its verdict standing until the controller sees progress.
    if gave_up and _verdict(latest) != _verdict(before):
        return f"did not come to {goal.label(latest)}: {gave_up}"
    return ""


def _verdict(workload: Workload) -> Json:
    return objects.condition(workload.obj, "Progressing")


async def _failure(api: Api, goal: Goal, latest: Workload, trouble: str) -> ActuatorError:
    """Return the error with everything that helps."""
    overruled = goal.pinned and not goal.holds(latest)
    advice = list(dict.fromkeys(pod.advice for pod in latest.pods if pod.advice and not pod.ready))
    if overruled:
        advice = ["Suspend what deploys it (a GitOps owner, a pipeline, a person), then retry."]
    lines = goal.explain(latest)[:_LINES] if goal.explain else []
    return ActuatorError(
        f"{latest.title} {trouble}. {goal.tally(latest)}.",
        untouched="" if overruled else "Kubernetes goes on trying to bring the pods up.",
        resolution=" ".join(advice) or "Look at the pods; retry when the cause is gone.",
        output="\n".join([*lines, await particulars(api, latest)]),
    )
