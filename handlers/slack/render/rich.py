"""Rich text: what came from a plan, a person or a tool is shown to the letter and is never markup.

mrkdwn cannot escape ``*``, ``_``, ``~`` and back-ticks, so whatever we did not write ourselves goes into rich text
elements (https://docs.slack.dev/reference/block-kit/blocks/rich-text-block), which are literal. Only the fallback
`text` of a message is mrkdwn; there `escape` takes the power from ``<!channel>``, ``<@U...>`` and links.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any, Final, TypeAlias

from handlers.slack.render.message import Block

Part: TypeAlias = dict[str, Any]
Line: TypeAlias = list[Part]

_MENTION: Final = re.compile(r"<@([UW][A-Z0-9]{2,30})>")
_ESCAPED_MENTION: Final = re.compile(r"&lt;@([UW][A-Z0-9]{2,30})&gt;")
_TOKEN: Final = re.compile(r"<@[UW][A-Z0-9]{2,30}>|https://[^\s<>\"'`|]{1,2000}")
_ELLIPSIS: Final = "\u2026"
_MOST_TOKENS: Final = 3
"""Links and mentions in one line; more are shown as they are written, so that a line's size has a bound."""
_REVERSING: Final = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def clean(words: str) -> str:
    """Return the words without control characters and marks that reverse the direction of text."""
    shown = (each for each in words if each in "\n\t" or unicodedata.category(each) not in {"Cc", "Cs"})
    return "".join(shown).translate(_REVERSING)


def clip(words: str, most: int) -> str:
    """Shorten to at most that many characters, the last one an ellipsis."""
    return words if len(words) <= most else words[: max(0, most - 1)].rstrip() + _ELLIPSIS


def escape(words: str, mentions: Collection[str] = ()) -> str:
    """Return the words as mrkdwn that mentions nobody but `mentions` (user ids) and links nowhere."""
    escaped = clean(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _ESCAPED_MENTION.sub(lambda m: f"<@{m[1]}>" if m[1] in mentions else m[0], escaped)


def fallback(words: str, most: int, mentions: Collection[str] = ()) -> str:
    """Return the words as the text of a message; never empty, since Slack demands one."""
    return clip(escape(words, mentions), most).strip() or "(no words)"


def text(words: str, *, bold: bool = False, code: bool = False) -> Part:
    """Return literal words."""
    style = {key: True for key, wanted in (("bold", bold), ("code", code)) if wanted}
    return {"type": "text", "text": clean(words), **({"style": style} if style else {})}


def user(user_id: str) -> Part:
    """Return a mention; words if it is no user id: the policy, or a worker, whose name means nothing to people."""
    if re.fullmatch(r"[UW][A-Z0-9]{2,30}", user_id):
        return {"type": "user", "user_id": user_id}
    return text("the policy" if user_id == "policy" else "the bot")


def words(value: str, *, most: int = 3_000, mentions: Collection[str] = ()) -> Line:
    """Return literal words in which the named people are mentions and https addresses are links to what they show.

    Args:
        value: The words, from anybody.
        most: Characters to keep.
        mentions: Ids of the users who may be mentioned; ``<@U...>`` of anybody else stays as it is written.
    """
    value = clip(clean(value), most)
    parts: Line = []
    at = 0
    for found in islice(_TOKEN.finditer(value), _MOST_TOKENS):
        part = _token(found[0], mentions)
        if part is not None:
            parts += [*_literal(value[at : found.start()]), part]
            at = found.end()
    return [*parts, *_literal(value[at:])]


def _token(token: str, mentions: Collection[str]) -> Part | None:
    mention = _MENTION.fullmatch(token)
    if mention is None:
        return {"type": "link", "url": token}
    return user(mention[1]) if mention[1] in mentions else None


def _literal(value: str) -> Line:
    return [text(value)] if value else []


def row(label: str, value: str | Line, *, most: int = 600, mentions: Collection[str] = ()) -> Line:
    """Return one line: a bold label and what there is to say."""
    said = words(value, most=most, mentions=mentions) if isinstance(value, str) else value
    return [text(f"{label}: ", bold=True), *said]


def paragraph(lines: Iterable[Line]) -> Block:
    """Return a block of lines, each on a line of its own."""
    parts: Line = []
    for line in lines:
        parts += [*([text("\n")] if parts else []), *(part for part in line if part.get("text") != "")]
    return rich({"type": "rich_text_section", "elements": parts or [text(" ")]})


def bullets(lines: Iterable[Line]) -> Part:
    """Return a list with a dot before each line, as a part of `rich`."""
    items = [{"type": "rich_text_section", "elements": line} for line in lines]
    return {"type": "rich_text_list", "style": "bullet", "elements": items}


def heading(title: str) -> Part:
    """Return a bold line, as a part of `rich`."""
    return {"type": "rich_text_section", "elements": [text(title, bold=True)]}


def preformatted(output: str) -> Part:
    """Return a tool's output to the letter, as a part of `rich`; back-ticks in it end nothing."""
    return {"type": "rich_text_preformatted", "elements": [text(clean(output) or " ")]}


def rich(*elements: Part) -> Block:
    """Return a block of rich text."""
    return {"type": "rich_text", "elements": list(elements)}


def head(detail: str, *, most: int, lines: int) -> str:
    """Return the beginning of what a check has to show, and say how much was left out after it.

    Args:
        detail: What it has to show.
        most: Characters to keep.
        lines: Lines to keep.
    """
    every = clean(detail).rstrip("\n").split("\n")
    kept = every[:lines]
    while len(kept) > 1 and sum(len(line) + 1 for line in kept) > most:
        kept = kept[:-1]
    shown = "\n".join(kept)
    if len(shown) > most:
        shown = shown[: most - 1] + _ELLIPSIS
    dropped = len(every) - len(kept)
    return f"{shown}\n{_ELLIPSIS} {dropped} more lines are in the journal" if dropped else shown


def tail(output: str, *, most: int, lines: int) -> str:
    """Return the end of a tool's output, and say how much was left out before it.

    Args:
        output: The output.
        most: Characters to keep.
        lines: Lines to keep.
    """
    every = clean(output).rstrip("\n").split("\n")
    kept = every[-lines:]
    while len(kept) > 1 and sum(len(line) + 1 for line in kept) > most:
        kept = kept[1:]
    shown = "\n".join(kept)
    if len(shown) > most:
        shown = _ELLIPSIS + shown[-(most - 1) :]
    dropped = len(every) - len(kept)
    return f"{_ELLIPSIS} {dropped} earlier lines are in the journal\n{shown}" if dropped else shown
