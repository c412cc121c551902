"""What is looked at before anybody is asked to approve a change of a workload."""

from __future__ import annotations

from http import HTTPStatus

from actuators.kubernetes import images
from actuators.kubernetes.access import REASONS, Need, allowed, verify
from actuators.kubernetes.api import Api, ApiError, Patch
from actuators.kubernetes.connection import opened
from actuators.kubernetes.drift import check_drift
from actuators.kubernetes.owner_checks import check_owners
from actuators.kubernetes.pins import ImagePin, Pin, RevisionPin, gone, obstacle
from actuators.kubernetes.resources import CONTROLLER_REVISION, POD, REPLICA_SET, WORKLOADS
from actuators.kubernetes.steps import Rollback, SetImage
from actuators.kubernetes.waiting import Goal
from actuators.kubernetes.workload import Workload, images_of, look
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Verdict
from bot.domain.errors import ActuatorError

_FEW = 2
"""Revisions; with so few kept, two deployments later there is nothing to go back to."""


async def examine(step: Rollback | SetImage, context: Context, pin: Pin) -> tuple[Check, ...]:
    """Look at everything that the step depends on, read only; one fault does not hide the findings before it."""
    checks: list[Check] = []
    try:
        async with opened(step, context) as api:
            version = await api.version()
            words = f"Kubernetes {version} answers at {api.server}"
            checks.append(Check(f"Cluster {step.target}", Verdict.OK, words))
            subject = f"Access to {step.workload}"
            checks.append(await verify(api, _needs(step), subject=subject, wished=REASONS))
            if checks[-1].verdict is Verdict.FAIL:
                return tuple(checks)
            workload = await look(api, step.workload)
            checks += _state(workload, pin)
            checks += _history(step, workload, pin)
            checks += await _dry(api, context, workload, pin)
            checks += await _unsticking(api, step, workload)
            since, moment = pin.since(workload, context)
            checks += await check_drift(api, pin.template(workload), since=since, moment=moment)
            checks += await check_owners(api, step, context, workload.obj)
    except ActuatorError as error:
        checks.append(cannot_look(step.workload, error))
    return tuple(checks)


def _needs(step: Rollback | SetImage) -> list[Need]:
    kind, _, name = step.workload.partition("/")
    revisions = REPLICA_SET if kind == "deployment" else CONTROLLER_REVISION
    own = [Need(verb, WORKLOADS[kind], name) for verb in ("get", "list", "watch", "patch")]
    others = [Need(verb, resource) for resource in (revisions, POD) for verb in ("list", "watch")]
    return [*own, *others, *([Need("delete", POD)] if step.replace_stuck else [])]


def _state(workload: Workload, pin: Pin) -> list[Check]:
    """Say how the pods stand, and what would keep the controller from acting."""
    goal = Goal(
        holds=pin.holds, wanted=lambda found, pod: pod.label == found.version, label=lambda found: found.version
    )
    subject = workload.title
    checks = [Check(subject, Verdict.OK, f"Now: {goal.tally(workload)}")]
    refusal = obstacle(workload)
    if refusal is not None:
        checks.append(cannot_look(subject, refusal))
    if workload.total == 0 and workload.kind != "daemonset":
        words = (
            "It is scaled to 0: no pod will prove that the earlier version runs, and the scale does not come back"
        )
        checks.append(
            Check(subject, Verdict.WARN, words, f"Scale {workload.title} as it was before the deployment.")
        )
    partition = (workload.spec.get("updateStrategy") or {}).get("rollingUpdate", {}).get("partition")
    if partition:
        words = f"Its partition is {partition}: pods below that number are left as they are"
        checks.append(Check(subject, Verdict.WARN, words, "Set the partition to 0 if they run the failed version."))
    return checks


def _history(step: Rollback | SetImage, workload: Workload, pin: Pin) -> list[Check]:
    """Look for what comes back in the history, and whether it will stay there."""
    subject = f"History of {workload.title}"
    if isinstance(pin, ImagePin) or not isinstance(step, Rollback):
        return [Check(subject, Verdict.OK, f"Now at {_now(workload)}")]
    revision = workload.find(step.revision)
    if revision is None:
        return [_gone(step, workload, subject)]
    if isinstance(pin, RevisionPin):
        try:
            pin.must_agree(revision, workload)
        except ActuatorError as error:
            return [cannot_look(subject, error)]
    renamed = f", revision {revision.number} now" if revision.number != step.revision else ""
    words = f"Revision {step.revision}{renamed} is there: {revision.contents()}; now at {_now(workload)}"
    checks = [Check(subject, Verdict.OK, words)]
    newer = sum(other.number > revision.number for other in workload.revisions)
    if workload.limit <= _FEW or newer >= workload.limit:
        words = (
            f"revisionHistoryLimit is {workload.limit}, and {newer} newer revisions are kept: "
            f"{'the next deployment' if newer >= workload.limit else 'few deployments more'} "
            f"would remove revision {step.revision}"
        )
        checks.append(
            Check(subject, Verdict.WARN, words, "Deploy nothing meanwhile; raise revisionHistoryLimit later.")
        )
    return checks


def _gone(step: Rollback, workload: Workload, subject: str) -> Check:
    """Return the check of a forgotten revision: it can be helped where the plan recorded its image."""
    error = gone(step, workload)
    if not step.images:
        return cannot_look(subject, error)
    named = ", ".join(f"{name} {images.label(image)}" for name, image in step.images.items())
    return Check(
        subject,
        Verdict.WARN,
        f"{error.brief} The plan recorded its image ({named})",
        "The step will stop there and offer to deploy the recorded image in its place.",
    )


def _now(workload: Workload) -> str:
    current = workload.current()
    return current.words() if current else ", ".join(images_of(workload.template).values())


async def _dry(api: Api, context: Context, workload: Workload, pin: Pin) -> list[Check]:
    """Let the API server go through the whole change and keep nothing: admission, quota, validation."""
    subject = f"Change of {workload.title}"
    if pin.holds(workload):
        return [Check(subject, Verdict.OK, "It is as wanted already")]
    if isinstance(pin, RevisionPin) and pin.revision(workload) is None:
        return []
    try:
        body = pin.patch(workload, context)
        await api.patch(workload.resource, workload.name, body, how=Patch.STRATEGIC, dry_run=True)
    except ApiError as error:
        if error.status == HTTPStatus.CONFLICT or "dry run" in error.brief:
            words = f"The server could not try it: {error.brief}"
            return [Check(subject, Verdict.WARN, words, "It will be tried for real.")]
        return [cannot_look(subject, error)]
    except ActuatorError as error:
        return [cannot_look(subject, error)]
    stay = "" if workload.kind == "daemonset" else f"; its scale does not come back, it stays at {workload.total}"
    return [Check(subject, Verdict.OK, f"The API server would accept it{stay}")]


async def _unsticking(api: Api, step: Rollback | SetImage, workload: Workload) -> list[Check]:
    """Warn of a StatefulSet that will wait for a pod that the failed version broke."""
    ordered = workload.kind == "statefulset" and workload.spec.get("podManagementPolicy") != "Parallel"
    ailing = [pod for pod in workload.pods if not (pod.ready or pod.leaving)]
    if step.replace_stuck or not ordered or not ailing:
        return []
    may = await allowed(api, Need("delete", POD))
    named = ", ".join(f"{pod.name} ({pod.trouble or 'starting'})" for pod in ailing)
    return [
        Check(
            workload.title,
            Verdict.WARN,
            f"A StatefulSet waits for every pod in turn, even for one that never becomes ready: {named}",
            "Write `replace_stuck: true` into the step, or delete these pods when they are offered as a remedy."
            if may
            else "Delete these pods by hand once the template is set, or let the bot delete pods.",
        )
    ]
