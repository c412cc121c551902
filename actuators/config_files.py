"""The configuration files of one group: in the backup, in their place, and on the way from here to there."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actuators import config_context
from actuators.config_names import folder_of, in_force
from actuators.servers_hosts import Finding, backup_of, named
from actuators.transport import FileStat, HostError, Transport
from bot.domain.actuation import Context, Verdict
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import BackupKind

_NOTHING = "No file was replaced."
_NO_BACKUP = "Look for another copy of the backup; without one, restoring the configuration is not possible."
_OTHERS = """cd -- "$1" || exit 1
exec find . ! -type f ! -type d -print0
"""
"""Links, sockets and the like below a folder."""


@dataclass(frozen=True)
class BackupFile:
    """A file of the backup as read from a host.

    Attributes:
        data: Its content.
        mode: Its permission bits.
    """

    data: bytes
    mode: int

    def digest(self) -> str:
        """Return its SHA-256 in hex."""
        return hashlib.sha256(self.data).hexdigest()

    def settings(self) -> int:
        """Count the lines that are neither empty nor comments, as ``grep -c "^[^#]"`` does."""
        return sum(1 for line in self.data.splitlines() if line and not line.startswith(b"#"))


HostFiles = Mapping[str, BackupFile]
"""The files of the backup on one host, by their path relative to the folder."""


@dataclass(frozen=True)
class Pair:
    """One file of the backup beside its place, on one host; SHA-256 in hex.

    Attributes:
        path: Where the backup's file lies.
        backup: The backup's content.
        now: What is in place; None if there is no file.
    """

    path: str
    backup: str
    now: str | None

    @property
    def differs(self) -> bool:
        """Whether restoring would change the file."""
        return self.backup != self.now


Pairs = Mapping[str, Pair]
"""The files of the backup on one host against their places, by their path relative to the folder."""


class Configuration:
    """The configuration of one group, and the backup that it goes back to.

    Args:
        backup: The id of the backup.
        files: The files to restore; None: all of the backup.
        group: Where.
        context: The run.

    Raises:
        ActuatorError: If the plan has no such configuration backup, or the group names no folder.
    """

    def __init__(self, backup: str, files: tuple[str, ...] | None, group: ServerGroup, context: Context) -> None:
        self._backup = backup_of(backup, BackupKind.CONFIGURATION, context)
        self._wanted = files
        self.folder = folder_of(group)
        self.suffix = f".before-{context.rollback_id}"

    async def read(self, transport: Transport, host: Host, *, expected: Pairs | None = None) -> HostFiles:
        """Return the backup's files on a host.

        Args:
            transport: The way to it.
            host: Which.
            expected: What they were when they were compared.

        Raises:
            HostError: If one is missing, unreadable, empty or not as expected, or the digest is not the plan's.
        """
        location = self._backup.location
        found = await transport.stat(host, location)
        if found is None:
            raise self._unusable(host, f"the backup {location} is not there")
        paths = await self._paths(transport, host, is_file=found.is_file)
        files: dict[str, BackupFile] = {}
        for name, path in paths.items():
            state = await transport.stat(host, path)
            if state is None or not state.is_file:
                raise self._unusable(host, f"the backup's file {path} is not there")
            files[name] = BackupFile(await transport.read_file(host, path), state.permissions)
            if not files[name].data:
                raise self._unusable(host, f"the backup's file {path} is empty")
        if expected is not None and {name: file.digest() for name, file in files.items()} != digests_of(expected):
            raise self._unusable(host, f"the backup {location} has changed while it was read")
        self._check_digest(host, files, is_file=found.is_file)
        return files

    async def sound(self, transport: Transport, host: Host) -> Finding:
        """Look whether the backup is there, readable and not empty."""
        files = await self.read(transport, host)
        others = await self._others(transport, host)
        if others:
            return Finding(
                f"have {_count(len(files), 'file')}; no regular files, so not restored: {named(others)}",
                Verdict.WARN,
                "Put the files themselves into the backup, or see to these by hand.",
            )
        settings = sum(file.settings() for file in files.values())
        words = f"have {_count(len(files), 'file')} with {_count(settings, 'line')} of settings"
        bare = [name for name, file in files.items() if not file.settings()]
        if bare:
            return Finding(
                f"{words}; {named(bare)} only comments", Verdict.WARN, "Look whether this is the backup."
            )
        return Finding(words)

    async def replace(self, transport: Transport, host: Host, files: HostFiles) -> tuple[str, ...]:
        """Put every file in place that differs. Owner, mode and context stay those of the file that is there.

        Returns:
            The files that were replaced.

        Raises:
            HostError: If one cannot be replaced, or has another security context afterwards.
        """
        places = {name: self.place(name) for name in files}
        digests = await transport.digests(host, list(places.values()))
        wanted = {name: file for name, file in files.items() if digests[places[name]] != file.digest()}
        old = [path for name, path in places.items() if name in wanted and digests[path] is not None]
        before = await config_context.contexts(transport, host, old)
        replaced: list[str] = []
        for name, file in wanted.items():
            path = places[name]
            there = await transport.stat(host, path)
            if there is not None and not there.is_file:
                raise HostError(
                    host.name,
                    f"{path} is no regular file.",
                    untouched=f"It is as it was. Replaced before: {named(replaced) or 'nothing'}.",
                    resolution="Put the file itself there, or leave it out by naming the step's `files`.",
                )
            model = there or await self.model(transport, host, name)
            await transport.write_file_atomic(
                host,
                path,
                file.data,
                mode=file.mode if there is None else there.permissions,
                owner=None if model is None else (model.uid, model.gid),
                keep=f"{path}{self.suffix}",
            )
            if there is None:
                await config_context.label(transport, host, path)
            replaced.append(name)
        await config_context.verify(transport, host, before)
        return tuple(replaced)

    async def compared(self, transport: Transport, host: Host) -> Pairs:
        """Return the backup's files against what is in place, by digests computed on the host.

        Raises:
            HostError: If the backup is not there, or holds no file.
        """
        found = await transport.stat(host, self._backup.location)
        if found is None:
            raise self._unusable(host, f"the backup {self._backup.location} is not there")
        paths = await self._paths(transport, host, is_file=found.is_file)
        digests = await transport.digests(host, [*paths.values(), *map(self.place, paths)])
        pairs: dict[str, Pair] = {}
        for name, path in paths.items():
            backup = digests[path]
            if backup is None:
                raise self._unusable(host, f"the backup's file {path} is not there")
            pairs[name] = Pair(path, backup, digests[self.place(name)])
        return pairs

    async def lying(self, transport: Transport, host: Host) -> Mapping[str, str]:
        """Return where every file of the backup lies."""
        found = await transport.stat(host, self._backup.location)
        return await self._paths(transport, host, is_file=found is not None and found.is_file)

    async def model(self, transport: Transport, host: Host, name: str) -> FileStat | None:
        """Return the folder whose owner a new file gets: its own, or the configuration's."""
        parent = posixpath.dirname(self.place(name))
        return await transport.stat(host, parent) or await transport.stat(host, self.folder)

    def place(self, name: str) -> str:
        """Return where a file is restored to."""
        return posixpath.join(self.folder, name)

    @property
    def pinned(self) -> bool:
        """Whether the plan itself says, by its digest, what comes back."""
        return self._backup.sha256 is not None and self._wanted is None

    async def unknown(self, transport: Transport, host: Host, *, files: Iterable[str]) -> tuple[str, ...]:
        """Return the files in place that the backup of a whole folder does not know; they stay.

        Args:
            transport: The way to the host.
            host: Which.
            files: The backup's files.
        """
        found = await transport.stat(host, self._backup.location)
        if found is None or found.is_file or self._wanted is not None:
            return ()
        known = set(files)
        there = await transport.listdir(host, self.folder)
        return tuple(name for name in in_force(there) if name not in known)

    async def _others(self, transport: Transport, host: Host) -> tuple[str, ...]:
        """Return what lies in the backup's folder and is no regular file."""
        found = await transport.stat(host, self._backup.location)
        if found is None or not found.is_folder or self._wanted is not None:
            return ()
        listed = await transport.run(host, ["sh", "-c", _OTHERS, "sh", self._backup.location], sudo=True)
        return tuple(sorted(name.removeprefix("./") for name in listed.out.split("\0") if name))

    async def _paths(self, transport: Transport, host: Host, *, is_file: bool) -> dict[str, str]:
        """Return where the wanted files lie in the backup."""
        location = self._backup.location
        if is_file:
            return {posixpath.basename(location): location}
        names = self._wanted or await transport.listdir(host, location)
        if not names:
            raise self._unusable(host, f"the backup {location} holds no file")
        return {name: posixpath.join(location, name) for name in names}

    def _check_digest(self, host: Host, files: HostFiles, *, is_file: bool) -> None:
        """Compare with the plan's digest: of the file, or of the folder's listing in the form of sha256sum."""
        expected = self._backup.sha256
        if expected is None or (self._wanted is not None and not is_file):
            return
        if is_file:
            digest = next(iter(files.values())).digest()
        else:
            listing = "".join(f"{files[name].digest()}  {name}\n" for name in sorted(files))
            digest = hashlib.sha256(listing.encode()).hexdigest()
        if digest != expected:
            what = f"the backup {self._backup.location} is not the one of the plan (its digest differs)"
            raise self._unusable(host, what)

    @staticmethod
    def _unusable(host: Host, what: str) -> HostError:
        return HostError(host.name, f"{what}.", untouched=_NOTHING, resolution=_NO_BACKUP)


def digests_of(pairs: Pairs) -> dict[str, str]:
    """Return the digests of what comes back, by file."""
    return {name: pair.backup for name, pair in pairs.items()}


def differing(pairs: Pairs) -> tuple[str, ...]:
    """Return the files that restoring would change."""
    return tuple(name for name, pair in pairs.items() if pair.differs)


def checked_names(files: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the names of a step's files.

    Raises:
        ValueError: If one could leave the folder.
    """
    for name in files or ():
        if not is_inside(name):
            raise ValueError(f"{name!r} must be a plain path below the folder, such as app.conf")
    return files


def is_inside(name: str) -> bool:
    """Return whether the name is a plain path that stays below its folder."""
    return name not in {"", ".", ".."} and posixpath.normpath(name) == name and not name.startswith(("/", "../"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
