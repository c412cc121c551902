"""Walk a JSON Schema beside a document, to know which fields may stand at a place."""

from __future__ import annotations

from typing import Any

from bot.domain.plan_rules import Path


class Schema:
    """A model's JSON Schema.

    Args:
        root: As pydantic makes it: ``$defs``, ``$ref``, ``oneOf`` with a discriminator.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def fields(self, data: Any, path: Path) -> list[str]:
        """Return the names of the fields that may stand in the mapping at the path."""
        node, data = self._node(data, path)
        return list(self._concrete(node, data).get("properties", {}))

    def kinds(self, data: Any, path: Path) -> list[str]:
        """Return the kinds that may stand in the mapping at the path."""
        node, _ = self._node(data, path)
        return list(node.get("discriminator", {}).get("mapping", {}))

    def _node(self, data: Any, path: Path) -> tuple[dict[str, Any], Any]:
        node = self._root
        for part in path:
            node = self._concrete(node, data)
            data = _child(data, part)
            if isinstance(part, int):
                node = node.get("items", {})
            else:
                node = node.get("properties", {}).get(part) or _any_property(node)
        return node, data

    def _concrete(self, node: dict[str, Any], data: Any) -> dict[str, Any]:
        while "$ref" in node:
            node = self._root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        options = node.get("oneOf") or node.get("anyOf")
        if not options:
            return node
        tags = node.get("discriminator", {})
        given = data.get(tags.get("propertyName")) if isinstance(data, dict) else None
        chosen = tags.get("mapping", {}).get(given) if isinstance(given, str) else None
        if chosen:
            return self._concrete({"$ref": chosen}, data)
        found = [self._concrete(option, data) for option in options]
        return next((option for option in found if "properties" in option), {})


def _any_property(node: dict[str, Any]) -> dict[str, Any]:
    """Return what stands under the names of a mapping that people name themselves."""
    free = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    return next((below for below in free if isinstance(below, dict)), {})


def _child(data: Any, part: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None
