"""Load balancers: traffic shifted on HAProxy and AWS ALB, and watched until the errors are gone."""

from __future__ import annotations

from typing import Any

from actuators.balancer.alb import AlbWeightsActuator
from actuators.balancer.alb_aid import AlbHealthActuator
from actuators.balancer.alb_steps import AlbHealth, AlbWeights
from actuators.balancer.haproxy import HaproxyWeightsActuator
from actuators.balancer.haproxy_aid import HaproxyIsolateActuator, HaproxyStatActuator
from actuators.balancer.haproxy_steps import HaproxyIsolate, HaproxyStat, HaproxyWeights
from actuators.balancer.watch import BalancerWatch, SwitchAid, WatchActuator
from actuators.metrics import MetricsSource
from bot.domain.actuation import Registered

__all__ = [
    "AlbHealth",
    "AlbWeights",
    "BalancerWatch",
    "HaproxyIsolate",
    "HaproxyStat",
    "HaproxyWeights",
    "register",
]


def register(source: MetricsSource) -> tuple[Registered[Any], ...]:
    """Return the steps of these actuators with what carries them out.

    Args:
        source: Where the metrics come from; its owner runs and ends it.
    """
    haproxy, alb = HaproxyWeightsActuator(), AlbWeightsActuator()
    aids: dict[str, SwitchAid] = {"haproxy.weights": haproxy, "alb.weights": alb}
    return (
        Registered(HaproxyWeights, haproxy),
        Registered(HaproxyIsolate, HaproxyIsolateActuator()),
        Registered(HaproxyStat, HaproxyStatActuator()),
        Registered(AlbWeights, alb),
        Registered(AlbHealth, AlbHealthActuator()),
        Registered(BalancerWatch, WatchActuator(source, aids)),
    )
