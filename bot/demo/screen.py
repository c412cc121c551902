"""What the demo shows in the terminal: the operations channel as it happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.status import Status
from rich.text import Text

Json = Mapping[str, Any]
_MENTION = re.compile(r"<@([UW][A-Z0-9]+)>")
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}
_SHOWN = 200


class Screen:
    """Prints each new message once, and keeps a line with what is going on.

    Args:
        out: The terminal.
        people: Names by user id.
    """

    def __init__(self, out: Console, people: Mapping[str, str]) -> None:
        self._out = out
        self._people = people
        self._seen: set[str] = set()
        self._tasks: dict[str, str] = {}
        self._status: Status | None = None

    def say(self, text: str, *, mark: str = "•", style: str = "cyan") -> None:
        """Print a line of the demo's own."""
        self._out.print(f"[{style}]{mark}[/] {text}", highlight=False, soft_wrap=True)

    def chapter(self, title: str) -> None:
        """Print a heading."""
        self._out.rule(f"[bold]{escape(title)}", align="left")

    def busy(self, text: str) -> None:
        """Show what is going on; only in a terminal, a log gets the messages alone."""
        if not self._out.is_terminal:
            return
        if self._status is None:
            self._status = self._out.status(escape(text))
            self._status.start()
        self._status.update(escape(text))

    def idle(self) -> None:
        """Stop showing that something is going on."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def show(self, messages: list[Json]) -> list[Json]:
        """Print those messages that were not printed before, and return them."""
        fresh = [message for message in messages if message["ts"] not in self._seen]
        for message in fresh:
            self._seen.add(message["ts"])
            self._print(message)
        for message in messages:
            self._follow(message)
        return fresh

    def readable(self, text: str) -> str:
        """Return a message's text with names for mentions and without entities."""
        text = _MENTION.sub(lambda found: f"@{self._people.get(found[1], found[1])}", text)
        for entity, character in _ENTITIES.items():
            text = text.replace(entity, character)
        return text

    def _print(self, message: Json) -> None:
        text = self.readable(message.get("text", ""))
        when = f"{moment(message):%H:%M:%S}"
        if message.get("thread_ts") not in (None, message["ts"]):
            first, *rest = text.splitlines() or [""]
            shown = [first, *rest] if len(rest) <= 24 else [first, *rest[:24], "…"]  # noqa: PLR2004 - a screenful
            lines = "\n".join(f"           {line[:_SHOWN]}" for line in shown[1:])
            self._out.print(Text(f"  {when}  ↳ {first}", style="dim" if not rest else ""), highlight=False)
            if lines:
                self._out.print(Text(lines, style="dim"), highlight=False)
            return
        self._out.print(
            Panel(Text(text), title=when, title_align="left", border_style=_colour(text)), highlight=False
        )

    def _follow(self, message: Json) -> None:
        for block in message.get("blocks", []):
            if block.get("type") == "plan":
                running = [task["title"] for task in block.get("tasks", []) if task.get("status") == "in_progress"]
                if running:
                    self.busy("  ·  ".join(running))
                else:
                    self.idle()


def moment(message: Json) -> datetime:
    """Return when a message was posted."""
    return datetime.fromtimestamp(float(message["ts"]), UTC)


def _colour(text: str) -> str:
    if "COMPLETE" in text:
        return "green"
    return "yellow" if "IN PROGRESS" in text else "blue"
