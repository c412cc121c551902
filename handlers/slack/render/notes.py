"""A line in the thread, with a tool's output folded below it."""

from __future__ import annotations

from collections.abc import Collection

from bot.domain.announcements import Note
from handlers.slack.render.kit import folded
from handlers.slack.render.message import MOST_TEXT_EDITED, Block, Message, first_that_fits
from handlers.slack.render.rich import fallback, head, paragraph, preformatted, tail, text, words

_SIGNS = {"good": "✅ ", "bad": "❌ ", "warn": "⚠️ "}


def note(content: Note, *, mentions: Collection[str] = ()) -> Message:
    """Return the line with what is shown when one opens it.

    Of an output these are the last 40 lines or 6,000 characters, of a detail as much from its beginning.
    """
    sign = _SIGNS.get(content.tone, "")
    said = paragraph([[*([text(sign)] if sign else []), *words(content.text, most=2_000, mentions=mentions)]])
    blocks = [said]
    if content.output.strip():
        blocks = first_that_fits([said, output(content.output, most=most)] for most in (6_000, 3_000, 1_500))
    if content.detail.strip():
        blocks = first_that_fits([said, detail(content.detail, most=most)] for most in (6_000, 3_000, 1_500))
    return Message(fallback(f"{sign}{content.text}", MOST_TEXT_EDITED, mentions), blocks)


def detail(words_of_check: str, *, most: int) -> Block:
    """Return a check's detail, folded: its first 40 lines, and no more than that many characters."""
    return folded("Details", preformatted(head(words_of_check, most=most, lines=40)))


def output(words_of_tool: str, *, most: int) -> Block:
    """Return a tool's output, folded: its last 40 lines, and no more than that many characters."""
    return folded("Output", preformatted(tail(words_of_tool, most=most, lines=40)))
