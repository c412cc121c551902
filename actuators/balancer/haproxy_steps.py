"""The steps on HAProxy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from actuators.remedies import Diagnosis
from bot.domain.inventory import ProxyName
from bot.domain.plan import Step
from bot.domain.times import Duration, parse_duration

Weight = Annotated[int, Field(ge=0, le=256)]
"""A server's share relative to the others of its backend; 0: no new traffic."""


def shares(weights: dict[str, int]) -> str:
    """Write weights for people: ``green 100, blue 0``."""
    return ", ".join(f"{name} {weight}" for name, weight in weights.items())


class HaproxyWeights(Step):
    """Shift a backend's traffic by the weights of its servers. All of them are set in one transaction.

    Attributes:
        backend: The backend.
        weights: The weight of each server, 0..256; at least one gets traffic.
        ready: Whether servers that are to get traffic are taken out of drain and maintenance.
    """

    kind: Literal["haproxy.weights"] = "haproxy.weights"
    backend: ProxyName
    weights: dict[ProxyName, Weight] = Field(min_length=1)
    ready: bool = False

    @model_validator(mode="after")
    def _somewhere(self) -> HaproxyWeights:
        if not any(self.weights.values()):
            raise ValueError("with all weights 0 nobody gets traffic; give the side that works a weight")
        return self

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Shift {self.backend} on {self.target} to {shares(self.weights)}"

    def taking(self) -> tuple[str, ...]:
        """Return the servers that are to get traffic."""
        return tuple(name for name, weight in self.weights.items() if weight)

    def leaving(self) -> tuple[str, ...]:
        """Return the servers that are to get none."""
        return tuple(name for name, weight in self.weights.items() if not weight)


class HaproxyIsolate(Step):
    """Put servers into maintenance and end their sessions, so that clients that stick to them go elsewhere.

    Attributes:
        backend: The backend.
        servers: The servers; at least one other must be left to take the traffic.
    """

    kind: Literal["haproxy.isolate"] = "haproxy.isolate"
    backend: ProxyName
    servers: tuple[ProxyName, ...] = Field(min_length=1)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Take {', '.join(self.servers)} out of {self.backend} on {self.target}"


class HaproxyStat(Diagnosis):
    """Show how a backend's servers stand and where its sessions go (``show stat``).

    Attributes:
        backend: The backend.
        over: The time over which new sessions are counted.
    """

    kind: Literal["haproxy.stat"] = "haproxy.stat"
    backend: ProxyName
    over: Duration = parse_duration("2s")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Servers of {self.backend} on {self.target}"
