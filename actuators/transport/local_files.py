"""File operations on the bot's own machine. Plain functions, small enough not to hold the event loop up."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actuators.transport.base import LARGEST_FILE, FileStat, HostError, absolute_link
from bot.domain.inventory import Host

_CONTEXT = "security.selinux"
_OTHER_CONTEXT = "Give the bot's user access to it, and check its security context (`ls -Z`)."


@contextmanager
def told(host: Host, doing: str) -> Iterator[None]:
    """Turn the operating system's errors into words.

    Args:
        host: Where it happens.
        doing: What is tried, e.g. ``read /etc/x``.

    Raises:
        HostError: Instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise HostError(
            host.name,
            f"cannot {doing}: {error.strerror or error}.",
            untouched="The file is as it was.",
            resolution=_OTHER_CONTEXT if isinstance(error, PermissionError) else "Check the path in the inventory.",
        ) from None


def read(path: str) -> bytes:
    """Return a file's content.

    Raises:
        OSError: If it cannot be read or is too large.
    """
    with Path(path).open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise OSError(0, f"it is larger than {LARGEST_FILE} bytes")
    return data


def write(
    path: str, data: bytes, *, temporary: str, mode: int, owner: tuple[int, int] | None, keep: str | None
) -> None:
    """Write beside, make durable, keep the old one, rename over it.

    Raises:
        OSError: If any of it fails; the file is as it was then.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(temporary).unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            state = os.fstat(descriptor)
            if owner is not None and owner != (state.st_uid, state.st_gid):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        _copy_context(path, temporary)
        if keep is not None and os.path.lexists(path):
            _keep(path, keep)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path)


def _keep(path: str, keep: str) -> None:
    """Keep the file under another name. A second name for the same file is atomic; a copy is the way without."""
    place, number = keep, 1
    while os.path.lexists(place):
        if filecmp.cmp(path, place, shallow=False):
            return
        number += 1
        place = f"{keep}-{number}"
    try:
        os.link(path, place, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(path, place, follow_symlinks=False)


def _copy_context(path: str, temporary: str) -> None:
    """Give the new file the SELinux context of the one that it replaces."""
    if not sys.platform.startswith("linux"):
        return
    try:
        os.setxattr(temporary, _CONTEXT, os.getxattr(path, _CONTEXT))
    except OSError:
        # No such attribute, no SELinux, or no file yet: then the folder's own rule holds.
        return


def _sync_folder(path: str) -> None:
    descriptor = os.open(Path(path).parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stat(path: str) -> FileStat | None:
    """Return what lies there without following a link, None if nothing does.

    Raises:
        OSError: If the way to it is closed.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileStat(mode=found.st_mode, size=found.st_size, uid=found.st_uid, gid=found.st_gid)


def files_below(folder: str) -> tuple[str, ...]:
    """Return all regular files below a folder, relative to it and sorted.

    Raises:
        OSError: If a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[str] = []
    for base, _, names in os.walk(folder, onerror=refuse):
        paths = [Path(base, name) for name in names]
        found += [str(path.relative_to(folder)) for path in paths if path.is_file() and not path.is_symlink()]
    return tuple(sorted(found))


def read_link(path: str) -> str | None:
    """Return where a link leads, None if there is nothing or no link.

    Raises:
        OSError: If the way to it is closed.
    """
    found = stat(path)
    return absolute_link(path, str(Path(path).readlink())) if found is not None and found.is_link else None


def symlink(link: str, target: str, *, temporary: str) -> None:
    """Make the link beside and rename it over the old one.

    Raises:
        OSError: If it fails, or if something else than a link is in the way.
    """
    found = stat(link)
    if found is not None and not found.is_link:
        raise OSError(0, "it is there and is no link")
    Path(temporary).unlink(missing_ok=True)
    Path(temporary).symlink_to(target)
    try:
        Path(temporary).replace(link)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(link)


def digest(path: str) -> str | None:
    """Return the SHA-256 of a file in hex, None if it is not there.

    Raises:
        OSError: If it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def writable(folder: str) -> bool:
    """Return whether entries of the folder can be made and renamed."""
    return Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)


def remove_folder(path: str) -> None:
    """Remove a folder with all it holds, if it is there.

    Raises:
        OSError: If something cannot be removed.
    """
    if os.path.lexists(path):
        shutil.rmtree(path)
