"""haproxy.stat shows where a backend's traffic goes; haproxy.isolate ends what stays where it should not."""

from __future__ import annotations

from actuators.balancer import haproxy_checks, haproxy_switch
from actuators.balancer.haproxy_nodes import Across, BalancerError, Node, across, opened
from actuators.balancer.haproxy_steps import HaproxyIsolate, HaproxyStat, shares
from actuators.balancer.haproxy_values import Backend, Server
from actuators.balancer.tables import aligned
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look, shown
from bot.domain.actuation import Check, Context, Observation, Outcome, Presence, Progress, Verdict
from bot.domain.clock import Clock
from bot.domain.errors import ActuatorError
from bot.domain.times import format_duration

_ENDED_SECONDS = 5.0
_LOOK = 0.05
_HEADINGS = ("server", "status", "weight", "sessions", "new", "rate/s", "5xx", "check")


class HaproxyStatActuator(LeavesNothing):
    """A diagnosis: two looks, and what came in between them."""

    async def check(self, step: HaproxyStat, context: Context) -> tuple[Check, ...]:
        """Look whether the backend can be read."""
        subject = f"Balancer {step.target}"
        try:
            async with opened(step, context) as (_, nodes):
                found = await across(nodes, lambda node: haproxy_switch.read(node, step.backend))
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        if found.bad:
            return tuple(cannot_look(subject, error) for error in found.bad.values())
        return (Check(subject, Verdict.OK, f"{step.backend} can be read"),)

    async def apply(self, step: HaproxyStat, context: Context) -> Outcome:
        """Read every balancer twice; the words say what the numbers mean."""
        async with opened(step, context) as (_, nodes):
            earlier = await across(nodes, lambda node: haproxy_switch.read(node, step.backend))
            await context.clock.sleep(step.over.total_seconds())
            later = await across(nodes, lambda node: haproxy_switch.read(node, step.backend))
        if not later.good:
            later.all()
        over = format_duration(step.over)
        words = [_meaning(name, earlier.good.get(name), backend, over) for name, backend in later.good.items()]
        tables = [_table(name, earlier.good.get(name), backend) for name, backend in later.good.items()]
        words += [error.brief for error in later.bad.values()]
        facts = {"servers": {name: _facts(backend) for name, backend in later.good.items()}}
        return Outcome(" ".join(words), facts, shown("\n\n".join(tables).splitlines()))


def _new(earlier: Backend | None, server: Server) -> int:
    """Return the sessions that came in between two looks; a restart in between counts from zero."""
    before = earlier.servers.get(server.name) if earlier else None
    if before is None or server.total < before.total:
        return server.total
    return server.total - before.total


def _meaning(node: str, earlier: Backend | None, backend: Backend, over: str) -> str:
    new = {server.name: _new(earlier, server) for server in backend.servers.values()}
    told = f"{node}: new sessions of {backend.name} in {over}: {shares(new)}."
    astray = [s for s in backend.servers.values() if not s.weight and (new[s.name] or s.sessions)]
    if astray:
        how = f"the cookie {backend.cookie}" if backend.cookie else "connections or sessions that they keep"
        return f"{told} {', '.join(s.name for s in astray)} has weight 0 and still serves clients, by {how}."
    if not any(new.values()):
        return f"{told} No traffic reaches this balancer at all."
    return (
        f"{told} No server of weight 0 gets any: where clients still see it, look behind the balancer (DNS, CDN)."
    )


def _table(node: str, earlier: Backend | None, backend: Backend) -> str:
    rows = [
        (
            server.name, server.status, _weight(server), str(server.sessions), str(_new(earlier, server)),
            str(server.rate), str(server.failed), server.check or "-",
        )
        for server in backend.servers.values()
    ]  # fmt: skip
    return f"{node} {backend.name}\n{aligned((_HEADINGS, *rows))}"


def _weight(server: Server) -> str:
    return str(server.weight) if server.weight == server.effective else f"{server.weight} ({server.effective} now)"


def _facts(backend: Backend) -> dict[str, dict[str, int | str]]:
    return {
        s.name: {"status": s.status, "weight": s.weight, "sessions": s.sessions, "rate": s.rate}
        for s in backend.servers.values()
    }


class HaproxyIsolateActuator:
    """Puts servers into maintenance and ends their sessions, on every balancer."""

    async def check(self, step: HaproxyIsolate, context: Context) -> tuple[Check, ...]:
        """Verify access, and that somebody is left to take the traffic."""
        try:
            async with opened(step, context) as (balancer, nodes):
                return await haproxy_checks.of_isolation(step, balancer, nodes)
        except ActuatorError as error:
            return (cannot_look(f"Balancer {step.target}", error),)

    async def observe(self, step: HaproxyIsolate, context: Context) -> Observation:
        """Look whether every server is in maintenance and has no session."""
        try:
            async with opened(step, context) as (balancer, nodes):
                looked = await across(
                    nodes, lambda node: haproxy_switch.look(node, balancer, step.backend, step.servers)
                )
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        found = Across({name: standing.backend for name, standing in looked.good.items()}, looked.bad)
        unkept = [f"{name}: {s.unkept}" for name, s in looked.good.items() if not s.kept]
        left = [f"{name}: {words}" for name, backend in found.good.items() for words in _left(step, backend)]
        if found.bad:
            return Observation(Presence.UNKNOWN, "; ".join([*left, *(e.brief for e in found.bad.values())]))
        if left or unkept:
            return Observation(Presence.ABSENT, "; ".join([*left, *unkept]))
        return Observation(Presence.PRESENT, f"{', '.join(step.servers)}: in maintenance, without sessions")

    async def apply(self, step: HaproxyIsolate, context: Context) -> Outcome:
        """Isolate the servers wherever others are left."""
        async with opened(step, context) as (balancer, nodes):
            haproxy_checks.allowed(step.target, balancer, step.backend, step.servers)
            before = (await across(nodes, lambda node: haproxy_switch.read(node, step.backend))).all()
            for node in nodes:
                haproxy_switch.known(node, before[node.name], step.servers)
                haproxy_checks.left_over(step, node, before[node.name])
            context.report(Progress(0, len(nodes), "balancers", "Ending sessions"))

            async def one(node: Node) -> None:
                await _isolate(step, node, clock=context.clock)
                await haproxy_switch.save(node, balancer)

            (await across(nodes, one)).all()
        ended = {name: sum(backend.servers[name].sessions for backend in before.values()) for name in step.servers}
        return Outcome(f"In maintenance; sessions ended: {shares(ended)}", {"sessions_ended": ended})


def _left(step: HaproxyIsolate, backend: Backend) -> list[str]:
    found = []
    for name in step.servers:
        server = backend.servers[name]
        if not server.maintenance:
            found.append(f"{name} {server.words()}")
        elif server.sessions:
            found.append(f"{name} still has {server.sessions} sessions")
    return found


async def _isolate(step: HaproxyIsolate, node: Node, *, clock: Clock) -> None:
    commands = [
        command
        for name in step.servers
        for command in (
            f"set server {step.backend}/{name} state maint",
            f"shutdown sessions server {step.backend}/{name}",
        )
    ]
    await haproxy_switch.obey(node, commands)
    until = clock.monotonic() + _ENDED_SECONDS
    while left := _left(step, await haproxy_switch.read(node, step.backend)):
        if clock.monotonic() >= until:
            raise BalancerError(
                node.name,
                f"the servers are in maintenance, and yet: {'; '.join(left)}.",
                untouched="The other servers were left alone.",
                resolution="Retry; sessions that do not end are closed by the client's or server's own timeout.",
                transient=True,
            )
        await clock.sleep(_LOOK)
