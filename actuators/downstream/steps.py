"""The steps on what lies between a load balancer and the clients."""

from __future__ import annotations

from typing import Literal

from actuators.remedies import Diagnosis
from actuators.targets import target_of
from bot.domain.actuation import Context
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
    return target_of(step, context, Downstream, called="downstream", section="downstreams")
