"""Configuration: put the files of a pre-deployment backup back, checked before they count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from actuators import config_changes, config_drift, config_permissions, config_valid, servers_hosts
from actuators.config_changes import gather
from actuators.config_files import Configuration, HostFiles, checked_names, differing
from actuators.config_help import help_with_configuration
from actuators.config_places import replaceable
from actuators.config_validation import Validation
from actuators.servers_access import check_access, no_way
from actuators.servers_hosts import (
    Finding,
    Results,
    ServersStep,
    across,
    at_once,
    named,
    observed,
    partly,
    survey,
    tally,
)
from actuators.transport import Transport
from bot.domain.actuation import (
    Check,
    Context,
    Fault,
    Observation,
    Outcome,
    Presence,
    Progress,
    Registered,
    Remedy,
)
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import Step

_AS_IN_BACKUP = "as in the backup"
_UNTOUCHED = "No file was replaced on any host."


class RestoreConfiguration(ServersStep):
    """Put the files of a configuration backup back on every host of a server group.

    Attributes:
        backup: A configuration backup: a folder (or one file) on the hosts.
        files: The files to put back, relative to that folder; without it, all of them.
        validation: Whether the group's validation command must accept each file before any is replaced.
    """

    kind: Literal["config.restore"] = "config.restore"
    backup: str
    files: tuple[str, ...] | None = Field(default=None, min_length=1)
    validation: bool = True

    @field_validator("files")
    @classmethod
    def _inside(cls, files: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return checked_names(files)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Restore the configuration of {self.target}"


@dataclass(frozen=True)
class _Work:
    """What one step works with."""

    step: RestoreConfiguration
    group: ServerGroup
    transport: Transport
    configuration: Configuration
    validation: Validation

    @property
    def limit(self) -> int:
        """Hosts that are worked on at once."""
        return at_once(self.group, self.step.limit)


class ConfigurationActuator:
    """Restores configuration files, each in one step and none before all have been validated."""

    async def check(self, step: RestoreConfiguration, context: Context) -> tuple[Check, ...]:
        """Verify access, that the backup's files are there and sound, and that they can be put in place."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                work = _work(step, group, transport, context)
                access, hosts = await check_access(step, group, transport)
                if not hosts:
                    return access

                async def backup(host: Host) -> Finding:
                    return await work.configuration.sound(transport, host)

                sound, hosts = await survey(f"Configuration backup {step.backup}", hosts, backup, limit=work.limit)
                looked = await _looked(work, hosts) if hosts else ()
        except ActuatorError as error:
            return (no_way(step, error),)
        return (*access, sound, *looked)

    async def observe(self, step: RestoreConfiguration, context: Context) -> Observation:
        """Compare every file with its backup, by digest, on every host."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                work = _work(step, group, transport, context)
                results = await across(
                    group.hosts, lambda host: work.configuration.compared(transport, host), limit=work.limit
                )
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        different = {name: differing(pairs) for name, pairs in results.good.items()}
        states = {
            name: f"different in {named(files)}" if files else _AS_IN_BACKUP for name, files in different.items()
        }
        return observed(states, results.bad, total=len(group.hosts), wanted=_AS_IN_BACKUP)

    async def apply(self, step: RestoreConfiguration, context: Context) -> Outcome:
        """Read and validate on every host; only when all are well, replace what differs."""
        async with servers_hosts.opened(step, context) as (group, transport):
            work = _work(step, group, transport, context)
            configuration, read = work.configuration, await _prepared(work, context)
            total = len(group.hosts)
            doing = f"Restoring the configuration {step.backup}"

            async def one(host: Host) -> str:
                replaced = await configuration.replace(transport, host, read[host.name])
                return f"got {named(replaced)} back" if replaced else _AS_IN_BACKUP

            def ended(done: int, host: Host) -> None:
                context.report(Progress(done, total, "hosts", f"{doing}: {host.name} has ended"))

            context.report(Progress(0, total, "hosts", doing))
            results = await across(group.hosts, one, limit=at_once(group, step.limit), ended=ended)
            if results.bad:
                raise partly(doing, results=results, total=total)
            kept = f". Replaced files are kept as NAME{configuration.suffix}." if any(read.values()) else ""
            return Outcome(f"{tally(results.good, total=total)}{kept}", {"hosts": results.good})

    async def remedies(self, step: RestoreConfiguration, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what differs, and what a denied permission needs."""
        return await help_with_configuration(step, step.backup, fault, context)


async def _looked(work: _Work, hosts: Sequence[Host]) -> tuple[Check, ...]:
    """Look where the files go, what they change, and whether they are valid, on hosts whose backup is sound."""
    step, transport, configuration = work.step, work.transport, work.configuration

    changes = await gather(configuration, transport, hosts, limit=work.limit)
    compared = [host for host in hosts if host.name in changes.good]

    async def place(host: Host) -> Finding:
        return await replaceable(configuration, transport, host, changes=changes.good.get(host.name))

    async def valid(host: Host) -> Finding:
        found = changes.good[host.name]
        paths = {name: pair.path for name, pair in found.pairs.items()}
        return await work.validation.of_backup(transport, host, paths=paths, staying=found.unknown)

    folder, _ = await survey(f"Folder {configuration.folder}", hosts, place, limit=work.limit)
    difference = config_changes.check(f"Difference from {step.backup}", changes, pinned=configuration.pinned)
    if not (step.validation and compared):
        return folder, difference
    judged, _ = await survey(f"Validation of {step.backup}", compared, valid, limit=work.limit)
    return folder, difference, judged


async def _prepared(work: _Work, context: Context) -> dict[str, HostFiles]:
    """Return the backup's files by host, validated; none for a host that has them all in place.

    Raises:
        ActuatorError: If the backup is not the one that was approved, or if a file is missing or refused on any
            host; no file was replaced on any of them.
    """
    step, transport, configuration, limit = work.step, work.transport, work.configuration, work.limit
    compared = await across(work.group.hosts, lambda host: configuration.compared(transport, host), limit=limit)
    _all_ready(compared, len(work.group.hosts))
    approved = context.approved.get(step.id)
    if approved and config_changes.seal(compared.good) != approved:
        raise ActuatorError(
            f"The backup {step.backup} is not what it was when this was approved.",
            untouched=_UNTOUCHED,
            resolution="Find out who changed it. If it is right, ask again and look at the difference.",
        )

    async def one(host: Host) -> HostFiles:
        pairs = compared.good[host.name]
        if not differing(pairs):
            return {}
        files = await configuration.read(transport, host, expected=pairs)
        if step.validation:
            await work.validation.try_copies(transport, host, {name: file.data for name, file in files.items()})
        return files

    results = await across(work.group.hosts, one, limit=limit)
    _all_ready(results, len(work.group.hosts))
    return results.good


def _all_ready(results: Results[Any], total: int) -> None:
    """Raise if a host is not ready: then no file is replaced on any."""
    if not results.bad:
        return
    error = partly("Preparing the configuration", results=results, total=total)
    raise ActuatorError(
        error.brief,
        untouched=_UNTOUCHED,
        resolution=next(iter(results.bad.values())).resolution,
        transient=error.transient,
        output=error.output,
    )


def _work(step: RestoreConfiguration, group: ServerGroup, transport: Transport, context: Context) -> _Work:
    return _Work(
        step,
        group,
        transport,
        Configuration(step.backup, step.files, group, context),
        Validation(step.target, group, context),
    )


def _restored(step: Step) -> tuple[str, tuple[str, ...] | None] | None:
    return (step.backup, step.files) if isinstance(step, RestoreConfiguration) else None


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this module with their actuators."""
    return (
        Registered(RestoreConfiguration, ConfigurationActuator()),
        *config_drift.register(),
        *config_permissions.register(),
        *config_valid.register(_restored),
    )
