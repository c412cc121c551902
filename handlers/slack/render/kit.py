"""The blocks we use, other than rich text. Words of ours only: what others wrote goes through `rich`."""

from __future__ import annotations

from typing import Any

from handlers.slack.render.message import Block
from handlers.slack.render.rich import Part, clean, clip, rich


def plain(words: str, most: int) -> dict[str, Any]:
    """Return a plain text object; Slack reads no markup in it."""
    return {"type": "plain_text", "text": clip(clean(words), most) or "-", "emoji": True}


def header(words: str) -> Block:
    """Return a heading, at most 150 characters of one line."""
    return {"type": "header", "text": plain(" ".join(words.split()), 150)}


def divider() -> Block:
    """Return a line across."""
    return {"type": "divider"}


def context(words: str) -> Block:
    """Return a line in small print."""
    return {"type": "context", "elements": [plain(words, 600)]}


def button(words: str, action_id: str, value: str, *, style: str = "") -> Part:
    """Return a button; the style is ``primary``, ``danger`` or none."""
    made: Part = {"type": "button", "text": plain(words, 75), "action_id": action_id, "value": value}
    return {**made, "style": style} if style else made


def actions(*buttons: Part) -> Block:
    """Return a row of buttons."""
    return {"type": "actions", "elements": list(buttons)}


def folded(title: str, *elements: Part) -> Block:
    """Return rich text that shows when one opens it."""
    return {
        "type": "container",
        "title": plain(title, 150),
        "is_collapsible": True,
        "default_collapsed": True,
        "child_blocks": [rich(*elements)],
    }
