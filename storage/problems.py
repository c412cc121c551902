"""What is wrong with a file, in words for whoever wrote it: every problem at once, each with its place."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bot.domain.plan_rules import Path, closest
from storage.schema_walk import Schema
from storage.wording import describe
from storage.yaml_marks import Document, Fault

_Model = TypeVar("_Model", bound=BaseModel)
_NOT_COERCED = {"bool_type", "int_type", "float_type", "string_type"}
# Pydantic's lax mode takes "yes" for true and "3" for 3; what decides about production is written as it is meant.


@dataclass(frozen=True)
class PlanProblem:
    """One thing that is wrong with a file.

    Attributes:
        file: The file, as it was named.
        line: From 1.
        column: From 1.
        path: Where in the document, e.g. ``phases[0].steps[1].target``; empty: the document as a whole.
        message: What is wrong.
        suggestion: What to write instead; may be empty.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        where = f"{place} {self.path}:" if self.path else f"{place}:"
        return f"{where} {self.message}{f' — {self.suggestion}' if self.suggestion else ''}"


@dataclass(frozen=True)
class Finding:
    """A problem before its place in the file is known.

    Attributes:
        path: Where in the document.
        message: What is wrong.
        suggestion: What to write instead.
        at_key: Whether the key is wrong, not its value.
        kind: Pydantic's name of the error; empty for problems of our own.
    """

    path: Path
    message: str
    suggestion: str
    at_key: bool = False
    kind: str = ""


def path_text(path: Path) -> str:
    """Write a path as people do: ``phases[0].steps[1].target``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w.<-]{1,60}", part):
            text += f".{part}" if text else part
        else:
            text += f"[{part[:60]!r}]"
    return text


def located(findings: list[Finding], document: Document, *, file: str) -> tuple[PlanProblem, ...]:
    """Add the faults of the YAML, give each finding its place, and sort all by place."""

    def of_fault(fault: Fault) -> PlanProblem:
        mark = fault.mark
        return PlanProblem(file, mark.line, mark.column, path_text(fault.path), fault.message, fault.suggestion)

    def of_finding(finding: Finding) -> PlanProblem:
        mark = document.mark(finding.path, key=finding.at_key)
        path = path_text(finding.path)
        return PlanProblem(file, mark.line, mark.column, path, finding.message, finding.suggestion)

    found = [*map(of_fault, document.faults), *map(of_finding, findings)]
    return tuple(sorted(dict.fromkeys(found), key=lambda problem: (problem.line, problem.column)))


def validate(
    model: type[_Model], document: Document, *, missing: Callable[[Path], tuple[str, str] | None]
) -> tuple[_Model | None, list[Finding]]:
    """Validate a document and describe every error.

    Args:
        model: What it must be.
        document: The document.
        missing: Words for a missing or empty field, (message, suggestion); None: the usual ones.

    Returns:
        The value, or None and what is wrong.
    """
    data = document.data
    if not isinstance(data, dict):
        what = "is empty" if data is None else "does not consist of fields"
        return None, [Finding((), f"the document {what}", "write `name: value` lines")]
    text = json.dumps(data)
    value: _Model | None = None
    errors: list[Any] = []
    try:
        value = model.model_validate_json(text)
    except ValidationError as error:
        errors += error.errors(include_url=False)
    errors += [extra for extra in _strict_errors(model, text) if extra["loc"] not in {e["loc"] for e in errors}]
    schema = functools.cache(lambda: Schema(model.model_json_schema(mode="validation")))
    findings = [
        finding
        for error in errors
        if not _follows_from_others(error)
        for finding in _describe(error, document=document, schema=schema, missing=missing)
    ]
    return (None if findings else value), findings


def _strict_errors(model: type[BaseModel], text: str) -> Iterator[Any]:
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as error:
        for each in error.errors(include_url=False):
            number_as_time = each["type"].startswith("date") and not isinstance(each["input"], str)
            if each["type"] in _NOT_COERCED or number_as_time:
                yield each


def _follows_from_others(error: Mapping[str, Any]) -> bool:
    # Items that failed are not counted, so a list of wrong items is reported as too short as well.
    context = error.get("ctx", {})
    given = error.get("input")
    return error["type"] == "too_short" and isinstance(given, list) and len(given) >= context.get("min_length", 1)


def _describe(
    error: Mapping[str, Any],
    *,
    document: Document,
    schema: Callable[[], Schema],
    missing: Callable[[Path], tuple[str, str] | None],
) -> Iterator[Finding]:
    kind = error["type"]
    path, at_key = _clean(error["loc"], document.data)
    if kind == "extra_forbidden":
        known = [name for name in schema().fields(document.data, path[:-1]) if name not in _given(document, path)]
        near = closest(str(path[-1]), known)
        yield Finding(path, f"unknown field {_short(path[-1])}", near, at_key=True, kind=kind)
        return
    if kind in {"missing", "too_short"} or error.get("input", ...) is None:
        words = missing(path)
        if words:
            yield Finding(path, *words, at_key=kind != "missing", kind=kind)
            return
    if error.get("input", ...) is None:
        name = _short(path[-1] if path else "")
        yield Finding(path, f"{name} has no value", f"write one, or remove {name}", at_key=True, kind=kind)
        return
    if kind == "union_tag_not_found":
        known = schema().kinds(document.data, path)
        yield Finding((*path, "kind"), "the field 'kind' is missing", f"known: {', '.join(known)}", kind="missing")
        return
    if kind == "union_tag_invalid":
        path = (*path, "kind")
    message, suggestion = describe(error, path=path, word=document.words.get(path))
    yield Finding(path, message, suggestion, at_key=at_key, kind=kind)


def _given(document: Document, path: Path) -> set[str]:
    return {str(key[-1]) for key in document.keys if key[:-1] == path[:-1]}


def _short(word: object) -> str:
    text = str(word)
    return repr(text if len(text) <= 60 else text[:60] + "…")  # noqa: PLR2004 - one line of a message


def _clean(loc: tuple[str | int, ...], data: Any) -> tuple[Path, bool]:
    """Turn pydantic's location into a path of the document: without union tags and names of validators.

    Returns:
        The path, and whether a key is meant.
    """
    path: list[str | int] = []
    here = data
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if part == "[key]":
            return tuple(path), True
        if isinstance(part, int) and isinstance(here, list) and part < len(here):
            path.append(part)
            here = here[part]
        elif isinstance(part, str) and isinstance(here, dict):
            if part in here:
                path.append(part)
                here = here[part]
            elif last and part != here.get("kind"):
                path.append(part)
    return tuple(path), False
