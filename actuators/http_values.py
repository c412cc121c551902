"""Values of JSON answers: what one lacks, and how it is told."""

from __future__ import annotations

from typing import Any

from actuators.redact import redact


def missing(expected: Any, found: Any, *, path: str = "") -> str | None:
    """Say where a JSON value lacks what is expected of it; None if it has all of it.

    Objects may hold more than is expected, everything else must be equal.
    """
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return f"{path or 'the body'} is no object"
        for key, value in expected.items():
            if key not in found:
                return f"{path}{'.' if path else ''}{key} is missing"
            lack = missing(value, found[key], path=f"{path}{'.' if path else ''}{key}")
            if lack is not None:
                return lack
        return None
    # In Python True == 1, in JSON it is not.
    if isinstance(expected, bool) is isinstance(found, bool) and expected == found:
        return None
    return f"{path} is {shortened(found)}, not {shortened(expected)}"


def shortened(value: object) -> str:
    """Return a value of an answer for people: without what looks secret, and no longer than a line of chat."""
    text = redact(repr(value))
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004 - fits a line of chat
