"""What restoring a configuration file would change, without its secrets."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from actuators.redact import MASK, redact

_LINES = 200
"""Lines of one file's difference that are shown."""
_AROUND = 2
"""Unchanged lines that are shown around a changed one."""
LARGEST_SHOWN = 256 * 1024
"""Bytes; a larger file is told by size and digest: comparing and redacting it line by line would take too long."""
_MOST_LINES = 5_000

_Range = tuple[str, int, int, int, int]


@dataclass(frozen=True)
class Difference:
    """The difference of one file.

    Attributes:
        text: The unified diff from what is there to what comes back, secrets redacted, or a sentence in its place.
        added: Lines that come back; 0 where the content is no text.
        removed: Lines that go.
    """

    text: str
    added: int = 0
    removed: int = 0


@dataclass(frozen=True)
class _Unit:
    """Lines that are shown together: one line, or a block that the redaction made one of.

    Attributes:
        lines: What the file holds; compared, never shown.
        shown: The same without secrets.
    """

    lines: tuple[str, ...]
    shown: tuple[str, ...]


def difference(file: str, *, now: bytes | None, backup: bytes) -> Difference | None:
    """Return what changes in one file, redacted; None if the contents are the same.

    Args:
        file: Its name, for the heading.
        now: What is there; None if there is no file.
        backup: What comes back.
    """
    if now == backup:
        return None
    before, after = _text(now or b""), _text(backup)
    if before is None or after is None:
        return Difference(f"{file} is no text: {replaced(now, backup)}.")
    if max(before.count("\n"), after.count("\n")) > _MOST_LINES:
        return Difference(f"{file} is too long to be compared line by line: {replaced(now, backup)}.")
    old, new = _units(before), _units(after)
    groups = difflib.SequenceMatcher(None, _keys(old), _keys(new)).get_grouped_opcodes(_AROUND)
    opcodes = [list(group) for group in groups]
    lines = [line for group in opcodes for line in _hunk(group, old, new)]
    if not lines:
        return Difference(f"{file} differs in its line ends only.")
    changed = [each for group in opcodes for each in group if each[0] != "equal"]
    heading = [f"--- {file} (now)" if now is not None else "--- (no file)", f"+++ {file} (backup)"]
    return Difference(
        "\n".join([*heading, *_bounded(lines)]),
        added=sum(_length(new[j1:j2]) for _, _, _, j1, j2 in changed),
        removed=sum(_length(old[i1:i2]) for _, i1, i2, _, _ in changed),
    )


def replaced(now: bytes | None, backup: bytes) -> str:
    """Return by size and digest what replaces what, for contents that are not shown."""
    return told_by_size(
        None if now is None else (len(now), hashlib.sha256(now).hexdigest()),
        (len(backup), hashlib.sha256(backup).hexdigest()),
    )


def told_by_size(now: tuple[int, str] | None, backup: tuple[int, str]) -> str:
    """Return what replaces what, each as its size in bytes and its SHA-256 in hex."""
    comes = f"{backup[0]:,} bytes (sha256 {backup[1][:12]})"
    return f"{comes} come back" if now is None else f"{now[0]:,} bytes (sha256 {now[1][:12]}) become {comes}"


def _units(text: str) -> list[_Unit]:
    """Return the text in units.

    The whole text is redacted, not its difference: a diff may cut the line off that says that a block is secret.
    What is shown comes from the redacted text alone; the original lines only tell whether something has changed, so
    that a changed password still shows as a changed line.
    """
    original, clean = text.splitlines(), redact(text).splitlines()
    if original == clean:
        return [_Unit((line,), (line,)) for line in original]
    units: list[_Unit] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, original, clean).get_opcodes():
        if tag == "equal" or (tag == "replace" and i2 - i1 == j2 - j1):
            pairs = zip(original[i1:i2], clean[j1:j2], strict=True)
            units += [_Unit((line,), (shown,)) for line, shown in pairs]
        else:
            units.append(_Unit(tuple(original[i1:i2]), tuple(clean[j1:j2]) or (MASK,)))
    return units


def _keys(units: Sequence[_Unit]) -> list[tuple[str, ...]]:
    return [unit.lines for unit in units]


def _length(units: Sequence[_Unit]) -> int:
    return sum(len(unit.lines) for unit in units)


def _hunk(group: Sequence[_Range], old: Sequence[_Unit], new: Sequence[_Unit]) -> Iterator[str]:
    i1, i2, j1, j2 = group[0][1], group[-1][2], group[0][3], group[-1][4]
    yield f"@@ -{_span(old, i1, i2)} +{_span(new, j1, j2)} @@"
    for tag, a1, a2, b1, b2 in group:
        if tag == "equal":
            yield from (f" {line}" for unit in old[a1:a2] for line in unit.shown)
            continue
        yield from (f"-{line}" for unit in old[a1:a2] for line in unit.shown)
        yield from (f"+{line}" for unit in new[b1:b2] for line in unit.shown)


def _span(units: Sequence[_Unit], start: int, end: int) -> str:
    """Return the first line and the number of lines, as ``diff -u`` writes them."""
    count = _length(units[start:end])
    first = _length(units[:start]) + (1 if count else 0)
    return f"{first}" if count == 1 else f"{first},{count}"


def _bounded(lines: list[str]) -> list[str]:
    if len(lines) <= _LINES:
        return lines
    return [*lines[:_LINES], f"... and {len(lines) - _LINES} more lines of this file"]


def _text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
