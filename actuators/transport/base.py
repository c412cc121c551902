"""What every way to a host can do, and how it fails."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from actuators.processes import Finished
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host

SHORT = 20.0
"""Seconds that a command may take which only looks or renames."""

LARGEST_FILE = 8 * 1024 * 1024
"""Bytes; configuration files are read whole, and nothing larger is one."""


class HostError(ActuatorError):
    """Something failed on one host.

    Args:
        host: The host's name in the inventory.
        brief: What happened, without the host's name.
        untouched: What was left as it was.
        resolution: What to do next.
        transient: Whether the same call may succeed later without anybody's help.
        output: The last lines of the tool's output, already redacted.
    """

    def __init__(
        self,
        host: str,
        brief: str,
        *,
        untouched: str = "",
        resolution: str = "",
        transient: bool = False,
        output: str = "",
    ) -> None:
        super().__init__(
            f"{host}: {brief}", untouched=untouched, resolution=resolution, transient=transient, output=output
        )
        self.host = host
        self.what = brief


class HostUnreachableError(HostError):
    """The host does not answer, or stopped answering."""


class HostKeyError(HostError):
    """The host's key is unknown or not the one on record: it may be another machine."""


class LoginRefusedError(HostError):
    """The host answers and refuses the login."""


class SudoRefusedError(HostError):
    """The login works, and sudo without a password does not."""


@dataclass(frozen=True)
class FileStat:
    """A file as it lies on a host; a link is not followed.

    Attributes:
        mode: Type and permissions, as ``st_mode``.
        size: Bytes.
        uid: The owner.
        gid: The owning group.
    """

    mode: int
    size: int
    uid: int
    gid: int

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def permissions(self) -> int:
        """The permission bits."""
        return stat.S_IMODE(self.mode)


class Transport(Protocol):
    """The way to the hosts of one group, open for one step.

    Paths are absolute POSIX paths. File operations use sudo where the group says so. Every method raises
    `HostError` (or one of its kinds) when the host cannot be reached or refuses; a changing method has then changed
    nothing.
    """

    async def run(
        self,
        host: Host,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        stdin: bytes | None = None,
        timeout: float = SHORT,  # noqa: ASYNC109 - the end of the time also ends the command on the host
        leashed: bool = True,
    ) -> Finished:
        """Run a command to its end, and end it when the caller is cancelled or the time is up.

        Args:
            host: Where.
            argv: The program and its arguments; no shell interprets them.
            sudo: Use ``sudo -n`` if the group is reached with sudo.
            stdin: What the command reads; without it, nothing.
            timeout: Seconds it may take.
            leashed: End the command when the connection is cut. Without it, a command over SSH is run exactly as
                given, for a sudoers file that allows just that, and may outlive the connection.
        """
        ...

    async def read_file(self, host: Host, path: str) -> bytes:
        """Return a file's content."""
        ...

    async def write_file_atomic(
        self,
        host: Host,
        path: str,
        data: bytes,
        *,
        mode: int,
        owner: tuple[int, int] | None = None,
        keep: str | None = None,
    ) -> None:
        """Put a file in place in one step: readers see the old content or the new one, never a part.

        Folders that are missing on the way are made. The security context of the replaced file is kept.

        Args:
            host: Where.
            path: The file.
            data: Its content; checked on the host before it is put in place.
            mode: Permission bits.
            owner: User and group id; without it, whoever writes.
            keep: Where the replaced file is kept. If another file lies there already, ``-2`` and so on is added.
        """
        ...

    async def stat(self, host: Host, path: str) -> FileStat | None:
        """Return what lies there, None if nothing does."""
        ...

    async def listdir(self, host: Host, path: str) -> tuple[str, ...]:
        """Return the paths of all regular files below a folder, relative to it and sorted."""
        ...

    async def read_link(self, host: Host, path: str) -> str | None:
        """Return where a link points, as an absolute path; None if there is nothing, or no link."""
        ...

    async def symlink_atomic(self, host: Host, link: str, target: str) -> None:
        """Make a link, or switch it over in one step. Anything else in its place is an error and stays."""
        ...

    async def digests(self, host: Host, paths: Sequence[str]) -> dict[str, str | None]:
        """Return the SHA-256 of each file in hex, None for one that is not there."""
        ...

    async def writable(self, host: Host, folder: str) -> bool:
        """Return whether entries of the folder can be made and renamed."""
        ...

    async def remove_folder(self, host: Host, path: str) -> None:
        """Remove a folder with all it holds, if it is there."""
        ...

    def temporary(self, host: Host, path: str) -> str:
        """Return the name beside `path` that this step uses until the real one is put in place."""
        ...


def temporary_name(path: str, *, host: str, token: str) -> str:
    """Return a hidden name in the same folder, the same at every attempt, so that left-overs are found again."""
    folder, name = posixpath.split(path)
    return posixpath.join(folder, f".{name}.{token}.{host}.tmp")


def absolute_link(link: str, target: str) -> str:
    """Return where a link leads, as a normalised absolute path."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
