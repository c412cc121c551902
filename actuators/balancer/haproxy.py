"""haproxy.weights: the traffic of a backend is shifted, read back, and kept over a reload."""

from __future__ import annotations

from collections.abc import Mapping

from actuators.balancer import haproxy_checks, haproxy_switch, targets
from actuators.balancer.haproxy_nodes import Across, Node, across, opened
from actuators.balancer.haproxy_steps import HaproxyIsolate, HaproxyStat, HaproxyWeights, shares
from actuators.balancer.haproxy_switch import Standing, astray
from actuators.balancer.haproxy_values import Backend
from actuators.remedies import cannot_look, titled
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import LoadBalancer


class HaproxyWeightsActuator:
    """Sets weights through the runtime API of every balancer."""

    async def check(self, step: HaproxyWeights, context: Context) -> tuple[Check, ...]:
        """Verify access, names, the standby's health, and whether a reload keeps what is set."""
        try:
            async with opened(step, context) as (balancer, nodes):
                return await haproxy_checks.of_weights(step, balancer, nodes)
        except ActuatorError as error:
            return (cannot_look(f"Balancer {step.target}", error),)

    async def observe(self, step: HaproxyWeights, context: Context) -> Observation:
        """Read weights, states and the saved state from every balancer."""
        try:
            async with opened(step, context) as (balancer, nodes):
                found = await _look(step, balancer, nodes)
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        return observed(step, found)

    async def apply(self, step: HaproxyWeights, context: Context) -> Outcome:
        """Switch every balancer, once all of them have somebody to take the traffic."""
        async with opened(step, context) as (balancer, nodes):
            haproxy_checks.allowed(step.target, balancer, step.backend, tuple(step.weights))
            before = await across(nodes, lambda node: haproxy_switch.read(node, step.backend))
            reached = [node for node in nodes if node.name in before.good]
            for node in reached:
                haproxy_switch.must_take(step, node, before.good[node.name])
            done: list[str] = []

            async def switch(node: Node) -> Standing:
                if step.ready:
                    await haproxy_switch.make_ready(step, node, before.good[node.name], clock=context.clock)
                await haproxy_switch.set_weights(step, node)
                await haproxy_switch.save(node, balancer)
                standing = await haproxy_switch.look(node, balancer, step.backend, tuple(step.weights))
                _must_be(step, node, standing)
                done.append(node.name)
                context.report(Progress(len(done), len(nodes), "balancers", f"{node.name} is switched"))
                return standing

            context.report(Progress(0, len(nodes), "balancers", f"Setting {shares(step.weights)}"))
            after = await across(reached, switch)
        _must_be_all(step, nodes, {**before.bad, **after.bad}, after.good)
        return _outcome(step, before.good, after.good)

    async def remedies(self, step: HaproxyWeights, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what shows or settles why traffic was not switched, or has no effect."""
        del fault
        remedies = [show(step)]
        try:
            async with opened(step, context) as (balancer, nodes):
                found = await _look(step, balancer, nodes)
        except ActuatorError:
            return tuple(remedies)
        held = sorted(
            {
                name
                for standing in found.good.values()
                for name in step.taking()
                if standing.backend.servers[name].maintenance or standing.backend.servers[name].draining
            }
        )
        if held and not step.ready:
            remedies.append(_ready(step, held))
        if found.good and not any(astray(step, standing) for standing in found.good.values()):
            remedies += [*sticking(step, found.good), *targets.downstream_remedies(step, context)]
        return tuple(remedies)

    async def no_effect(self, step: HaproxyWeights, context: Context) -> tuple[Remedy, ...]:
        """Return what may help when the weights were set and the errors go on all the same."""
        found: Across[Standing] = Across({}, {})
        try:
            async with opened(step, context) as (balancer, nodes):
                found = await _look(step, balancer, nodes)
        except ActuatorError:
            pass  # then the balancer's own diagnosis will tell
        return (show(step), *sticking(step, found.good), *targets.downstream_remedies(step, context))


def observed(step: HaproxyWeights, found: Across[Standing]) -> Observation:
    """Put together what was seen on every balancer."""
    total = len(found.good) + len(found.bad)
    wrong = {name: "; ".join(astray(step, standing)) for name, standing in found.good.items()}
    right = [name for name, words in wrong.items() if not words]
    parts = [_reached(step, len(right), total)] if right or total > 1 else []
    parts += [f"{name}: {words}" for name, words in wrong.items() if words]
    parts += [str(error.brief) for error in found.bad.values()]
    facts = {"weights": {name: standing.backend.weights(step.weights) for name, standing in found.good.items()}}
    if found.bad:
        return Observation(Presence.UNKNOWN, "; ".join(parts), facts)
    presence = Presence.PRESENT if len(right) == total else Presence.ABSENT
    return Observation(presence, "; ".join(parts), facts)


def _reached(step: HaproxyWeights, right: int, total: int) -> str:
    where = step.target if total == 1 else f"{right} of {total} balancers of {step.target}"
    return f"{shares(step.weights)} on {where}"


def show(step: HaproxyWeights) -> Remedy:
    """Return the diagnosis by ``show stat``."""
    return Remedy(
        "show-stat",
        "Show the balancer's servers",
        f"Reads status, weight, sessions and rate of each server of {step.backend} (`show stat`).",
        HaproxyStat(id="stat", target=step.target, backend=step.backend),
    )


def sticking(step: HaproxyWeights, found: Mapping[str, Standing]) -> tuple[Remedy, ...]:
    """Return what ends the sessions of clients that stay with a side that gets no new ones."""
    staying = [
        name
        for name in step.leaving()
        for standing in found.values()
        if standing.backend.servers[name].sessions
        or (standing.backend.cookie and not standing.backend.servers[name].maintenance)
    ]
    if not staying:
        return ()
    servers = tuple(dict.fromkeys(staying))
    names = ", ".join(servers)
    return (
        Remedy(
            "isolate",
            titled(f"Take {names} out and end its sessions"),
            f"Puts {names} into maintenance and closes the sessions that clients still have there; what is under"
            " way in them is lost.",
            HaproxyIsolate(id="isolate", target=step.target, backend=step.backend, servers=servers),
        ),
    )


def _ready(step: HaproxyWeights, held: list[str]) -> Remedy:
    names = ", ".join(held)
    return Remedy(
        "ready",
        titled(f"Make {names} ready and switch"),
        f"Takes {names} out of drain or maintenance, waits for the health checks, and then sets the weights.",
        step.model_copy(update={"ready": True}),
        settles=True,
    )


async def _look(step: HaproxyWeights, balancer: LoadBalancer, nodes: tuple[Node, ...]) -> Across[Standing]:
    names = tuple(step.weights)
    return await across(nodes, lambda node: haproxy_switch.look(node, balancer, step.backend, names))


def _must_be(step: HaproxyWeights, node: Node, standing: Standing) -> None:
    wrong = astray(step, standing)
    if wrong:
        raise ActuatorError(
            f"{node.name}: set and read back, the weights are not as they should be: {'; '.join(wrong)}.",
            untouched="What was set stays.",
            resolution="Look whether somebody or something else (an agent check, an automation) sets them too.",
        )


def _must_be_all(
    step: HaproxyWeights, nodes: tuple[Node, ...], bad: Mapping[str, ActuatorError], good: Mapping[str, Standing]
) -> None:
    if not bad:
        return
    first = next(iter(bad.values()))
    if len(nodes) == 1:
        raise first
    switched = f"{', '.join(good)} switched" if good else "none is switched"
    raise ActuatorError(
        f"{len(bad)} of {len(nodes)} balancers of {step.target} failed: "
        f"{'; '.join(error.brief for error in bad.values())}",
        untouched=f"Of the others: {switched}. {first.untouched}",
        resolution=first.resolution,
        transient=all(error.transient for error in bad.values()),
    )


def _outcome(step: HaproxyWeights, before: Mapping[str, Backend], after: Mapping[str, Standing]) -> Outcome:
    earlier = [backend.weights(step.weights) for backend in before.values()]
    facts = {"weights": {name: standing.backend.weights(step.weights) for name, standing in after.items()}}
    words = _reached(step, len(after), len(after))
    # Where it was switched already, or the balancers differed, nobody knows what to go back to.
    if (
        all(weights == earlier[0] for weights in earlier)
        and earlier[0] != step.weights
        and any(earlier[0].values())
    ):
        # Whoever switches back wants that side to serve again, even if it was taken out meanwhile.
        back = {"weights": earlier[0], "ready": True}
        return Outcome(f"{words}; before: {shares(earlier[0])}", {**facts, "before": back})
    return Outcome(words, facts)
