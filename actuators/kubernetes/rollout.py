"""How far a rollout has come, by the rules of ``kubectl rollout status``."""

from __future__ import annotations

from dataclasses import dataclass

from actuators.kubernetes import objects
from actuators.kubernetes.workload import Workload


@dataclass(frozen=True)
class Rollout:
    """How far it has come.

    Attributes:
        complete: Whether every pod is of the newest form and available.
        words: What is being waited for.
        failed: Why its controller has given up; empty while it goes on.
    """

    complete: bool
    words: str
    failed: str = ""


def rollout(workload: Workload) -> Rollout:
    """Judge a rollout."""
    if not workload.observed:
        return Rollout(complete=False, words="its controller has not yet seen the change")
    match workload.kind:
        case "deployment":
            return _deployment(workload)
        case "statefulset":
            return _stateful_set(workload)
        case _:
            return _daemon_set(workload)


def _deployment(workload: Workload) -> Rollout:
    status, total = workload.status, workload.total
    progressing = objects.condition(workload.obj, "Progressing")
    failure = objects.condition(workload.obj, "ReplicaFailure")
    failed = ""
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        failed = "it made no progress within its progressDeadlineSeconds"
    updated, replicas = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    available = int(status.get("availableReplicas", 0))
    if updated < total:
        blocked = f": {failure.get('message')}" if failure.get("status") == "True" else ""
        return Rollout(
            complete=False, words=f"{updated} of {total} new pods have been made{blocked}", failed=failed
        )
    if replicas > updated:
        return Rollout(complete=False, words=f"{replicas - updated} earlier pods are still there", failed=failed)
    if available < updated:
        return Rollout(complete=False, words=f"{available} of {updated} new pods are available", failed=failed)
    return Rollout(complete=True, words="every pod is new and available")


def _stateful_set(workload: Workload) -> Rollout:
    status, total = workload.status, workload.total
    ready, updated = int(status.get("readyReplicas", 0)), int(status.get("updatedReplicas", 0))
    newest = status.get("updateRevision")
    # A set without pods to replace has nothing to count; the revision tells then.
    if ready < total:
        return Rollout(complete=False, words=f"{ready} of {total} pods are ready")
    if status.get("currentRevision") != newest and updated < total:
        return Rollout(complete=False, words=f"{updated} of {total} pods have been replaced")
    return Rollout(complete=True, words="every pod is new and ready")


def _daemon_set(workload: Workload) -> Rollout:
    status, total = workload.status, workload.total
    updated, available = int(status.get("updatedNumberScheduled", 0)), int(status.get("numberAvailable", 0))
    if updated < total:
        return Rollout(complete=False, words=f"{updated} of {total} pods have been replaced")
    if available < total:
        return Rollout(complete=False, words=f"{available} of {total} new pods are available")
    return Rollout(complete=True, words="every pod is new and available")
