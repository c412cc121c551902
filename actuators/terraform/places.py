"""Where a stack's runs and kept states are on the worker's machine, closed to everybody else."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from actuators.targets import target_of
from actuators.terraform.steps import StackStep
from actuators.terraform.values import State, read_state
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
    return target_of(step, context, TerraformStack, called="Terraform stack", section="stacks")


def keep(state: State, step: StackStep, context: Context) -> dict[str, str]:
    """Keep a state as it is now, readable by the bot alone; it may hold secrets.

    Returns:
        Facts: the file, and its digest.
    """
    folder = private_folder(Path(stack_of(step, context).folder) / "states" / step.target)
    file = folder / f"{context.token(step)}-serial-{state.serial}.tfstate"
    data = json.dumps(state.document, indent=2).encode()
    write(file, data)
    return {"kept_state": str(file), "kept_sha256": digest(data)}


def rescue(module: Path, step: StackStep, context: Context) -> dict[str, str] | None:
    """Keep the state that the tool could not hand to its backend, and has left in the folder of the module.

    Returns:
        The file and its digest as `keep` returns them; None: it has left none.
    """
    left = module / "errored.tfstate"
    try:
        data = left.read_bytes()
    except OSError:
        return None
    folder = private_folder(Path(stack_of(step, context).folder) / "states" / step.target)
    file = folder / f"{context.token(step)}-unsaved-{digest(data)[:12]}.tfstate"
    write(file, data)
    # The folder may be used again: a later failure of another kind must not be taken for this one.
    left.unlink(missing_ok=True)
    return {"kept_state": str(file), "kept_sha256": digest(data)}


def unsaved(present: State, step: StackStep, context: Context) -> dict[str, str] | None:
    """Return the rescued state that is newer than the present one: what it tells of would be done twice.

    Returns:
        The file and its digest as `keep` returns them; None: the backend has all.
    """
    folder = Path(stack_of(step, context).folder) / "states" / step.target
    for file in folder.glob("*-unsaved-*.tfstate"):
        try:
            data = file.read_bytes()
            state = read_state(data.decode())
        except (OSError, ValueError):
            # Written in part, or taken away meanwhile: nothing that could be restored.
            continue
        if state is not None and state.lineage == present.lineage and state.serial > present.serial:
            return {"kept_state": str(file), "kept_sha256": digest(data)}
    return None


def write(file: Path, data: bytes) -> None:
    """Write a file that the bot alone can read, and wait until it is on the disk.

    Raises:
        ActuatorError: If it cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _folder_fault(file, error) from None


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
