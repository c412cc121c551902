"""What all remedies and diagnoses have in common: short titles, bounded output, and what a failure was about."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import ClassVar

from actuators.redact import redact
from bot.domain.actuation import Check, Fault, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from bot.domain.times import Duration, parse_duration

LONGEST_TITLE = 60
"""Characters; the text of a button (`bot.domain.actuation.Remedy`)."""

_LINES = 60
_LONGEST_LINE = 300
_DENIED = re.compile(
    r"permission denied|not permitted|access denied|read-only file system|cannot be written|password is required"
    r"|sudo .*refused|sudo fails",
    re.IGNORECASE,
)
_PATH = re.compile(r"/[^\s:;,`'\"]+")


class Diagnosis(Step):
    """A step that only shows what it finds, for a person to judge: it fails only if it cannot look at all."""

    reads_only: ClassVar[bool] = True
    diagnoses: ClassVar[bool] = True

    expected: Duration = parse_duration("15s")


def titled(text: str) -> str:
    """Return the text of a button, shortened where names are long."""
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1].rstrip()}…"


def shown(lines: Iterable[str], *, most: int = _LINES, secrets: Iterable[str] = ()) -> str:
    """Return the details of a finding: redacted, no line and no list too long for a chat.

    Args:
        lines: The details, the important ones first.
        most: Lines that are shown; of the rest only the number is told.
        secrets: Values that are known to be secret.
    """
    every = redact("\n".join(lines), secrets=secrets).splitlines()
    kept = [line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…" for line in every[:most]]
    if len(every) > most:
        kept.append(f"... and {len(every) - most} more lines")
    return "\n".join(kept)


def was_denied(fault: Fault) -> bool:
    """Return whether the failure was one of rights: of the file system, of sudo, or of a security module."""
    return _DENIED.search(f"{fault.brief}\n{fault.output}") is not None


def paths_named(fault: Fault, *, below: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that a failure names, as far as they lie in one of these folders or are one of them.

    A name that is on its way to another one (``.app.conf.TOKEN.HOST.tmp``) counts as its folder.
    """
    roots = [posixpath.normpath(root) for root in below]
    found = []
    for text in _PATH.findall(f"{fault.brief}\n{fault.output}"):
        path = posixpath.normpath(text.rstrip(".)"))
        if posixpath.basename(path).startswith("."):
            path = posixpath.dirname(path)
        if any(path == root or path.startswith(f"{root}/") for root in roots):
            found.append(path)
    return tuple(dict.fromkeys(found))


def cannot_look(subject: str, error: ActuatorError, *, verdict: Verdict = Verdict.FAIL) -> Check:
    """Return the finding for what cannot be looked at: a target that is unknown, away or closed."""
    words = " ".join(part for part in (error.brief, error.untouched) if part)
    return Check(subject, verdict, words, error.resolution)
