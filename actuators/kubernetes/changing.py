"""kubernetes.rollback and kubernetes.set_image: a workload becomes what the plan has pinned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Generic, TypeVar

from actuators.kubernetes import change_checks
from actuators.kubernetes.api import Api, ApiError, Patch
from actuators.kubernetes.connection import opened, seen
from actuators.kubernetes.editing import MOST_CONFLICTS, after_conflict, contested
from actuators.kubernetes.pins import Pin, gone, obstacle
from actuators.kubernetes.pods import Pod
from actuators.kubernetes.remedies import remedies
from actuators.kubernetes.resources import POD
from actuators.kubernetes.rollout import rollout
from actuators.kubernetes.steps import Rollback, SetImage
from actuators.kubernetes.waiting import Goal, patience, until_reached
from actuators.kubernetes.workload import Workload, images_of, look
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Remedy

S = TypeVar("S", Rollback, SetImage)


class ChangeActuator(Generic[S]):
    """Sets the template, bound to the workload as it was read, and follows the rollout to its end.

    Args:
        pin: Makes of a step what the workload shall be.
    """

    def __init__(self, pin: Callable[[S], Pin]) -> None:
        self._pin: Callable[[S], Pin] = pin

    async def check(self, step: S, context: Context) -> tuple[Check, ...]:
        """Look at access, history, pods, configuration and GitOps owners; the change itself is tried dry."""
        return await change_checks.examine(step, context, self._pin(step))

    async def observe(self, step: S, context: Context) -> Observation:
        """Look whether the template is the pinned one and every pod has come to it."""
        return await seen(self._look(step, context))

    async def _look(self, step: S, context: Context) -> Observation:
        pin = self._pin(step)
        async with opened(step, context) as api:
            try:
                workload = await look(api, step.workload)
            except ApiError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return Observation(Presence.ABSENT, f"There is no {step.workload} in {api.namespace}")
                raise
        return _observed(step, pin, workload)

    async def apply(self, step: S, context: Context) -> Outcome:
        """Set the template unless it is set, and wait until every pod has come to it."""
        pin = self._pin(step)
        goal = Goal(holds=pin.holds, wanted=pin.wanted, label=pin.label)
        async with opened(step, context) as api:
            before, changed = await _set(api, step, context, pin)
            seconds = patience(step)
            help_along = _replacing(api, pin) if step.replace_stuck else None
            after = await until_reached(api, context, goal, before=before, seconds=seconds, help_along=help_along)
        did = "" if changed else " (it was already)"
        return Outcome(f"{step.workload}: {goal.tally(after)}{did}", _facts(after, changed=changed))

    async def remedies(self, step: S, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Look what may help."""
        del fault
        return await remedies(step, context, self._pin(step))


def _observed(step: Rollback | SetImage, pin: Pin, workload: Workload) -> Observation:
    goal = Goal(holds=pin.holds, wanted=pin.wanted, label=pin.label)
    facts = _facts(workload)
    if not pin.holds(workload):
        lost = isinstance(step, Rollback) and workload.find(step.revision) is None
        words = gone(step, workload).brief if lost and isinstance(step, Rollback) else goal.tally(workload)
        return Observation(Presence.ABSENT, words, facts)
    if goal.reached(workload):
        return Observation(Presence.PRESENT, goal.tally(workload), facts)
    # Doing it again changes nothing and goes on waiting: that is what a lost worker leaves behind.
    return Observation(Presence.ABSENT, f"{goal.tally(workload)}; {rollout(workload).words}", facts)


def _facts(workload: Workload, *, changed: bool | None = None) -> dict[str, object]:
    current = workload.current()
    facts: dict[str, object] = {"version": workload.version, "images": images_of(workload.template)}
    if current is not None:
        facts["revision"] = current.number
    return facts if changed is None else {**facts, "changed": changed}


async def _set(api: Api, step: Rollback | SetImage, context: Context, pin: Pin) -> tuple[Workload, bool]:
    """Set the template if it is not the pinned one.

    Returns:
        The workload as it was before, and whether it was changed.
    """
    for attempt in range(MOST_CONFLICTS):
        workload = await look(api, step.workload)
        if pin.holds(workload):
            return workload, False
        refusal = obstacle(workload)
        if refusal is not None:
            raise refusal
        body = pin.patch(workload, context)
        try:
            await api.patch(workload.resource, workload.name, body, how=Patch.STRATEGIC)
        except ApiError as error:
            await after_conflict(api, error, attempt)
        else:
            return workload, True
    raise contested(step.workload)


def stuck(workload: Workload, pin: Pin) -> tuple[Pod, ...]:
    """Return the pods for which a StatefulSet would wait for ever: not ready, and not of the wanted form.

    It replaces its pods in turn and waits for each to be ready, even for one that the failed version broke:
    https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    if workload.kind != "statefulset" or workload.spec.get("podManagementPolicy") == "Parallel":
        return ()
    return tuple(pod for pod in workload.pods if not (pod.ready or pod.leaving) and not pin.wanted(workload, pod))


def _replacing(api: Api, pin: Pin) -> Callable[[Workload], Awaitable[None]]:
    async def help_along(workload: Workload) -> None:
        if pin.holds(workload) and workload.observed:
            for pod in stuck(workload, pin):
                await api.delete(POD, pod.name, uid=pod.uid)

    return help_along
