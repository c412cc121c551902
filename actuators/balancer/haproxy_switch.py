"""Reading and changing one HAProxy: weights and states of a backend's servers, and the saved state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actuators.balancer.haproxy_nodes import BalancerError, Node
from actuators.balancer.haproxy_steps import HaproxyWeights, shares
from actuators.balancer.haproxy_values import (
    AnswerError,
    Backend,
    Server,
    complaint,
    read_backend,
    read_weights,
    saved,
    state_rows,
)
from actuators.transport import HostError
from bot.domain.clock import Clock
from bot.domain.inventory import LoadBalancer

READY_SECONDS = 30.0
"""How long a server that was in maintenance has to pass its health checks."""
_LOOK = 0.1
_MODE = 0o644


@dataclass(frozen=True)
class Standing:
    """How one balancer stands.

    Attributes:
        backend: The backend as it is.
        kept: Whether a reload keeps it, as far as that is asked of us.
        unkept: Why not.
    """

    backend: Backend
    kept: bool = True
    unkept: str = ""


async def read(node: Node, backend: str) -> Backend:
    """Read a backend.

    Raises:
        BalancerError: If the balancer cannot be asked, or has no such backend.
    """
    text = await node.ask(f"show servers state {backend}", f"show stat {backend} 6 -1")
    try:
        return read_backend(backend, text)
    except AnswerError as error:
        raise BalancerError(
            node.name,
            f"the backend {backend} cannot be read: {error}",
            untouched="Nothing was changed.",
            resolution="Compare the step's `backend` with HAProxy's configuration.",
        ) from None


def known(node: Node, backend: Backend, names: Sequence[str]) -> list[Server]:
    """Return these servers.

    Raises:
        BalancerError: If the backend lacks one.
    """
    lacking = [name for name in names if name not in backend.servers]
    if lacking:
        raise BalancerError(
            node.name,
            f"the backend {backend.name} has no server {', '.join(lacking)}; it has {', '.join(backend.servers)}.",
            untouched="Nothing was changed.",
            resolution="Correct the names in the plan.",
        )
    return [backend.servers[name] for name in names]


async def look(node: Node, balancer: LoadBalancer, backend: str, names: Sequence[str]) -> Standing:
    """Read a backend, and whether the state file holds what is set for these servers.

    Raises:
        BalancerError: If the balancer cannot be asked, or lacks backend or server.
    """
    found = await read(node, backend)
    servers = known(node, found, names)
    if balancer.state_file is None or node.files is None:
        return Standing(found)
    path = str(balancer.state_file)
    try:
        if await node.files.stat(node.host, path) is None:
            return Standing(found, kept=False, unkept=f"{path} is not there")
        text = (await node.files.read_file(node.host, path)).decode(errors="replace")
    except HostError as error:
        return Standing(found, kept=False, unkept=error.what)
    if saved(text, backend, servers):
        return Standing(found)
    return Standing(found, kept=False, unkept=f"{path} holds an earlier state")


def astray(step: HaproxyWeights, standing: Standing) -> tuple[str, ...]:
    """Return in words what is not as the step wants it; nothing, if all is."""
    servers = standing.backend.servers
    found = []
    if standing.backend.weights(step.weights) != step.weights:
        found.append(shares(standing.backend.weights(step.weights)))
    held = [servers[name] for name in step.taking() if servers[name].maintenance or servers[name].draining]
    found += [f"{server.name} {server.words()}" for server in held]
    if not found:
        found += [f"{n} has {servers[n].effective} in force" for n in step.leaving() if servers[n].effective]
    if not found and not standing.kept:
        found.append(f"{shares(step.weights)}, not yet kept for a reload: {standing.unkept}")
    return tuple(found)


def must_take(step: HaproxyWeights, node: Node, backend: Backend) -> None:
    """Check that somebody can take the traffic. A standby that is ill must stay a standby.

    Raises:
        BalancerError: If no server that is to get traffic could take it, or one is held back on purpose.
    """
    servers = known(node, backend, step.taking())
    held = [s for s in servers if s.maintenance or s.draining]
    well = [s for s in servers if s.takes or (step.ready and s in held)]
    if not well or (held and not step.ready):
        ill = [s for s in servers if not s.takes]
        raise BalancerError(
            node.name,
            f"{' and '.join(f'{s.name} {s.words()}' for s in ill)}, so no traffic may be sent there.",
            untouched=f"The weights are as they were: {shares(backend.weights(step.weights))}.",
            resolution="Find out why the standby is not ready. If it was held back on purpose, set `ready: true` in"
            " the step, or take it out of maintenance."
            if held
            else "Look at the standby's own log and health page; retry when it is well.",
        )


async def make_ready(step: HaproxyWeights, node: Node, backend: Backend, *, clock: Clock) -> None:
    """Take servers that are to get traffic out of drain and maintenance, and wait for their health checks.

    Raises:
        BalancerError: If they do not become ready; the others go on as they were.
    """
    back = [s for s in known(node, backend, step.taking()) if s.maintenance or s.draining]
    if not back:
        return
    held = [s.name for s in back]
    ready = [f"set server {step.backend}/{name} state ready" for name in held]
    # HAProxy takes a server that leaves maintenance for up until the next check; told that it is down, it must
    # pass its checks first.
    doubt = [f"set server {step.backend}/{s.name} health down" for s in back if s.maintenance and s.checked]
    await obey(node, [*ready, *doubt])
    until = clock.monotonic() + READY_SECONDS
    while True:
        now = await read(node, step.backend)
        waiting = [s for s in known(node, now, held) if not s.takes]
        if not waiting:
            return
        if clock.monotonic() >= until:
            raise BalancerError(
                node.name,
                f"{' and '.join(f'{s.name} {s.words()}' for s in waiting)} {READY_SECONDS:g} seconds after it was"
                " taken out of maintenance.",
                untouched=f"The weights are as they were: {shares(now.weights(step.weights))}.",
                resolution="Look at the standby's own log and health page; retry when it is well.",
            )
        await clock.sleep(_LOOK)


async def obey(node: Node, commands: Sequence[str]) -> None:
    """Send commands that are silent on success.

    Raises:
        BalancerError: With what HAProxy said.
    """
    said = complaint(await node.ask(*commands))
    if said:
        raise _refused(node, said)


async def set_weights(step: HaproxyWeights, node: Node) -> None:
    """Set all weights in one transaction, and read each back in the same one.

    The sides that get traffic come first, so that there is no moment without a server.

    Raises:
        BalancerError: If HAProxy refuses one, or tells another value afterwards.
    """
    order = [*step.taking(), *step.leaving()]
    sets = [f"set server {step.backend}/{name} weight {step.weights[name]}" for name in order]
    gets = [f"get weight {step.backend}/{name}" for name in order]
    answer = await node.ask(*sets, *gets)
    try:
        told = read_weights(order, answer)
    except AnswerError as error:
        raise _refused(node, str(error)) from None
    if told != {name: step.weights[name] for name in order}:
        raise _refused(node, f"it took the weights and tells {shares(told)} now")


def _refused(node: Node, said: str) -> BalancerError:
    return BalancerError(
        node.name,
        f"HAProxy refused: {said}",
        untouched="Other weights of the same step may have been set; the next look tells.",
        resolution="A static algorithm takes 0 and the configured weight only. Else see `show stat`, and retry.",
    )


async def save(node: Node, balancer: LoadBalancer) -> None:
    """Save the state of all servers where a reload takes it from.

    Raises:
        BalancerError: If it cannot be written; what was set stays set until the next reload.
    """
    if balancer.state_file is None or node.files is None:
        return
    path = str(balancer.state_file)
    text = await node.ask("show servers state")
    if not state_rows(text):
        raise _unsaved(node, path, complaint(text) or "HAProxy told no state")
    try:
        before = await node.files.stat(node.host, path)
        await node.files.write_file_atomic(
            node.host,
            path,
            (text.rstrip("\n") + "\n").encode(),
            mode=before.permissions if before else _MODE,
            owner=(before.uid, before.gid) if before else None,
        )
    except HostError as error:
        raise _unsaved(node, path, error.what) from None


def _unsaved(node: Node, path: str, reason: str) -> BalancerError:
    return BalancerError(
        node.name,
        f"the servers' state cannot be saved to {path}: {reason}",
        untouched="The weights are set and in force; a reload of HAProxy would take them back.",
        resolution="Let the bot write there and retry; or mark the step done, and keep HAProxy from reloads.",
    )
