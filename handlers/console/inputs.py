"""Turn what a person chose or typed into the values of Slack's payloads.

The browser names an element and a raw value; everything else (a button's value, an option's text) is taken from the
stored blocks, so that a forged request cannot send a value that the bot never offered. Pure.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from handlers.console import blockkit
from handlers.console.blockkit_elements import DATE, TIME, all_options
from handlers.console.blockkit_schema import of
from handlers.console.model import Json

Raw: TypeAlias = str | list[str] | None

_PLAIN: Final = {
    "plain_text_input": ("value", "initial_value"),
    "number_input": ("value", "initial_value"),
    "datepicker": ("selected_date", "initial_date"),
    "timepicker": ("selected_time", "initial_time"),
    "users_select": ("selected_user", "initial_user"),
}
_ONE: Final = ("static_select", "radio_buttons")
_MANY: Final = ("multi_static_select", "checkboxes")


_FORMATS: Final = {"datepicker": DATE, "timepicker": TIME}


class NotOfferedError(ValueError):
    """The value is none that the element offers."""


def find(blocks: list[Json], block_id: str, action_id: str) -> Json | None:
    """Return the element of a block by its ids; None when it is not (or no longer) there."""
    for _, block in blockkit.walk(blocks):
        if block.get("block_id") == block_id:
            for _, element in blockkit.interactive(block):
                if element.get("action_id") == action_id:
                    return element
    return None


def chosen(element: Json, raw: Raw) -> Json:
    """Return an element's value as payloads carry it, for example `{"selected_option": {...}}`.

    Raises:
        NotOfferedError: The raw value is of the wrong shape or not among the options.
    """
    kind = element["type"]
    if kind in _MANY:
        values = [raw] if isinstance(raw, str) else raw or []
        return {"type": kind, "selected_options": [_option(element, value) for value in values]}
    if isinstance(raw, list):
        raise NotOfferedError(f"{kind} takes one value")
    if kind == "button":
        kept: Json = {key: element[key] for key in ("text", "value", "style") if key in element}
        return {"type": kind, **kept}
    if kind in (*_ONE, "overflow"):
        return {"type": kind, "selected_option": _option(element, raw) if raw else None}
    if kind in _PLAIN:
        if raw and any(_FORMATS.get(kind, of(str))(raw, "")):
            raise NotOfferedError(f"{kind} does not take this value")
        return {"type": kind, _PLAIN[kind][0]: raw or None}
    raise NotOfferedError(f"{kind} cannot be operated")


def values(blocks: list[Json], raw: Any) -> dict[str, dict[str, Json]]:
    """Return `state.values` of a surface: what was entered, else what each element starts with.

    Args:
        blocks: The surface's blocks, ids filled in.
        raw: Raw values by block id and action id; what names no element is ignored.

    Returns:
        Typed values by block id and action id.

    Raises:
        NotOfferedError: A raw value is not among an element's options.
    """
    state: dict[str, dict[str, Json]] = {}
    for block, element in _stateful(blocks):
        entered = raw.get(block["block_id"]) if isinstance(raw, dict) else None
        given = isinstance(entered, dict) and element["action_id"] in entered
        value = chosen(element, entered[element["action_id"]]) if given and entered else _initial(element)
        state.setdefault(block["block_id"], {})[element["action_id"]] = value
    return state


def complaints(blocks: list[Json], state: dict[str, dict[str, Json]]) -> dict[str, str]:
    """Return what Slack's client says before it submits: messages by block id, empty when all is well."""
    found: dict[str, str] = {}
    for block, element in _stateful(blocks):
        if block["type"] == "input":
            words = _complaint(block, element, state[block["block_id"]][element["action_id"]])
            if words:
                found[block["block_id"]] = words
    return found


def _complaint(block: Json, element: Json, value: Json) -> str:
    entered = next((each for key, each in value.items() if key != "type"), None)
    if not entered:
        return "" if block.get("optional") else "Please complete this required field."
    if element["type"] == "plain_text_input":
        least, most = element.get("min_length", 0), element.get("max_length", 3000)
        if len(entered) < least:
            return f"Please enter at least {least} characters."
        if len(entered) > most:
            return f"Please enter no more than {most} characters."
    return ""


def _stateful(blocks: list[Json]) -> Iterator[tuple[Json, Json]]:
    for _, block in blockkit.walk(blocks):
        for _, element in blockkit.interactive(block):
            if element["type"] in (*_PLAIN, *_ONE, *_MANY):
                yield block, element


def _initial(element: Json) -> Json:
    kind = element["type"]
    if kind in _MANY:
        return {"type": kind, "selected_options": element.get("initial_options") or []}
    if kind in _ONE:
        return {"type": kind, "selected_option": element.get("initial_option")}
    key, start = _PLAIN[kind]
    return {"type": kind, key: element.get(start)}


def _option(element: Json, value: str | None) -> Json:
    for option in all_options(element):
        if option["value"] == value:
            return option
    raise NotOfferedError(f"{element['type']} does not offer this option")
