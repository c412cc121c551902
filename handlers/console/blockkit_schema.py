"""Small combinators that describe JSON as Slack checks it.

A check takes a value and the JSON pointer of that value and yields every problem it finds, in Slack's own words
(https://docs.slack.dev/reference/block-kit). Nothing here does I/O.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

type_name = {str: "a string", bool: "a boolean", dict: "an object", list: "an array", int: "an integer"}


@dataclass(frozen=True)
class Problem:
    """One thing Slack would refuse.

    Attributes:
        pointer: JSON pointer of the offending value, for example `/blocks/0/text/text`.
        reason: What is wrong, in Slack's words.
        code: The error code that Slack's Web API answers with for it.
    """

    pointer: str
    reason: str
    code: str = "invalid_blocks"

    def __str__(self) -> str:
        return f"{self.reason} [json-pointer:{self.pointer}]"


Check: TypeAlias = Callable[[Any, str], Iterator[Problem]]


def is_a(kind: type, value: Any) -> bool:
    """Tell whether a JSON value is of a kind; a boolean is no integer."""
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def of(kind: type) -> Check:
    """Accept any value of one JSON kind."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not is_a(kind, value):
            yield Problem(at, f"must be {type_name[kind]}")

    return check


def string(most: int, *, least: int = 1) -> Check:
    """Accept a string of `least` to `most` characters."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield Problem(at, "must be a string")
        elif len(value) > most:
            yield Problem(at, f"must be less than {most + 1} characters")
        elif len(value) < least:
            yield Problem(at, f"must be more than {least - 1} characters")

    return check


def integer(least: int, most: int) -> Check:
    """Accept a whole number from `least` to `most`."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not is_a(int, value):
            yield Problem(at, "must be an integer")
        elif not least <= value <= most:
            yield Problem(at, f"must be a number between {least} and {most}")

    return check


def one_of(*choices: str) -> Check:
    """Accept one of the given strings."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if value not in choices:
            yield Problem(at, f"must be one of: {', '.join(choices)}")

    return check


def array(item: Check, *, most: int, least: int = 1) -> Check:
    """Accept an array of `least` to `most` items, each of which passes `item`."""

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield Problem(at, "must be an array")
            return
        if len(value) > most:
            yield Problem(at, f"no more than {most} items allowed")
        if len(value) < least:
            yield Problem(at, f"no less than {least} items allowed" if value else "must not be empty")
        for index, each in enumerate(value):
            yield from item(each, f"{at}/{index}")

    return check


def obj(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *rules: Check) -> Check:
    """Accept an object with exactly these keys; `rules` then look at the object as a whole.

    Args:
        required: The checks of keys that must be there.
        optional: The checks of keys that may be there; a null counts as absent.
        rules: Checks of the whole object, run only when its parts are sound.

    Returns:
        The check.
    """
    known = {**required, **(optional or {})}

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem(at, "must provide an object")
            return
        found = [Problem(at, f"missing required field: {key}") for key in required if value.get(key) is None]
        for key, each in value.items():
            if key not in known:
                found.append(Problem(at, f"invalid additional property: {key}"))
            elif each is not None:
                found.extend(known[key](each, f"{at}/{key}"))
        if not found:
            for rule in rules:
                found.extend(rule(value, at))
        yield from found

    return check


def tagged(kinds: Mapping[str, Check], *, noun: str) -> Check:
    """Accept an object whose `type` selects one of several checks.

    Args:
        kinds: The checks by type; each must know the key `type` itself.
        noun: What the thing is called in the message, for example `element`.

    Returns:
        The check.
    """

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem(at, "must provide an object")
            return
        kind = value.get("type")
        if not isinstance(kind, str):
            yield Problem(at, "missing required field: type")
        elif kind in kinds:
            yield from kinds[kind](value, at)
        else:
            yield Problem(f"{at}/type", f"unsupported {noun} type: {kind}")

    return check


def typed(
    kind: str, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *rules: Check
) -> Check:
    """Accept an object whose `type` is `kind`, otherwise as `obj`."""
    return obj({"type": one_of(kind), **required}, optional, *rules)


def text(most: int, *, mrkdwn: bool = True, least: int = 1) -> Check:
    """Accept a text object (https://docs.slack.dev/reference/block-kit/composition-objects/text-object)."""
    plain = typed("plain_text", {"text": string(most, least=least)}, {"emoji": of(bool)})
    if not mrkdwn:
        return tagged({"plain_text": plain}, noun="text")
    marked = typed("mrkdwn", {"text": string(most, least=least)}, {"verbatim": of(bool)})
    return tagged({"plain_text": plain, "mrkdwn": marked}, noun="text")


def plain(most: int) -> Check:
    """Accept a plain_text object."""
    return text(most, mrkdwn=False)
