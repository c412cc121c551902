"""config.drift: every configuration backup of the plan against the files that are in place now."""

from __future__ import annotations

from typing import Any, Literal

from actuators import servers_hosts
from actuators.config_changes import HostChanges, gather, merged
from actuators.config_files import Configuration
from actuators.probes import LeavesNothing
from actuators.remedies import Diagnosis, cannot_look, shown
from actuators.servers_hosts import Results, at_once, group_of, in_a_word, named, tally
from actuators.transport import Transport
from bot.domain.actuation import Check, Context, Outcome, Registered, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import ServerGroup
from bot.domain.plan import Backup, BackupKind

_LIMIT = 10
_AS_IN_BACKUP = "as in the backup"
_LINES = 150


class ShowDrift(Diagnosis):
    """Shows on every host how the files in place differ from the plan's configuration backups; secrets redacted."""

    kind: Literal["config.drift"] = "config.drift"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Configuration of {self.target} against its backups"


def configuration_backups(target: str, context: Context) -> tuple[Backup, ...]:
    """Return the plan's configuration backups of a server group."""
    return tuple(
        backup
        for backup in context.plan.backups
        if backup.kind is BackupKind.CONFIGURATION and backup.target == target
    )


class DriftActuator(LeavesNothing):
    """A diagnosis: compares, and shows the differences."""

    async def check(self, step: ShowDrift, context: Context) -> tuple[Check, ...]:
        """Look whether there is anything to compare with, and whether the hosts answer."""
        subject = f"Configuration of {step.target}"
        try:
            compared = await _compared(step, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        words = "; ".join(_told(results) for _, results in compared)
        bad = any(results.bad for _, results in compared)
        return (Check(subject, Verdict.WARN if bad else Verdict.OK, words),)

    async def apply(self, step: ShowDrift, context: Context) -> Outcome:
        """Compare every file of every backup on every host."""
        compared = await _compared(step, context)
        words = "; ".join(f"{backup.id}: {_told(results)}" for backup, results in compared)
        details: list[str] = []
        for backup, results in compared:
            for file, hosts, text in merged(results.good):
                details += [f"{file} ({backup.id}) on {named(hosts)}:", text]
            details += [f"{name}: {error.what}" for name, error in results.bad.items()]
        differing = sorted(
            {file for _, results in compared for found in results.good.values() for file in found.differences}
        )
        return Outcome(words, {"differing": differing}, shown(details, most=_LINES))


async def _compared(step: ShowDrift, context: Context) -> list[tuple[Backup, Results[HostChanges]]]:
    """Compare every backup on every host.

    Raises:
        ActuatorError: If the plan has no configuration backup of the group, or the group cannot be reached.
    """
    group_of(step, context)
    backups = configuration_backups(step.target, context)
    if not backups:
        raise ActuatorError(
            f"The plan has no configuration backup of {step.target}: there is nothing to compare with.",
            untouched="No host was contacted.",
            resolution="List the backup of the configuration under `backups` of the plan.",
        )
    async with servers_hosts.opened(step, context) as (group, transport):
        return [(backup, await _everywhere(backup, group, transport, context)) for backup in backups]


async def _everywhere(
    backup: Backup, group: ServerGroup, transport: Transport, context: Context
) -> Results[HostChanges]:
    configuration = Configuration(backup.id, None, group, context)
    return await gather(configuration, transport, group.hosts, limit=at_once(group, _LIMIT))


def _told(results: Results[HostChanges]) -> str:
    states = {name: _state(found) for name, found in results.good.items()}
    states |= {name: in_a_word(error) for name, error in results.bad.items()}
    return tally(states, total=len(states), wanted=_AS_IN_BACKUP)


def _state(found: HostChanges) -> str:
    words = f"different in {named(found.differences)}" if found.differences else _AS_IN_BACKUP
    return f"{words}, with {named(found.unknown)} beside it" if found.unknown else words


def register() -> tuple[Registered[Any], ...]:
    """Return the step of this module with its actuator."""
    return (Registered(ShowDrift, DriftActuator()),)
