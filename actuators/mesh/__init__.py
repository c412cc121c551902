"""Istio and the Gateway API: traffic goes where the plan has pinned it."""

from __future__ import annotations

from typing import Any

from actuators.mesh.steps import Backend, Destination, GatewayWeights, MeshSubset, MeshWeights
from actuators.mesh.subset import SubsetActuator
from actuators.mesh.weights import WeightsActuator
from bot.domain.actuation import Registered

__all__ = ["Backend", "Destination", "GatewayWeights", "MeshSubset", "MeshWeights", "register"]


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this actuator with what carries them out."""
    return (
        Registered(MeshWeights, WeightsActuator()),
        Registered(MeshSubset, SubsetActuator()),
        Registered(GatewayWeights, WeightsActuator()),
    )
