"""Pods: which revision and images they run, and in words what keeps them from being ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from actuators.kubernetes import images, objects
from actuators.kubernetes.api import Json

_COMING = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons for waiting that pass by themselves."""

_ENDED = frozenset({"Failed", "Succeeded"})
_CRASH = "CrashLoopBackOff"
_NEXT = {
    "ImagePullBackOff": "Look whether the image is still in its registry, and whether the pull secret is valid.",
    "InvalidImageName": "Correct the image's name.",
    _CRASH: "Read the last lines of the log: configuration or schema may not fit the version.",
    "CreateContainerConfigError": "A ConfigMap or Secret, or a key of it, is missing: restore it.",
    "OOMKilled": "It needs more memory than its limit.",
    "Unschedulable": "No node has room or fits: free capacity, or see the pod's events.",
    "not ready": "It runs and its readiness probe fails: see its log.",
    "Evicted": "The node ran short of something: see the pod's events.",
}
_SAME = {"ErrImagePull": "ImagePullBackOff", "ErrImageNeverPull": "ImagePullBackOff"}


@dataclass(frozen=True)
class Pod:
    """A pod as far as a rollout is concerned.

    Attributes:
        name: Its name.
        uid: Its unique id.
        revision: The hash of the revision that it was made from.
        images: The reference of each container, as the pod names it.
        image_ids: The image id of each container, as its node reports it.
        ready: Whether it is ready.
        leaving: Whether it is being deleted, or has ended for good: its controller counts it no more.
        trouble: Why it is not ready, in one word or two; empty if it is ready or simply starting.
        detail: The same with particulars.
        crashed: Containers that ended with a fault, and whether that was in an earlier life of theirs.
    """

    name: str
    uid: str
    revision: str
    images: dict[str, str]
    image_ids: dict[str, str]
    ready: bool
    leaving: bool
    trouble: str = ""
    detail: str = ""
    crashed: dict[str, bool] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people call the version that it runs: the tag of its first container."""
        return images.label(next(iter(self.images.values()), ""))

    @property
    def advice(self) -> str:
        """What to do about its trouble; empty if nothing is known."""
        return _NEXT.get(self.trouble, "")


def read(obj: Json, *, revision: str) -> Pod:
    """Read a pod.

    Args:
        obj: The pod.
        revision: The label that holds the hash of its revision.
    """
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    ready = objects.condition(obj, "Ready").get("status") == "True"
    trouble, detail = ("", "") if ready else _trouble(obj, statuses)
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return Pod(
        name=objects.name(obj),
        uid=objects.uid(obj),
        revision=objects.labels(obj).get(revision, ""),
        images={container["name"]: container.get("image", "") for container in containers},
        image_ids={entry["name"]: entry.get("imageID", "") for entry in statuses},
        ready=ready,
        leaving=bool(objects.meta(obj).get("deletionTimestamp")) or status.get("phase") in _ENDED,
        trouble=trouble,
        detail=detail,
        crashed=dict(_crashed(statuses)),
    )


def tally(
    pods: Iterable[Pod],
    wanted: Callable[[Pod], bool],
    *,
    total: int,
    label: str,
    other: str = "of another revision",
) -> str:
    """Say how the pods stand: ``5 of 6 pods on v2.3.1, 1 ImagePullBackOff, 1 on v2.4.0``.

    Args:
        pods: All pods of the workload.
        wanted: Whether a pod is one that is to be there.
        total: How many there shall be.
        label: What those that are wanted run.
        other: What is said of one that is not wanted and runs the same by name.
    """
    good = 0
    rest: Counter[str] = Counter()
    for pod in pods:
        if pod.leaving:
            rest[pod.trouble or "leaving"] += 1
        elif not wanted(pod):
            rest[f"on {pod.label}" if pod.label != label else other] += 1
        elif pod.ready:
            good += 1
        else:
            rest[pod.trouble or "starting"] += 1
    words = [f"{good} of {total} pod{'s' if total != 1 else ''} on {label}"]
    words += [f"{count} {what}" for what, count in sorted(rest.items(), key=lambda entry: (-entry[1], entry[0]))]
    return ", ".join(words)


def _trouble(obj: Json, statuses: list[Json]) -> tuple[str, str]:
    """Return why the pod is not ready: a word or two, and particulars; both empty while it simply starts."""
    status = obj.get("status") or {}
    scheduled = objects.condition(obj, "PodScheduled")
    if scheduled.get("status") == "False":
        return "Unschedulable", str(scheduled.get("message", ""))
    if status.get("phase") == "Failed":
        return str(status.get("reason") or "Failed"), str(status.get("message", ""))
    for entry in statuses:
        found = _container_trouble(entry)
        if found:
            return found[0], f"container {entry['name']}: {found[1]}"
    if any("running" in (entry.get("state") or {}) for entry in status.get("containerStatuses") or []):
        return "not ready", str(objects.condition(obj, "Ready").get("message", "it runs and is not ready"))
    return "", ""


def _container_trouble(entry: Json) -> tuple[str, str] | None:
    state = entry.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    before = (entry.get("lastState") or {}).get("terminated") or {}
    reason = str(waiting.get("reason", ""))
    if reason and reason not in _COMING:
        detail = str(waiting.get("message") or reason)
        if reason == _CRASH and before:
            detail = f"ended with {_end(before)}, {entry.get('restartCount', 0)} restarts"
        reason = _SAME.get(reason, reason)
        return ("OOMKilled" if reason == _CRASH and before.get("reason") == "OOMKilled" else reason), detail
    if ended.get("exitCode"):
        # Between its end and the next start the node calls it an error; it is the same loop.
        word = "OOMKilled" if ended.get("reason") == "OOMKilled" else _CRASH
        return word, f"ended with {_end(ended)}"
    return None


def _end(ended: Json) -> str:
    reason = ended.get("reason")
    words = f"exit code {ended.get('exitCode', '?')}"
    return f"{words} ({reason})" if reason and reason != "Error" else words


def _crashed(statuses: Iterable[Json]) -> Iterable[tuple[str, bool]]:
    for entry in statuses:
        if ((entry.get("state") or {}).get("terminated") or {}).get("exitCode"):
            yield entry["name"], False
        elif ((entry.get("lastState") or {}).get("terminated") or {}).get("exitCode"):
            yield entry["name"], True
