"""Databases of Amazon RDS: restored beside to a moment or from a snapshot, and swapped in by name."""

from __future__ import annotations

from typing import Any

from actuators.rds.aid import EventsActuator, PointsActuator, VerifyActuator
from actuators.rds.restore import RestoreActuator
from actuators.rds.snapshot import SnapshotActuator
from actuators.rds.steps import RdsEvents, RdsPoints, RdsRestore, RdsSnapshot, RdsSwap, RdsSwapBack, RdsVerify
from actuators.rds.swap import SwapActuator, SwapBackActuator
from bot.domain.actuation import Registered

__all__ = [
    "RdsEvents",
    "RdsPoints",
    "RdsRestore",
    "RdsSnapshot",
    "RdsSwap",
    "RdsSwapBack",
    "RdsVerify",
    "register",
]


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of these actuators with what carries them out."""
    return (
        Registered(RdsSnapshot, SnapshotActuator()),
        Registered(RdsRestore, RestoreActuator()),
        Registered(RdsSwap, SwapActuator()),
        Registered(RdsSwapBack, SwapBackActuator()),
        Registered(RdsVerify, VerifyActuator()),
        Registered(RdsPoints, PointsActuator()),
        Registered(RdsEvents, EventsActuator()),
    )
