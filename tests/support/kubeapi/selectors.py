"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Matches = Callable[[Json], bool]


def by_labels(text: str) -> Matches:
    """Return the test for a label selector such as ``app=web,tier in (a,b),!old``."""
    tests = [_requirement(part.strip()) for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def _requirement(text: str) -> Callable[[dict[str, str]], bool]:
    among = re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", text)
    if among:
        key, wanted = among[1], {value.strip() for value in among[3].split(",")}
        return lambda labels: (labels.get(key) in wanted) is (among[2] == "in")
    equal = re.fullmatch(r"([^!=\s]+)\s*(==|=|!=)\s*(\S*)", text)
    if equal:
        return lambda labels: (labels.get(equal[1]) == equal[3]) is (equal[2] != "!=")
    if re.fullmatch(r"!\s*\S+", text):
        return lambda labels: text[1:].strip() not in labels
    if re.fullmatch(r"[\w./-]+", text):
        return lambda labels: text in labels
    raise ValueError(f"unable to parse requirement: {text}")


def by_fields(text: str, *, known: frozenset[str]) -> Matches:
    """Return the test for a field selector; only fields that the server supports for the kind may be named."""
    tests: list[tuple[list[str], str, bool]] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"([\w.]+)(==|=|!=)(.*)", part)
        if found is None or found[1] not in known:
            raise ValueError(f"field label not supported: {part}")
        tests.append((found[1].split("."), found[3], found[2] != "!="))

    def matches(obj: Json) -> bool:
        return all((_value(obj, path) == wanted) is equal for path, wanted, equal in tests)

    return matches


def _value(obj: Any, path: list[str]) -> str:
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)


def of_document(selector: Json) -> Matches:
    """Return the test for a selector as an object writes it."""
    wanted = selector.get("matchLabels") or {}
    if selector.get("matchExpressions"):
        raise NotImplementedError("the double's controllers know matchLabels only")
    return lambda obj: wanted.items() <= (obj["metadata"].get("labels") or {}).items()
