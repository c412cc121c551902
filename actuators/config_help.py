"""What may help when a configuration could not be restored: drift, permissions, the security context, sudo."""

from __future__ import annotations

import asyncio

from actuators import config_context, servers_hosts
from actuators.config_drift import ShowDrift, configuration_backups
from actuators.config_permissions import RestoreContext, mislabelled
from actuators.remedies import titled, was_denied
from actuators.servers_help import denied_paths, permissions, with_sudo
from actuators.servers_hosts import ServersStep, across, at_once, group_of
from bot.domain.actuation import Context, Fault, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import ServerGroup
from bot.domain.times import parse_duration

_LOOK = 12.0
"""Seconds that looking at the contexts may take on all hosts."""


async def help_with_configuration(
    step: ServersStep, backup: str, fault: Fault, context: Context
) -> tuple[Remedy, ...]:
    """Return what may help a restore of configuration files that failed.

    Args:
        step: The step.
        backup: The backup that it restores.
        fault: How it failed.
        context: The run.
    """
    try:
        group = group_of(step, context)
    except ActuatorError:
        return ()
    if group.config is None:
        return ()
    if not was_denied(fault) and config_context.CHANGED not in fault.brief:
        return (drift(step.target),)
    kept = [each.location for each in configuration_backups(step.target, context) if each.id == backup]
    paths = denied_paths(fault, [str(group.config)], also=kept)
    acting = [*await _relabel(step, group, context, paths), *with_sudo(step, group)]
    return (permissions(step.target, paths), drift(step.target), *acting)


def drift(target: str) -> Remedy:
    """Return the diagnosis of how a group's configuration differs from the plan's backups."""
    return Remedy(
        f"drift-{target}",
        titled(f"Configuration drift on {target}"),
        f"Compares every configuration backup of the plan with the files in place on every host of {target}; "
        "secrets are masked. Changes nothing.",
        ShowDrift(id="drift", target=target),
    )


async def _relabel(
    step: ServersStep, group: ServerGroup, context: Context, paths: tuple[str, ...]
) -> tuple[Remedy, ...]:
    """Return restorecon for the paths whose context is wrong, where SELinux is enforcing and the tool is there."""
    elevated = bool(group.ssh and not group.ssh.sudo and group.ssh.sudo_if_denied)
    looking = RestoreContext(id="restorecon", target=step.target, paths=paths, with_sudo=elevated)
    every = tuple(dict.fromkeys((*paths, str(group.config))))
    try:
        async with asyncio.timeout(_LOOK), servers_hosts.opened(looking, context) as (reached, transport):
            results = await across(
                reached.hosts,
                lambda host: mislabelled(transport, host, every),
                limit=at_once(reached, step.limit),
            )
    except (ActuatorError, TimeoutError):
        return ()
    wrong = tuple(path for path in every if any(path in found for found in results.good.values()))
    if not wrong:
        return ()
    return (
        Remedy(
            "restorecon",
            titled(f"Put the SELinux context right on {step.target}"),
            f"Runs restorecon on exactly {', '.join(wrong)}, and nothing below; content, owner and mode stay. "
            "Retry the step afterwards.",
            looking.model_copy(update={"paths": wrong, "expected": parse_duration("10s")}),
        ),
    )
