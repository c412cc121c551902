"""Network devices: configurations brought back under the device's own dead-man switch."""

from __future__ import annotations

from typing import Any

from actuators.network.aid import LogActuator, OutOfBandActuator
from actuators.network.connectivity import ConnectivityActuator
from actuators.network.frr import Frr
from actuators.network.guarded import GuardedActuator
from actuators.network.ios import Ios
from actuators.network.junos import Junos
from actuators.network.steps import (
    NetworkConnectivity,
    NetworkLog,
    NetworkOutOfBand,
    NetworkReload,
    NetworkReplace,
    NetworkRollback,
)
from bot.domain.actuation import Registered

__all__ = [
    "NetworkConnectivity",
    "NetworkLog",
    "NetworkOutOfBand",
    "NetworkReload",
    "NetworkReplace",
    "NetworkRollback",
    "register",
]


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of these actuators with what carries them out."""
    return (
        Registered(NetworkReplace, GuardedActuator(Ios())),
        Registered(NetworkRollback, GuardedActuator(Junos())),
        Registered(NetworkReload, GuardedActuator(Frr())),
        Registered(NetworkConnectivity, ConnectivityActuator()),
        Registered(NetworkLog, LogActuator()),
        Registered(NetworkOutOfBand, OutOfBandActuator()),
    )
