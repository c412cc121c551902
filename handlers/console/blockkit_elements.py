"""Block elements and composition objects: what may stand in a block, and Slack's limits on it.

The figures are those of https://docs.slack.dev/reference/block-kit/block-elements and .../composition-objects.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from handlers.console.blockkit_schema import (
    Check,
    Problem,
    array,
    integer,
    obj,
    of,
    one_of,
    plain,
    string,
    tagged,
    text,
    typed,
)

ID: Final = string(255)
URL: Final = string(3000)


def matches(pattern: str, words: str) -> Check:
    """Accept a string that matches a pattern in full."""
    compiled = re.compile(pattern)

    def check(value: Any, at: str) -> Iterator[Problem]:
        if not (isinstance(value, str) and compiled.fullmatch(value)):
            yield Problem(at, words)

    return check


DATE: Final = matches(r"\d{4}-\d{2}-\d{2}", "must be a date in the format YYYY-MM-DD")
TIME: Final = matches(r"([01]\d|2[0-3]):[0-5]\d", "must be a time in the format HH:mm")
CONFIRM: Final = obj(
    {"title": plain(100), "text": text(300), "confirm": plain(30), "deny": plain(30)},
    {"style": one_of("primary", "danger")},
)
PLAIN_OPTION: Final = obj({"text": plain(75), "value": string(150)}, {"description": plain(75)})
URL_OPTION: Final = obj({"text": plain(75), "value": string(150)}, {"description": plain(75), "url": URL})
ANY_OPTION: Final = obj({"text": text(75), "value": string(150)}, {"description": text(75)})
OPTION_GROUP: Final = obj({"label": plain(75), "options": array(PLAIN_OPTION, most=100)})


def all_options(element: dict[str, Any]) -> list[dict[str, Any]]:
    """List an element's options, those of its groups included."""
    grouped = [option for group in element.get("option_groups") or [] for option in group["options"]]
    return [*(element.get("options") or []), *grouped]


def _initial_among_options(element: Any, at: str) -> Iterator[Problem]:
    """An initial choice must be one of the options, to the letter."""
    options = all_options(element)
    chosen = element.get("initial_options") or []
    if element.get("initial_option"):
        chosen = [element["initial_option"]]
    for option in chosen:
        if option not in options:
            yield Problem(at, "initial option must exactly match one of the options")


def _unique_values(element: Any, at: str) -> Iterator[Problem]:
    """Two options with one value could not be told apart in the payload."""
    values = [option["value"] for option in all_options(element)]
    if len(values) != len(set(values)):
        yield Problem(at, "option values must be unique")


def _options_or_groups(element: Any, at: str) -> Iterator[Problem]:
    """A select has options or groups of them, never both, never neither."""
    if ("options" in element) is ("option_groups" in element):
        yield Problem(at, "must define either `options` or `option_groups`")


def _length_order(element: Any, at: str) -> Iterator[Problem]:
    """The shortest allowed answer may not be longer than the longest."""
    if element.get("min_length", 0) > element.get("max_length", 3000):
        yield Problem(at, "min_length must not be greater than max_length")


_CHOICES: Final[tuple[Check, ...]] = (_unique_values, _initial_among_options)
_SELECT: Final = {
    "options": array(PLAIN_OPTION, most=100),
    "option_groups": array(OPTION_GROUP, most=100),
    "placeholder": plain(150),
    "confirm": CONFIRM,
    "focus_on_load": of(bool),
    "action_id": ID,
}
_PICK: Final = {"placeholder": plain(150), "confirm": CONFIRM, "focus_on_load": of(bool), "action_id": ID}
_BOX: Final = {"confirm": CONFIRM, "focus_on_load": of(bool), "action_id": ID}

ELEMENTS: Final[dict[str, Check]] = {
    "button": typed(
        "button",
        {"text": plain(75)},
        {
            "action_id": ID,
            "url": URL,
            "value": string(2000),
            "style": one_of("primary", "danger"),
            "confirm": CONFIRM,
            "accessibility_label": string(75),
        },
    ),
    "overflow": typed(
        "overflow",
        {"options": array(URL_OPTION, most=5)},
        {"action_id": ID, "confirm": CONFIRM},
        _unique_values,
    ),
    "static_select": typed(
        "static_select", {}, {**_SELECT, "initial_option": PLAIN_OPTION}, _options_or_groups, *_CHOICES
    ),
    "multi_static_select": typed(
        "multi_static_select",
        {},
        {**_SELECT, "initial_options": array(PLAIN_OPTION, most=100), "max_selected_items": integer(1, 100)},
        _options_or_groups,
        *_CHOICES,
    ),
    "users_select": typed("users_select", {}, {**_PICK, "initial_user": string(255)}),
    "datepicker": typed("datepicker", {}, {**_PICK, "initial_date": DATE}),
    "timepicker": typed("timepicker", {}, {**_PICK, "initial_time": TIME, "timezone": string(255)}),
    "radio_buttons": typed(
        "radio_buttons",
        {"options": array(ANY_OPTION, most=10)},
        {**_BOX, "initial_option": ANY_OPTION},
        *_CHOICES,
    ),
    "checkboxes": typed(
        "checkboxes",
        {"options": array(ANY_OPTION, most=10)},
        {**_BOX, "initial_options": array(ANY_OPTION, most=10)},
        *_CHOICES,
    ),
    "plain_text_input": typed(
        "plain_text_input",
        {},
        {
            "action_id": ID,
            "placeholder": plain(150),
            "initial_value": string(3000, least=0),
            "multiline": of(bool),
            "min_length": integer(0, 3000),
            "max_length": integer(1, 3000),
            "dispatch_action_config": of(dict),
            "focus_on_load": of(bool),
        },
        _length_order,
    ),
    "number_input": typed(
        "number_input",
        {"is_decimal_allowed": of(bool)},
        {
            "action_id": ID,
            "placeholder": plain(150),
            "initial_value": string(255),
            "min_value": string(255),
            "max_value": string(255),
            "dispatch_action_config": of(dict),
            "focus_on_load": of(bool),
        },
    ),
    "image": typed("image", {"alt_text": string(2000)}, {"image_url": URL, "slack_file": of(dict)}),
}

_STATEFUL: Final = ("static_select", "multi_static_select", "users_select", "datepicker", "timepicker")
_LISTS: Final = ("radio_buttons", "checkboxes")
IN_ACTIONS: Final = ("button", "overflow", *_STATEFUL, *_LISTS)
IN_SECTION: Final = (*IN_ACTIONS, "image")
IN_INPUT: Final = (*_STATEFUL, *_LISTS, "plain_text_input", "number_input")


def element(kinds: tuple[str, ...]) -> Check:
    """Accept one of the named block elements."""
    return tagged({kind: ELEMENTS[kind] for kind in kinds}, noun="element")
