"""What the server says of itself: its version, groups and kinds."""

from __future__ import annotations

from typing import Any

from tests.support.kubeapi.kinds import KINDS, Kind

Json = dict[str, Any]
VERSION = "v1.32.4"
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def answer(path: str, *, hidden: set[str]) -> Json | None:
    """Return the answer to a question for versions, groups or kinds; None if the path asks for something else.

    Args:
        path: The path.
        hidden: API groups that are not installed.
    """
    match path.strip("/").split("/"):
        case ["version"]:
            return {"major": "1", "minor": "32", "gitVersion": VERSION}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["api", "v1"]:
            return _resources("", "v1")
        case ["apis"]:
            groups = sorted({kind.group for kind in KINDS if kind.group})
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in groups]}
        case ["apis", group] if group not in hidden and any(kind.group == group for kind in KINDS):
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
        case ["apis", group, version] if any(kind.group == group for kind in KINDS):
            return _resources(group, version)
        case _:
            return None


def _group(name: str) -> Json:
    versions = list(dict.fromkeys(v for kind in KINDS if kind.group == name for v in kind.versions))
    named = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": named, "preferredVersion": named[0]}


def _resources(group: str, version: str) -> Json:
    kinds = [kind for kind in KINDS if kind.group == group and version in kind.versions]
    group_version = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": [_resource(k) for k in kinds],
    }


def _resource(kind: Kind) -> Json:
    return {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _VERBS,
    }
