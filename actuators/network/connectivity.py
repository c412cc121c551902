"""Whether a device reaches what it must: pings from the device, and its routes against a baseline."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actuators.network import aid, values
from actuators.network.device import device_of, failed, family, opened, way_in
from actuators.network.session import LONG, SHORT, Session, SessionCutError
from actuators.network.steps import NetworkConnectivity, Path, Route, routes_of
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look
from actuators.transport.base import HostUnreachableError
from bot.domain.actuation import Check, Context, Fault, Outcome, Progress, Remedy, Verdict
from bot.domain.criteria import percent
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice
from bot.domain.times import format_duration

_PING_COUNT = 5


@dataclass(frozen=True)
class Expected:
    """What a device must reach.

    Attributes:
        ping: Hosts.
        routes: The baseline.
        max_loss: Share of pings that may be lost, 0..1.
        count: Pings for each host.
        paths: Ways that packets must take.
    """

    ping: tuple[str, ...]
    routes: tuple[Route, ...]
    max_loss: float
    count: int = _PING_COUNT
    paths: tuple[Path, ...] = ()

    def words(self) -> str:
        """Return it in words."""
        parts = [f"pings to {', '.join(self.ping)}"] if self.ping else []
        parts += [f"routes {', '.join(route.words() for route in self.routes)}"] if self.routes else []
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


def expected_of(device: NetworkDevice, max_loss: float) -> Expected:
    """Return what the inventory says that a device must reach."""
    return Expected(device.ping, routes_of(device.routes), max_loss)


async def look(session: Session, device: NetworkDevice, expected: Expected) -> Found:
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
    return found


async def _ping(session: Session, device: NetworkDevice, host: str, expected: Expected, found: Found) -> None:
    count = expected.count
    cisco = family(device) == "cisco"
    command = f"ping {host} repeat {count} timeout 2" if cisco else f"ping {host} count {count} rapid"
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


async def _route(session: Session, device: NetworkDevice, route: Route, found: Found) -> None:
    said = await session.run(_lookup(device, route.prefix))
    there = (
        f"Routing entry for {route.prefix}" in said
        if family(device) == "cisco"
        else any(line.split()[:1] == [route.prefix] for line in said.splitlines())
    )
    if not there:
        found.missing.append(route.prefix)
        found.bad.append(f"no route to {route.prefix}")
    elif route.via is not None and route.via not in said.replace(",", " ").split():
        found.missing.append(route.prefix)
        found.bad.append(f"the route to {route.prefix} does not lead over {route.via}")
    else:
        found.good.append(f"route to {route.words()}")


async def _path(session: Session, device: NetworkDevice, path: Path, found: Found) -> None:
    options = "numeric timeout 1 probe 1 ttl 1 15" if family(device) == "cisco" else "no-resolve wait 1 ttl 15"
    said = await session.run(f"traceroute {path.to} {options}", seconds=LONG)
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
    if isinstance(network, ipaddress.IPv6Network):
        return f"show ipv6 route {prefix}"
    return f"show ip route {network.network_address} {network.netmask}"


class ConnectivityActuator(LeavesNothing):
    """A probe: looks until everything is reached, or the time is up."""

    async def check(self, step: NetworkConnectivity, context: Context) -> tuple[Check, ...]:
        """Look whether there is something to look for and the device can be asked; what it finds is no obstacle."""
        subject = f"Connectivity of {step.target}"
        try:
            device = device_of(step, context)
            _must_expect(step, device)
        except ActuatorError as error:
            return (failed(subject, error),)
        try:
            async with opened(step.target, device) as session:
                found = await look(session, device, _expected(step, device))
        except ActuatorError as error:
            # A device that is cut off may be the very reason of the rollback.
            return (cannot_look(subject, error, verdict=Verdict.WARN),)
        if found.bad:
            return (Check(subject, Verdict.WARN, found.words(), "The step waits for it after the rollback."),)
        return (Check(subject, Verdict.OK, found.words()),)

    async def apply(self, step: NetworkConnectivity, context: Context) -> Outcome:
        """Look until all is well."""
        device, clock = device_of(step, context), context.clock
        _must_expect(step, device)
        until = clock.monotonic() + step.within.total_seconds()
        while True:
            try:
                async with opened(step.target, device) as session:
                    found = await look(session, device, _expected(step, device))
                words, transient = found.words(), False
                if not found.bad:
                    return Outcome(words, found.facts())
            except (HostUnreachableError, SessionCutError) as error:
                words, transient = error.brief.rstrip("."), True
            context.report(Progress(0, None, "checks", words))
            if clock.monotonic() + step.every.total_seconds() > until:
                raise ActuatorError(
                    f"{step.target} does not reach what it must within {format_duration(step.within)}: {words}.",
                    untouched="The device was only read.",
                    resolution=f"See its log and routes. {way_in(device)}",
                    transient=transient,
                )
            await clock.sleep(step.every.total_seconds())

    async def remedies(self, step: NetworkConnectivity, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return the diagnoses of a device."""
        del fault
        return aid.diagnoses(step, context)


def _expected(step: NetworkConnectivity, device: NetworkDevice) -> Expected:
    routes = step.routes or routes_of(device.routes)
    return Expected(step.ping or device.ping, routes, step.max_loss, step.count, step.paths)


def _must_expect(step: NetworkConnectivity, device: NetworkDevice) -> None:
    expected = _expected(step, device)
    if expected.ping or expected.routes or expected.paths:
        return
    raise ActuatorError(
        f"Step {step.id}: neither it nor {step.target} names anything that must be reached.",
        untouched="Nothing was contacted.",
        resolution="Give `ping` or `routes`, in the step (`paths` too) or in the device's entry of the inventory.",
    )
