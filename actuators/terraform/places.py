"""Where a stack's runs and kept states are on the worker's machine, closed to everybody else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from actuators.terraform.steps import StackStep
from actuators.terraform.values import State
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import TerraformStack

_MOST = 20
"""Kept states that are shown, the newest ones."""


def stack_of(step: StackStep, context: Context) -> TerraformStack:
    """Return the stack that the step acts on.

    Raises:
        ActuatorError: If the inventory has none of that name.
    """
    target = context.inventory.find(step.target)
    if isinstance(target, TerraformStack):
        return target
    raise ActuatorError(
        f"Step {step.id}: {step.target} is {'no Terraform stack' if target else 'not in the inventory'}.",
        untouched="Nothing was contacted.",
        resolution="Name a target of the inventory's section `stacks` in the plan.",
    )


def keep(state: State, step: StackStep, context: Context) -> dict[str, str]:
    """Keep a state as it is now, readable by the bot alone; it may hold secrets.

    Returns:
        Facts: the file, and its digest.
    """
    folder = private_folder(Path(stack_of(step, context).folder) / "states" / step.target)
    file = folder / f"{context.token(step)}-serial-{state.serial}.tfstate"
    data = json.dumps(state.document, indent=2).encode()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _folder_fault(file, error) from None
    return {"kept_state": str(file), "kept_sha256": digest(data)}


def digest(data: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def private_folder(path: Path) -> Path:
    """Return a folder that is there afterwards, closed to everybody else.

    Raises:
        ActuatorError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise _folder_fault(path, error) from None
    return path


def _folder_fault(path: Path, error: OSError) -> ActuatorError:
    return ActuatorError(
        f"{path} cannot be written: {error.strerror}.",
        untouched="Nothing was changed.",
        resolution="Give the bot's user the `folder` of the stack, with room for its code and providers.",
    )


def kept_states(step: StackStep, context: Context) -> list[tuple[str, str]]:
    """Return the states of the stack that the bot has kept, each with its digest, the newest first."""
    folder = Path(stack_of(step, context).folder) / "states" / step.target
    files = sorted(folder.glob("*.tfstate"), key=lambda file: file.stat().st_mtime, reverse=True)
    return [(str(file), digest(file.read_bytes())) for file in files[:_MOST]]


def forget_leftovers(step: StackStep, context: Context) -> None:
    """Remove what an earlier attempt of this step left when its worker was killed: plans may hold secrets."""
    runs = Path(stack_of(step, context).folder) / "runs"
    for folder in runs.glob(f"{context.token(step)}.*"):
        shutil.rmtree(folder, ignore_errors=True)
