"""The standard messages, with exactly their lines."""

from __future__ import annotations

from collections.abc import Collection

from bot.domain.announcements import Standard
from handlers.slack.render.message import MOST_TEXT_POSTED, Message, first_that_fits
from handlers.slack.render.rich import Line, fallback, paragraph, text, words


def standard(content: Standard, *, mentions: Collection[str] = ()) -> Message:
    """Return the message, its title in bold and each line as it is.

    The fallback text is `content.text()`, with ``&``, ``<`` and ``>`` escaped unless they are a permitted mention.

    Args:
        content: What is said.
        mentions: Ids of the users whom ``<@U...>`` in a line may mention.
    """
    shorter = ((3_000, 1_000), (600, 60), (300, 30), (100, 15))
    blocks = first_that_fits(
        [paragraph(_lines(content, mentions, length=length, count=count))] for length, count in shorter
    )
    return Message(fallback(content.text(), MOST_TEXT_POSTED, mentions), blocks)


def _lines(content: Standard, mentions: Collection[str], *, length: int, count: int) -> list[Line]:
    lines = [words(line, most=length, mentions=mentions) for line in content.lines[:count]]
    more = len(content.lines) - count
    rest = [[text(f"… and {more} more lines")]] if more > 0 else []
    return [[text(content.title, bold=True)], *lines, *rest]
