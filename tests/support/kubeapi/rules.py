"""What the server adds to objects, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.kubeapi import selectors
from tests.support.kubeapi.store import RefusedError

Json = dict[str, Any]
_WORKLOADS = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_CHANGEABLE = frozenset(
    {"replicas", "template", "updateStrategy", "revisionHistoryLimit", "minReadySeconds", "ordinals"}
)
_ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}


def admit(obj: Json, *, before: Json | None) -> None:
    """Fill in defaults and refuse what is not valid, as the API server does for the kinds of these tests.

    Raises:
        RefusedError: With status 422.
    """
    if obj["kind"] in _WORKLOADS:
        _defaults(obj)
    problems = list(_problems(obj, before))
    if problems:
        name = obj["metadata"].get("name", "")
        message = f'{obj["kind"]} "{name}" is invalid: {"; ".join(problems)}'
        raise RefusedError(422, "Invalid", message)


def _defaults(obj: Json) -> None:
    spec = obj["spec"]
    spec.setdefault("revisionHistoryLimit", 10)
    if obj["kind"] == "Deployment":
        spec.setdefault("replicas", 1)
        strategy = spec.setdefault("strategy", {"type": "RollingUpdate"})
        if strategy.get("type") == "RollingUpdate":
            strategy["rollingUpdate"] = {**_ROLLING["rollingUpdate"], **strategy.get("rollingUpdate", {})}  # type: ignore[dict-item] # a table of two types
        spec.setdefault("progressDeadlineSeconds", 600)
    elif obj["kind"] == "StatefulSet":
        spec.setdefault("replicas", 1)
        spec.setdefault("podManagementPolicy", "OrderedReady")
        strategy = spec.setdefault("updateStrategy", {"type": "RollingUpdate"})
        if strategy.get("type") == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {"partition": 0})
    else:
        strategy = spec.setdefault("updateStrategy", {"type": "RollingUpdate"})
        if strategy.get("type") == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {"maxSurge": 0, "maxUnavailable": 1})
    template = spec.get("template") or {}
    template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    pod = template.setdefault("spec", {})
    pod.setdefault("restartPolicy", "Always")
    pod.setdefault("terminationGracePeriodSeconds", 30)
    pod.setdefault("dnsPolicy", "ClusterFirst")
    pod.setdefault("schedulerName", "default-scheduler")
    pod.setdefault("securityContext", {})
    for container in [*pod.get("containers", []), *pod.get("initContainers", [])]:
        container.setdefault("resources", {})
        container.setdefault("imagePullPolicy", "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")


def _problems(obj: Json, before: Json | None) -> Iterator[str]:
    match obj["kind"]:
        case "Deployment" | "StatefulSet" | "DaemonSet":
            yield from _workload(obj, before)
        case "HTTPRoute":
            for number, rule in enumerate(obj["spec"].get("rules") or []):
                for backend in rule.get("backendRefs") or []:
                    if not 0 <= backend.get("weight", 1) <= 1_000_000:
                        yield f"spec.rules[{number}].backendRefs.weight: must be between 0 and 1000000"
        case "VirtualService":
            for number, route in enumerate(obj["spec"].get("http") or []):
                if any(target.get("weight", 0) < 0 for target in route.get("route") or []):
                    yield f"spec.http[{number}].route.weight: must not be negative"


def _workload(obj: Json, before: Json | None) -> Iterator[str]:
    spec, template = obj["spec"], obj["spec"].get("template") or {}
    containers = template.get("spec", {}).get("containers") or []
    if not containers:
        yield "spec.template.spec.containers: Required value"
    names = [container.get("name") for container in containers]
    if len(names) != len(set(names)):
        yield "spec.template.spec.containers: Duplicate value"
    for number, container in enumerate(containers):
        if not container.get("image"):
            yield f"spec.template.spec.containers[{number}].image: Required value"
    if not selectors.of_document(spec.get("selector") or {})(template):
        yield "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
    if before is None:
        return
    if spec.get("selector") != before["spec"].get("selector"):
        yield "spec.selector: Invalid value: field is immutable"
    if obj["kind"] == "StatefulSet":
        fixed = {key for key in spec if spec[key] != before["spec"].get(key)} - _CHANGEABLE
        if fixed:
            yield f"spec: Forbidden: updates to statefulset spec for fields other than {sorted(_CHANGEABLE)}"
