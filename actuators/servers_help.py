"""What may help when a step on a server group has failed: who may do what there, versions, and trying with sudo."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from actuators.config_permissions import ShowPermissions
from actuators.remedies import paths_named, titled, was_denied
from actuators.servers_hosts import ServersStep, group_of
from actuators.servers_versions import ShowVersions
from bot.domain.actuation import Context, Fault, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import ServerGroup

_PATHS = 6


def help_with_servers(step: ServersStep, fault: Fault, context: Context) -> tuple[Remedy, ...]:
    """Return what may help a step that stops, starts or switches a service.

    Args:
        step: The step that failed.
        fault: How.
        context: The run.
    """
    try:
        group = group_of(step, context)
    except ActuatorError:
        return ()
    found = [versions(step.target)]
    if was_denied(fault):
        places = (str(group.current), str(group.releases))
        found.append(permissions(step.target, denied_paths(fault, places)))
        found += with_sudo(step, group)
    return tuple(found)


def denied_paths(fault: Fault, places: Iterable[str], *, also: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the paths that were denied.

    Args:
        fault: The failure, which may name them.
        places: The places that the step works in; they are returned if it names none.
        also: Further places that may have been denied.
    """
    places = tuple(places)
    return (paths_named(fault, below=[*places, *map(posixpath.dirname, places), *also]) or places)[:_PATHS]


def versions(target: str) -> Remedy:
    """Return the diagnosis of what runs on every host of a group."""
    return Remedy(
        f"versions-{target}",
        titled(f"Versions on {target}"),
        f"Shows for every host of {target} which release its link names, and whether the service runs. "
        "Changes nothing.",
        ShowVersions(id="versions", target=target),
    )


def permissions(target: str, paths: tuple[str, ...]) -> Remedy:
    """Return the diagnosis of who may do what with some paths."""
    return Remedy(
        "permissions",
        titled(f"Permissions on {target}"),
        f"Shows who the bot is on every host, what sudo gives it, and owner, mode, ACL and security context of "
        f"{', '.join(paths)} and the folders above. Changes nothing.",
        ShowPermissions(id="permissions", target=target, paths=paths),
    )


def with_sudo(step: ServersStep, group: ServerGroup) -> tuple[Remedy, ...]:
    """Return the same step by sudo, if the inventory allows that and it was not so already."""
    ssh = group.ssh
    if ssh is None or ssh.sudo or step.with_sudo or not ssh.sudo_if_denied:
        return ()
    again = step.model_copy(update={"id": "with-sudo", "needs": (), "with_sudo": True})
    remedy = Remedy(
        "with-sudo",
        titled(f"Once more with sudo on {step.target}"),
        f"Does the same by `sudo -n` as {ssh.user}; hosts that are done are skipped.",
        again,
        settles=True,
    )
    return (remedy,)
