"""Backups as files: whether they are there, whole, and the ones that were meant."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import threading
from pathlib import Path

from bot.domain.errors import ActuatorError
from bot.domain.plan import Backup

_CHUNK = 1024 * 1024

LOOK_ELSEWHERE = "Look for another backup of the same time; without one, escalate and fix forward."
"""What to do about a backup that cannot be used, before anybody has looked which others there are."""


class BackupUnusableError(ActuatorError):
    """A backup is missing, empty, corrupt or another one than the plan means: only another file can help."""


async def find_backup(backup: Backup) -> int:
    """Return the size of a backup in bytes; a folder's is that of its files.

    Raises:
        ActuatorError: If it is missing, empty or not readable.
    """
    path = Path(backup.location)
    try:
        length = await asyncio.to_thread(_length, path)
    except FileNotFoundError:
        raise _unusable(backup, f"is missing: there is no {path}") from None
    except PermissionError:
        raise _barred(
            backup,
            f"may not be read: permission denied at {path}",
            resolution=f"Let the bot's user read it: chown or chmod g+r {path}",
        ) from None
    except OSError as error:
        raise _barred(
            backup,
            f"cannot be read at {path}: {error.strerror}",
            resolution="Look at the disk or the mount that it lies on, and ask again.",
        ) from None
    if length == 0:
        raise _unusable(backup, f"is empty: {path} has no content")
    return length


async def verify_digest(backup: Backup) -> str | None:
    """Return the SHA-256 of a backup's file in hex, None for a folder.

    Raises:
        ActuatorError: If the plan names another digest.
    """
    path = Path(backup.location)
    if await asyncio.to_thread(path.is_dir):
        if backup.sha256 is None:
            return None
        raise _barred(
            backup,
            f"is a folder, and a folder has no digest to compare: {path}",
            resolution="Take sha256 out of the plan, or keep the backup in one file.",
        )
    digest = await sha256(path)
    if backup.sha256 is not None and digest != backup.sha256:
        raise _unusable(
            backup,
            f"is not the file that the plan means: {path} has the digest {digest[:12]}..., "
            f"the plan says {backup.sha256[:12]}...",
            resolution="Find out who changed the file or the plan before anything is restored.",
        )
    return digest


async def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex, read in a thread that ends when the caller is cancelled."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(_digest, path, stop)
    finally:
        stop.set()


def flush(path: Path) -> None:
    """Bring a file or the entries of a folder onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _length(path: Path) -> int:
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        return sum(entry.stat().st_size for entry in path.iterdir())
    with path.open("rb"):
        return state.st_size


def _digest(path: Path, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while (chunk := file.read(_CHUNK)) and not stop.is_set():
            digest.update(chunk)
    return digest.hexdigest()


def _unusable(
    backup: Backup,
    what: str,
    *,
    resolution: str = LOOK_ELSEWHERE,
) -> BackupUnusableError:
    return BackupUnusableError(
        f"Backup {backup.id} {what}.", untouched="Nothing was touched.", resolution=resolution
    )


def _barred(backup: Backup, what: str, *, resolution: str) -> ActuatorError:
    """Return the error of a backup that may be a good one, and cannot be told as things stand."""
    return ActuatorError(f"Backup {backup.id} {what}.", untouched="Nothing was touched.", resolution=resolution)
