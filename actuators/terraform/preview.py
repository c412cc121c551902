"""A plan in lines for an approver: each resource, why, and which attributes change. Nothing secret is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from actuators.redact import MASK, redact
from actuators.terraform.changes import Proposed, proposed

_MOST = 400
"""Lines of a plan that are shown; the rest is counted."""
_ATTRIBUTES = 25
"""Attributes of one resource that are shown."""
_LONGEST = 160
"""Characters of a line."""
_SHORTEST_SECRET = 4
"""Characters; shorter secrets would mask digits all over the plan."""
_SIGNS = {
    ("create",): "+",
    ("update",): "~",
    ("delete",): "-",
    ("delete", "create"): "-/+",
    ("create", "delete"): "+/-",
    ("forget",): ".",
    ("create", "forget"): "+/.",
    ("invoke",): "!",
}
_REASONS = {
    "replace_because_tainted": "it was left half made",
    "replace_because_cannot_update": "it cannot be changed in place",
    "replace_by_request": "asked for",
    "replace_by_triggers": "what triggers it has changed",
    "delete_because_no_resource_config": "no longer in the code",
    "delete_because_no_module": "its module is no longer in the code",
    "delete_because_no_move_target": "it was moved to what is not in the code",
    "delete_because_wrong_repetition": "count or for_each has changed",
    "delete_because_count_index": "beyond the count",
    "delete_because_each_key": "its key is no longer in for_each",
}
_DELETED = {("delete",), ("forget",)}


@dataclass(frozen=True)
class _Leaf:
    """One value: what it is, and how it is shown."""

    value: Any
    shown: str


def preview(document: Mapping[str, Any], *, secrets: tuple[str, ...] = ()) -> list[str]:
    """Return the lines of a plan.

    Args:
        document: What ``show -json PLAN`` said.
        secrets: Further values that nobody may see.
    """
    lines = _lines(document, hidden(document, secrets))
    kept = list(islice(lines, _MOST))
    left = sum(1 for _ in lines)
    return [*kept, *([f"… and {left} more lines"] if left else [])]


def hidden(document: Mapping[str, Any], secrets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values that nobody may see, with those that a plan marks as sensitive anywhere."""
    return (*secrets, *sorted(_secret_values(document)))


def lines_of(entry: Proposed, *, masked: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of one change."""
    sign = _SIGNS.get(entry.actions, "=" if entry.importing or entry.moved else "?")
    reason = _REASONS.get(entry.reason, entry.reason.replace("_", " "))
    told = [
        f"imports {entry.importing}" if entry.importing else "",
        f"was {entry.moved}" if entry.moved else "",
        reason,
        f"because of {', '.join(entry.forced)}" if entry.forced else "",
    ]
    why = "; ".join(filter(None, told))
    yield _clean(f"{sign} {entry.key}{f' ({why})' if why else ''}", masked)
    attributes = list(_attributes(entry)) if entry.actions not in _DELETED else []
    yield from (f"    {_clean(line, masked)}" for line in attributes[:_ATTRIBUTES])
    if len(attributes) > _ATTRIBUTES:
        yield f"    … and {len(attributes) - _ATTRIBUTES} more attributes"


def _lines(document: Mapping[str, Any], masked: tuple[str, ...]) -> Iterator[str]:
    for entry in proposed(document):
        yield from lines_of(entry, masked=masked)


def _attributes(entry: Proposed) -> Iterator[str]:
    before = dict(_leaves(entry.before, None, entry.before_sensitive))
    after = dict(_leaves(entry.after, entry.unknown, entry.after_sensitive))
    nothing = _Leaf(None, "null")
    for path in sorted({*before, *after}):
        old, new = before.get(path, nothing), after.get(path, nothing)
        if old.value == new.value and type(old.value) is type(new.value):
            continue
        name = f"{path}: " if path else ""
        yield f"{name}{new.shown}" if entry.before is None else f"{name}{old.shown} -> {new.shown}"


def _leaves(value: Any, unknown: Any, sensitive: Any, path: str = "") -> Iterator[tuple[str, _Leaf]]:
    """Yield every value in a tree by its path, e.g. ``ingress[0].port``."""
    if unknown is True:
        yield path, _Leaf(..., "(known after apply)")
    elif sensitive is True:
        yield path, _Leaf(json.dumps(value, sort_keys=True), "(sensitive)")
    elif isinstance(value, dict) or (value is None and isinstance(unknown, dict) and unknown):
        value = value or {}
        names = {*value, *(unknown if isinstance(unknown, dict) else ())}
        for name in sorted(names):
            inner = f"{path}.{name}" if path else str(name)
            yield from _leaves(value.get(name), _inner(unknown, name), _inner(sensitive, name), inner)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, _inner(unknown, number), _inner(sensitive, number), f"{path}[{number}]")
    elif value is not None:
        yield path, _Leaf(value, json.dumps(value, ensure_ascii=False))


def _inner(shape: Any, where: str | int) -> Any:
    if isinstance(shape, dict):
        return shape.get(where)
    if isinstance(shape, list) and isinstance(where, int) and where < len(shape):
        return shape[where]
    return None


def _clean(line: str, masked: tuple[str, ...]) -> str:
    # Masked before it is cut: a cut can hide what a pattern goes by.
    text = redact(line, secrets=masked)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _secret_values(document: Mapping[str, Any]) -> set[str]:
    """Return the values that are marked as sensitive anywhere: providers copy them to where the mark is lost."""
    found: set[str] = set()
    for entry in document.get("resource_changes") or ():
        found |= _marked(entry.get("change") or {})
    for change in (document.get("output_changes") or {}).values():
        found |= _marked(change)
    for action in document.get("action_invocations") or ():
        found |= set(_sensitive(action.get("config_values"), action.get("config_sensitive")))
    values = document.get("variables") or {}
    root = (document.get("configuration") or {}).get("root_module") or {}
    for name, variable in (root.get("variables") or {}).items():
        if variable.get("sensitive"):
            found |= set(_texts((values.get(name) or {}).get("value")))
    return found - {MASK}


def _marked(change: Mapping[str, Any]) -> set[str]:
    pairs = (("before", "before_sensitive"), ("after", "after_sensitive"))
    return {text for value, mark in pairs for text in _sensitive(change.get(value), change.get(mark))}


def _sensitive(value: Any, mark: Any) -> Iterator[str]:
    if mark is True:
        yield from _texts(value)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _sensitive(item, _inner(mark, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _sensitive(item, _inner(mark, number))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        text = str(value)
        if len(text) >= _SHORTEST_SECRET:
            yield text
