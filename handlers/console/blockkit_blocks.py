"""Blocks: their fields, their limits, and the surfaces on which Slack takes them.

The figures are those of https://docs.slack.dev/reference/block-kit/blocks.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from handlers.console.blockkit_elements import ELEMENTS, ID, IN_ACTIONS, IN_INPUT, IN_SECTION, URL, element
from handlers.console.blockkit_schema import (
    Check,
    Problem,
    array,
    integer,
    is_a,
    obj,
    of,
    one_of,
    plain,
    string,
    tagged,
    text,
    typed,
)


class Surface(StrEnum):
    """Where blocks are shown."""

    MESSAGE = "message"
    MODAL = "modal"
    HOME = "home"


_STYLE: Final = obj(
    {},
    {key: of(bool) for key in ("bold", "italic", "strike", "code", "underline", "highlight", "client_highlight")},
)
_RICH_PARTS: Final[dict[str, Check]] = {
    "text": typed("text", {"text": string(13_000)}, {"style": _STYLE}),
    "link": typed("link", {"url": URL}, {"text": string(3000), "unsafe": of(bool), "style": _STYLE}),
    "emoji": typed(
        "emoji", {"name": string(100)}, {"unicode": string(100), "skin_tone": integer(1, 6), "style": _STYLE}
    ),
    "user": typed("user", {"user_id": string(255)}, {"style": _STYLE}),
    "channel": typed("channel", {"channel_id": string(255)}, {"style": _STYLE}),
    "usergroup": typed("usergroup", {"usergroup_id": string(255)}, {"style": _STYLE}),
    "broadcast": typed("broadcast", {"range": one_of("here", "channel", "everyone")}, {"style": _STYLE}),
    "date": typed(
        "date",
        {"timestamp": of(int), "format": string(255)},
        {"url": URL, "fallback": string(255), "style": _STYLE},
    ),
}
_PARTS: Final = array(tagged(_RICH_PARTS, noun="rich text element"), most=1000, least=0)
_RICH_SECTION: Final = typed("rich_text_section", {"elements": _PARTS})
_BORDER: Final[dict[str, Check]] = {"border": integer(0, 1)}
_RICH: Final[dict[str, Check]] = {
    "rich_text_section": _RICH_SECTION,
    "rich_text_preformatted": typed(
        "rich_text_preformatted", {"elements": _PARTS}, {**_BORDER, "language": string(100)}
    ),
    "rich_text_quote": typed("rich_text_quote", {"elements": _PARTS}, _BORDER),
    "rich_text_list": typed(
        "rich_text_list",
        {"style": one_of("bullet", "ordered"), "elements": array(_RICH_SECTION, most=1000)},
        {**_BORDER, "indent": integer(0, 8), "offset": integer(0, 1000)},
    ),
}
RICH_TEXT: Final = typed(
    "rich_text", {"elements": array(tagged(_RICH, noun="rich text element"), most=100)}, {"block_id": ID}
)


def _text_or_fields(block: Any, at: str) -> Iterator[Problem]:
    """A section says something."""
    if not (block.get("text") or block.get("fields")):
        yield Problem(at, "must define either `text` or `fields`")


def _an_image(block: Any, at: str) -> Iterator[Problem]:
    """An image comes from one place."""
    if bool(block.get("image_url")) is bool(block.get("slack_file")):
        yield Problem(at, "must define either `image_url` or `slack_file`")


def _container_rules(block: Any, at: str) -> Iterator[Problem]:
    """A container has a title, and a divider only where it cannot fold."""
    if not (block.get("title") or block.get("rich_text_title")):
        yield Problem(at, "missing required field: title")
    if block.get("is_collapsible") and block.get("has_header_divider"):
        yield Problem(at, "has_header_divider cannot be set when is_collapsible is true")
    if block.get("default_collapsed") and not block.get("is_collapsible"):
        yield Problem(at, "default_collapsed requires is_collapsible to be true")


def _number_cell(value: Any, at: str) -> Iterator[Problem]:
    """A number cell's value is a JSON number."""
    if not (is_a(int, value) or isinstance(value, float)):
        yield Problem(at, "must be a number")


_CELL: Final = tagged(
    {
        "raw_text": typed("raw_text", {"text": string(13_000)}),
        "raw_number": typed("raw_number", {"value": _number_cell}, {"text": string(255)}),
        "rich_text": RICH_TEXT,
    },
    noun="table cell",
)
_SOURCE: Final = typed("url", {"url": URL, "text": string(255)})
_TASK: Final[Mapping[str, Check]] = {
    "details": RICH_TEXT,
    "output": RICH_TEXT,
    "sources": array(_SOURCE, most=100, least=0),
    "status": one_of("pending", "in_progress", "complete", "error"),
    "block_id": ID,
}
TASK_CARD: Final = typed("task_card", {"task_id": string(255), "title": string(3000)}, _TASK)
_BLOCK_ID: Final = {"block_id": ID}

SIMPLE: Final[dict[str, Check]] = {
    "header": typed("header", {"text": plain(150)}, {**_BLOCK_ID, "level": integer(1, 6)}),
    "section": typed(
        "section",
        {},
        {
            **_BLOCK_ID,
            "text": text(3000),
            "fields": array(text(2000), most=10),
            "accessory": element(IN_SECTION),
            "expand": of(bool),
        },
        _text_or_fields,
    ),
    "divider": typed("divider", {}, _BLOCK_ID),
    "context": typed(
        "context",
        {
            "elements": array(
                tagged(
                    {"image": ELEMENTS["image"], "plain_text": plain(3000), "mrkdwn": text(3000)}, noun="element"
                ),
                most=10,
            )
        },
        _BLOCK_ID,
    ),
    "actions": typed("actions", {"elements": array(element(IN_ACTIONS), most=25)}, _BLOCK_ID),
    "image": typed(
        "image",
        {"alt_text": string(2000)},
        {**_BLOCK_ID, "image_url": URL, "slack_file": of(dict), "title": plain(2000)},
        _an_image,
    ),
    "input": typed(
        "input",
        {"label": plain(2000), "element": element(IN_INPUT)},
        {**_BLOCK_ID, "hint": plain(2000), "optional": of(bool), "dispatch_action": of(bool)},
    ),
    "rich_text": RICH_TEXT,
    "table": typed(
        "table",
        {"rows": array(array(_CELL, most=20), most=100)},
        {
            **_BLOCK_ID,
            "column_settings": array(
                obj({}, {"align": one_of("left", "center", "right"), "is_wrapped": of(bool)}), most=20, least=0
            ),
        },
    ),
}
CONTAINER: Final = typed(
    "container",
    {"child_blocks": array(tagged(SIMPLE, noun="child block"), most=10)},
    {
        **_BLOCK_ID,
        "title": plain(150),
        "rich_text_title": RICH_TEXT,
        "subtitle": text(150),
        "width": one_of("narrow", "standard", "wide", "full"),
        "icon": ELEMENTS["image"],
        "is_collapsible": of(bool),
        "default_collapsed": of(bool),
        "has_header_divider": of(bool),
    },
    _container_rules,
)
BLOCKS: Final[dict[str, Check]] = {
    **SIMPLE,
    "container": CONTAINER,
    "markdown": typed("markdown", {"text": string(12_000)}, _BLOCK_ID),
    "task_card": TASK_CARD,
    "plan": typed("plan", {"title": string(3000)}, {**_BLOCK_ID, "tasks": array(TASK_CARD, most=1000, least=0)}),
    "alert": typed(
        "alert",
        {"text": text(3000)},
        {**_BLOCK_ID, "level": one_of("default", "info", "warning", "error", "success")},
    ),
}
_EVERYWHERE: Final = frozenset(Surface)
_ONLY: Final[dict[str, frozenset[Surface]]] = {
    "plan": frozenset({Surface.MESSAGE}),
    "task_card": frozenset({Surface.MESSAGE}),
    "table": frozenset({Surface.MESSAGE}),
    "markdown": frozenset({Surface.MESSAGE}),
    "alert": frozenset({Surface.MODAL}),
    "input": frozenset({Surface.MODAL, Surface.HOME}),
}


def surfaces(kind: str) -> frozenset[Surface]:
    """Tell where Slack takes a type of block."""
    return _ONLY.get(kind, _EVERYWHERE)
