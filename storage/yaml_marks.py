"""YAML with the place of every key and value, read cautiously: plans decide about production.

Only ``true`` and ``false`` are booleans, so that ``on``, ``no`` and a country code stay words; times of day, dates
and versions stay text. Tags, merge keys and recursion are refused, and so are documents that grow by aliases.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from bot.domain.plan_rules import Path

MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 24
_MAX_ALIASES = 100
_MAX_VALUES = 50_000
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WRONG_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Mark:
    """A place in a file; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with the document as YAML.

    Attributes:
        mark: Where in the file.
        path: Where in the document.
        message: What is wrong.
        suggestion: What to write instead.
    """

    mark: Mark
    path: Path
    message: str
    suggestion: str


@dataclass
class Document:
    """A document as plain values, with their places.

    Attributes:
        data: Dicts with text keys, lists, text, numbers, booleans, None.
        values: Where each value stands.
        keys: Where each key stands.
        words: Each scalar as it is written, e.g. ``2.10`` for the number 2.1.
        faults: What is wrong with it as YAML; the rest of the document is still read.
    """

    data: Any = None
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    words: dict[Path, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Return where a path stands; what does not exist stands where its nearest parent does.

        Args:
            path: Keys and indexes.
            key: Whether the key is meant rather than its value.
        """
        if key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            found = self.values.get(path[:length])
            if found:
                # A parent in block style begins at its first child, so its own key tells more.
                return found if length == len(path) else self.keys.get(path[:length], found)
        return Mark(1, 1)


class _Refused(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, mark: Mark, message: str, suggestion: str, path: Path = ()) -> None:
        super().__init__(message)
        self.fault = Fault(mark, path, message, suggestion)


def load(text: str) -> Document:
    """Read one YAML document.

    Every fault is in the result, never an exception: after an error of syntax that is the only one, because nothing
    behind it can be read.
    """
    document = Document()
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        document.faults.append(Fault(Mark(1, 1), (), "the file is larger than 1 MiB", "a few kilobytes are enough"))
        return document
    try:
        node = _Loader(text).get_single_node()
        if node is not None:
            document.data = _Builder(document).build(node, (), 0)
    except _Refused as refused:
        document.faults.append(refused.fault)
        document.data = None
    except yaml.MarkedYAMLError as error:
        document.faults.append(_syntax_fault(error))
    except yaml.reader.ReaderError as error:
        document.faults.append(
            Fault(_mark_at(text, error.position), (), "a character that YAML does not allow", "remove it")
        )
    except (ValueError, OverflowError):  # PyYAML lets an escape like "\\UFFFFFFFF" through to chr()
        document.faults.append(
            Fault(Mark(1, 1), (), "no valid YAML: an escape beyond Unicode", "look for \\U in text in quotes")
        )
    return document


class _Loader(yaml.SafeLoader):
    """Composes nodes and refuses what could harm before anything is built from it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        mark = _mark(event.start_mark)
        tag = getattr(event, "tag", None)
        self._aliases += isinstance(event, yaml.AliasEvent)
        if tag is not None:
            raise _Refused(mark, f"the tag {tag!r} is not allowed", "write the plain value")
        if self._aliases > _MAX_ALIASES:
            raise _Refused(mark, f"more than {_MAX_ALIASES} aliases", "write the values out")
        if self._depth >= _MAX_DEPTH:
            raise _Refused(mark, f"the document is nested deeper than {_MAX_DEPTH} levels", "write it flatter")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Builder:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0
        self._open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: Path, depth: int) -> Any:
        mark = _mark(node.start_mark)
        self._values += 1
        if self._values > _MAX_VALUES or depth > _MAX_DEPTH:
            raise _Refused(mark, "the document grows too large by its aliases", "write the values out", path)
        if any(node is parent for parent in self._open):
            raise _Refused(mark, "an alias that contains itself", "write the values out", path)
        self._document.values[path] = mark
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._open.append(node)
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(child, (*path, i), depth + 1) for i, child in enumerate(node.value)]
            return dict(self._items(node, path, depth))
        finally:
            self._open.pop()

    def _items(self, node: yaml.Node, path: Path, depth: int) -> Iterator[tuple[str, Any]]:
        seen: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
                self._fault(mark, path, "a key must be plain text", "write `name: value`")
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key == "<<" and key_node.style is None:
                self._fault(mark, here, "merge keys (<<) are not allowed", "write the fields out")
            elif _WRONG_TEXT.search(key):
                self._fault(mark, path, "a key with a control character", "remove the character")
            elif key in seen:
                self._fault(
                    mark, here, f"{key!r} stands twice, first in line {seen[key].line}", "remove one of them"
                )
            else:
                seen[key] = self._document.keys[here] = mark
                yield key, self.build(value_node, here, depth + 1)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = str(node.value)
        if _WRONG_TEXT.search(text):
            self._fault(_mark(node.start_mark), path, "text with a control character", "remove the character")
            text = _WRONG_TEXT.sub(" ", text)
        self._document.words[path] = text
        return text if node.style else _resolve(text)

    def _fault(self, mark: Mark, path: Path, message: str, suggestion: str) -> None:
        self._document.faults.append(Fault(mark, path, message, suggestion))


def _resolve(text: str) -> Any:
    """Return the value of plain text, by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema)."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _syntax_fault(error: yaml.MarkedYAMLError) -> Fault:
    said = error.problem or "not readable"
    found = error.problem_mark or error.context_mark
    mark = _mark(found) if found else Mark(1, 1)
    if "another document" in said:
        return Fault(mark, (), "a second document in the same file", "write one document a file")
    hint = "compare indentation, colons and quotes with the line before"
    if "\\t" in said or "'\\t'" in said:
        hint = "indent with spaces, not with tabs"
    elif "mapping values are not allowed" in said:
        hint = "put text that contains a colon into quotes, and check the indentation"
    elif "undefined alias" in said:
        hint = "define the anchor before, or write the value out"
    return Fault(mark, (), f"no valid YAML: {said}", hint)


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _mark_at(text: str, position: int) -> Mark:
    before = text[:position]
    return Mark(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
