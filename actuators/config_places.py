"""Where configuration files go: whether each can be replaced there, and stay whose it is. Read only."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from actuators.config_access import Standing, in_the_way, stand, with_folders
from actuators.config_changes import HostChanges
from actuators.config_files import Configuration, differing
from actuators.servers_hosts import Finding, named
from actuators.transport import HostError, Transport
from bot.domain.actuation import Verdict
from bot.domain.inventory import Host

_RIGHTS = "Give the login access to it or set `sudo` for the group; check `ls -Zd` of the folder."


async def replaceable(
    configuration: Configuration, transport: Transport, host: Host, *, changes: HostChanges | None
) -> Finding:
    """Look whether every file that differs can be put in place, and which files the backup does not know.

    Args:
        configuration: The backup and its place.
        transport: The way to the host.
        host: Which.
        changes: What restoring would change there; None if nobody could tell, which is a failure of its own.

    Raises:
        HostError: If one cannot: no right to its folder, no regular file, or an owner that cannot be kept.
    """
    folder = configuration.folder
    if not await transport.writable(host, folder):
        raise HostError(host.name, f"the folder {folder} is not there or cannot be written.", resolution=_RIGHTS)
    if changes is None:
        return Finding("writable")
    places = [configuration.place(name) for name in differing(changes.pairs)]
    standing = await stand(transport, host, [folder, *places])
    for path in places:
        obstacle, resolution = _obstacle(standing, path, folder=posixpath.normpath(folder))
        if obstacle:
            raise HostError(host.name, f"{obstacle}.", resolution=resolution)
    return _finding(changes.unknown, _with_acl(standing, places))


def _finding(more: Sequence[str], acls: Sequence[str]) -> Finding:
    if more:
        return Finding(
            f"writable; not in the backup, and left: {named(more)}",
            Verdict.WARN,
            "If the deployment brought these files, remove them by hand when they disturb.",
        )
    if acls:
        return Finding(
            f"writable; with an access control list, which the restored file will not have: {named(acls)}",
            Verdict.WARN,
            "Note it (getfacl), and set it again when the step is done.",
        )
    return Finding("writable")


def _obstacle(standing: Standing, path: str, *, folder: str) -> tuple[str, str]:
    """Return in words what keeps a file from being replaced, and what to do; empty if nothing is known to."""
    path = posixpath.normpath(path)
    place = standing.places.get(path)
    if place is not None and not place.missing and not place.regular:
        return f"{path} is no regular file", "Put the file itself there, or name the step's `files` without it."
    # Missing folders are made: then the deepest one that is there must be writable.
    chain = [each for each in with_folders([path]) if each in standing.places]
    missing = [each for each in chain if standing.places[each].missing]
    looked_at = posixpath.dirname(missing[0]) if missing and missing[0] != path else path
    found = in_the_way(standing.places, looked_at, acts_as=standing.acts_as, writes=True)
    if found:
        return found, _RIGHTS
    model = standing.places[folder] if place is None or place.missing else place
    user, group = model.owners()
    keeps = user in {"", standing.acts_as} and group in standing.groups | {""}
    if standing.is_root or keeps:
        return "", ""
    return f"{path} belongs to {user}:{group}, which {standing.acts_as} cannot keep", (
        "Set `sudo` for the group, so that the file stays whose it is; or give it to the login."
    )


def _with_acl(standing: Standing, paths: Iterable[str]) -> list[str]:
    found = ((path, standing.places.get(posixpath.normpath(path))) for path in paths)
    # `ls` marks a mode that is not all of it, and needs no getfacl on the host.
    return [
        posixpath.basename(path)
        for path, place in found
        if place is not None and (place.acl or place.owner().split()[0].endswith("+"))
    ]
