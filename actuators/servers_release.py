"""A release on a host: its folder, the artifact it can come from, and the link that makes it the current one."""

from __future__ import annotations

import posixpath

from actuators.servers_hosts import Finding, backup_of
from actuators.transport import HostError, Transport
from bot.domain.actuation import Context, Verdict
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import BackupKind

_UNPACK = 900.0
"""Seconds; an artifact of some gigabytes on a slow disk."""
_LISTING = 300.0

_UNPACKING = """set -eu
umask 022
artifact=$1 final=$2 new=$3 owner=$4 release=$5
rm -rf -- "$new"
trap 'rm -rf -- "$new"' EXIT
trap 'exit 1' HUP INT TERM PIPE
mkdir -- "$new"
tar -xzof "$artifact" -C "$new"
from=$new
only=$(ls -A -- "$new")
case $only in
  "$release" | *[-_]"$release") if [ -d "$new/$only" ] && [ ! -L "$new/$only" ]; then from=$new/$only; fi ;;
  "") echo "the artifact is empty" >&2; exit 1 ;;
esac
if [ "$(id -u)" = 0 ]; then chown -R "$owner" "$from"; fi
[ ! -e "$final" ] || { echo "$final has appeared meanwhile" >&2; exit 1; }
mv -- "$from" "$final"
"""
"""Unpacks beside and renames, so that a release folder is whole or not there. An archive may hold the release's
files at its top, or in one folder that is named like the release (`v2.3.1`, `payments-v2.3.1`)."""


async def linked(transport: Transport, host: Host, group: ServerGroup) -> str:
    """Return what a host's link says: ``on v2.3.1``, ``without a link`` ..."""
    current, releases = str(group.current), str(group.releases)
    target = await transport.read_link(host, current)
    if target is None:
        found = await transport.stat(host, current)
        return "without a link" if found is None else "with something else in the link's place"
    found = await transport.stat(host, target)
    here = posixpath.dirname(target) == posixpath.normpath(releases)
    shown = f"on {posixpath.basename(target) if here else target}"
    return shown if found is not None else f"{shown} whose folder is gone"


class Release:
    """One release of one group.

    Args:
        name: Its folder's name.
        backup: The id of the artifact backup that it can be unpacked from.
        group: Where.
        context: The run.

    Raises:
        ActuatorError: If the plan has no such artifact backup.
    """

    def __init__(self, name: str, backup: str | None, group: ServerGroup, context: Context) -> None:
        self._name = name
        self._artifact = None if backup is None else backup_of(backup, BackupKind.ARTIFACT, context)
        self._group = group
        self._releases = str(group.releases)
        self._folder = posixpath.join(self._releases, name)
        self._current = str(group.current)
        self._expected = {name, context.plan.versions.deployed, context.plan.versions.restored}

    async def available(self, transport: Transport, host: Host) -> Finding:
        """Look whether the release's folder is there, or an artifact that it can be unpacked from."""
        if await self._present(transport, host):
            return Finding(f"have the folder of {self._name}")
        if self._artifact is None:
            raise self._gone(host)
        await self._sound(transport, host)
        if not await transport.writable(host, self._releases):
            raise HostError(
                host.name,
                f"the folder {self._releases} is not there or cannot be written.",
                resolution="Give the login access to it, or set `sudo` for the group.",
            )
        return Finding(f"have the artifact of {self._name} to unpack")

    async def switchable(self, transport: Transport, host: Host) -> Finding:
        """Look whether the link is a link and its folder can be written."""
        folder = posixpath.dirname(self._current)
        if not await transport.writable(host, folder):
            raise HostError(
                host.name,
                f"the link's folder {folder} is not there or cannot be written.",
                resolution="Give the login access to it, or set `sudo` for the group.",
            )
        found = await transport.stat(host, self._current)
        if found is not None and not found.is_link:
            raise self._no_link(host)
        now = await linked(transport, host, self._group)
        if now.removeprefix("on ") in self._expected:
            return Finding(now)
        return Finding(
            now, Verdict.WARN, "Neither the deployed nor the restored version runs there: find out why first."
        )

    async def switch(self, transport: Transport, host: Host) -> str:
        """Make the release the current one.

        Returns:
            What was done, in words.

        Raises:
            HostError: If it cannot be; the link points where it did then.
        """
        present = await self._present(transport, host)
        if present and await transport.read_link(host, self._current) == posixpath.normpath(self._folder):
            return f"on {self._name} already"
        if not present:
            await self._unpack(transport, host)
        found = await transport.stat(host, self._current)
        if found is not None and not found.is_link:
            raise self._no_link(host)
        await transport.symlink_atomic(host, self._current, self._folder)
        return f"on {self._name}" if present else f"on {self._name}, unpacked from its artifact"

    async def _present(self, transport: Transport, host: Host) -> bool:
        found = await transport.stat(host, self._folder)
        if found is None:
            return False
        if found.is_folder or found.is_link:
            return True
        raise HostError(
            host.name,
            f"{self._folder} is no folder.",
            untouched="The link points where it did.",
            resolution="Move what lies there away.",
        )

    async def _sound(self, transport: Transport, host: Host) -> None:
        """Look whether the artifact is whole: its digest if the plan has one, and every member readable."""
        assert self._artifact is not None  # noqa: S101 - both callers have looked
        path = self._artifact.location
        digest = (await transport.digests(host, [path]))[path]
        if digest is None:
            raise self._gone(host)
        if self._artifact.sha256 is not None and digest != self._artifact.sha256:
            raise HostError(
                host.name,
                f"the artifact {path} is not the one of the plan: its SHA-256 begins with {digest[:12]},"
                f" the plan's with {self._artifact.sha256[:12]}.",
                untouched="The link points where it did.",
                resolution="Find the artifact that was backed up before the deployment, and put it there.",
            )
        finished = await transport.run(host, ["tar", "-tzf", path], sudo=True, timeout=_LISTING)
        if not finished.ok or not finished.stdout:
            raise HostError(
                host.name,
                f"the artifact {path} is damaged or empty: {finished.complaint().splitlines()[-1]}.",
                untouched="The link points where it did.",
                resolution="Look for another copy of the artifact; without one, this rollback is not possible.",
                output=finished.complaint() if not finished.ok else "",
            )

    async def _unpack(self, transport: Transport, host: Host) -> None:
        if self._artifact is None:
            raise self._gone(host)
        await self._sound(transport, host)
        base = await transport.stat(host, self._releases)
        if base is None:
            raise HostError(
                host.name,
                f"the folder {self._releases} is not there.",
                untouched="The link points where it did.",
                resolution="Correct `releases` in the inventory, or make the folder.",
            )
        argv = ["sh", "-c", _UNPACKING, "sh", self._artifact.location, self._folder]
        argv += [transport.temporary(host, self._folder), f"{base.uid}:{base.gid}", self._name]
        finished = await transport.run(host, argv, sudo=True, timeout=_UNPACK)
        if not finished.ok:
            raise HostError(
                host.name,
                f"cannot unpack {self._artifact.location}: {finished.complaint().splitlines()[-1]}.",
                untouched="The link points where it did, and no part of the release folder was left behind.",
                resolution="Check the room on the disk and the access to the folder.",
                output=finished.complaint(),
            )

    def _gone(self, host: Host) -> HostError:
        where = "" if self._artifact is None else f", and neither is the artifact {self._artifact.location}"
        return HostError(
            host.name,
            f"the release folder {self._folder} is not there{where}.",
            untouched="The link points where it did.",
            resolution=(
                "Name an artifact backup in the step (`backup:`), or put the release folder back."
                if self._artifact is None
                else "Look for another copy of the artifact; without one, this rollback is not possible."
            ),
        )

    def _no_link(self, host: Host) -> HostError:
        return HostError(
            host.name,
            f"{self._current} is no link.",
            untouched="It is as it was.",
            resolution="With the service stopped, move the folder to the releases and make a link in its place.",
        )
