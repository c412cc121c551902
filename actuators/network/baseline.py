"""The recorded routes that a device is compared with: a backup of the plan, pinned by its digest."""

from __future__ import annotations

import hashlib

from actuators.network import routes
from actuators.network.routes import Table
from actuators.servers_hosts import backup_of
from actuators.transport import open_group
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import ServerGroup
from bot.domain.plan import Backup, BackupKind, Step

_UNTOUCHED = "No device was contacted for it."


async def read(step: Step, name: str | None, family: str, context: Context) -> Table | None:
    """Return the routes of a baseline, None if none is named.

    The file lies where the backup's server group has it, on its first host; a group without ``ssh`` is the worker's
    own machine.

    Args:
        step: The step that compares.
        name: The backup of the plan.
        family: The language of the device, in which the file is written; ``ip route show`` is always understood.
        context: The run.

    Raises:
        ActuatorError: If it is not there, is not pinned, is not the pinned one, or holds no routes.
    """
    if name is None:
        return None
    backup = backup_of(name, BackupKind.CONFIGURATION, context)
    if backup.sha256 is None:
        raise _unusable(backup, "has no `sha256` in the plan, so nobody could tell whether it is the recorded one")
    group = context.inventory.find(backup.target)
    if not isinstance(group, ServerGroup):
        raise _unusable(backup, f"lies on {backup.target}, which is no server group of the inventory")
    async with open_group(group, context.token(step)) as transport:
        data = await transport.read_file(group.hosts[0], backup.location)
    found = hashlib.sha256(data).hexdigest()
    if found != backup.sha256:
        raise _unusable(backup, f"has the SHA-256 {found[:12]}..., not {backup.sha256[:12]}...")
    table = routes.table(data.decode(errors="replace"), family)
    if not table:
        raise _unusable(backup, "holds no IPv4 routes that can be read")
    return table


def _unusable(backup: Backup, what: str) -> ActuatorError:
    return ActuatorError(
        f"The baseline of routes {backup.id} ({backup.location}) {what}.",
        untouched=_UNTOUCHED,
        resolution="Record it by the device's own command or `ip route show`, and pin it in the plan's `backups`.",
    )
