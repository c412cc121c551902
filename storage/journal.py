"""Events as the journal keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bot.domain.events import EVENT, AnyEvent

_NUL = "\x00"
_ESCAPED_NUL = "\\u0000"


def written(event: AnyEvent) -> tuple[AnyEvent, str]:
    """Return the event as every later reader will see it, and its JSON.

    It is read back before it is written, so that nothing gets into the journal that cannot be read from it.
    PostgreSQL cannot hold NUL characters, which the output of a tool may contain; they become U+FFFD.

    Raises:
        pydantic.ValidationError: If the event cannot be read back from its own JSON.
    """
    body = event.model_dump_json()
    if _ESCAPED_NUL in body:
        body = json.dumps(_without_nul(json.loads(body)), ensure_ascii=False, separators=(",", ":"))
    return EVENT.validate_json(body), body


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace(_NUL, "\N{REPLACEMENT CHARACTER}")
        case list():
            return [_without_nul(item) for item in value]
        case dict():
            return {_without_nul(key): _without_nul(item) for key, item in value.items()}
        case _:
            return value


def read(bodies: Iterable[str]) -> tuple[AnyEvent, ...]:
    """Return the events of a journal in their order."""
    return tuple(EVENT.validate_json(body) for body in bodies)
