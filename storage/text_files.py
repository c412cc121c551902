"""Read small text files that people wrote, whatever they turn out to be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from storage.yaml_marks import MAX_BYTES


class FileProblemError(Exception):
    """The file cannot be taken as text.

    Args:
        message: Why.
        suggestion: What to do.
    """

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.suggestion = suggestion


def read_text(path: Path) -> str:
    """Return the text of a regular file of at most 1 MiB. A link in the last place is not followed.

    Raises:
        OSError: If it cannot be opened or read.
        FileProblemError: If it is something else, too large, or no UTF-8.
    """
    # Not blocking, because opening a named pipe would wait for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileProblemError("it is no regular file", "put a text file there")
    with os.fdopen(handle, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise FileProblemError("it is larger than 1 MiB", "a few kilobytes are enough")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileProblemError(f"line {line} is not UTF-8 text", "save it as UTF-8") from error
