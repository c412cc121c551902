"""Check messages and views against Block Kit's rules before anybody sends them.

Pure: values in, a list of problems out. The console answers its Web API with these, and every message the bot can
send is held against them in the tests, so that a rule of Slack's is broken on our machine and not in an incident.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from handlers.console.blockkit_blocks import BLOCKS, Surface, surfaces
from handlers.console.blockkit_schema import Check, Problem, array, of, one_of, plain, string, tagged, typed

__all__ = ["Problem", "Surface", "messages_of", "validate_message", "validate_view", "walk"]

MESSAGE_BLOCKS: Final = 50
VIEW_BLOCKS: Final = 100
# Undocumented; measured by users at about 13.2 thousand characters of serialised blocks:
# https://github.com/slackapi/bolt-js/issues/2509
MESSAGE_BLOCK_CHARACTERS: Final = 13_200
# https://docs.slack.dev/reference/methods/chat.postMessage and .../chat.update ("errors").
POST_TEXT: Final = 40_000
UPDATE_TEXT: Final = 4_000
VIEW_BYTES: Final = 250_000

_BLOCK: Final = tagged(BLOCKS, noun="block")
_VIEW_COMMON: Final[dict[str, Check]] = {
    "private_metadata": string(3000, least=0),
    "callback_id": string(255, least=0),
    "external_id": string(255, least=0),
}


def _unchecked(_value: Any, _at: str) -> Iterator[Problem]:
    """Leave the blocks of a view to `_blocks`, which knows the surface."""
    return iter(())


_MODAL: Final = typed(
    "modal",
    {"title": plain(24), "blocks": _unchecked},
    {
        **_VIEW_COMMON,
        "submit": plain(24),
        "close": plain(24),
        "clear_on_close": of(bool),
        "notify_on_close": of(bool),
        "submit_disabled": of(bool),
    },
)
_HOME: Final = typed("home", {"blocks": _unchecked}, _VIEW_COMMON)


def validate_message(blocks: Any, *, text: str | None = None, updating: bool = False) -> list[Problem]:
    """List what Slack would refuse in a message.

    Args:
        blocks: The blocks as they would be sent (a list of JSON objects), or None for a message of text alone.
        text: The message's text, its fallback when there are blocks.
        updating: Whether it is for chat.update, whose text may be 4,000 characters instead of 40,000.

    Returns:
        Every problem found, with Slack's error code; empty when Slack would take the message.
    """
    found: list[Problem] = []
    if not text and not blocks:
        found.append(Problem("/text", "missing required field: text", "no_text"))
    most = UPDATE_TEXT if updating else POST_TEXT
    if text is not None and len(text) > most:
        found.append(Problem("/text", f"must be less than {most + 1} characters", "msg_too_long"))
    if blocks is None:
        return found
    found.extend(_blocks(blocks, at="/blocks", surface=Surface.MESSAGE, most=MESSAGE_BLOCKS))
    size = len(json.dumps(blocks, ensure_ascii=False, separators=(",", ":"), default=str))
    if size > MESSAGE_BLOCK_CHARACTERS:
        words = f"blocks are {size} characters long; no more than {MESSAGE_BLOCK_CHARACTERS} allowed"
        found.append(Problem("/blocks", words, "msg_blocks_too_long"))
    return found


def validate_view(view: Any) -> list[Problem]:
    """List what Slack would refuse in a modal or an App Home view.

    Args:
        view: The view as it would be sent.

    Returns:
        Every problem found (code `invalid_arguments`, or `view_too_large`); empty when Slack would take the view.
    """
    if not isinstance(view, dict):
        return [Problem("/view", "must provide an object", "invalid_arguments")]
    kind = view.get("type")
    found = list(one_of("modal", "home")(kind, "/view/type"))
    if not found:
        surface = Surface.HOME if kind == "home" else Surface.MODAL
        found.extend((_HOME if surface is Surface.HOME else _MODAL)(view, "/view"))
        found.extend(_blocks(view.get("blocks"), at="/view/blocks", surface=surface, most=VIEW_BLOCKS))
        has_input = any(block.get("type") == "input" for _, block in walk(view.get("blocks"), "/view/blocks"))
        if surface is Surface.MODAL and has_input and not view.get("submit"):
            found.append(Problem("/view", "must define `submit` to use an `input` block in modals"))
    found = [Problem(each.pointer, each.reason, "invalid_arguments") for each in found]
    if len(json.dumps(view, default=str).encode()) > VIEW_BYTES:
        found.append(Problem("/view", f"must be less than {VIEW_BYTES + 1} bytes", "view_too_large"))
    return found


def messages_of(problems: list[Problem]) -> list[str]:
    """Word problems as Slack does in `response_metadata.messages`."""
    return [f"[ERROR] {problem}" for problem in problems]


def walk(blocks: Any, at: str = "/blocks") -> Iterator[tuple[str, dict[str, Any]]]:
    """Visit every block, children of containers and tasks of plans included.

    Args:
        blocks: A list of blocks; anything else visits nothing.
        at: The JSON pointer of the list.

    Yields:
        Pairs of a block's JSON pointer and the block.
    """
    for index, block in enumerate(blocks if isinstance(blocks, list) else []):
        if isinstance(block, dict):
            yield f"{at}/{index}", block
            for key in ("child_blocks", "tasks"):
                yield from walk(block.get(key), f"{at}/{index}/{key}")


def interactive(block: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """List a block's own elements with their relative JSON pointers."""
    kind = block.get("type")
    if kind == "actions" and isinstance(block.get("elements"), list):
        return [(f"/elements/{i}", each) for i, each in enumerate(block["elements"]) if isinstance(each, dict)]
    key = {"section": "accessory", "input": "element"}.get(kind if isinstance(kind, str) else "")
    each = block.get(key) if key else None
    return [(f"/{key}", each)] if isinstance(each, dict) else []


def _blocks(blocks: Any, *, at: str, surface: Surface, most: int) -> Iterator[Problem]:
    """Check a list of blocks: each by itself, then the rules that span them."""
    yield from array(_BLOCK, most=most, least=0)(blocks, at)
    visited = list(walk(blocks, at))
    for pointer, block in visited:
        kind = block.get("type")
        # A plan's tasks stand and fall with the plan.
        inside_plan = "/tasks/" in pointer
        if isinstance(kind, str) and kind in BLOCKS and not inside_plan and surface not in surfaces(kind):
            yield Problem(f"{pointer}/type", f"unsupported block type: {kind} is not allowed in a {surface}")
        yield from _repeated_action_ids(pointer, block)
    yield from _repeated_block_ids(visited)
    for kind in ("plan", "table"):
        for pointer, _ in [each for each in visited if each[1].get("type") == kind][1:]:
            yield Problem(pointer, f"only one {kind} block is allowed in a {surface}")


def _repeated_block_ids(visited: list[tuple[str, dict[str, Any]]]) -> Iterator[Problem]:
    """Two blocks with one id could not be told apart in a payload."""
    seen: set[str] = set()
    for pointer, block in visited:
        block_id = block.get("block_id")
        if isinstance(block_id, str) and block_id in seen:
            yield Problem(f"{pointer}/block_id", f"block_id `{block_id}` already exists")
        elif isinstance(block_id, str):
            seen.add(block_id)


def _repeated_action_ids(pointer: str, block: dict[str, Any]) -> Iterator[Problem]:
    """Elements of one block must differ in their action_id."""
    names = [each["action_id"] for _, each in interactive(block) if isinstance(each.get("action_id"), str)]
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem(f"{pointer}/elements", f"action_id `{name}` already exists for another element")
