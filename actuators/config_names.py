"""Where the configuration of a group lies, and which names of files count as part of it."""

from __future__ import annotations

from collections.abc import Iterable

from bot.domain.errors import ActuatorError
from bot.domain.inventory import ServerGroup


def folder_of(group: ServerGroup) -> str:
    """Return the folder of a group's configuration.

    Raises:
        ActuatorError: If the inventory names none.
    """
    if group.config is None:
        raise ActuatorError(
            "The inventory names no folder for the configuration of the group.",
            untouched="No host was contacted.",
            resolution="Set `config` of the server group.",
        )
    return str(group.config)


def in_force(names: Iterable[str]) -> tuple[str, ...]:
    """Return the files of a configuration's folder without those that rollbacks have kept."""
    return tuple(name for name in names if ".before-" not in name)
