"""The nodes: they pull images, start containers and take pods away."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.kubeapi.kinds import named
from tests.support.kubeapi.store import RefusedError, Store, clone

Json = dict[str, Any]
NODES = ("node-1", "node-2")
_MANAGER = "kubelet"
_TAGS = ("1.36", "1.37")


def digest_of(tag: str) -> str:
    """Return the digest of the image that the registry has under a tag of busybox."""
    return "sha256:" + hashlib.sha256(f"busybox:{tag}".encode()).hexdigest()


def pull(image: str) -> str | None:
    """Return the image id of an image that the registry has, None if it has none of that name."""
    found = re.fullmatch(r"busybox(?::([\w.-]+))?(?:@(sha256:[0-9a-f]{64}))?", image)
    if found is None:
        return None
    known = [digest_of(tag) for tag in _TAGS]
    wanted = found[2] or (digest_of(found[1]) if found[1] in _TAGS else None)
    return f"docker.io/library/busybox@{wanted}" if wanted in known else None


class Node:
    """Starts pods and takes them away.

    Args:
        store: The objects.
        later: Calls something after some seconds.
        seconds: How long a pod takes to start, or to go.
    """

    def __init__(
        self, store: Store, later: Callable[[float, Callable[[], None]], object], *, seconds: float
    ) -> None:
        self._store = store
        self._later = later
        self._seconds = seconds
        self._seen: set[str] = set()
        self._leaving: set[str] = set()
        self.logs: dict[tuple[str, str], str] = {}

    def sync(self) -> None:
        """Look for pods that are new or leaving."""
        for pod in self._store.all(named("Pod"), keep=self._new):
            uid = pod["metadata"]["uid"]
            if "deletionTimestamp" in pod["metadata"] and uid not in self._leaving:
                self._leaving.add(uid)
                self._later(self._seconds, lambda pod=pod: self._remove(pod))  # type: ignore[misc] # binds the pod now
            elif uid not in self._seen:
                self._seen.add(uid)
                self._later(self._seconds, lambda pod=pod: self._start(pod))  # type: ignore[misc] # binds the pod now

    def _new(self, pod: Json) -> bool:
        uid = pod["metadata"]["uid"]
        return uid not in (self._leaving if "deletionTimestamp" in pod["metadata"] else self._seen)

    def _remove(self, pod: Json) -> None:
        try:
            self._store.delete(named("Pod"), pod["metadata"]["namespace"], pod["metadata"]["name"])
        except RefusedError:
            return

    def _start(self, pod: Json) -> None:
        try:
            pod = self._store.get(named("Pod"), pod["metadata"]["namespace"], pod["metadata"]["name"])
        except RefusedError:
            return
        if pod["spec"].get("nodeSelector"):
            self._unschedulable(pod)
            return
        before = [self._ended(pod, container) for container in pod["spec"].get("initContainers") or []]
        start = self._container if all(status["ready"] for status in before) else self._held
        statuses = [start(pod, container) for container in pod["spec"]["containers"]]
        good = all(status["ready"] for status in statuses)
        running = any("running" in status["state"] for status in statuses)
        message = (
            ""
            if good
            else "containers with unready status: [" + " ".join(s["name"] for s in statuses if not s["ready"]) + "]"
        )
        conditions = [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True" if good else "False", "message": message},
        ]
        status = {
            "phase": "Running" if running else "Pending",
            "conditions": conditions,
            "initContainerStatuses": before,
            "containerStatuses": statuses,
        }
        self._write(pod, status, node=pod["spec"].get("nodeName", NODES[0]))

    def _unschedulable(self, pod: Json) -> None:
        message = (
            f"0/{len(NODES)} nodes are available: {len(NODES)} node(s) didn't match Pod's node affinity/selector."
        )
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self._write(pod, {"phase": "Pending", "conditions": [condition]})
        self._event(pod, "FailedScheduling", message)

    def _ended(self, pod: Json, container: Json) -> Json:
        """Return the status of an init container, which has done its work when the others start."""
        status = self._container(pod, container)
        if "running" not in status["state"]:
            return status
        return {**status, "ready": True, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}

    def _held(self, _pod: Json, container: Json) -> Json:
        """Return the status of a container that waits for an init container."""
        status = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False}
        return {**status, "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}

    def _container(self, pod: Json, container: Json) -> Json:
        status: Json = {"name": container["name"], "image": container["image"], "ready": False, "restartCount": 0}
        image_id = pull(container["image"])
        missing = next(self._missing(pod, container), None)
        if image_id is None:
            message = f'Back-off pulling image "{container["image"]}"'
            self._event(pod, "Failed", f'Failed to pull image "{container["image"]}": not found')
            return {
                **status,
                "imageID": "",
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": message}},
            }
        status["imageID"] = image_id
        if missing:
            waiting = {"reason": "CreateContainerConfigError", "message": missing}
            return {**status, "state": {"waiting": waiting}}
        ending = re.fullmatch(r"echo (.*); exit (\d+)", " ".join(container.get("command") or [])[6:])
        if ending:
            return self._crashed(pod, status, ending[1], int(ending[2]))
        probe = ((container.get("readinessProbe") or {}).get("exec") or {}).get("command")
        return {**status, "state": {"running": {"startedAt": self._store.now()}}, "ready": probe != ["false"]}

    def _crashed(self, pod: Json, status: Json, said: str, code: int) -> Json:
        self.logs[(pod["metadata"]["uid"], status["name"])] = said + "\n"
        waiting = {
            "reason": "CrashLoopBackOff",
            "message": f"back-off 10s restarting failed container={status['name']}",
        }
        ended = {"exitCode": code, "reason": "Error"}
        return {**status, "restartCount": 2, "state": {"waiting": waiting}, "lastState": {"terminated": ended}}

    def _missing(self, pod: Json, container: Json) -> Iterator[str]:
        namespace = pod["metadata"]["namespace"]
        for source in container.get("envFrom") or []:
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                name = (source.get(key) or {}).get("name")
                known = {obj["metadata"]["name"] for obj in self._store.all(named(kind), namespace)}
                if name and name not in known:
                    yield f'{kind.lower()} "{name}" not found'

    def _write(self, pod: Json, status: Json, *, node: str = "") -> None:
        after = clone(pod)
        after["status"] = status
        if node and not pod["spec"].get("nodeName"):
            after["spec"]["nodeName"] = node
            pod = self._store.update(named("Pod"), pod, after, manager="kube-scheduler")
            after["metadata"] = clone(pod["metadata"])
        self._store.update(named("Pod"), pod, after, manager=_MANAGER, subresource="status")

    def _event(self, pod: Json, reason: str, message: str) -> None:
        event = {
            "metadata": {"generateName": f"{pod['metadata']['name']}."},
            "involvedObject": {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "count": 1,
            "lastTimestamp": self._store.now(),
        }
        self._store.create(named("Event"), pod["metadata"]["namespace"], event, manager=_MANAGER)
