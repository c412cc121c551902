"""Configuration that does not go back with the pods: ConfigMaps and Secrets that changed since the revision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from actuators.kubernetes import objects
from actuators.kubernetes.api import Api, ApiError, Json
from actuators.kubernetes.resources import CONFIG_MAP, SECRET
from actuators.together import together
from bot.domain.actuation import Check, Verdict
from bot.domain.times import utc_minute

_KINDS = {CONFIG_MAP.kind: CONFIG_MAP, SECRET.kind: SECRET}
_RESOLUTION = (
    "Compare it with what that version needs and restore it beside this step, or confirm that it still fits."
)


@dataclass(frozen=True, order=True)
class Reference:
    """A ConfigMap or Secret that a pods' template needs.

    Attributes:
        kind: ``ConfigMap`` or ``Secret``.
        name: Its name.
        optional: Whether pods start without it.
    """

    kind: str
    name: str
    optional: bool = False


def references(template: Json) -> tuple[Reference, ...]:
    """Return what a pods' template refers to, each once; one that is needed anywhere is needed."""
    found: dict[tuple[str, str], bool] = {}
    for reference in _references(template.get("spec") or {}):
        key = (reference.kind, reference.name)
        found[key] = found.get(key, True) and reference.optional
    return tuple(Reference(kind, name, optional) for (kind, name), optional in sorted(found.items()))


def _references(spec: Json) -> Iterator[Reference]:
    for volume in spec.get("volumes") or []:
        sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
        for source in sources:
            yield from _named(source.get("configMap"), CONFIG_MAP.kind)
            yield from _named(source.get("secret"), SECRET.kind)
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for source in container.get("envFrom") or []:
            yield from _named(source.get("configMapRef"), CONFIG_MAP.kind)
            yield from _named(source.get("secretRef"), SECRET.kind)
        for variable in container.get("env") or []:
            value = variable.get("valueFrom") or {}
            yield from _named(value.get("configMapKeyRef"), CONFIG_MAP.kind)
            yield from _named(value.get("secretKeyRef"), SECRET.kind)
    for pull in spec.get("imagePullSecrets") or []:
        # A node goes on without a pull secret that is not there.
        yield from _named({**pull, "optional": True}, SECRET.kind)


def _named(reference: Json | None, kind: str) -> Iterator[Reference]:
    name = (reference or {}).get("name") or (reference or {}).get("secretName")
    if name:
        yield Reference(kind, str(name), optional=bool((reference or {}).get("optional")))


async def check_drift(api: Api, template: Json, *, since: datetime, moment: str) -> tuple[Check, ...]:
    """Look at every ConfigMap and Secret of a template: by metadata alone, so that no secret travels.

    Args:
        api: The API server.
        template: The pods' template that comes back.
        since: From when on a change does not fit it.
        moment: What happened then, for people.
    """
    wanted = references(template)
    if not wanted:
        return (Check("Configuration", Verdict.OK, "The pods refer to no ConfigMap and no Secret"),)
    found = await together(_look(api, each, since=since, moment=moment) for each in wanted)
    bad = tuple(check for check in found if check is not None)
    same = len(found) - len(bad)
    if not same:
        return bad
    words = f"{same} of {len(found)} ConfigMaps and Secrets are unchanged since {moment}"
    return (*bad, Check("Configuration", Verdict.OK, words))


async def _look(api: Api, reference: Reference, *, since: datetime, moment: str) -> Check | None:
    subject = f"{reference.kind} {reference.name}"
    try:
        obj = await api.get(_KINDS[reference.kind], reference.name, metadata_only=True)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None if reference.optional else _missing(subject)
        return Check(subject, Verdict.WARN, f"Whether it has changed is not known: {error.brief}", error.resolution)
    born = objects.created(obj)
    who, changed = objects.last_writer(obj, "data", "binaryData", "type", "immutable")
    if max(born, changed or born) <= since:
        return None
    if changed is None or born >= changed:
        words = f"It was made {utc_minute(born)}, after {moment} ({utc_minute(since)})"
    else:
        words = f"It was changed {utc_minute(changed)} by {who}, after {moment} ({utc_minute(since)})"
    return Check(subject, Verdict.WARN, f"{words}. It does not go back with the pods.", _RESOLUTION)


def _missing(subject: str) -> Check:
    return Check(
        subject,
        Verdict.FAIL,
        "It is gone, and pods of that version cannot start without it. Nothing was changed.",
        "Restore it first.",
    )
