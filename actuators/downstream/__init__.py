"""What lies between a load balancer and the clients and remembers answers: DNS and a CDN."""

from __future__ import annotations

from typing import Any

from actuators.downstream.purge import PurgeActuator
from actuators.downstream.steps import DownstreamPurge, DownstreamTtl
from actuators.downstream.ttl import TtlActuator
from bot.domain.actuation import Registered

__all__ = ["DownstreamPurge", "DownstreamTtl", "register"]


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of these actuators with what carries them out."""
    return (Registered(DownstreamTtl, TtlActuator()), Registered(DownstreamPurge, PurgeActuator()))
