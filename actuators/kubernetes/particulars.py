"""What people look at when pods do not come up: the pods, their events, the last lines of their logs."""

from __future__ import annotations

from actuators.kubernetes import objects
from actuators.kubernetes.api import Api, ApiError, Json, Query
from actuators.kubernetes.pods import Pod
from actuators.kubernetes.resources import EVENT
from actuators.kubernetes.workload import Workload
from actuators.redact import redact

_PODS = 20
_WITH_EVENTS = 3
_EVENTS = 5
_LOG_LINES = 10


async def particulars(api: Api, workload: Workload) -> str:
    """Return the pods with their troubles, the latest warnings and the end of a crashed container's log.

    What the bot may not read is said, not raised: this only explains.
    """
    ailing = [pod for pod in workload.pods if not pod.ready and not pod.leaving]
    shown = sorted(workload.pods, key=lambda pod: (pod.ready, pod.name))[:_PODS]
    lines = [_line(pod) for pod in shown]
    if len(workload.pods) > _PODS:
        lines.append(f"... and {len(workload.pods) - _PODS} more pods")
    for uid in (objects.uid(workload.obj), *(pod.uid for pod in ailing[:_WITH_EVENTS])):
        lines += await _warnings(api, uid)
    crashed = next((pod for pod in ailing if pod.crashed), None)
    if crashed is not None:
        lines += await _log(api, crashed)
    return redact("\n".join(lines))


def _line(pod: Pod) -> str:
    state = "leaving" if pod.leaving else "ready" if pod.ready else pod.trouble or "starting"
    detail = f": {pod.detail}" if pod.detail and not pod.ready else ""
    return f"{pod.name}  {pod.label}  {state}{detail}"


async def _warnings(api: Api, uid: str) -> list[str]:
    try:
        found, _ = await api.select(Query(EVENT, fields=f"involvedObject.uid={uid},type=Warning"))
    except ApiError as error:
        return [f"(no events: {error.brief})"]
    return [_event(event) for event in sorted(found, key=_when)[-_EVENTS:]]


def _event(event: Json) -> str:
    where = event.get("involvedObject") or {}
    times = f" (x{event['count']})" if event.get("count", 1) > 1 else ""
    what = " ".join(str(event.get("message", "")).split())
    return f"{where.get('kind', '')} {where.get('name', '')}: {event.get('reason', '')}{times}: {what}"


def _when(event: Json) -> str:
    latest = event.get("lastTimestamp") or event.get("eventTime") or objects.meta(event).get("creationTimestamp")
    return str(latest or "")


async def _log(api: Api, pod: Pod) -> list[str]:
    container, before = next(iter(pod.crashed.items()))
    try:
        text = await api.log(pod.name, container, previous=before, lines=_LOG_LINES)
    except ApiError as error:
        return [f"(no log: {error.brief})"]
    return [f"last lines of container {container} of {pod.name}:", *text.splitlines()[-_LOG_LINES:]]
