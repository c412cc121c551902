"""What the steps on load balancers of every flavour share: the target, and what may help behind it."""

from __future__ import annotations

from typing import Literal

from actuators.downstream import steps as downstream
from bot.domain.actuation import Context, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Downstream, LoadBalancer
from bot.domain.plan import Step


def balancer_of(step: Step, context: Context, *, flavour: Literal["haproxy", "alb"]) -> LoadBalancer:
    """Return the load balancer that the step acts on.

    Raises:
        ActuatorError: If the inventory has none of that name and flavour.
    """
    target = context.inventory.find(step.target)
    if isinstance(target, LoadBalancer) and target.flavour == flavour:
        return target
    if isinstance(target, LoadBalancer):
        what = f"is of the flavour {target.flavour}, not {flavour}"
    else:
        what = "is no load balancer" if target else "is not in the inventory"
    raise ActuatorError(
        f"Step {step.id} ({step.kind}): {step.target} {what}.",
        untouched="Nothing was contacted.",
        resolution="Correct the step's target or kind in the plan, or the load balancer in the inventory.",
    )


def downstream_remedies(step: Step, context: Context) -> tuple[Remedy, ...]:
    """Return what to do where the balancer is right and its clients still see the other side."""
    balancer = context.inventory.find(step.target)
    name = balancer.downstream if isinstance(balancer, LoadBalancer) else None
    target = context.inventory.find(name) if name is not None else None
    if name is None or not isinstance(target, Downstream):
        return ()
    found = []
    if target.names:
        found.append(
            Remedy(
                "dns-ttl",
                "Show DNS answers and their TTL",
                f"Asks for {', '.join(target.names)} and tells how long resolvers may still give the old answer.",
                downstream.DownstreamTtl(id="ttl", target=name),
            )
        )
    if target.purge is not None:
        found.append(
            Remedy(
                "cdn-purge",
                "Purge the CDN's cache",
                f"Sends {target.purge.method} {target.purge.url}; until the cache has filled again the service gets"
                " more requests.",
                downstream.DownstreamPurge(id="purge", target=name),
            )
        )
    return tuple(found)
