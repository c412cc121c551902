"""Terraform and OpenTofu: earlier code applied by a saved plan, and the state mended."""

from __future__ import annotations

from typing import Any

from actuators.terraform.aid import RefreshActuator, StateListActuator
from actuators.terraform.apply import ApplyActuator
from actuators.terraform.records import ImportActuator, StateRmActuator, UnlockActuator
from actuators.terraform.restore import StateRestoreActuator, StateVersionsActuator
from actuators.terraform.steps import (
    TerraformApply,
    TerraformImport,
    TerraformRefresh,
    TerraformStateList,
    TerraformStateRestore,
    TerraformStateRm,
    TerraformStateVersions,
    TerraformUnlock,
)
from bot.domain.actuation import Registered

__all__ = [
    "TerraformApply",
    "TerraformImport",
    "TerraformRefresh",
    "TerraformStateList",
    "TerraformStateRestore",
    "TerraformStateRm",
    "TerraformStateVersions",
    "TerraformUnlock",
    "register",
]


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of these actuators with what carries them out."""
    return (
        Registered(TerraformApply, ApplyActuator()),
        Registered(TerraformRefresh, RefreshActuator()),
        Registered(TerraformStateList, StateListActuator()),
        Registered(TerraformStateVersions, StateVersionsActuator()),
        Registered(TerraformImport, ImportActuator()),
        Registered(TerraformStateRm, StateRmActuator()),
        Registered(TerraformUnlock, UnlockActuator()),
        Registered(TerraformStateRestore, StateRestoreActuator()),
    )
