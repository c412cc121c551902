"""What may help when a step on an instance has failed."""

from __future__ import annotations

import asyncio
import hashlib

from actuators.rds.estate import Estate, opened
from actuators.rds.steps import RdsEvents, RdsPoints, RdsRestore, RdsStep, RdsSwap, RdsSwapBack
from actuators.remedies import titled
from bot.domain.actuation import Context, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.times import utc_minute

_LOOK = 15.0
"""Seconds that looking for a remedy may take; without an answer there are the diagnoses."""


def events_of(step: RdsStep) -> Remedy:
    """Return the diagnosis that shows what RDS tells."""
    return Remedy(
        "events",
        titled(f"Events of {step.target}"),
        "Lists what RDS tells about the instance and this rollback's copy. Changes nothing.",
        RdsEvents(id="events", target=step.target),
    )


def _points_of(step: RdsStep) -> Remedy:
    return Remedy(
        "points",
        titled(f"What {step.target} can be restored to"),
        "Lists the moments and the snapshots, and what speaks against each. Changes nothing.",
        RdsPoints(id="points", target=step.target),
    )


async def for_restore(step: RdsRestore, context: Context) -> tuple[Remedy, ...]:
    """Return what there is to restore, what RDS tells, and the newest usable snapshot while there is no copy."""
    if context.inventory.find(step.target) is None:
        return ()
    shown = (_points_of(step), events_of(step))
    try:
        async with asyncio.timeout(_LOOK), opened(step, context) as estate:
            return (*shown, *await _other_snapshot(step, estate))
    except (ActuatorError, TimeoutError):
        return shown


async def _other_snapshot(step: RdsRestore, estate: Estate) -> tuple[Remedy, ...]:
    if await estate.copy() is not None:
        return ()
    source, deployed = await estate.live(), estate.context.plan.deployed_at
    for found in await estate.snapshots():
        if found.name == step.snapshot or found.taken is None or found.objections(source, deployed_at=deployed):
            continue
        instead = RdsRestore(
            id="restore-from",
            target=step.target,
            snapshot=found.name,
            instance_class=step.instance_class,
            expected=step.expected,
            timeout=step.timeout,
        )
        digest = hashlib.sha256(found.name.encode()).hexdigest()[:8]
        words = (
            f"Restores the snapshot {found.name} of {utc_minute(found.taken)} in place of {step.source()}."
            " Everything written since then does not come along."
        )
        title = titled(f"Restore the snapshot of {utc_minute(found.taken)} instead")
        return (Remedy(f"snapshot-{digest}", title, words, instead, settles=True),)
    return ()


async def for_swap(step: RdsSwap, context: Context) -> tuple[Remedy, ...]:
    """Return what RDS tells, and the way back where the failed instance has lost its name."""
    if context.inventory.find(step.target) is None:
        return ()
    try:
        async with asyncio.timeout(_LOOK), opened(step, context) as estate:
            source = await estate.failed()
            if source is None or source.name == estate.instance or not source.resource:
                return (events_of(step),)
            back = RdsSwapBack(id="swap-back", target=step.target, resource=source.resource)
            words = (
                f"Renames {source.name} to {estate.instance} again; the restored instance gets the name"
                f" {estate.beside} back. The failed data is in service again."
            )
    except (ActuatorError, TimeoutError):
        return (events_of(step),)
    return (events_of(step), Remedy("swap-back", titled(f"Give {source.name} its name back"), words, back))
