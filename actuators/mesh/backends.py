"""Whether pods are ready where the traffic will go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus

from actuators.kubernetes import objects
from actuators.kubernetes.api import Api, ApiError, Json, Query, Resource
from actuators.kubernetes.pods import read
from actuators.kubernetes.resources import POD, SERVICE
from actuators.mesh.forms import Host, host_of
from actuators.mesh.steps import GatewayWeights, MeshWeights
from bot.domain.actuation import Check, Verdict
from bot.domain.errors import ActuatorError

_UNTOUCHED = "Nothing was changed."


async def check_backends(api: Api, step: MeshWeights | GatewayWeights, rules: Resource | None) -> tuple[Check, ...]:
    """Look at every destination that gets traffic.

    Args:
        api: The API server.
        step: The step.
        rules: The kind of DestinationRules, for subsets.
    """
    return tuple([await _check(api, host, subset, rules) for host, subset in _served(step, api.namespace)])


def must_take(title: str, checks: Iterable[Check]) -> None:
    """Refuse to send traffic where nobody takes it. A standby that is ill must stay a standby.

    Args:
        title: What would send it.
        checks: What was found behind it.

    Raises:
        ActuatorError: If one of them failed.
    """
    ill = [check for check in checks if check.verdict is Verdict.FAIL]
    if ill:
        found = " ".join(f"{check.subject}: {check.words.removesuffix(_UNTOUCHED).strip()}" for check in ill)
        raise ActuatorError(
            f"{title} was left as it is, so no traffic was sent there. {found}",
            untouched=_UNTOUCHED,
            resolution=ill[0].resolution,
        )


def _served(step: MeshWeights | GatewayWeights, namespace: str) -> Iterator[tuple[Host, str]]:
    if isinstance(step, MeshWeights):
        for each in step.destinations:
            if each.weight:
                yield host_of(each.host, namespace), each.subset or ""
    else:
        for backend in step.backends:
            if backend.weight:
                yield Host(backend.name, backend.namespace or namespace), ""


async def _check(api: Api, host: Host, subset: str, rules: Resource | None) -> Check:
    subject = f"Backend {host.name}{f' ({subset})' if subset else ''}"
    if host.namespace != api.namespace:
        where = f"in namespace {host.namespace}" if host.namespace else "outside the cluster"
        return Check(
            subject, Verdict.WARN, f"It is {where}: whether it is healthy was not looked at", "Look at it."
        )
    try:
        labels = await _subset(api, host, subset, rules) if subset and rules else {}
        if labels is None:
            words = f"No DestinationRule defines its subset {subset}: requests would fail. {_UNTOUCHED}"
            return Check(subject, Verdict.FAIL, words, "Correct the subset in the plan, or define it.")
        return await behind(api, host.name, labels, subject=subject)
    except ApiError as error:
        return Check(subject, Verdict.WARN, f"Whether it is healthy is not known: {error.brief}", error.resolution)


async def _subset(api: Api, host: Host, subset: str, rules: Resource) -> dict[str, str] | None:
    """Return the labels of a subset, None if no rule of that host defines it."""
    found, _ = await api.select(Query(rules))
    for rule in found:
        spec = rule.get("spec") or {}
        if host_of(str(spec.get("host", "")), api.namespace) == host:
            for each in spec.get("subsets") or []:
                if each.get("name") == subset:
                    labels: dict[str, str] = each.get("labels") or {}
                    return labels
    return None


async def behind(api: Api, service: str, labels: dict[str, str], *, subject: str) -> Check:
    """Count the ready pods of a service, or of those with further labels.

    Raises:
        ApiError: If they cannot be read.
    """
    try:
        obj = await api.get(SERVICE, service)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            words = f"There is no service {service} in {api.namespace}: requests would fail. {_UNTOUCHED}"
            return Check(subject, Verdict.FAIL, words, "Deploy the earlier version beside first.")
        raise
    selector: Json = {"matchLabels": {**((obj.get("spec") or {}).get("selector") or {}), **labels}}
    found, _ = await api.select(Query(POD, labels=objects.selector(selector)))
    pods = [pod for pod in (read(each, revision="") for each in found) if not pod.leaving]
    ready = [pod for pod in pods if pod.ready]
    versions = ", ".join(sorted({pod.label for pod in ready}))
    if ready:
        return Check(subject, Verdict.OK, f"{len(ready)} of {len(pods)} pods are ready ({versions})")
    reasons = ", ".join(sorted({pod.trouble or "starting" for pod in pods})) or "there is none"
    words = f"None of its {len(pods)} pods is ready ({reasons}): traffic would go nowhere. {_UNTOUCHED}"
    return Check(subject, Verdict.FAIL, words, "Scale it up, or roll it back first.")
