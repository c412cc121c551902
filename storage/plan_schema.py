"""The JSON Schema of plans, so that editors check and complete them while they are written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from bot.domain.plan import Phase, Plan, StepCatalogue, Verification, plan_model

_MOMENT = r"^\d{4}-\d\d-\d\d[ Tt]\d\d:\d\d(:\d\d(\.\d+)?)?( ?UTC|Z|z|[+-]\d\d:?\d\d)?$"
_ATTRIBUTE = re.compile(r"^    (?P<name>\w+): (?P<words>.+(?:\n     +.+)*)", re.MULTILINE)


def plan_schema(catalogue: StepCatalogue) -> dict[str, Any]:
    """Return the schema of a plan (JSON Schema draft 2020-12) for the known steps.

    Args:
        catalogue: The known steps by kind, at least one.
    """
    model = plan_model(catalogue)
    made = model.model_json_schema(mode="validation")
    definitions = made.pop("$defs", {})
    words = {definition.__name__: definition for definition in _models(catalogue)}
    for name, definition in definitions.items():
        _explain(definition, words.get(name))
    _explain(made, Plan)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:rollback-bot:plan:v1",
        **made,
        "title": "Rollback plan",
        "$defs": definitions,
    }
    for node in _nodes(schema):
        if node.get("format") == "date-time":
            # Wider than RFC 3339: `2024-01-15 15:47 UTC`, as the messages write it, is a plan's time too.
            del node["format"]
            node |= {"pattern": _MOMENT, "examples": ["2024-01-15 15:47 UTC"]}
    return schema


def _models(catalogue: StepCatalogue) -> Iterator[type[BaseModel]]:
    seen: set[type[BaseModel]] = set()
    waiting: list[type[BaseModel]] = [Plan, Phase, Verification, *catalogue.values()]
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        yield model
        for field in model.model_fields.values():
            waiting += [each for each in _within(field.annotation) if each not in seen]


def _within(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _within(argument)


def _explain(definition: dict[str, Any], model: type[BaseModel] | None) -> None:
    """Take the words of a model's docstring: the text for the whole, `Attributes` for its fields."""
    for name, node in definition.get("properties", {}).items():
        node.pop("title", None)
        told = _told(model, name)
        if told:
            node["description"] = told
    if model:
        definition["description"] = inspect.cleandoc(model.__doc__ or "").split("\n\nAttributes:")[0]


def _told(model: type[BaseModel] | None, name: str) -> str:
    for each in model.__mro__ if model else ():
        section = inspect.cleandoc(each.__doc__ or "").partition("Attributes:")[2]
        for found in _ATTRIBUTE.finditer(section):
            if found["name"] == name:
                return " ".join(found["words"].split())
    return ""


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for each in node.values():
            yield from _nodes(each)
    elif isinstance(node, list):
        for each in node:
            yield from _nodes(each)
