"""kubernetes.delete_pods: pods that cannot start make room for new ones."""

from __future__ import annotations

from actuators.kubernetes import objects
from actuators.kubernetes.access import Need, verify
from actuators.kubernetes.api import Api
from actuators.kubernetes.connection import opened, seen
from actuators.kubernetes.resources import POD
from actuators.kubernetes.steps import DeletePods
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Observation, Outcome, Presence
from bot.domain.errors import ActuatorError


class DeletePodsActuator:
    """Deletes exactly the pods that the step names, by their unique ids."""

    async def check(self, step: DeletePods, context: Context) -> tuple[Check, ...]:
        """Verify that each pod may be read and deleted."""
        needs = [Need(verb, POD, pod.name) for pod in step.pods for verb in ("get", "delete")]
        try:
            async with opened(step, context) as api:
                return (await verify(api, needs, subject=f"Access to pods of {step.workload}"),)
        except ActuatorError as error:
            return (cannot_look(step.workload, error),)

    async def observe(self, step: DeletePods, context: Context) -> Observation:
        """Look which of the pods are still there."""
        return await seen(self._look(step, context))

    async def _look(self, step: DeletePods, context: Context) -> Observation:
        async with opened(step, context) as api:
            left = await _left(api, step)
        words = f"{len(step.pods) - len(left)} of {len(step.pods)} pods are gone"
        return Observation(Presence.ABSENT if left else Presence.PRESENT, words, {"left": left})

    async def apply(self, step: DeletePods, context: Context) -> Outcome:
        """Delete those that are there; a pod on its way out counts as gone."""
        async with opened(step, context) as api:
            for name in await _left(api, step):
                uid = next(pod.uid for pod in step.pods if pod.name == name)
                await api.delete(POD, name, uid=uid)
            left = await _left(api, step)
        if left:
            raise ActuatorError(
                f"The API server took the deletion of {', '.join(left)}, and they are still there.",
                transient=True,
                resolution="Look whether their node answers.",
            )
        return Outcome(f"Deleted {', '.join(pod.name for pod in step.pods)}")


async def _left(api: Api, step: DeletePods) -> list[str]:
    left = []
    for pod in step.pods:
        found = await api.find(POD, pod.name)
        if found and objects.uid(found) == pod.uid and not objects.meta(found).get("deletionTimestamp"):
            left.append(pod.name)
    return left
