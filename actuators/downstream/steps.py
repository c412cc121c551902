"""The steps on what lies between a load balancer and the clients."""

from __future__ import annotations

from typing import Literal

from actuators.remedies import Diagnosis
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Downstream
from bot.domain.plan import Step


class DownstreamTtl(Diagnosis):
    """Show what DNS answers, and how long resolvers may keep the answer."""

    kind: Literal["downstream.ttl"] = "downstream.ttl"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"DNS answers of {self.target}"


class DownstreamPurge(Step):
    """Empty the CDN's cache."""

    kind: Literal["downstream.purge"] = "downstream.purge"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Purge the CDN's cache of {self.target}"


def downstream_of(step: Step, context: Context) -> Downstream:
    """Return the target that the step acts on.

    Raises:
        ActuatorError: If the inventory has none of that name.
    """
    target = context.inventory.find(step.target)
    if isinstance(target, Downstream):
        return target
    raise ActuatorError(
        f"Step {step.id}: {step.target} is {'no downstream' if target else 'not in the inventory'}.",
        untouched="Nothing was contacted.",
        resolution="Name a target of the inventory's section `downstreams` in the plan.",
    )
