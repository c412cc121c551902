"""What devices print, read strictly: exit status does not exist on a router, only words do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from actuators.redact import MASK, redact

_SECRET = re.compile(
    r"(?im)((?:\b(?:secret|password|community|key-string|encrypted-password|ascii-text|hexadecimal|md5"
    r"|authentication-key|pre-shared-key|shared-secret|simple-password|wpa-psk|psk|authentication string"
    r"|nhrp authentication)[ \t]+(?:(?:[0-9]|clear)[ \t]+)?)+"
    r"|^[ +!-]*(?:key|(?:crypto isakmp|tacacs|radius)\b[^\n]*?[ \t]key)[ \t]+(?:[0-9][ \t]+)?)"
    r"(?:\"[^\"]*\"|[^\s;\"]+)"
)
_SUCCESS = re.compile(r"^Success rate is \d+ percent \((\d+)/(\d+)\)", re.MULTILINE)
_PACKETS = re.compile(r"^(\d+) packets transmitted, (\d+) (?:packets )?received", re.MULTILINE)
_COMMIT = re.compile(
    r"^(?P<number>\d+)\s+(?P<when>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+) by (?P<user>\S+)"
    r" via (?P<how>\S+)(?P<rest>.*)$"
)
_PENDING = re.compile(r"commit confirmed, rollback in (\S+)")
_FILE = re.compile(r"^\s*\d+\s+-[rwx-]+\s+(?P<size>\d+)\s.*\s(?P<name>\S+)$")
_TRACED = re.compile(
    r"^(?:Tracing the route|traceroute6?) to (?P<host>[^\s,()]+)(?: \((?P<address>[0-9a-f.:]+)\))?", re.MULTILINE
)
_HOP = re.compile(r"^[ ]*\d+[ ]+(?:\*[ ]+)*([0-9a-f]+[.:][0-9a-f.:]+)\b", re.MULTILINE)
_FRR_HEADINGS = {"", "Lines To Delete", "Lines To Add"}
NOTHING_PENDING = "No Rollback Confirmed Change pending"


def masked(text: str) -> str:
    """Return lines of a configuration, or what a device said, without secrets."""
    return redact(_SECRET.sub(rf"\1{MASK}", text))


def complaint(text: str) -> str:
    """Return the first line by which a device refuses a command, empty if there is none."""
    refusals = (
        "%",
        "error:",
        "unknown command",
        "syntax error",
        "Command authorization failed",
        "permission denied",
    )
    lines = (line.strip() for line in text.splitlines())
    return masked(next((line for line in lines if line.startswith(refusals)), ""))


def last_words(text: str) -> str:
    """Return what a device said last, for a message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return masked(complaint(text) or (lines[-1] if lines else "nothing"))[:200].rstrip(".")


def pings(text: str) -> tuple[int, int] | None:
    """Return how many pings were answered and sent, None if none was sent."""
    cisco, junos = _SUCCESS.search(text), _PACKETS.search(text)
    if cisco:
        return int(cisco[1]), int(cisco[2])
    return (int(junos[2]), int(junos[1])) if junos else None


@dataclass(frozen=True)
class Commit:
    """An entry of ``show system commit``.

    Attributes:
        number: What ``rollback`` calls it now.
        when: Its time, as the device writes it.
        words: Who made it, and how.
        pending: After what time it is taken back, as the device writes it; empty if it stays.
    """

    number: int
    when: str
    words: str
    pending: str


def commits(text: str) -> tuple[Commit, ...]:
    """Return the commits that a Junos device keeps, the latest first."""
    found = []
    for match in map(_COMMIT.match, map(str.strip, text.splitlines())):
        if match:
            pending = _PENDING.search(match["rest"])
            words = f"by {match['user']} via {match['how']}"
            found.append(Commit(int(match["number"]), match["when"], words, pending[1] if pending else ""))
    return tuple(found)


def hops(text: str) -> tuple[tuple[str, ...], bool] | None:
    """Return the routers that a traceroute passed, and whether it came to its end; None if it did not begin."""
    begun = _TRACED.search(text)
    if not begun:
        return None
    found = tuple(_HOP.findall(text, begun.end()))
    return found, bool(found) and found[-1] == (begun["address"] or begun["host"])


def file_size(text: str, name: str) -> int | None:
    """Return the size of a file from what ``dir FILE`` printed, None if it is not there."""
    rows = (match for match in map(_FILE.match, text.splitlines()) if match)
    return next((int(row["size"]) for row in rows if row["name"].rsplit("/", 1)[-1] == name), None)


def digest(text: str, file: str) -> str | None:
    """Return the digest that ``verify`` printed for a file, None if it printed none."""
    found = re.search(rf"^verify /\w+ \({re.escape(file)}\) = ([0-9a-f]{{32,128}})$", text, re.MULTILINE)
    return found[1] if found else None


def cisco_differences(text: str, ignore: Iterable[str]) -> tuple[str, ...] | None:
    """Return the lines that ``show archive config differences`` printed; None if it printed no comparison.

    Args:
        text: What it printed.
        ignore: Beginnings of lines that do not count.
    """
    if "Contextual Config Diffs" not in text:
        return None
    lines = [line.rstrip() for line in text.splitlines()]
    unlike = tuple(ignore)
    changed = [line for line in lines if line[:1] in {"+", "-"} and not line[1:].strip().startswith(unlike or "\0")]
    return tuple(changed)


def frr_differences(text: str, ignore: Iterable[str]) -> tuple[str, ...]:
    """Return what `frr-reload.py --test` printed, as lines that come (+) and go (-), each below where it stands.

    It prints commands: ``no X`` takes X away, and anything else but the way into a section puts it there.

    Args:
        text: What it printed.
        ignore: Beginnings of lines that do not count.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip(" =") not in _FRR_HEADINGS]
    unlike = tuple(ignore) or ("\0",)
    found: list[str] = []
    way: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        depth = len(line) - len(line.lstrip())
        del way[depth:]
        command = line.strip()
        if len(following) - len(following.lstrip()) > depth:
            way.append(command)
            continue
        gone = command.startswith("no ")
        if command.removeprefix("no ").startswith(unlike):
            continue
        found += [f" {' ' * n}{step}" for n, step in enumerate(way)]
        found.append(f"{'-' if gone else '+'}{' ' * depth}{command.removeprefix('no ')}")
    return tuple(found)


def turned(lines: Iterable[str]) -> tuple[str, ...]:
    """Return a comparison as seen from the other side: what is + becomes -."""
    signs = {"+": "-", "-": "+"}
    return tuple(signs.get(line[:1], line[:1]) + line[1:] for line in lines)
