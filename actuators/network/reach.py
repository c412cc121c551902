"""What a device must reach, and what it reaches: pings from it, its routes, and the ways that packets take."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actuators.network import routes, values
from actuators.network.device import family
from actuators.network.routes import Table
from actuators.network.session import LONG, SHORT, Line
from actuators.network.steps import Path, Route
from bot.domain.criteria import percent
from bot.domain.inventory import NetworkDevice

_PING_COUNT = 5
_PINGS = {
    "cisco": "ping {host} repeat {count} timeout 2",
    "junos": "ping {host} count {count} rapid",
    "frr": "ping -n -q -c {count} -i 0.2 -W 2 {host}",
}
_TRACES = {
    "cisco": "traceroute {host} numeric timeout 1 probe 1 ttl 1 15",
    "junos": "traceroute {host} no-resolve wait 1 ttl 15",
    "frr": "traceroute -n -w 1 -q 1 -m 15 {host}",
}
_TABLES = {"cisco": "show ip route", "junos": "show route table inet.0 active-path", "frr": "ip -4 route show"}


@dataclass(frozen=True)
class Expected:
    """What a device must reach.

    Attributes:
        ping: Hosts.
        routes: The baseline.
        max_loss: Share of pings that may be lost, 0..1.
        count: Pings for each host.
        paths: Ways that packets must take.
        baseline: All the routes that the device must have, and no other; None: there is no such record.
    """

    ping: tuple[str, ...]
    routes: tuple[Route, ...]
    max_loss: float
    count: int = _PING_COUNT
    paths: tuple[Path, ...] = ()
    baseline: Table | None = None

    def words(self) -> str:
        """Return it in words."""
        parts = [f"pings to {', '.join(self.ping)}"] if self.ping else []
        parts += [f"routes {', '.join(route.words() for route in self.routes)}"] if self.routes else []
        parts += [f"just the {len(self.baseline)} routes of the baseline"] if self.baseline else []
        return " and ".join(parts) or "a fresh login alone"


@dataclass
class Found:
    """What was found.

    Attributes:
        good: What is as it must be, in words.
        bad: What is not.
        facts: Loss by host (0..1), and the routes that are missing.
    """

    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    loss: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def words(self) -> str:
        """Return it in words, what is wrong first."""
        return "; ".join([*self.bad, *self.good]) or "a fresh login works"

    def facts(self) -> Mapping[str, Any]:
        """Return what was measured."""
        return {"ping_loss": self.loss, "routes_missing": self.missing}


async def look(session: Line, device: NetworkDevice, expected: Expected) -> Found:
    """Ping every host from the device and look up every route.

    Raises:
        ActuatorError: If the session is cut.
    """
    found = Found()
    for host in expected.ping:
        await _ping(session, device, host, expected, found)
    for route in expected.routes:
        await _route(session, device, route, found)
    for path in expected.paths:
        await _path(session, device, path, found)
    if expected.baseline is not None:
        await _table(session, device, expected.baseline, found)
    return found


async def _ping(session: Line, device: NetworkDevice, host: str, expected: Expected, found: Found) -> None:
    count = expected.count
    command = _PINGS[family(device)].format(host=host, count=count)
    said = await session.run(command, seconds=SHORT + 3 * count)
    told = values.pings(said)
    if told is None or not told[1]:
        found.loss[host] = 1.0
        found.bad.append(f"{host} cannot be pinged: {values.last_words(said)}")
        return
    answered, sent = told
    loss = found.loss[host] = (sent - answered) / sent
    words = f"{host} answered {answered} of {sent} pings"
    if loss > expected.max_loss:
        found.bad.append(f"{words} ({percent(loss)} lost, at most {percent(expected.max_loss)})")
    else:
        found.good.append(words)


async def _route(session: Line, device: NetworkDevice, route: Route, found: Found) -> None:
    said = await session.run(_lookup(device, route.prefix))
    if not _listed(said, device, route.prefix):
        found.missing.append(route.prefix)
        found.bad.append(f"no route to {route.prefix}")
    elif route.via is not None and route.via not in said.replace(",", " ").split():
        found.missing.append(route.prefix)
        found.bad.append(f"the route to {route.prefix} does not lead over {route.via}")
    else:
        found.good.append(f"route to {route.words()}")


def _listed(said: str, device: NetworkDevice, prefix: str) -> bool:
    """Return whether the answer to a look-up has the route."""
    if family(device) == "cisco":
        return f"Routing entry for {prefix}" in said
    if family(device) == "frr":
        return str(ipaddress.ip_network(prefix)) in routes.of_linux(said)
    return any(line.split()[:1] == [prefix] for line in said.splitlines())


async def _table(session: Line, device: NetworkDevice, baseline: Table, found: Found) -> None:
    said = await session.run(_TABLES[family(device)], seconds=LONG)
    now = routes.table(said, family(device))
    if not now:
        found.bad.append(f"its routing table cannot be read: {values.last_words(said)}")
        return
    found.missing += [prefix for prefix in baseline if prefix not in now and prefix not in found.missing]
    unlike = routes.unlike(baseline, now)
    if unlike:
        found.bad.append(f"its routes are not those of the baseline: {unlike}")
    else:
        found.good.append(f"its {len(now)} routes are those of the baseline")


async def _path(session: Line, device: NetworkDevice, path: Path, found: Found) -> None:
    said = await session.run(_TRACES[family(device)].format(host=path.to), seconds=LONG)
    told = values.hops(said)
    if told is None:
        found.bad.append(f"the way to {path.to} cannot be traced: {values.last_words(said)}")
        return
    passed, arrived = told
    way = f"the way to {path.to} leads over {', '.join(passed) or 'nobody who answers'}"
    missed = [router for router in path.through if router not in passed]
    if missed:
        found.bad.append(f"{way}, not over {', '.join(missed)}")
    elif not arrived:
        found.bad.append(f"{way} and ends before it")
    else:
        found.good.append(way)


def _lookup(device: NetworkDevice, prefix: str) -> str:
    network = ipaddress.ip_network(prefix)
    if family(device) == "junos":
        return f"show route {prefix} exact"
    if family(device) == "frr":
        return f"ip -{network.version} route show exact {prefix}"
    if isinstance(network, ipaddress.IPv6Network):
        return f"show ipv6 route {prefix}"
    return f"show ip route {network.network_address} {network.netmask}"
