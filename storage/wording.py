"""Pydantic's errors in words for people who write plans, not programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from bot.domain.plan_rules import Path, closest

_SENSITIVE = re.compile(r"passw|secret|token|key|credential|kubeconfig", re.IGNORECASE)
_LONGEST = 60
_LONGEST_MESSAGE = 300
_WORDS = re.compile(r"'([^']*)'")
_PATTERNS = {
    r"^[a-z0-9][a-z0-9._-]{0,62}$": ("a name", "use lower case letters, digits, dots and dashes, at most 63"),
    r"^CHG\d{4,12}$": ("the number of a change", "write it like CHG0012345"),
    r"^[UW][A-Z0-9]{2,}$": ("a Slack user id", "write the id, like U024BE7LH, never the name"),
    r"^[CG][A-Z0-9]{2,}$": ("a Slack channel id", "write the id, like C024BE91L, never the name"),
    r"^https://\S+$": ("an https address", "write it like https://meet.example.org/bridge"),
    r"^https?://[^@\s]+$": ("an address without a login in it", "write it like http://10.0.0.7:8080"),
    r"^[0-9a-f]{64}$": ("a SHA-256 in hex", "write what `sha256sum FILE` prints: 64 digits of 0-9 and a-f"),
}
_SHAPES = {
    "model_type": ("fields (`name: value` lines)", ""),
    "model_attributes_type": ("fields (`name: value` lines)", ""),
    "dict_type": ("fields (`name: value` lines)", ""),
    "tuple_type": ("a list", "write each entry on a line of its own, after a dash"),
    "list_type": ("a list", "write each entry on a line of its own, after a dash"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "int_type": ("a whole number", "write it in digits, without quotes"),
    "int_from_float": ("a whole number", "write it without a fraction"),
    "float_type": ("a number", "write it in digits, without quotes"),
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def describe(error: Mapping[str, Any], *, path: Path, word: str | None) -> tuple[str, str]:
    """Return message and suggestion for one of pydantic's errors.

    Values are shown only where they cannot be secrets: never below a name like ``password``, never with an ``@``.

    Args:
        error: As `ValidationError.errors` gives it.
        path: Where in the document.
        word: The value as it is written, if it is a scalar.
    """
    kind = str(error["type"])
    shown = _shown(error.get("input"), path=path, word=word)
    writer = _WRITERS.get(kind)
    if writer:
        return writer(error, shown, path)
    if kind in _SHAPES:
        wanted, hint = _SHAPES[kind]
        return f"must be {wanted}, not {shown}", hint
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"must be {words} {error['ctx'][name]}, not {shown}", ""
    if kind.startswith(("datetime", "date_")):
        return f"{shown} is no point in time", "write it like 2024-01-15 15:47 UTC"
    if kind.startswith("time_"):
        return f"{shown} is no time of day", 'write it like "17:30"'
    return str(error["msg"]), ""


def _missing(_error: Mapping[str, Any], _shown: str, path: Path) -> tuple[str, str]:
    return f"the field {str(path[-1]) if path else ''!r} is missing", f"add `{path[-1] if path else ''}:`"


def _value_error(error: Mapping[str, Any], shown: str, path: Path) -> tuple[str, str]:
    text = str(error["msg"]).removeprefix("Value error, ")
    if _is_sensitive(path):
        return f"{shown} is not what is expected here", ""
    given = error.get("input")
    if isinstance(given, str):  # a validator's words may repeat all of what it was given
        text = text.replace(repr(given), shown)
    message, _, hint = text.partition("; ")
    return message[:_LONGEST_MESSAGE], hint[:_LONGEST_MESSAGE]


def _literal(error: Mapping[str, Any], shown: str, path: Path) -> tuple[str, str]:
    known = _WORDS.findall(str(error.get("ctx", {}).get("expected", "")))
    given = error.get("input")
    what = "kind" if path and path[-1] == "kind" else "value"
    near = closest(given, known) if isinstance(given, str) else f"known: {', '.join(known)}"
    return f"unknown {what} {shown}", near


def _unknown_kind(error: Mapping[str, Any], _shown: str, _path: Path) -> tuple[str, str]:
    context = error["ctx"]
    tag = str(context["tag"])
    return f"unknown kind {tag[:_LONGEST]!r}", closest(tag, _WORDS.findall(str(context["expected_tags"])))


def _pattern(error: Mapping[str, Any], shown: str, _path: Path) -> tuple[str, str]:
    pattern = str(error["ctx"]["pattern"])
    wanted, hint = _PATTERNS.get(pattern, (f"of the form {pattern}", ""))
    return f"{shown} is not {wanted}", hint


def _text(error: Mapping[str, Any], shown: str, path: Path) -> tuple[str, str]:
    given = error.get("input")
    if given is None or isinstance(given, list | dict) or _is_sensitive(path):
        return f"must be text, not {shown}", ""
    plain = shown.removeprefix("the number ").strip("'")
    return f"must be text, not {shown}", f'put it in quotes: "{plain}"'


def _too_short(error: Mapping[str, Any], _shown: str, _path: Path) -> tuple[str, str]:
    least = error["ctx"]["min_length"]
    if error["type"] == "too_short":
        return f"needs at least {least} entr{'y' if least == 1 else 'ies'}", ""
    return ("is empty", "") if least == 1 else (f"needs at least {least} characters", "")


def _too_long(error: Mapping[str, Any], _shown: str, _path: Path) -> tuple[str, str]:
    most = error["ctx"]["max_length"]
    given = error.get("input")
    has = f", not {len(given)}" if isinstance(given, str | list) else ""
    return f"may have at most {most} {'characters' if error['type'] == 'string_too_long' else 'entries'}{has}", ""


_WRITERS: dict[str, Callable[[Mapping[str, Any], str, Path], tuple[str, str]]] = {
    "missing": _missing,
    "value_error": _value_error,
    "literal_error": _literal,
    "enum": _literal,
    "union_tag_invalid": _unknown_kind,
    "string_pattern_mismatch": _pattern,
    "string_type": _text,
    "too_short": _too_short,
    "string_too_short": _too_short,
    "too_long": _too_long,
    "string_too_long": _too_long,
}


def _is_sensitive(path: Path) -> bool:
    return any(isinstance(part, str) and _SENSITIVE.search(part) for part in path)


def _shown(given: Any, *, path: Path, word: str | None) -> str:
    if given is None:
        return "nothing"
    if isinstance(given, dict):
        return "fields"
    if isinstance(given, list):
        return "a list"
    text = word if word is not None else str(given)
    if _is_sensitive(path) or "@" in text:
        return "this value"
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    if isinstance(given, bool):
        return json.dumps(given)
    return repr(text) if isinstance(given, str) else f"the number {text}"
