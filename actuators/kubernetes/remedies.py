"""What may help when a workload did not come to what was pinned."""

from __future__ import annotations

from actuators.kubernetes.api import Api
from actuators.kubernetes.connection import opened
from actuators.kubernetes.owner_checks import active_owners, suspension
from actuators.kubernetes.pins import Pin
from actuators.kubernetes.pods import Pod
from actuators.kubernetes.steps import DeletePods, History, PodRef, Pods, Rollback, SetImage, WorkloadStep
from actuators.kubernetes.workload import look
from bot.domain.actuation import Context, Remedy
from bot.domain.errors import ActuatorError

_MOST = 100


async def remedies(step: Rollback | SetImage, context: Context, pin: Pin) -> tuple[Remedy, ...]:
    """Return what may help, diagnoses first; where the cluster cannot be asked, these alone."""
    found = diagnoses(step)
    try:
        async with opened(step, context) as api:
            found += await _acts(api, step, context, pin)
    except ActuatorError:
        return tuple(found)
    return tuple(found)


def diagnoses(step: WorkloadStep) -> list[Remedy]:
    """Return what shows how a workload stands."""
    return [_show_pods(step), _show_history(step)]


async def _acts(api: Api, step: Rollback | SetImage, context: Context, pin: Pin) -> list[Remedy]:
    workload = await look(api, step.workload)
    found: list[Remedy] = []
    if isinstance(step, Rollback) and step.images and workload.find(step.revision) is None:
        found.append(_recorded_image(step))
    found += [suspension(step, now) for now in await active_owners(api, step, context, workload.obj)]
    ailing = [pod for pod in workload.pods if pod.trouble and not pod.leaving]
    if ailing and pin.holds(workload):
        found.append(_delete(step, ailing[:_MOST]))
    return found


def _show_pods(step: WorkloadStep) -> Remedy:
    return Remedy(
        id="pods",
        title="Show the pods and why they are not ready",
        words=f"Reads the pods of {step.workload}, their events and the last lines of a crashed container.",
        step=Pods(id="pods", target=step.target, workload=step.workload),
    )


def _show_history(step: WorkloadStep) -> Remedy:
    return Remedy(
        id="history",
        title="Show the revisions that the cluster holds",
        words=f"Reads the history of {step.workload}, with images, causes and revisionHistoryLimit.",
        step=History(id="history", target=step.target, workload=step.workload),
    )


def _recorded_image(step: Rollback) -> Remedy:
    named = ", ".join(step.images.values())
    return Remedy(
        id="recorded-image",
        title="Deploy the recorded image",
        words=f"Revision {step.revision} is gone. Sets {named} in {step.workload}; all else stays as it is.",
        step=SetImage(
            id="recorded-image",
            target=step.target,
            workload=step.workload,
            images=step.images,
            replace_stuck=step.replace_stuck,
            expected=step.expected,
            timeout=step.timeout,
        ),
        settles=True,
    )


def _delete(step: Rollback | SetImage, pods: list[Pod]) -> Remedy:
    names = ", ".join(f"{pod.name} ({pod.trouble})" for pod in pods[:5])
    return Remedy(
        id="delete-pods",
        title=f"Delete {len(pods)} pod{'s' * (len(pods) > 1)} that cannot start",
        words=f"Deletes {names}{' and more' if len(pods) > 5 else ''}; {step.workload} makes new ones at once.",  # noqa: PLR2004 - as many as are named
        step=DeletePods(
            id="delete-pods",
            target=step.target,
            workload=step.workload,
            pods=tuple(PodRef(name=pod.name, uid=pod.uid) for pod in pods),
        ),
    )
