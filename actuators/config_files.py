"""The configuration files of one group: in the backup, in their place, and on the way from here to there."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actuators.config_diff import difference
from actuators.servers_hosts import Finding, backup_of, named
from actuators.transport import HostError, Transport
from bot.domain.actuation import Context, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import BackupKind

_VALIDATION = 60.0
_PLACEHOLDER = "{file}"
_NOTHING = "No file was replaced."
_NO_BACKUP = "Look for another copy of the backup; without one, restoring the configuration is not possible."


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
        if group.config is None:
            raise ActuatorError(
                "The inventory names no folder for the configuration of the group.",
                untouched="No host was contacted.",
                resolution="Set `config` of the server group.",
            )
        self._wanted = files
        self._folder = str(group.config)
        self._command = group.validate_config
        self.suffix = f".before-{context.rollback_id}"

    async def read(self, transport: Transport, host: Host) -> HostFiles:
        """Return the backup's files on a host.

        Raises:
            HostError: If one is missing, unreadable or empty, or the digest is not the plan's.
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
        self._check_digest(host, files, is_file=found.is_file)
        return files

    async def sound(self, transport: Transport, host: Host) -> Finding:
        """Look whether the backup is there, readable and not empty."""
        files = await self.read(transport, host)
        settings = sum(file.settings() for file in files.values())
        words = f"have {_count(len(files), 'file')} with {_count(settings, 'line')} of settings"
        bare = [name for name, file in files.items() if not file.settings()]
        if bare:
            return Finding(
                f"{words}; {named(bare)} only comments", Verdict.WARN, "Look whether this is the backup."
            )
        return Finding(words)

    async def replaceable(self, transport: Transport, host: Host) -> Finding:
        """Look whether the files can be put in place, and which files the backup does not know."""
        if not await transport.writable(host, self._folder):
            raise HostError(
                host.name,
                f"the folder {self._folder} is not there or cannot be written.",
                resolution="Give the login access to it or set `sudo` for the group; check `ls -Zd` of the folder.",
            )
        more = await self._beside(transport, host, await self.read(transport, host))
        if more and self._wanted is None:
            return Finding(
                f"writable; not in the backup, and left: {named(more)}",
                Verdict.WARN,
                "If the deployment brought these files, remove them by hand when they disturb.",
            )
        return Finding("writable")

    async def backup_valid(self, transport: Transport, host: Host) -> Finding:
        """Look whether the validation command accepts the files where they lie in the backup."""
        if not self._command:
            return Finding(
                "without a validation command", Verdict.WARN, "Set `validate_config` of the group in the inventory."
            )
        found = await transport.stat(host, self._backup.location)
        paths = await self._paths(transport, host, is_file=found is not None and found.is_file)
        for name, path in paths.items():
            await self._accepted(transport, host, name, path)
        return Finding(f"accept {_count(len(paths), 'file')}")

    async def validate(self, transport: Transport, host: Host, files: HostFiles) -> None:
        """Let the validation command judge copies of all files, under their names, beside their place.

        Raises:
            HostError: If it refuses one.
        """
        if not self._command:
            return
        trial = transport.temporary(host, posixpath.join(self._folder, "restore"))
        # A run that was killed may have left its copies.
        await transport.remove_folder(host, trial)
        try:
            for name, file in files.items():
                await transport.write_file_atomic(host, posixpath.join(trial, name), file.data, mode=0o600)
            for name in files:
                await self._accepted(transport, host, name, posixpath.join(trial, name))
        finally:
            await transport.remove_folder(host, trial)

    async def replace(self, transport: Transport, host: Host, files: HostFiles) -> tuple[str, ...]:
        """Put every file in place that differs. Owner and mode stay those of the file that is there.

        Returns:
            The files that were replaced.
        """
        folder = await transport.stat(host, self._folder)
        places = {name: posixpath.join(self._folder, name) for name in files}
        digests = await transport.digests(host, list(places.values()))
        replaced: list[str] = []
        for name, file in files.items():
            path = places[name]
            if digests[path] == file.digest():
                continue
            there = await transport.stat(host, path)
            if there is not None and not there.is_file:
                raise HostError(
                    host.name,
                    f"{path} is no regular file.",
                    untouched=f"It is as it was. Replaced before: {named(replaced) or 'nothing'}.",
                    resolution="Put the file itself there, or leave it out by naming the step's `files`.",
                )
            model = there or folder
            await transport.write_file_atomic(
                host,
                path,
                file.data,
                mode=file.mode if there is None else there.permissions,
                owner=None if model is None else (model.uid, model.gid),
                keep=f"{path}{self.suffix}",
            )
            replaced.append(name)
        return tuple(replaced)

    async def differing(self, transport: Transport, host: Host) -> tuple[str, ...]:
        """Return the files whose content is not that of the backup, by digests computed on the host."""
        found = await transport.stat(host, self._backup.location)
        if found is None:
            raise self._unusable(host, f"the backup {self._backup.location} is not there")
        paths = await self._paths(transport, host, is_file=found.is_file)
        places = {name: posixpath.join(self._folder, name) for name in paths}
        digests = await transport.digests(host, [*paths.values(), *places.values()])
        for path in paths.values():
            if digests[path] is None:
                raise self._unusable(host, f"the backup's file {path} is not there")
        return tuple(name for name, path in paths.items() if digests[path] != digests[places[name]])

    async def diffs(self, transport: Transport, host: Host) -> dict[str, str]:
        """Return the redacted difference of every file that differs."""
        found: dict[str, str] = {}
        for name, file in (await self.read(transport, host)).items():
            path = posixpath.join(self._folder, name)
            there = await transport.stat(host, path)
            now = None if there is None else await transport.read_file(host, path)
            text = difference(name, now=now, backup=file.data)
            if text:
                found[name] = text
        return found

    async def unknown(self, transport: Transport, host: Host) -> tuple[str, ...]:
        """Return the files in place that the backup of a whole folder does not know."""
        found = await transport.stat(host, self._backup.location)
        if found is None or found.is_file:
            return ()
        return await self._beside(transport, host, await self._paths(transport, host, is_file=False))

    async def _beside(self, transport: Transport, host: Host, files: Iterable[str]) -> tuple[str, ...]:
        known = set(files)
        there = await transport.listdir(host, self._folder)
        return tuple(name for name in there if name not in known and ".before-" not in name)

    async def _paths(self, transport: Transport, host: Host, *, is_file: bool) -> dict[str, str]:
        """Return where the wanted files lie in the backup."""
        location = self._backup.location
        if is_file:
            return {posixpath.basename(location): location}
        names = self._wanted or await transport.listdir(host, location)
        if not names:
            raise self._unusable(host, f"the backup {location} holds no file")
        return {name: posixpath.join(location, name) for name in names}

    async def _accepted(self, transport: Transport, host: Host, name: str, path: str) -> None:
        if not any(_PLACEHOLDER in word for word in self._command):
            raise HostError(
                host.name,
                "the validation command has no {file}, so it cannot judge a file before it is in place.",
                untouched=_NOTHING,
                resolution="Write {file} into `validate_config` of the group where the file's path belongs.",
            )
        argv = [word.replace(_PLACEHOLDER, path) for word in self._command]
        finished = await transport.run(host, argv, sudo=True, timeout=_VALIDATION)
        if not finished.ok:
            raise HostError(
                host.name,
                f"the validation command refuses {name}: {finished.complaint().splitlines()[-1]}",
                untouched=_NOTHING,
                resolution="Find out whether the backup is the right one; correct it, or leave the file out.",
                output=finished.complaint(),
            )

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


def is_inside(name: str) -> bool:
    """Return whether the name is a plain path that stays below its folder."""
    return name not in {"", ".", ".."} and posixpath.normpath(name) == name and not name.startswith(("/", "../"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
