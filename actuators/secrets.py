"""Secrets by reference: read at the moment of use, never kept, never part of a message."""

from __future__ import annotations

import os
import stat

from bot.domain.errors import ActuatorError
from bot.domain.inventory import SecretRef

_LARGEST = 64 * 1024
"""Bytes; a key or a password is far smaller, so a larger file is a wrong path."""


def resolve(ref: SecretRef) -> str:
    """Return the secret that the reference names, without the line end that editors add.

    Args:
        ref: An environment variable or a file. A file must belong to the bot's user (or root) and be closed to
            group and others, as ssh demands of a private key.

    Raises:
        ActuatorError: If it is missing, empty, too open or no text. The message names the reference, never a value.
    """
    value = _from_file(ref.file) if ref.file is not None else os.environ.get(ref.env or "")
    if value:
        return value
    raise _unusable(
        ref,
        "is not set" if value is None else "is empty",
        "Give the bot's process the secret at that place and ask again.",
    )


def describe(ref: SecretRef) -> str:
    """Return the reference in words: ``environment variable X`` or ``file /x``."""
    return f"environment variable {ref.env}" if ref.env is not None else f"file {ref.file}"


def _from_file(path: str) -> str:
    ref = SecretRef(file=path)
    try:
        # Opened first and looked at through the descriptor, so that nobody can swap the file in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unusable(
            ref, f"cannot be read: {error.strerror}", "Put the file there, readable by the bot's user alone."
        ) from None
    try:
        _must_be_private(ref, os.fstat(descriptor))
        data = os.read(descriptor, _LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > _LARGEST:
        raise _unusable(ref, f"is larger than {_LARGEST} bytes", "Check the path: this is no secret.")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _unusable(ref, "is no UTF-8 text", "Check the path: this is no secret.") from None


def _must_be_private(ref: SecretRef, state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise _unusable(ref, "is no regular file", "Name the file itself in the inventory.")
    if state.st_mode & 0o077:
        mode = stat.S_IMODE(state.st_mode)
        raise _unusable(ref, f"is open to group or others (mode {mode:04o})", f"Close it: chmod 600 {ref.file}")
    if state.st_uid not in {0, os.geteuid()}:
        raise _unusable(
            ref, f"belongs to another user (uid {state.st_uid})", f"Make the bot's user own {ref.file}."
        )


def _unusable(ref: SecretRef, what: str, resolution: str) -> ActuatorError:
    return ActuatorError(
        f"The secret in {describe(ref)} {what}.", untouched="Nothing was contacted.", resolution=resolution
    )
