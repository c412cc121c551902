"""Configuration: put the files of a pre-deployment backup back, checked before they count."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from actuators import config_drift, config_files, config_permissions, servers_hosts
from actuators.config_diff import FileDiff, merge
from actuators.config_files import Configuration, HostFiles
from actuators.config_help import help_with_configuration
from actuators.servers import check_access, no_way
from actuators.servers_hosts import Finding, ServersStep, across, at_once, named, observed, partly, survey, tally
from actuators.transport import Transport
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Registered, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup

_AS_IN_BACKUP = "as in the backup"


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
        for name in files or ():
            if not config_files.is_inside(name):
                raise ValueError(f"{name!r} must be a plain path below the backup's folder, such as app.conf")
        return files

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Restore the configuration of {self.target}"


class ConfigurationActuator:
    """Restores configuration files, each in one step and none before all have been validated."""

    async def check(self, step: RestoreConfiguration, context: Context) -> tuple[Check, ...]:
        """Verify access, that the backup's files are there and sound, and that they can be put in place."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                configuration = _configuration(step, group, context)
                access, hosts = await check_access(step, group, transport)
                if not hosts:
                    return access

                async def backup(host: Host) -> Finding:
                    return await configuration.sound(transport, host)

                async def folder(host: Host) -> Finding:
                    return await configuration.replaceable(transport, host)

                async def valid(host: Host) -> Finding:
                    return await configuration.backup_valid(transport, host)

                limit = at_once(group, step.limit)
                sound, hosts = await survey(f"Configuration backup {step.backup}", hosts, backup, limit=limit)
                checks = [*access, sound]
                if hosts:
                    checks.append((await survey(f"Folder {group.config}", hosts, folder, limit=limit))[0])
                    if step.validation:
                        checks.append((await survey(f"Validation of {step.backup}", hosts, valid, limit=limit))[0])
        except ActuatorError as error:
            return (no_way(step, error),)
        return tuple(checks)

    async def observe(self, step: RestoreConfiguration, context: Context) -> Observation:
        """Compare every file with its backup, by digest, on every host."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                configuration = _configuration(step, group, context)
                results = await across(
                    group.hosts,
                    lambda host: configuration.differing(transport, host),
                    limit=at_once(group, step.limit),
                )
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        states = {
            name: f"different in {named(files)}" if files else _AS_IN_BACKUP for name, files in results.good.items()
        }
        return observed(states, results.bad, total=len(group.hosts), wanted=_AS_IN_BACKUP)

    async def apply(self, step: RestoreConfiguration, context: Context) -> Outcome:
        """Read and validate on every host; only when all are well, replace what differs."""
        async with servers_hosts.opened(step, context) as (group, transport):
            configuration = _configuration(step, group, context)
            read = await _prepared(step, group, configuration, transport)
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


async def diff(step: RestoreConfiguration, context: Context) -> tuple[FileDiff, ...]:
    """Return what restoring would change, secrets redacted, for the person who approves it.

    Args:
        step: The step.
        context: The run; nothing is reported or changed.

    Returns:
        A unified diff for every file that differs; hosts with the same difference together.

    Raises:
        ActuatorError: If a host cannot be read.
    """
    async with servers_hosts.opened(step, context) as (group, transport):
        configuration = _configuration(step, group, context)
        results = await across(
            group.hosts, lambda host: configuration.diffs(transport, host), limit=at_once(group, step.limit)
        )
        if results.bad:
            raise partly("Comparing the configuration", results=results, total=len(group.hosts))
        return merge(results.good)


async def _prepared(
    step: RestoreConfiguration, group: ServerGroup, configuration: Configuration, transport: Transport
) -> dict[str, HostFiles]:
    """Return the backup's files by host, validated; none for a host that has them all in place.

    Raises:
        ActuatorError: If a file is missing or refused on any host; no file was replaced on any of them.
    """

    async def one(host: Host) -> HostFiles:
        if not await configuration.differing(transport, host):
            return {}
        files = await configuration.read(transport, host)
        if step.validation:
            await configuration.validate(transport, host, files)
        return files

    results = await across(group.hosts, one, limit=at_once(group, step.limit))
    if not results.bad:
        return results.good
    error = partly("Preparing the configuration", results=results, total=len(group.hosts))
    raise ActuatorError(
        error.brief,
        untouched="No file was replaced on any host.",
        resolution=next(iter(results.bad.values())).resolution,
        transient=error.transient,
        output=error.output,
    )


def _configuration(step: RestoreConfiguration, group: ServerGroup, context: Context) -> Configuration:
    return Configuration(step.backup, step.files, group, context)


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this module with their actuators."""
    return (
        Registered(RestoreConfiguration, ConfigurationActuator()),
        *config_drift.register(),
        *config_permissions.register(),
    )
