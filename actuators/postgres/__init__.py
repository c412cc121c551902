"""PostgreSQL: connections drained, safety backup, restore or recovery beside, swap by rename, verification."""

from __future__ import annotations

from typing import Any

from actuators.postgres.backup import SafetyBackupActuator
from actuators.postgres.connections import ConnectionsActuator, TerminateActuator
from actuators.postgres.drain import DrainActuator
from actuators.postgres.pitr import ClearPitrActuator, PitrActuator
from actuators.postgres.restore import RestoreActuator
from actuators.postgres.restore_from import CatalogueActuator, RestoreFromActuator
from actuators.postgres.steps import (
    ClearPitr,
    Drain,
    ListBackups,
    ListConnections,
    Pitr,
    Restore,
    RestoreFrom,
    SafetyBackup,
    Swap,
    Terminate,
    Verify,
)
from actuators.postgres.swap import SwapActuator
from actuators.postgres.verify import VerifyActuator
from bot.domain.actuation import Registered

__all__ = [
    "ClearPitr",
    "Drain",
    "ListBackups",
    "ListConnections",
    "Pitr",
    "Restore",
    "RestoreFrom",
    "SafetyBackup",
    "Swap",
    "Terminate",
    "Verify",
    "register",
]


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this actuator with what carries them out."""
    return (
        Registered(Drain, DrainActuator()),
        Registered(SafetyBackup, SafetyBackupActuator()),
        Registered(Restore, RestoreActuator()),
        Registered(Swap, SwapActuator()),
        Registered(Verify, VerifyActuator()),
        Registered(ListBackups, CatalogueActuator()),
        Registered(RestoreFrom, RestoreFromActuator()),
        Registered(ListConnections, ConnectionsActuator()),
        Registered(Terminate, TerminateActuator()),
        Registered(Pitr, PitrActuator()),
        Registered(ClearPitr, ClearPitrActuator()),
    )
