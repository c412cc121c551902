"""PostgreSQL: connections drained, safety backup, restore beside, swap by rename, verification."""

from __future__ import annotations

from typing import Any

from actuators.postgres.backup import SafetyBackupActuator
from actuators.postgres.drain import DrainActuator
from actuators.postgres.restore import RestoreActuator
from actuators.postgres.steps import Drain, Restore, SafetyBackup, Swap, Verify
from actuators.postgres.swap import SwapActuator
from actuators.postgres.verify import VerifyActuator
from bot.domain.actuation import Registered

__all__ = ["Drain", "Restore", "SafetyBackup", "Swap", "Verify", "register"]


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this actuator with what carries them out."""
    return (
        Registered(Drain, DrainActuator()),
        Registered(SafetyBackup, SafetyBackupActuator()),
        Registered(Restore, RestoreActuator()),
        Registered(Swap, SwapActuator()),
        Registered(Verify, VerifyActuator()),
    )
