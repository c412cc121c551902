"""What is looked at before traffic is shifted on HAProxy. Read only."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from actuators.balancer import haproxy_config, haproxy_switch
from actuators.balancer.haproxy_nodes import Across, Node, across
from actuators.balancer.haproxy_steps import HaproxyIsolate, HaproxyWeights, shares
from actuators.balancer.haproxy_values import Backend
from actuators.remedies import cannot_look
from actuators.transport import HostError, Transport
from bot.domain.actuation import Check, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, LoadBalancer

_AFTER_RELOAD = (
    "Name `state_file` and `config` in the inventory, and let HAProxy load the state (`server-state-file`,"
    " `load-server-state-from-file global`); or set the weights in its configuration as well."
)


async def of_weights(step: HaproxyWeights, balancer: LoadBalancer, nodes: Sequence[Node]) -> tuple[Check, ...]:
    """Verify everything that the step needs on every balancer."""

    async def one(node: Node) -> tuple[Check, ...]:
        access = await _access(step.target, node)
        backend = await haproxy_switch.read(node, step.backend)
        haproxy_switch.known(node, backend, tuple(step.weights))
        return (
            access,
            _standby(step, node, backend),
            *_hindrances(step, backend),
            await _reload(balancer, node, step),
        )

    found = await across(nodes, one)
    return (*_not_allowed(step.target, balancer, step.backend, tuple(step.weights)), *_together(step.target, found))


async def of_isolation(step: HaproxyIsolate, balancer: LoadBalancer, nodes: Sequence[Node]) -> tuple[Check, ...]:
    """Verify that the servers are there, and that others are left to take the traffic."""

    async def one(node: Node) -> tuple[Check, ...]:
        access = await _access(step.target, node)
        backend = await haproxy_switch.read(node, step.backend)
        haproxy_switch.known(node, backend, step.servers)
        subject = f"Servers of {step.backend}"
        try:
            left = left_over(step, node, backend)
        except ActuatorError as error:
            return (access, cannot_look(subject, error))
        return (access, Check(subject, Verdict.OK, f"{', '.join(left)} left to take the traffic"))

    found = await across(nodes, one)
    return (*_not_allowed(step.target, balancer, step.backend, step.servers), *_together(step.target, found))


def left_over(step: HaproxyIsolate, node: Node, backend: Backend) -> tuple[str, ...]:
    """Return the servers that take the traffic when these are gone.

    Raises:
        ActuatorError: If there are none.
    """
    left = tuple(s.name for s in backend.servers.values() if s.takes and s.weight and s.name not in step.servers)
    if left:
        return left
    raise ActuatorError(
        f"{node.name}: without {', '.join(step.servers)} nobody would take the traffic of {step.backend}.",
        untouched="Nothing was changed.",
        resolution="Shift the weights to a side that is up first.",
    )


def allowed(target: str, balancer: LoadBalancer, backend: str, servers: Sequence[str]) -> None:
    """Check that the inventory lets steps name these servers.

    Raises:
        ActuatorError: If it does not.
    """
    permitted = () if balancer.backends is None else balancer.backends.get(backend, ())
    others = [server for server in servers if server not in permitted]
    if balancer.backends is None or not others:
        return
    raise ActuatorError(
        f"The inventory does not let steps act on {', '.join(f'{backend}/{name}' for name in others)}.",
        untouched="Nothing was changed.",
        resolution=f"Correct the names in the plan, or add them to `backends` of {target} in the inventory.",
    )


def _not_allowed(target: str, balancer: LoadBalancer, backend: str, servers: Sequence[str]) -> tuple[Check, ...]:
    try:
        allowed(target, balancer, backend, servers)
    except ActuatorError as error:
        return (cannot_look(f"Servers of {backend}", error),)
    return ()


def _together(target: str, found: Across[tuple[Check, ...]]) -> tuple[Check, ...]:
    """Merge what was found on several balancers; what only some of them say names these."""
    says: dict[Check, list[str]] = {}
    for name, checks in found.good.items():
        for check in checks:
            says.setdefault(check, []).append(name)
    total = len(found.good) + len(found.bad)
    merged = [
        check
        if len(names) == total
        else Check(check.subject, check.verdict, f"{', '.join(names)}: {check.words}", check.resolution)
        for check, names in says.items()
    ]
    return (*merged, *(cannot_look(f"Balancer {target}", error) for error in found.bad.values()))


async def _access(target: str, node: Node) -> Check:
    """Verify the level of the runtime socket, by a command that changes nothing."""
    level = next(iter((await node.ask("show cli level")).split()), "unknown")
    subject = f"Balancer {target}"
    if level == "admin":
        return Check(subject, Verdict.OK, "HAProxy's runtime API answers, with level admin")
    words = f"The runtime socket has the level {level}, and setting weights needs admin. Nothing was changed."
    return Check(subject, Verdict.FAIL, words, "Give the `stats socket` in HAProxy's configuration `level admin`.")


def _standby(step: HaproxyWeights, node: Node, backend: Backend) -> Check:
    """Verify that the side that is to get the traffic is well."""
    subject = f"Standby of {step.backend}"
    try:
        haproxy_switch.must_take(step, node, backend)
    except ActuatorError as error:
        return cannot_look(subject, error)
    servers = [backend.servers[name] for name in step.taking()]
    words = "; ".join(f"{server.name} {server.words()}" for server in servers)
    if all(server.takes and server.check for server in servers):
        return Check(subject, Verdict.OK, words)
    return Check(subject, Verdict.WARN, words, "Let an http.health step look at the standby before the switch.")


def _hindrances(step: HaproxyWeights, backend: Backend) -> Iterator[Check]:
    """Yield what keeps weights from having their effect."""
    subject = f"Servers of {step.backend}"
    yield Check(subject, Verdict.OK, f"now: {shares(backend.weights(step.weights))}")
    fixed = [name for name, weight in step.weights.items() if backend.fixed(name, weight)]
    if fixed:
        words = f"{backend.algorithm} takes only 0 and the configured weight for {', '.join(fixed)}."
        initial = shares({name: backend.servers[name].initial for name in fixed})
        yield Check(subject, Verdict.FAIL, f"{words} Nothing was changed.", f"Write the configured one: {initial}.")
    unnamed = [s for s in backend.servers.values() if s.name not in step.weights and not s.backup]
    others = {s.name: s.weight for s in unnamed if s.weight}
    if others:
        words = f"The step does not name {shares(others)}: they keep their traffic."
        yield Check(subject, Verdict.WARN, words, "Name every server of the side that is to get none.")
    if backend.cookie:
        words = f"Clients stick to their server by the cookie {backend.cookie}, whatever its weight."
        resolution = "If errors go on after the switch, `haproxy.isolate` ends their sessions."
        yield Check(subject, Verdict.WARN, words, resolution)
    agents = [name for name in step.weights if backend.servers[name].agent]
    if agents:
        words = f"An agent check may change the weight of {', '.join(agents)} by itself."
        yield Check(subject, Verdict.WARN, words, "Switch the agent off for the time of the rollback.")


async def _reload(balancer: LoadBalancer, node: Node, step: HaproxyWeights) -> Check:
    """Verify that a reload keeps what is set: saved by us, and loaded by HAProxy."""
    subject = f"Reload of {step.target}"
    if balancer.state_file is None or node.files is None:
        words = "A reload or restart of HAProxy brings the old weights back: no state file is named."
        return Check(subject, Verdict.WARN, words, _AFTER_RELOAD)
    path = str(balancer.state_file)
    obstacle = await _obstacle(node.files, node.host, path)
    if obstacle:
        words = f"The servers' state cannot be saved: {obstacle} Nothing was changed."
        resolution = "Let the bot write there, or take `state_file` out of the inventory and accept the warning."
        return Check(subject, Verdict.FAIL, words, resolution)
    saved = f"The state is saved to {path}; whether a reload takes it from there is not known"
    if balancer.config is None:
        return Check(subject, Verdict.WARN, f"{saved}.", "Name HAProxy's `config` in the inventory.")
    try:
        text = (await node.files.read_file(node.host, str(balancer.config))).decode(errors="replace")
    except HostError as error:
        resolution = "Let the bot read HAProxy's configuration, or look there yourself."
        return Check(subject, Verdict.WARN, f"{saved}: {error.what}", resolution)
    return _loaded(subject, text, step.backend, path)


async def _obstacle(files: Transport, host: Host, path: str) -> str:
    """Return in words why the state file cannot be written; nothing, if it can."""
    try:
        if await files.writable(host, posixpath.dirname(path)):
            return ""
    except HostError as error:
        return error.what
    return f"the bot may not write {path}."


def _loaded(subject: str, configuration: str, backend: str, path: str) -> Check:
    source = haproxy_config.loads_state(configuration, backend)
    named = haproxy_config.state_file_of(configuration)
    if source is None:
        words = f"The configuration has no backend {backend}: HAProxy was started with another one."
    elif source != "global":
        words = f"A reload brings the old weights back: {backend} has load-server-state-from-file {source}."
    elif named != path:
        words = f"A reload takes the state from {named or 'nowhere'}, not from {path}."
    else:
        return Check(subject, Verdict.OK, f"The state is saved to {path}, and a reload takes it from there")
    return Check(subject, Verdict.WARN, words, _AFTER_RELOAD)
