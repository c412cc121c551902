"""The controllers of Deployments and ReplicaSets, as far as rollouts go."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from tests.support.kubeapi.kinds import named
from tests.support.kubeapi.store import Store, clone

Json = dict[str, Any]
MANAGER = "kube-controller-manager"
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
EARLIER = "deployment.kubernetes.io/revision-history"
_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        EARLIER,
        "deployment.kubernetes.io/desired-replicas",
        "deployment.kubernetes.io/max-replicas",
        "deprecated.deployment.rollback.to",
    }
)


def digest(template: Json) -> str:
    """Return the hash of a pods' template."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def bare(template: Json) -> Json:
    """Return a template without its hash."""
    found = clone(template)
    found["metadata"].get("labels", {}).pop(HASH, None)
    return found


def reference(owner: Json) -> Json:
    """Return the reference to a controlling object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owned(store: Store, owner: Json, kind: str) -> list[Json]:
    """Return the objects that an object controls."""
    uid = owner["metadata"]["uid"]

    def keep(obj: Json) -> bool:
        return any(each["uid"] == uid for each in obj["metadata"].get("ownerReferences") or [])

    return store.all(named(kind), owner["metadata"]["namespace"], keep=keep)


def active(pods: list[Json]) -> list[Json]:
    """Return the pods that a controller counts."""
    over = {"Failed", "Succeeded"}
    return [p for p in pods if "deletionTimestamp" not in p["metadata"] and p["status"].get("phase") not in over]


def ready(pod: Json) -> bool:
    """Whether a pod is ready."""
    conditions = pod["status"].get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def make_pod(store: Store, owner: Json, template: Json, labels: Json, *, name: str = "", node: str = "") -> None:
    """Make a pod of a template."""
    metadata: Json = {"labels": {**template["metadata"].get("labels", {}), **labels}}
    metadata["ownerReferences"] = [reference(owner)]
    metadata.update({"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"})
    pod = {"metadata": metadata, "spec": clone(template["spec"]), "status": {"phase": "Pending"}}
    if node:
        pod["spec"]["nodeName"] = node
    store.create(named("Pod"), owner["metadata"]["namespace"], pod, manager=MANAGER)


def remove_pod(store: Store, pod: Json) -> None:
    """Ask for a pod's end; its node takes it away."""
    kind = named("Pod")
    after = clone(pod)
    after["metadata"]["deletionTimestamp"] = store.now()
    store.update(kind, pod, after, manager=MANAGER)


def write_status(store: Store, obj: Json, status: Json, notes: Json | None = None) -> None:
    """Write an object's status, and annotations beside it."""
    after = clone(obj)
    after["status"] = {**status, "observedGeneration": obj["metadata"]["generation"]}
    if notes:
        after["metadata"]["annotations"] = {**(after["metadata"].get("annotations") or {}), **notes}
    store.update(named(obj["kind"]), obj, after, manager=MANAGER, subresource="status")


def replica_set(store: Store, rs: Json) -> None:
    """Bring the number of a ReplicaSet's pods to what it shall be."""
    pods, want = active(owned(store, rs, "Pod")), rs["spec"]["replicas"]
    for _ in range(want - len(pods)):
        make_pod(store, rs, rs["spec"]["template"], {})
    for pod in sorted(pods, key=ready)[: max(0, len(pods) - want)]:
        remove_pod(store, pod)
    pods = active(owned(store, rs, "Pod"))
    good = sum(map(ready, pods))
    status = {"replicas": len(pods), "readyReplicas": good, "availableReplicas": good}
    write_status(store, store.get(named("ReplicaSet"), rs["metadata"]["namespace"], rs["metadata"]["name"]), status)


class DeploymentController:
    """Rolls Deployments out.

    Args:
        store: The objects.
        seconds: Returns seconds that never go back.
        completed: Called with a Deployment whose rollout has just become complete, before anybody is told.
    """

    def __init__(self, store: Store, seconds: Any, completed: Callable[[Json], None]) -> None:
        self._store = store
        self._seconds = seconds
        self._completed = completed
        self._progress: dict[str, tuple[Json, float]] = {}
        self._told: dict[str, int] = {}

    def sync(self, deployment: Json) -> None:
        """Take one step."""
        sets = owned(self._store, deployment, "ReplicaSet")
        template = bare(deployment["spec"]["template"])
        newest = next((s for s in sorted(sets, key=_age) if bare(s["spec"]["template"]) == template), None)
        if deployment["spec"].get("paused"):
            self._status(deployment, newest, sets)
            return
        newest = self._newest(deployment, newest, sets)
        older = [s for s in sets if s["metadata"]["uid"] != newest["metadata"]["uid"]]
        self._scale(deployment, newest, older)
        sets = owned(self._store, deployment, "ReplicaSet")
        for each in sets:
            replica_set(self._store, each)
        self._status(deployment, newest, owned(self._store, deployment, "ReplicaSet"))

    def _newest(self, deployment: Json, found: Json | None, sets: list[Json]) -> Json:
        """Return the ReplicaSet of the present template, made or brought up to date."""
        own = found["metadata"]["uid"] if found else ""
        numbers = [int(_notes(s).get(REVISION, 0)) for s in sets if s["metadata"]["uid"] != own]
        number = str(max(numbers, default=0) + 1)
        copied = {k: v for k, v in _notes(deployment).items() if k not in _NOT_COPIED}
        if found is None:
            return self._make(deployment, {**copied, REVISION: number})
        old = _notes(found)
        notes = {**old, **copied}
        if int(old.get(REVISION, 0)) < int(number):
            notes[REVISION] = number
            notes[EARLIER] = ",".join(filter(None, (old.get(EARLIER), old.get(REVISION))))
        after = clone(found)
        after["metadata"]["annotations"] = notes
        return self._store.update(named("ReplicaSet"), found, after, manager=MANAGER)

    def _make(self, deployment: Json, notes: Json) -> Json:
        template = bare(deployment["spec"]["template"])
        mark = digest(template)
        template["metadata"].setdefault("labels", {})[HASH] = mark
        selector = clone(deployment["spec"]["selector"])
        selector["matchLabels"][HASH] = mark
        obj = {
            "metadata": {
                "name": f"{deployment['metadata']['name']}-{mark}",
                "labels": dict(template["metadata"]["labels"]),
                "annotations": notes,
                "ownerReferences": [reference(deployment)],
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
            "status": {"replicas": 0},
        }
        return self._store.create(named("ReplicaSet"), deployment["metadata"]["namespace"], obj, manager=MANAGER)

    def _scale(self, deployment: Json, newest: Json, older: list[Json]) -> None:
        want = deployment["spec"]["replicas"]
        strategy = deployment["spec"]["strategy"]
        held = sum(len(active(owned(self._store, s, "Pod"))) for s in older)
        if strategy["type"] == "Recreate":
            for each in older:
                self._resize(each, 0)
            if not any(owned(self._store, s, "Pod") for s in older):
                self._resize(newest, want)
            return
        surge = _part(strategy["rollingUpdate"]["maxSurge"], want, up=True)
        fewest = want - _part(strategy["rollingUpdate"]["maxUnavailable"], want, up=False)
        self._resize(newest, max(0, min(want, want + surge - held)))
        pods = [pod for s in (newest, *older) for pod in active(owned(self._store, s, "Pod"))]
        spare = sum(map(ready, pods)) - fewest
        for each in older:
            mine = active(owned(self._store, each, "Pod"))
            ailing = sum(not ready(pod) for pod in mine)
            drop = min(len(mine), ailing + max(0, min(spare, len(mine) - ailing)))
            spare -= max(0, drop - ailing)
            self._resize(each, len(mine) - drop)

    def _resize(self, rs: Json, replicas: int) -> None:
        current = self._store.get(named("ReplicaSet"), rs["metadata"]["namespace"], rs["metadata"]["name"])
        after = clone(current)
        after["spec"]["replicas"] = replicas
        self._store.update(named("ReplicaSet"), current, after, manager=MANAGER)

    def _status(self, deployment: Json, newest: Json | None, sets: list[Json]) -> None:
        want = deployment["spec"]["replicas"]
        uid = newest["metadata"]["uid"] if newest else ""
        pods = {s["metadata"]["uid"]: active(owned(self._store, s, "Pod")) for s in sets}
        everyone = [pod for mine in pods.values() for pod in mine]
        updated, good = len(pods.get(uid, [])), sum(map(ready, everyone))
        complete = updated == want == len(everyone) == good
        counts = {
            "replicas": len(everyone),
            "updatedReplicas": updated,
            "readyReplicas": good,
            "availableReplicas": good,
        }
        condition = self._progressing(deployment, uid, counts, complete=complete)
        available = {
            "type": "Available",
            "status": "True" if good >= want else "False",
            "reason": "MinimumReplicas",
        }
        status = {**counts, "unavailableReplicas": max(0, want - good), "conditions": [available, condition]}
        number = next((_notes(s).get(REVISION) for s in sets if s["metadata"]["uid"] == uid), None)
        own, generation = deployment["metadata"]["uid"], deployment["metadata"]["generation"]
        if complete and self._told.get(own) != generation:
            self._told[own] = generation
            self._completed(deployment)
        write_status(self._store, deployment, status, {REVISION: number} if number else None)
        if complete:
            self._clean(deployment, uid, sets)

    def _progressing(self, deployment: Json, uid: str, counts: Json, *, complete: bool) -> Json:
        """Return the condition that says whether it goes on: its deadline runs from the last progress."""
        key, now = deployment["metadata"]["uid"], self._seconds()
        mark, since = self._progress.get(key, ({}, now))
        seen = {**counts, "newest": uid}
        if seen != mark:
            self._progress[key], since = (seen, now), now
        old: Json = next(
            (c for c in (deployment.get("status") or {}).get("conditions") or [] if c["type"] == "Progressing"), {}
        )
        late = now - since >= deployment["spec"]["progressDeadlineSeconds"]
        if complete:
            reason = "NewReplicaSetAvailable"
        else:
            reason = "ProgressDeadlineExceeded" if late else "ReplicaSetUpdated"
        condition = {
            "type": "Progressing",
            "status": "False" if late and not complete else "True",
            "reason": reason,
        }
        same = old.get("reason") == reason
        return {**condition, "lastUpdateTime": old["lastUpdateTime"] if same else self._store.now()}

    def _clean(self, deployment: Json, uid: str, sets: list[Json]) -> None:
        old = sorted(
            (s for s in sets if s["metadata"]["uid"] != uid), key=lambda s: int(_notes(s).get(REVISION, 0))
        )
        for each in old[: max(0, len(old) - deployment["spec"]["revisionHistoryLimit"])]:
            self._store.delete(named("ReplicaSet"), each["metadata"]["namespace"], each["metadata"]["name"])


def _notes(obj: Json) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


def _age(obj: Json) -> tuple[str, int]:
    return obj["metadata"]["creationTimestamp"], int(_notes(obj).get(REVISION, 0))


def _part(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * total / 100
    return math.ceil(share) if up else math.floor(share)
