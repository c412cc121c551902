"""How an API server lays a patch over an object."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

Json = dict[str, Any]

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "conditions": "type",
    "hostAliases": "ip",
}
"""The key by which a strategic merge finds the members of a list; other lists are replaced."""


class PatchError(Exception):
    """The patch cannot be laid over the object."""


def json_merge(target: Any, patch: Any) -> Any:
    """Return a JSON merge patch's result (RFC 7386)."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = json_merge(result.get(key), value)
    return result


def strategic_merge(target: Any, patch: Any) -> Any:
    """Return a strategic merge patch's result, for built-in types."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    if patch.get("$patch") == "replace":
        return _clean({key: value for key, value in patch.items() if key != "$patch"})
    if patch.get("$patch") == "delete":
        return {}
    result = deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            raise PatchError(f"unsupported directive {key}")
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list) and key in MERGE_KEYS:
            result[key] = _merge_list(result.get(key) or [], value, MERGE_KEYS[key])
        else:
            result[key] = strategic_merge(result.get(key), value)
    return result


def _clean(value: Any) -> Any:
    """Return a value without nulls: a replaced map keeps none."""
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return value


def _merge_list(target: list[Json], patch: list[Json], key: str) -> list[Json]:
    result = deepcopy(target)
    for item in patch:
        if key not in item:
            raise PatchError(f"map: {item} does not contain declared merge key: {key}")
        position = next((n for n, known in enumerate(result) if known.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if position is not None:
                del result[position]
        elif position is None:
            result.append(strategic_merge({}, item))
        else:
            result[position] = strategic_merge(result[position], item)
    return result


def json_patch(target: Json, operations: list[Json]) -> Json:
    """Return a JSON patch's result (RFC 6902), for the operations that clients of this API send."""
    result = deepcopy(target)
    for operation in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        parent: Any = result
        for part in parts[:-1]:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        last: Any = int(parts[-1]) if isinstance(parent, list) and parts[-1] != "-" else parts[-1]
        match operation["op"]:
            case "test":
                if parent[last] != operation["value"]:
                    raise PatchError(f"testing path {operation['path']} failed")
            case "remove":
                del parent[last]
            case "add" if isinstance(parent, list):
                parent.insert(len(parent) if last == "-" else last, operation["value"])
            case "add" | "replace":
                parent[last] = deepcopy(operation["value"])
            case other:
                raise PatchError(f"unsupported operation {other}")
    return result
