"""Metrics: a service's own page or a Prometheus API, and the return to the baseline."""

from __future__ import annotations

from typing import Any

from actuators.metrics.baseline import BackAtBaseline, BaselineActuator
from actuators.metrics.sampler import Sampler
from actuators.metrics.source import MetricsSource
from actuators.metrics.target import metrics_target
from bot.domain.actuation import Registered

__all__ = ["BackAtBaseline", "MetricsSource", "Sampler", "metrics_target", "register"]


def register(source: MetricsSource) -> tuple[Registered[Any], ...]:
    """Return the steps of this actuator with what carries them out.

    Args:
        source: Where the metrics come from; its owner runs and ends it.
    """
    return (Registered(BackAtBaseline, BaselineActuator(source)),)
