"""What restoring a configuration file would change, without its secrets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from actuators.redact import mask_blocks, redact

_LINES = 200
"""Lines of one file's difference that are shown."""


@dataclass(frozen=True)
class FileDiff:
    """The difference of one file.

    Attributes:
        file: The file, relative to the folder of the configuration.
        hosts: The hosts where it is just so, by name.
        text: The unified diff from what is there to what comes back; secrets redacted.
    """

    file: str
    hosts: tuple[str, ...]
    text: str


def difference(file: str, *, now: bytes | None, backup: bytes) -> str:
    """Return the unified diff of one file, redacted; empty if the contents are the same.

    Args:
        file: Its name, for the heading.
        now: What is there; None if there is no file.
        backup: What comes back.
    """
    if now == backup:
        return ""
    before, after = _text(now or b""), _text(backup)
    if before is None or after is None:
        return f"{file} is no text; {len(now or b'')} bytes are replaced by {len(backup)} bytes."
    # Blocks are masked in the whole text, since a diff may cut their first line off; single lines afterwards, so
    # that a changed password still shows as a changed line.
    lines = difflib.unified_diff(
        mask_blocks(before).splitlines(),
        mask_blocks(after).splitlines(),
        fromfile=f"{file} (now)" if now is not None else "(no file)",
        tofile=f"{file} (backup)",
        lineterm="",
        n=2,
    )
    shown = redact("\n".join(lines)).splitlines()
    if not shown:
        return f"{file} differs in private keys or line ends only."
    if len(shown) > _LINES:
        shown = [*shown[:_LINES], f"... and {len(shown) - _LINES} more lines"]
    return "\n".join(shown)


def merge(found: Mapping[str, Mapping[str, str]]) -> tuple[FileDiff, ...]:
    """Put hosts with the same difference together.

    Args:
        found: By host, the diff by file.
    """
    hosts: dict[tuple[str, str], list[str]] = {}
    for host, files in found.items():
        for file, text in files.items():
            hosts.setdefault((file, text), []).append(host)
    return tuple(FileDiff(file, tuple(names), text) for (file, text), names in sorted(hosts.items()))


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
