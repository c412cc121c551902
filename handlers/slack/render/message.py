"""A message as it is sent, and how it is kept within Slack's limits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from handlers.slack import ids

Block: TypeAlias = dict[str, Any]
View: TypeAlias = dict[str, Any]

MOST_BLOCKS: Final = 50
"""https://docs.slack.dev/reference/block-kit/blocks"""
MOST_CHARACTERS: Final = 12_500
"""Of a message's blocks as JSON. Slack refuses at about 13,200 and documents nothing:
https://github.com/slackapi/bolt-js/issues/2509"""
MOST_TEXT_POSTED: Final = 39_000
MOST_TEXT_EDITED: Final = 3_900
"""chat.postMessage takes 40,000 characters of text, chat.update 4,000."""


@dataclass(frozen=True)
class Message:
    """A message, ready to be sent.

    Attributes:
        text: What notifications, screen readers and old clients show; mrkdwn, escaped.
        blocks: The blocks, within the limits of messages.
        metadata: What the message is about, for finding it again; None for one that need not be found.
    """

    text: str
    blocks: list[Block]
    metadata: dict[str, Any] | None = None

    def marked(self, rollback_id: str, key: str) -> Message:
        """Return the message with the rollback and the announcement that it is."""
        payload = {"rollback": rollback_id, "key": key}
        return replace(self, metadata={"event_type": ids.METADATA_EVENT, "event_payload": payload})


def size(blocks: list[Block]) -> int:
    """Return the length of the blocks as they travel."""
    return len(json.dumps(blocks, ensure_ascii=False, separators=(",", ":")))


def fits(blocks: list[Block]) -> bool:
    """Return whether Slack takes the blocks in one message."""
    return len(blocks) <= MOST_BLOCKS and size(blocks) <= MOST_CHARACTERS


def first_that_fits(candidates: Iterable[list[Block]]) -> list[Block]:
    """Return the first candidate that fits, or the last one.

    Args:
        candidates: The same message, told in fewer and fewer words. The last must be bounded by its construction.
    """
    chosen: list[Block] = []
    for chosen in candidates:
        if fits(chosen):
            break
    return chosen


def squeezed(blocks: list[Block], most: int) -> list[Block]:
    """Return the blocks with each piece of rich text clipped to that many characters; the last resort."""
    return [_squeeze(block, most) for block in blocks]


def _squeeze(value: Any, most: int) -> Any:
    if isinstance(value, list):
        return [_squeeze(each, most) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "link" and len(value["url"]) > most:
        return {"type": "text", "text": value["url"][:most] + "…"}
    if value.get("type") == "text" and len(value["text"]) > most:
        return {**value, "text": value["text"][:most] + "…"}
    return {key: _squeeze(each, most) for key, each in value.items()}
