"""Routing tables as devices print them, and how one differs from another. IPv4, as ``ip route show`` lists it."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Mapping

Table = Mapping[str, frozenset[str]]
"""What a network's packets are sent over (next hops, else interfaces), by network as ``address/length``."""

_MOST = 8
"""Differences that are named; of the rest only the number is told."""
_ADDRESS = r"\d{1,3}(?:\.\d{1,3}){3}"
_LINUX_TYPES = {"unicast", "blackhole", "unreachable", "prohibit", "throw", "local", "broadcast", "multicast"}
_CISCO = re.compile(rf"^[A-Za-z*][A-Za-z0-9*+%& ]{{0,9}}?\s+(?P<to>{_ADDRESS})(?P<length>/\d+)?\s*(?P<rest>.*)$")
_CISCO_BELOW = re.compile(rf"^\s+(?P<major>{_ADDRESS})/(?P<length>\d+) is (?:variably )?subnetted")
_CISCO_MORE = re.compile(r"^\s+\[\d+/\d+\] via ")
_CISCO_HOP = re.compile(rf"\bvia ({_ADDRESS})")
_CISCO_PORT = re.compile(r"\bis (?:directly connected|a summary)\b.*?, ([A-Za-z][\w./:-]*)\s*$")
_JUNOS = re.compile(rf"^(?P<to>{_ADDRESS}/\d+)\s+(?P<mark>[*+-]?)\[")
_JUNOS_OTHER = re.compile(r"^\s+[+-]?\[")
_JUNOS_HOP = re.compile(r"^\s+>?\s*(?:to (?P<hop>\S+)|via (?P<port>\S+)|(?P<way>[A-Z][a-z]+)\b)")


def table(text: str, family: str) -> Table:
    """Return the routes that a device printed, or that ``ip route show`` did; none if it printed no routes.

    Args:
        text: What was printed.
        family: Whose language it is: ``cisco``, ``junos`` or ``frr``.
    """
    by = {"cisco": _of_cisco, "junos": _of_junos}.get(family, of_linux)
    found = by(text) or of_linux(text)
    return {prefix: ways for prefix, ways in found.items() if ":" not in prefix}


def unlike(baseline: Table, now: Table) -> str:
    """Return how the routes differ from the baseline, in words; empty if they do not."""
    told = []
    for prefix in sorted({*baseline, *now}, key=ipaddress.IPv4Network):
        was, is_ = baseline.get(prefix), now.get(prefix)
        if is_ is None and was is not None:
            told.append(f"{prefix} is gone (it led over {_over(was)})")
        elif was is None and is_ is not None:
            told.append(f"{prefix} over {_over(is_)} is new")
        elif was is not None and is_ is not None and was != is_:
            told.append(f"{prefix} leads over {_over(is_)}, not over {_over(was)}")
    more = [f"and {len(told) - _MOST} more"] if len(told) > _MOST else []
    return ", ".join([*told[:_MOST], *more])


def of_linux(text: str) -> Table:
    """Return the routes that ``ip route show`` printed."""
    found: dict[str, frozenset[str]] = {}
    latest = ""
    for line in text.splitlines():
        words = line.split()
        if line[:1].isspace() and words[:1] == ["nexthop"] and latest:
            found[latest] |= {_linux_way(words)}
            continue
        kind = words.pop(0) if words and words[0] in _LINUX_TYPES else ""
        prefix = _prefix("::/0" if ":" in line and words[:1] == ["default"] else words[0]) if words else ""
        if not prefix:
            latest = ""
            continue
        way = _linux_way(words) or kind
        found[prefix] = found.get(prefix, frozenset()) | ({way} if way else set())
        latest = prefix
    return found


def _linux_way(words: list[str]) -> str:
    pairs = dict(itertools.pairwise(words))
    hop = pairs.get("via", "")
    # A next hop of the other family stands behind the name of that family.
    return pairs.get(hop, hop) if hop in {"inet", "inet6"} else hop or pairs.get("dev", "")


def _of_cisco(text: str) -> Table:
    found: dict[str, frozenset[str]] = {}
    latest = ""
    lengths: dict[str, str] = {}
    for line in text.splitlines():
        below = _CISCO_BELOW.match(line)
        if below:
            # Where all subnets of a network are of one length, it stands only here.
            lengths[_major(below["major"])] = f"/{below['length']}"
            continue
        row = _CISCO.match(line)
        if row:
            major = _major(row["to"])
            length = row["length"] or lengths.get(major) or major[major.index("/") :]
            latest = _prefix(f"{row['to']}{length}")
            rest = row["rest"]
        elif _CISCO_MORE.match(line) and latest:
            rest = line
        else:
            continue
        ways = {*_CISCO_HOP.findall(rest)} or {*_CISCO_PORT.findall(rest)}
        if latest and ways:
            found[latest] = found.get(latest, frozenset()) | ways
    return found


def _of_junos(text: str) -> Table:
    found: dict[str, frozenset[str]] = {}
    latest = ""
    for line in text.splitlines():
        row = _JUNOS.match(line)
        if row:
            latest = _prefix(row["to"]) if row["mark"] != "-" else ""
            if latest:
                found[latest] = frozenset()
        elif _JUNOS_OTHER.match(line):
            latest = ""
        elif latest:
            hop = _JUNOS_HOP.match(line)
            found[latest] |= {hop["hop"] or hop["port"] or hop["way"]} if hop else frozenset()
    return found


def _major(address: str) -> str:
    """Return the network of class A, B or C that an address belongs to."""
    first = int(address.partition(".")[0])
    length = 8 if first < 128 else 16 if first < 192 else 24  # noqa: PLR2004 - classes A and B end there
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def _prefix(text: str) -> str:
    """Return a network in its one spelling, empty if it is none."""
    try:
        return str(ipaddress.ip_network("0.0.0.0/0" if text == "default" else text))
    except ValueError:
        return ""


def _over(ways: frozenset[str]) -> str:
    return " and ".join(sorted(ways)) or "nothing"
