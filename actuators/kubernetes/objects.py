"""Reading what every object of the API server has."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from actuators.kubernetes.api import Json


def meta(obj: Json) -> Json:
    """Return the object's metadata."""
    found: Json = obj.get("metadata") or {}
    return found


def name(obj: Json) -> str:
    """Return its name."""
    return str(meta(obj).get("name", ""))


def uid(obj: Json) -> str:
    """Return its unique id."""
    return str(meta(obj).get("uid", ""))


def version(obj: Json) -> str:
    """Return the version that a pinned write names as its precondition."""
    return str(meta(obj).get("resourceVersion", ""))


def labels(obj: Json) -> dict[str, str]:
    """Return its labels."""
    found: dict[str, str] = meta(obj).get("labels") or {}
    return found


def notes(obj: Json) -> dict[str, str]:
    """Return its annotations; the name is Python's own."""
    found: dict[str, str] = meta(obj).get("annotations") or {}
    return found


def created(obj: Json) -> datetime:
    """Return when it was made."""
    return moment(str(meta(obj)["creationTimestamp"]))


def moment(text: str) -> datetime:
    """Read a time of the API server."""
    return datetime.fromisoformat(text).astimezone(UTC)


def controller(obj: Json) -> Json:
    """Return the reference to the object that controls this one; empty if none does."""
    references: list[Json] = meta(obj).get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), {})


def condition(obj: Json, kind: str) -> Json:
    """Return a condition of its status; empty if it has none of that type."""
    found: list[Json] = (obj.get("status") or {}).get("conditions") or []
    return next((entry for entry in found if entry.get("type") == kind), {})


def selector(document: Json) -> str:
    """Write a label selector as requests take it."""
    parts = [f"{key}={value}" for key, value in sorted((document.get("matchLabels") or {}).items())]
    for rule in document.get("matchExpressions") or []:
        key, values = rule["key"], ",".join(rule.get("values") or [])
        match rule["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)


def last_writer(obj: Json, *fields: str, besides: str = "") -> tuple[str, datetime | None]:
    """Return who wrote one of these top-level parts of the object last, and when.

    Args:
        obj: The object with its managed fields.
        fields: Names like ``spec`` or ``data``. Whoever wrote only metadata or status does not count.
        besides: A field manager that is not meant.

    Returns:
        The field manager and the time; empty and None if the server does not tell.
    """
    wanted = {f"f:{field}" for field in fields}
    entries: Iterable[Json] = meta(obj).get("managedFields") or []
    found = [
        (moment(str(entry["time"])), str(entry.get("manager", "")))
        for entry in entries
        if entry.get("time")
        and not entry.get("subresource")
        and entry.get("manager") != besides
        and wanted & set(entry.get("fieldsV1") or {})
    ]
    if not found:
        return "", None
    when, who = max(found)
    return who, when


def without_none(value: Any) -> Any:
    """Return a JSON value without members that are null: the API server writes or leaves them out at will."""
    if isinstance(value, dict):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_none(inner) for inner in value]
    return value
