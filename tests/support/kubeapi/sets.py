"""The controllers of StatefulSets and DaemonSets, as far as rollouts go."""

from __future__ import annotations

from typing import Any

from tests.support.kubeapi.controllers import (
    MANAGER,
    active,
    digest,
    make_pod,
    owned,
    ready,
    reference,
    remove_pod,
    write_status,
)
from tests.support.kubeapi.kinds import named
from tests.support.kubeapi.store import Store, clone

Json = dict[str, Any]
HASH = "controller-revision-hash"


def newest_revision(store: Store, workload: Json) -> Json:
    """Return the ControllerRevision of the present template: made, or brought forward with a new number."""
    kind = named("ControllerRevision")
    data = {"spec": {"template": {**clone(workload["spec"]["template"]), "$patch": "replace"}}}
    known = sorted(owned(store, workload, "ControllerRevision"), key=lambda r: r["revision"])
    same = next((r for r in reversed(known) if r["data"] == data), None)
    number = max((r["revision"] for r in known), default=0) + 1
    if same is not None:
        if same is not known[-1]:
            after = {**clone(same), "revision": number}
            same = store.update(kind, same, after, manager=MANAGER)
        return same
    mark = digest(data)
    notes = workload["metadata"].get("annotations") or {}
    obj = {
        "metadata": {
            "name": f"{workload['metadata']['name']}-{mark}",
            "labels": {**workload["spec"]["selector"]["matchLabels"], HASH: mark},
            "annotations": {k: v for k, v in notes.items() if k == "kubernetes.io/change-cause"},
            "ownerReferences": [reference(workload)],
        },
        "revision": number,
        "data": data,
    }
    return store.create(kind, workload["metadata"]["namespace"], obj, manager=MANAGER)


def clean(store: Store, workload: Json, *, live: set[str]) -> None:
    """Forget the oldest revisions beyond the limit."""
    old = [r for r in owned(store, workload, "ControllerRevision") if r["metadata"]["name"] not in live]
    old.sort(key=lambda revision: revision["revision"])
    for each in old[: max(0, len(old) - workload["spec"]["revisionHistoryLimit"])]:
        store.delete(named("ControllerRevision"), each["metadata"]["namespace"], each["metadata"]["name"])


def stateful_set(store: Store, obj: Json) -> None:
    """Take one step: pods in turn; each is waited for, even one that will never be ready."""
    newest = newest_revision(store, obj)["metadata"]["name"]
    status = obj.get("status") or {}
    current = status.get("currentRevision") or newest
    _pods(store, obj, newest)
    pods = active(owned(store, obj, "Pod"))
    want = obj["spec"]["replicas"]
    updated = [pod for pod in pods if pod["metadata"]["labels"][HASH] == newest]
    good = sum(map(ready, pods))
    if len(updated) == want == good:
        current = newest
    revisions = {pod["metadata"]["labels"][HASH] for pod in pods}
    write_status(
        store,
        obj,
        {
            "replicas": len(pods),
            "readyReplicas": good,
            "availableReplicas": good,
            "updatedReplicas": len(updated),
            "currentReplicas": len(pods) - len(updated),
            "currentRevision": current,
            "updateRevision": newest,
        },
    )
    clean(store, obj, live={current, newest, *revisions})


def _pods(store: Store, obj: Json, newest: str) -> None:
    mine = {pod["metadata"]["name"]: pod for pod in owned(store, obj, "Pod")}
    names = [f"{obj['metadata']['name']}-{number}" for number in range(obj["spec"]["replicas"])]
    for name in [name for name in mine if name not in names]:
        if "deletionTimestamp" not in mine[name]["metadata"]:
            remove_pod(store, mine[name])
            return
    if _all_there(store, obj, names, mine, newest) and obj["spec"]["updateStrategy"]["type"] == "RollingUpdate":
        _replace_one(store, obj, names, mine, newest)


def _all_there(store: Store, obj: Json, names: list[str], mine: dict[str, Json], newest: str) -> bool:
    """Make the pods that are missing, and say whether pods may be replaced: none is waited for."""
    ordered = obj["spec"]["podManagementPolicy"] == "OrderedReady"
    for name in names:
        if name not in mine:
            make_pod(store, obj, obj["spec"]["template"], {HASH: newest}, name=name)
            if ordered:
                return False
        elif ordered and (not ready(mine[name]) or "deletionTimestamp" in mine[name]["metadata"]):
            return False
    return True


def _replace_one(store: Store, obj: Json, names: list[str], mine: dict[str, Json], newest: str) -> None:
    """Replace the last pod that is of an earlier revision, once those after it are ready."""
    partition = obj["spec"]["updateStrategy"]["rollingUpdate"].get("partition", 0)
    for name in reversed(names[partition:]):
        pod = mine.get(name)
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return
        if pod["metadata"]["labels"][HASH] != newest:
            remove_pod(store, pod)
            return
        if not ready(pod):
            return


def daemon_set(store: Store, obj: Json, *, nodes: tuple[str, ...]) -> None:
    """Take one step: a pod on each node; ailing ones are replaced first, one at a time."""
    revision = newest_revision(store, obj)
    mark = revision["metadata"]["labels"][HASH]
    pods = {pod["spec"]["nodeName"]: pod for pod in owned(store, obj, "Pod")}
    for node in nodes:
        if node not in pods:
            make_pod(store, obj, obj["spec"]["template"], {HASH: mark}, node=node)
    live = active(list(pods.values()))
    if obj["spec"]["updateStrategy"]["type"] == "RollingUpdate":
        old = [pod for pod in live if pod["metadata"]["labels"][HASH] != mark]
        ailing = [pod for pod in old if not ready(pod)]
        away = len(nodes) - sum(map(ready, live))
        for pod in [*ailing, *[p for p in old if ready(p)][: max(0, 1 - away)]]:
            remove_pod(store, pod)
    live = active(owned(store, obj, "Pod"))
    good = sum(map(ready, live))
    write_status(
        store,
        obj,
        {
            "desiredNumberScheduled": len(nodes),
            "currentNumberScheduled": len(live),
            "updatedNumberScheduled": sum(pod["metadata"]["labels"][HASH] == mark for pod in live),
            "numberReady": good,
            "numberAvailable": good,
        },
    )
    clean(store, obj, live={revision["metadata"]["name"]})
