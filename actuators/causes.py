"""Where else to look when errors persist after a rollback: drift, versions, dependencies, cached data."""

from __future__ import annotations

from collections import defaultdict

from actuators.cache import ShowKeys
from actuators.config_drift import configuration_backups
from actuators.config_help import drift
from actuators.http_dependencies import ShowDependencies
from actuators.remedies import titled
from actuators.servers_help import versions
from bot.domain.actuation import Context, Remedy
from bot.domain.inventory import Cache, Endpoint, ServerGroup

_EACH = 4
"""Diagnoses of one sort: a failed step has room for a few buttons."""


def likely_causes(context: Context) -> tuple[Remedy, ...]:
    """Return the diagnoses that the plan and its targets allow; all of them only look.

    Args:
        context: The run.
    """
    named = set(context.plan.all_targets())
    groups = [
        name for name, target in context.inventory.items() if name in named and isinstance(target, ServerGroup)
    ]
    compared = [name for name in groups if configuration_backups(name, context)]
    return (
        *(versions(name) for name in groups[:_EACH]),
        *(drift(name) for name in compared[:_EACH]),
        *_dependencies(context),
        *_caches(context),
    )


def _dependencies(context: Context) -> tuple[Remedy, ...]:
    """Return one diagnosis for each zone: a worker reaches the targets of its own zone only."""
    zones: dict[str, list[str]] = defaultdict(list)
    for name in context.plan.dependencies:
        target = context.inventory.find(name)
        if isinstance(target, Endpoint):
            zones[target.zone].append(name)
    return tuple(
        Remedy(
            f"dependencies-{zone}",
            titled(f"Dependencies: {', '.join(names)}"),
            f"Asks the health page of {', '.join(names)} once each. Changes nothing.",
            ShowDependencies(id="dependencies", target=names[0], endpoints=tuple(names)),
        )
        for zone, names in list(zones.items())[:_EACH]
    )


def _caches(context: Context) -> tuple[Remedy, ...]:
    names = [name for name in context.plan.dependencies if isinstance(context.inventory.find(name), Cache)]
    return tuple(
        Remedy(
            f"keys-{name}",
            titled(f"Cached data in {name}"),
            f"Counts the service's keys in {name} by their shape, and how long they live. No key is shown, and "
            "nothing is changed.",
            ShowKeys(id="keys", target=name),
        )
        for name in names[:_EACH]
    )
