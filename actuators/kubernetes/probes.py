"""kubernetes.verify, kubernetes.history, kubernetes.pods: they only read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from actuators.kubernetes import images
from actuators.kubernetes.access import REASONS, Need, verify
from actuators.kubernetes.connection import opened
from actuators.kubernetes.particulars import particulars
from actuators.kubernetes.pods import Pod
from actuators.kubernetes.remedies import diagnoses
from actuators.kubernetes.resources import CONTROLLER_REVISION, POD, REPLICA_SET, WORKLOADS
from actuators.kubernetes.steps import History, Pods, Verify, WorkloadStep
from actuators.kubernetes.waiting import Goal, until_reached
from actuators.kubernetes.workload import Workload, images_of, look
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Outcome, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.times import utc_minute


class _WorkloadProbe(LeavesNothing):
    """What the probes share: the right to look."""

    watches: ClassVar[bool] = False
    """Whether it follows what it looks at."""

    wished: ClassVar[tuple[Need, ...]] = REASONS

    async def check(self, step: WorkloadStep, context: Context) -> tuple[Check, ...]:
        """Verify that the workload can be read."""
        kind, _, name = step.workload.partition("/")
        revisions = REPLICA_SET if kind == "deployment" else CONTROLLER_REVISION
        follow = ("list", "watch") if self.watches else ()
        own = [Need(verb, WORKLOADS[kind], name) for verb in ("get", *follow)]
        others = [Need(verb, each) for each in (revisions, POD) for verb in follow or ("list",)]
        try:
            async with opened(step, context) as api:
                access = await verify(
                    api, [*own, *others], subject=f"Access to {step.workload}", wished=self.wished
                )
                if access.verdict is Verdict.OK:
                    await look(api, step.workload)
                return (access,)
        except ActuatorError as error:
            return (cannot_look(step.workload, error),)


class VerifyActuator(_WorkloadProbe):
    """Waits until the rollout is complete and every pod runs the images."""

    watches = True

    async def apply(self, step: Verify, context: Context) -> Outcome:
        """Look until it is so; pods that are leaving count until they have left."""

        def wanted(_: Workload, pod: Pod) -> bool:
            return not any(_astray(step, pod))

        def holds(workload: Workload) -> bool:
            return all(wanted(workload, pod) for pod in workload.pods)

        def label(workload: Workload) -> str:
            return images.label(next(iter(step.images.values()))) if step.images else workload.version

        def explain(workload: Workload) -> list[str]:
            return [line for pod in workload.pods for line in _astray(step, pod)]

        goal = Goal(
            holds=holds, wanted=wanted, label=label, pinned=False, explain=explain, other="with another image"
        )
        async with opened(step, context) as api:
            before = await look(api, step.workload)
            found = await until_reached(api, context, goal, before=before, seconds=step.within.total_seconds())
        running = sorted({image for pod in found.pods for image in pod.images.values()})
        facts = {"version": found.version, "images": running, "pods": len(found.pods)}
        return Outcome(f"{step.workload}: {goal.tally(found)}, {', '.join(running)}", facts)

    async def remedies(self, step: Verify, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Offer to show how the workload stands."""
        del fault, context
        return tuple(diagnoses(step))


def _astray(step: Verify, pod: Pod) -> Iterator[str]:
    """Yield a line for each container of a pod that does not run what is expected of it."""
    for name, image in step.images.items():
        reference, image_id = pod.images.get(name, ""), pod.image_ids.get(name, "")
        if images.runs(image, reference=reference, image_id=image_id):
            continue
        runs = f"is {reference}{f' ({image_id})' if image_id else ''}" if reference else "is not in it"
        yield f"{pod.name}: container {name} {runs}, expected {image}"


class HistoryActuator(_WorkloadProbe):
    """Shows the history."""

    wished = ()

    async def apply(self, step: History, context: Context) -> Outcome:
        """Read the revisions and how many are kept."""
        async with opened(step, context) as api:
            workload = await look(api, step.workload)
        current = workload.current()
        lines = [
            f"{revision.number}{'*' if revision == current else ''}  {utc_minute(revision.created)}  "
            f"{', '.join(images_of(revision.template).values())}  {revision.cause or '(no change cause)'}"
            + (f"  before: {', '.join(map(str, revision.earlier))}" if revision.earlier else "")
            for revision in workload.revisions
        ]
        numbers = [revision.number for revision in workload.revisions]
        words = (
            f"{step.workload} holds revision{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers)) or 'none'}; "
            f"revisionHistoryLimit is {workload.limit}"
        )
        facts = {"revisions": numbers, "revision_history_limit": workload.limit}
        return Outcome(words, facts, "\n".join(lines))


class PodsActuator(_WorkloadProbe):
    """Shows the pods."""

    async def apply(self, step: Pods, context: Context) -> Outcome:
        """Read the pods, their events and the end of a crashed container's log."""
        async with opened(step, context) as api:
            workload = await look(api, step.workload)
            output = await particulars(api, workload)
        ready = sum(pod.ready and not pod.leaving for pod in workload.pods)
        advice = list(dict.fromkeys(pod.advice for pod in workload.pods if pod.advice and not pod.ready))
        words = f"{ready} of {workload.total} pods of {step.workload} are ready"
        return Outcome(". ".join([words, *advice]), {"ready": ready, "total": workload.total}, output)
