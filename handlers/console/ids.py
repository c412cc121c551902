"""Give blocks and elements the ids that Slack would generate when an app leaves them out."""

import hashlib
from copy import deepcopy
from typing import Any

from handlers.console import blockkit


def with_ids(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill missing block and action ids.

    The ids follow from position and content kind, not from chance: a message that is edited every second keeps the
    ids of its buttons, so that a click made between two edits still finds its button.

    Args:
        blocks: Valid blocks.

    Returns:
        A copy in which every block has a `block_id` and every element with an action an `action_id`.
    """
    filled = deepcopy(blocks)
    for pointer, block in blockkit.walk(filled):
        elements = [(at, each) for at, each in blockkit.interactive(block) if each.get("type") != "image"]
        for at, each in elements:
            each.setdefault("action_id", _short(pointer + at, str(each.get("type"))))
        actions = [each["action_id"] for _, each in elements]
        block.setdefault("block_id", _short(pointer, str(block.get("type")), *actions))
    return filled


def _short(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:10]
