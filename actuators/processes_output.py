"""What a program says: kept to a limit, handed on line by line, and shown without secrets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actuators.redact import redact, tail

Line = Callable[[str], None]
"""Takes one line of output, without its end, not redacted."""

OUTPUT_LIMIT = 1024 * 1024
"""Bytes of each stream that are kept, the last ones."""

_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True)
class Finished:
    """A program that has ended.

    Attributes:
        returncode: Its exit code; negative: the signal that ended it.
        stdout: The last bytes of its output, as many as were to be kept.
        stderr: The same of its messages.
        truncated: Whether the beginning of either was dropped.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.returncode == 0

    @property
    def out(self) -> str:
        """The output as text."""
        return self.stdout.decode(errors="replace")

    @property
    def err(self) -> str:
        """The messages as text, not redacted."""
        return self.stderr.decode(errors="replace")

    def complaint(self, *, secrets: Sequence[str] = ()) -> str:
        """Return the last lines that say why it failed, redacted; the exit code if it said nothing."""
        said = self.err if self.err.strip() else self.out
        said = tail(redact(said[-_LONGEST_LINE:], secrets=secrets)).strip()
        return said or f"exit code {self.returncode}"


class Collector:
    """Keeps the last bytes of a stream and hands its lines on.

    Args:
        limit: Bytes to keep.
        on_line: Takes every full line, and the last one without an end.
    """

    def __init__(self, *, limit: int = OUTPUT_LIMIT, on_line: Line | None = None) -> None:
        self._kept = bytearray()
        self._limit = limit
        self._on_line = on_line
        self._partial = b""
        self.truncated = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            self._trim()
        if self._on_line is None:
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._on_line(line.rstrip(b"\r").decode(errors="replace"))
        self._partial = self._partial[-_LONGEST_LINE:]

    def finish(self) -> bytes:
        """Hand on a last line without an end, and return what was kept."""
        if self._on_line is not None and self._partial:
            self._on_line(self._partial.decode(errors="replace"))
            self._partial = b""
        self._trim()
        return bytes(self._kept)

    def _trim(self) -> None:
        surplus = len(self._kept) - self._limit
        if surplus > 0:
            del self._kept[:surplus]
            self.truncated = True
