"""Secrets are taken out of everything that people or logs will read: by value and by pattern.

The patterns take too much rather than too little: a hidden word can be asked for, a published password cannot be
called back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

MASK = "***"

_SHORTEST = 3
"""Characters; a shorter value would mask letters all over the text."""

_KEY = (
    r"(?<![\w.\-])[\w.\-]{0,128}(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_\-]?key|access[_\-]?key|private[_\-]?key"
    r"|credential)[\w.\-]{0,128}"
)
"""Names of settings that hold secrets. They start where a word does, else a long word takes quadratic time."""

_VALUE = r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[^\s,;&\"'}\])]+"

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

_BLOCKS: tuple[_Rule, ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*-----|\Z)", re.DOTALL
        ),
        f"[private key {MASK}]",
    ),
    # A text that was cut from above may hold a key's end only.
    (
        re.compile(
            r"(?:^[ +\-]?[ \t]*[A-Za-z0-9+/=]{16,}[ \t]*\n){0,120}^[ +\-]?[ \t]*-----END [A-Z0-9 ]*PRIVATE KEY.*",
            re.MULTILINE,
        ),
        f"[private key {MASK}]",
    ),
)

_RULES: tuple[_Rule, ...] = (
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]{0,20}://[^\s/:@?#]*):[^\s@/?#]+@"), rf"\1:{MASK}@"),
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]{0,20}://)[^\s/:@?#]{20,}@"), rf"\1{MASK}@"),
    (re.compile(r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:[a-z]+\s+)?[^\s\"',]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=\-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(basic\s+)[A-Za-z0-9+/]{8,}={0,2}"), rf"\1{MASK}"),
    # A block of YAML under such a name: all lines that are indented further.
    (
        re.compile(rf"(?im)^([ +\-]?([ \t]*){_KEY}:[ \t]*[|>][^\n]*\n)(?:[ +\-]?\2[ \t]+\S[^\n]*(?:\n|\Z))+"),
        rf"\1\2  {MASK}\n",
    ),
    # A line of a configuration file: all that stands behind the name, since a value may hold blanks.
    (re.compile(rf"(?im)^([ +\-]?[ \t]*[\"']?{_KEY}[\"']?[ \t]*(?:=>|[:=])[ \t]*)\S[^\n]*"), rf"\1{MASK}"),
    (re.compile(rf"(?i)([\"']?{_KEY}[\"']?[ \t]*(?:=>|[:=])[ \t]*)(?:{_VALUE})"), rf"\1{MASK}"),
    (re.compile(rf"(?i)((?:\s|^)(?=--){_KEY}\s+)(?:{_VALUE})"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(password\s+)(?:'(?:''|[^'\n])*'|\"[^\"\n]*\")"), rf"\1{MASK}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
    (re.compile(r"\b(?:xox[a-z]|xapp)-[A-Za-z0-9\-]{8,}"), MASK),
    (re.compile(r"\b(?:gh[opsur]_|github_pat_|glpat-)[A-Za-z0-9_\-]{16,}"), MASK),
    (re.compile(r"\beyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]*"), MASK),
)


def redact(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Return the text without secrets.

    Args:
        text: What a tool or a server said, or a file's content.
        secrets: Values that are known to be secret; masked as they are and as URLs and JSON write them. A value of
            several lines is masked line by line as well. Values shorter than three characters are left to the
            patterns.

    Returns:
        The text with every value of `secrets` and whatever looks like a password, token, key or credential in a
        URL replaced by ``***``.
    """
    for spelling in _spellings(secrets):
        text = text.replace(spelling, MASK)
    return _apply(_RULES, mask_blocks(text))


def mask_blocks(text: str) -> str:
    """Return the text without private key blocks; for contents that are cut into lines afterwards."""
    return _apply(_BLOCKS, text) if "PRIVATE KEY" in text else text


def tail(text: str, lines: int = 20) -> str:
    """Return the last lines of the text. Redact first: a cut can hide what a pattern goes by."""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _apply(rules: Iterable[_Rule], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Return every way a secret may be written, the longest first, so that no rest of one stays behind."""
    found: set[str] = set()
    for secret in secrets:
        parts = [secret, *(line.strip() for line in secret.splitlines() if len(line.strip()) >= 8)]  # noqa: PLR2004 - a shorter line is no secret by itself
        for part in parts:
            found |= {part, quote(part), quote(part, safe=""), quote_plus(part), json.dumps(part)[1:-1]}
    return sorted((part for part in found if len(part) >= _SHORTEST), key=lambda part: (-len(part), part))
