"""config.valid: whether the release that comes back would take the configuration that is in place now.

A release that goes back under a configuration that was made for a later one may do worse than the fault: what means
one thing today may have meant another then. Nobody sees that from the release alone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from actuators import servers_hosts
from actuators.config_files import Configuration, checked_names
from actuators.config_help import help_with_configuration
from actuators.config_names import folder_of, in_force
from actuators.config_validation import Validation
from actuators.probes import LeavesNothing
from actuators.servers_access import check_access, no_way
from actuators.servers_hosts import Finding, ServersStep, across, at_once, partly, survey, tally
from actuators.transport import HostError, Transport
from bot.domain.actuation import Check, Context, Fault, Outcome, Registered, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import Step

_RESOLUTION = (
    "Let the configuration go back with the release (config.restore), switch the setting off first, or fix forward."
)


class ValidConfiguration(ServersStep):
    """The group's validation command accepts the configuration in place; a probe that changes nothing.

    Attributes:
        files: The files to judge, relative to the group's `config` folder; without it, all of them.
    """

    reads_only: ClassVar[bool] = True

    kind: Literal["config.valid"] = "config.valid"
    files: tuple[str, ...] | None = Field(default=None, min_length=1)

    @field_validator("files")
    @classmethod
    def _inside(cls, files: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return checked_names(files)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Configuration of {self.target} is valid"


Restored = Callable[[Step], tuple[str, tuple[str, ...] | None] | None]
"""Says which backup, and which files of it (None: all), a step restores; None if it restores no configuration."""


class ValidActuator(LeavesNothing):
    """Lets the release that comes back judge what is in place.

    Args:
        restored: Knows the steps that restore configuration.
    """

    def __init__(self, restored: Restored) -> None:
        self._restored = restored

    async def check(self, step: ValidConfiguration, context: Context) -> tuple[Check, ...]:
        """Judge before anything is touched what the plan leaves in place: a refusal stops the rollback."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                judge = _Judge(step, group, transport, context)
                access, hosts = await check_access(step, group, transport)
                if not hosts:
                    return access
                mine = [each for each in context.plan.steps() if each.target == step.target]
                goes_back = [
                    Configuration(*restored, group, context)
                    for restored in map(self._restored, mine)
                    if restored is not None
                ]
                found, _ = await survey(
                    f"Configuration in place on {step.target}",
                    hosts,
                    lambda host: judge.beforehand(host, goes_back),
                    limit=at_once(group, step.limit),
                )
        except ActuatorError as error:
            return (no_way(step, error),)
        return (*access, found)

    async def apply(self, step: ValidConfiguration, context: Context) -> Outcome:
        """Judge every file, those that were restored meanwhile included."""
        async with servers_hosts.opened(step, context) as (group, transport):
            judge = _Judge(step, group, transport, context)
            results = await across(group.hosts, judge.now, limit=at_once(group, step.limit))
            if results.bad:
                raise partly("Validating the configuration in place", results=results, total=len(group.hosts))
        states = {name: finding.words for name, finding in results.good.items()}
        return Outcome(tally(states, total=len(group.hosts)), {"hosts": states})

    async def remedies(self, step: ValidConfiguration, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what differs from the backups, and what a denied permission needs."""
        return await help_with_configuration(step, "", fault, context)


class _Judge:
    """Judges what is in place on one host after the other."""

    def __init__(
        self, step: ValidConfiguration, group: ServerGroup, transport: Transport, context: Context
    ) -> None:
        self._files = step.files
        self._folder = folder_of(group)
        self._transport = transport
        self._validation = Validation(step.target, group, context)
        if not group.validate_config:
            raise ActuatorError(
                f"The inventory has no validation command for {step.target}.",
                untouched="No host was contacted.",
                resolution="Set `validate_config` of the server group, or take the step out of the plan.",
            )

    async def beforehand(self, host: Host, goes_back: Sequence[Configuration]) -> Finding:
        """Judge what is in place now and stays there: what the plan restores is judged by the steps that do it.

        Raises:
            HostError: If a file is refused or missing.
        """
        later = await self._validation.possible(self._transport, host)
        if later is not None:
            return later
        restored = {name for each in goes_back for name in await each.lying(self._transport, host)}
        staying = [name for name in await self._names(host) if name not in restored]
        if not staying:
            return Finding("restore every file in place")
        return await self._judged(host, staying)

    async def now(self, host: Host) -> Finding:
        """Judge every file in place.

        Raises:
            HostError: If one is refused or missing, or there is none.
        """
        return await self._judged(host, await self._names(host))

    async def _names(self, host: Host) -> Sequence[str]:
        names = self._files or in_force(await self._transport.listdir(host, self._folder))
        if names:
            return names
        raise HostError(
            host.name, f"there is no file in {self._folder}.", resolution="Correct `config` of the group."
        )

    async def _judged(self, host: Host, names: Sequence[str]) -> Finding:
        try:
            paths = {name: posixpath.join(self._folder, name) for name in names}
            await self._validation.accepted(self._transport, host, paths)
        except HostError as error:
            raise HostError(
                host.name,
                f"of what is in place now, {error.what}",
                untouched="Nothing was changed.",
                resolution=_RESOLUTION,
                output=error.output,
            ) from None
        return Finding(f"accept {len(names)} {'file' if len(names) == 1 else 'files'} in place")


def register(restored: Restored) -> tuple[Registered[Any], ...]:
    """Return the step of this module with its actuator.

    Args:
        restored: Knows the steps that restore configuration.
    """
    return (Registered(ValidConfiguration, ValidActuator(restored)),)
