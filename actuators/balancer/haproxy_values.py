"""What HAProxy's runtime API says, as values. Pure.

The formats are those of https://docs.haproxy.org/2.6/management.html#9.1 and #9.3 ("show servers state").
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_WEIGHT = re.compile(r"(\d+) \(initial (\d+)\)")
_MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20 | 0x40
"""Bits of ``srv_admin_state``: forced, inherited, by configuration, by DNS resolution, by host name."""
_DRAIN = 0x08 | 0x10
_FORCED = 0x01 | 0x08
"""Maintenance and drain as somebody ordered them; the other bits follow from elsewhere, reload or not."""
_RUNNING = {1, 2}
"""``srv_op_state``: starting and running."""
_ENABLED = 0x04
"""Of ``srv_check_state`` and ``srv_agent_state``."""
_STATIC = {"static-rr", "first"}
"""Algorithms that take no other weight than 0 and the configured one, whatever the hash type; of the map-based
hashes only the server itself can tell."""


@dataclass(frozen=True)
class Server:
    """One server of a backend.

    Attributes:
        name: Its name.
        running: Whether its health checks let it take traffic; always, if there are none.
        admin: Bits of its administrative state.
        weight: The weight that was set.
        initial: The weight in the configuration.
        effective: The weight in force, as ``show stat`` tells it; lower while a server starts slowly.
        status: The status in HAProxy's words, e.g. ``UP``, ``DRAIN``, ``no check``.
        check: The last health check in HAProxy's words; empty without checks.
        sessions: Current sessions.
        rate: New sessions in the last second.
        total: Sessions since the start.
        failed: Answers with 5xx since the start.
        cookie: The cookie's value that keeps a client with this server; empty without.
        checked: Whether HAProxy checks its health.
        agent: Whether an agent may change its weight by itself.
        backup: Whether it is a backup server, used only when the others are gone.
    """

    name: str
    running: bool
    admin: int
    weight: int
    initial: int
    effective: int
    status: str
    check: str
    sessions: int
    rate: int
    total: int
    failed: int
    cookie: str
    checked: bool
    agent: bool
    backup: bool

    @property
    def maintenance(self) -> bool:
        """Whether it is in maintenance."""
        return bool(self.admin & _MAINTENANCE)

    @property
    def draining(self) -> bool:
        """Whether it was told to drain; a weight of 0 does the same and is not meant here."""
        return bool(self.admin & _DRAIN)

    @property
    def takes(self) -> bool:
        """Whether it takes new traffic if it has a weight."""
        return self.running and not self.maintenance and not self.draining

    def words(self) -> str:
        """Return in words why it takes no traffic; how it stands, if it does."""
        if self.maintenance:
            return "is in maintenance"
        if not self.running:
            return f"is {self.status or 'DOWN'}{f' ({self.check})' if self.check else ''}"
        if self.draining:
            return "is told to drain"
        return f"is up ({self.check})" if self.check else "is up as far as HAProxy knows: it has no health check"


@dataclass(frozen=True)
class Backend:
    """A backend as one balancer has it.

    Attributes:
        name: Its name.
        algorithm: How it balances; empty if that is not told.
        cookie: The name of the cookie that keeps clients with a server; empty without.
        servers: The servers by name, in the order of the configuration.
    """

    name: str
    algorithm: str
    cookie: str
    servers: Mapping[str, Server]

    def weights(self, names: Iterable[str]) -> dict[str, int]:
        """Return the weights of these servers, as far as they are there."""
        return {name: self.servers[name].weight for name in names if name in self.servers}

    def fixed(self, name: str, weight: int) -> bool:
        """Return whether the algorithm is known to refuse this weight."""
        return self.algorithm in _STATIC and weight not in {0, self.servers[name].initial}


class AnswerError(Exception):
    """The runtime API answered something else than was asked for. The message is what it said."""


def read_backend(name: str, text: str) -> Backend:
    """Read the answers to ``show servers state NAME`` and ``show stat NAME 6 -1``, given as one text.

    Raises:
        AnswerError: If either is missing.
    """
    states = {row["srv_name"]: row for row in state_rows(text) if row.get("be_name") == name}
    stats = {row["svname"]: row for row in _stat_rows(text) if row.get("pxname") == name}
    if "BACKEND" not in stats or states.keys() != stats.keys() - {"BACKEND"}:
        raise AnswerError(complaint(text) or f"it says nothing of a backend {name}")
    head = stats["BACKEND"]
    try:
        servers = {server: _server(server, row, stats[server]) for server, row in states.items()}
    except (KeyError, ValueError) as error:
        raise AnswerError(f"its columns are unknown ({error})") from None
    return Backend(name, algorithm=head.get("algo", ""), cookie=head.get("cookie", ""), servers=servers)


def _server(name: str, state: Mapping[str, str], stat: Mapping[str, str]) -> Server:
    check = " ".join(part for part in (stat["check_status"], stat["check_code"], stat.get("last_chk", "")) if part)
    check = check.removeprefix("* ")  # a check is under way
    return Server(
        name=name,
        running=int(state["srv_op_state"]) in _RUNNING,
        admin=int(state["srv_admin_state"]),
        weight=int(state["srv_uweight"]),
        initial=int(state["srv_iweight"]),
        effective=int(stat["weight"] or 0),
        status=stat["status"],
        check=check,
        sessions=int(stat["scur"] or 0),
        rate=int(stat["rate"] or 0),
        total=int(stat["stot"] or 0),
        failed=int(stat["hrsp_5xx"] or 0),
        cookie=stat.get("cookie", ""),
        checked=bool(int(state["srv_check_state"]) & _ENABLED),
        agent=bool(int(state["srv_agent_state"]) & _ENABLED),
        backup=stat["bck"] == "1",
    )


def state_rows(text: str) -> list[dict[str, str]]:
    """Return the lines of ``show servers state``, or of a state file, by column."""
    columns: list[str] = []
    rows = []
    for line in text.splitlines():
        if line.startswith("# be_id "):
            columns = line[2:].split()
        elif columns and line.strip():
            rows.append(dict(zip(columns, line.split(), strict=False)))
        elif not line.strip():
            columns = []
    return rows


def _stat_rows(text: str) -> list[dict[str, str]]:
    lines = text.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith("# pxname,")), None)
    if start is None:
        return []
    end = next((n for n, line in enumerate(lines[start:], start) if not line.strip()), len(lines))
    return list(csv.DictReader([lines[start].removeprefix("# "), *lines[start + 1 : end]]))


def complaint(text: str) -> str:
    """Return what the API says beside weights, tables and empty lines; success is silent."""
    said = []
    table = False
    for line in text.splitlines():
        table = line.startswith("# ") or (table and bool(line.strip()))
        if line.strip() and not table and line != "1" and not _WEIGHT.fullmatch(line):
            said.append(line.strip())
    return " ".join(said)


def read_weights(names: Sequence[str], text: str) -> dict[str, int]:
    """Return what ``get weight`` answered for each server, in the order in which they were asked.

    Raises:
        AnswerError: If anything else was said, or not all of them were told.
    """
    said = complaint(text)
    found = [int(match[1]) for match in map(_WEIGHT.fullmatch, text.splitlines()) if match]
    if said or len(found) != len(names):
        raise AnswerError(said or f"it told {len(found)} of {len(names)} weights")
    return dict(zip(names, found, strict=True))


def saved(text: str, backend: str, servers: Iterable[Server]) -> bool:
    """Return whether a state file holds these servers' weights and administrative states."""
    rows = {row["srv_name"]: row for row in state_rows(text) if row.get("be_name") == backend}
    return all(
        server.name in rows
        and rows[server.name].get("srv_uweight") == str(server.weight)
        and int(rows[server.name].get("srv_admin_state", "0")) & _FORCED == server.admin & _FORCED
        for server in servers
    )
