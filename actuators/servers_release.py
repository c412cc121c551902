"""A release on a host: its folder, the artifact it can come from, and the link that makes it the current one."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from actuators import servers_artifact
from actuators.servers_hosts import Finding, backup_of
from actuators.transport import HostError, Transport
from actuators.transport.base import absolute_link
from bot.domain.actuation import Context, Verdict
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import BackupKind

RELEASE = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$"
"""What the name of a release may be: a plain name, and nothing that begins like an option."""

_UNPACK = 900.0
"""Seconds; an artifact of some gigabytes on a slow disk."""
_LINK_STAYS = "The link points where it did."

_KINDS = 3
_LOOK = """kind() {
  if [ -L "$1" ]; then echo link; elif [ -d "$1" ]; then echo folder
  elif [ -e "$1" ]; then echo other; else echo nothing; fi
}
kind "$1"
kind "$2"
if [ -L "$2" ]; then
  if [ -e "$2" ]; then echo there; else echo nothing; fi
  readlink -- "$2"
else
  echo no link
  echo
fi
"""

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


@dataclass(frozen=True)
class Place:
    """A link, and what else may lie there.

    Attributes:
        folder: What lies where the release's folder belongs: ``folder``, ``link``, ``other`` or ``nothing``.
        current: What lies where the link belongs.
        target: Where the link leads, as an absolute path; None if it is no link.
        leads: Whether there is something at its end.
    """

    folder: str
    current: str
    target: str | None
    leads: bool


async def look(transport: Transport, host: Host, group: ServerGroup, folder: str) -> Place:
    """Look at a release's folder and at the link, in one command.

    Raises:
        HostError: If the way to them is closed: what cannot be seen is not taken for absent.
    """
    current = str(group.current)
    finished = await transport.run(host, ["sh", "-c", _LOOK, "sh", folder, current], sudo=True)
    kinds = finished.out.split("\n", 3)
    if not finished.ok or len(kinds) <= _KINDS:
        raise HostError(
            host.name,
            f"cannot look at {current}: {finished.complaint().splitlines()[-1]}",
            untouched="It is as it was.",
            resolution="Check the path in the inventory, and look at it on the host.",
            output=finished.complaint(),
        )
    target = absolute_link(current, kinds[3].removesuffix("\n")) if kinds[1] == "link" else None
    for path, kind in ((folder, kinds[0]), (current, kinds[1]), (target, kinds[2])):
        # The shell cannot tell what is not there from what it may not see; this raises for the latter.
        if path is not None and kind == "nothing":
            await transport.stat(host, path)
    return Place(folder=kinds[0], current=kinds[1], target=target, leads=kinds[2] != "nothing")


async def linked(transport: Transport, host: Host, group: ServerGroup) -> str:
    """Return what a host's link says: ``on v2.3.1``, ``without a link`` ..."""
    found = await look(transport, host, group, str(group.releases))
    if found.target is None:
        return "without a link" if found.current == "nothing" else "with something else in the link's place"
    here = posixpath.dirname(found.target) == posixpath.normpath(str(group.releases))
    shown = f"on {posixpath.basename(found.target) if here else found.target}"
    return shown if found.leads else f"{shown} whose folder is gone"


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
        found = await look(transport, host, self._group, self._folder)
        if self._is_release(host, found.folder):
            return Finding(f"have the folder of {self._name}")
        if self._artifact is None:
            raise self._gone(host)
        await servers_artifact.sound(transport, host, self._artifact, untouched=_LINK_STAYS, folder=self._folder)
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
        found = await look(transport, host, self._group, self._folder)
        present = self._is_release(host, found.folder)
        if present and found.target == posixpath.normpath(self._folder):
            return f"on {self._name} already"
        if not present:
            await self._unpack(transport, host)
        if found.current not in {"link", "nothing"}:
            raise self._no_link(host)
        await transport.symlink_atomic(host, self._current, self._folder)
        return f"on {self._name}" if present else f"on {self._name}, unpacked from its artifact"

    def _is_release(self, host: Host, kind: str) -> bool:
        if kind != "other":
            return kind != "nothing"
        raise HostError(
            host.name,
            f"{self._folder} is no folder.",
            untouched=_LINK_STAYS,
            resolution="Move what lies there away.",
        )

    async def _unpack(self, transport: Transport, host: Host) -> None:
        if self._artifact is None:
            raise self._gone(host)
        await servers_artifact.sound(transport, host, self._artifact, untouched=_LINK_STAYS, folder=self._folder)
        base = await transport.stat(host, self._releases)
        if base is None:
            raise HostError(
                host.name,
                f"the folder {self._releases} is not there.",
                untouched=_LINK_STAYS,
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
        return HostError(
            host.name,
            f"the release folder {self._folder} is not there.",
            untouched=_LINK_STAYS,
            resolution="Name an artifact backup in the step (`backup:`), or put the release folder back.",
        )

    def _no_link(self, host: Host) -> HostError:
        return HostError(
            host.name,
            f"{self._current} is no link.",
            untouched="It is as it was.",
            resolution="With the service stopped, move the folder to the releases and make a link in its place.",
        )
