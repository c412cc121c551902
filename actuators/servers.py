"""Servers: stop and start a service on every host of a group, and switch the link that decides its release."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from pydantic import Field

from actuators import (
    servers_health,
    servers_hosts,
    servers_manager,
    servers_release,
    servers_roll,
    servers_unpack,
    servers_versions,
)
from actuators.servers_access import check_access, no_way
from actuators.servers_batches import BatchedStep, in_batches
from actuators.servers_help import help_with_servers
from actuators.servers_hosts import Finding, ServersStep, across, at_once, observed, partly, survey, tally
from actuators.servers_manager import ServiceState
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

__all__ = [
    "LinkActuator",
    "LinkRelease",
    "ServiceActuator",
    "StartServers",
    "StopServers",
    "check_access",
    "no_way",
    "register",
]


class StopServers(BatchedStep):
    """Stop the service on every host of a server group."""

    kind: Literal["servers.stop"] = "servers.stop"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Stop the service on {self.target}"


class StartServers(BatchedStep):
    """Start the service on every host of a server group."""

    kind: Literal["servers.start"] = "servers.start"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Start the service on {self.target}"


class LinkRelease(BatchedStep):
    """Let the link of every host of a server group point to a release.

    Attributes:
        release: The name of the release's folder.
        backup: An artifact backup (tar.gz on the hosts) that the folder is unpacked from where it is gone.
    """

    kind: Literal["servers.link"] = "servers.link"
    release: str = Field(pattern=servers_release.RELEASE)
    backup: str | None = None

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Switch {self.target} to {self.release}"


class ServiceActuator:
    """Starts or stops the service, whatever manages it.

    Args:
        wanted: What the service is to be.
    """

    def __init__(self, wanted: ServiceState) -> None:
        self._wanted = wanted

    async def check(self, step: ServersStep, context: Context) -> tuple[Check, ...]:
        """Verify that hosts answer, sudo works without a password and the service's manager tells its state."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                access, hosts = await check_access(step, group, transport)
                if not hosts:
                    return access

                async def status(host: Host) -> Finding:
                    return Finding((await servers_manager.state_of(transport, host, group.manager)).value)

                found, _ = await survey(
                    f"Service on {step.target}", hosts, status, limit=at_once(group, step.limit)
                )
        except ActuatorError as error:
            return (no_way(step, error),)
        return (*access, found)

    async def observe(self, step: ServersStep, context: Context) -> Observation:
        """Look whether the service is on every host as wanted."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                results = await across(
                    group.hosts,
                    lambda host: servers_manager.state_of(transport, host, group.manager),
                    limit=at_once(group, step.limit),
                )
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        states = {name: state.value for name, state in results.good.items()}
        return observed(states, results.bad, total=len(group.hosts), wanted=self._wanted.value)

    async def apply(self, step: BatchedStep, context: Context) -> Outcome:
        """Start or stop the service on every host where it is not so already."""
        async with servers_hosts.opened(step, context) as (group, transport):

            async def one(host: Host) -> str:
                wanted = self._wanted
                return await servers_manager.bring(transport, host, group, wanted=wanted, clock=context.clock)

            doing = "Starting the service" if self._wanted is ServiceState.RUNNING else "Stopping the service"
            return await _everywhere(step, context, group, one, doing=doing)

    async def remedies(self, step: ServersStep, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what runs where, and what a denied permission needs."""
        return help_with_servers(step, fault, context)


class LinkActuator:
    """Switches the link of the release, and unpacks the release first where its folder is gone."""

    async def check(self, step: LinkRelease, context: Context) -> tuple[Check, ...]:
        """Verify access, that the release or its artifact is there and sound, and that the link can be switched."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                release = servers_release.Release(step.release, step.backup, group, context)
                access, hosts = await check_access(step, group, transport)
                if not hosts:
                    return access

                async def available(host: Host) -> Finding:
                    return await release.available(transport, host)

                async def switchable(host: Host) -> Finding:
                    return await release.switchable(transport, host)

                limit = at_once(group, step.limit)
                subject = f"Release {step.release} on {step.target}"
                folder, _ = await survey(subject, hosts, available, limit=limit)
                link, _ = await survey(f"Link on {step.target}", hosts, switchable, limit=limit)
        except ActuatorError as error:
            return (no_way(step, error),)
        return (*access, folder, link)

    async def observe(self, step: LinkRelease, context: Context) -> Observation:
        """Look which release every host's link points to."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                # A step that names an unknown artifact is not done, whatever the links say.
                servers_release.Release(step.release, step.backup, group, context)
                results = await across(
                    group.hosts,
                    lambda host: servers_release.linked(transport, host, group),
                    limit=at_once(group, step.limit),
                )
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        return observed(results.good, results.bad, total=len(group.hosts), wanted=f"on {step.release}")

    async def apply(self, step: LinkRelease, context: Context) -> Outcome:
        """Switch every host's link that does not point to the release yet."""
        async with servers_hosts.opened(step, context) as (group, transport):
            release = servers_release.Release(step.release, step.backup, group, context)

            async def one(host: Host) -> str:
                return await release.switch(transport, host)

            return await _everywhere(step, context, group, one, doing=f"Switching to {step.release}")

    async def remedies(self, step: LinkRelease, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what runs where, and what a denied permission needs."""
        return help_with_servers(step, fault, context)


async def _everywhere(
    step: BatchedStep,
    context: Context,
    group: ServerGroup,
    one: Callable[[Host], Awaitable[str]],
    *,
    doing: str,
) -> Outcome:
    total = len(group.hosts)

    def ended(done: int, host: Host) -> None:
        context.report(Progress(done, total, "hosts", f"{doing}: {host.name} has ended"))

    context.report(Progress(0, total, "hosts", doing))
    results = await in_batches(step, group, one, ended=ended)
    if results.bad:
        raise partly(doing, results=results, total=total)
    return Outcome(tally(results.good, total=total), {"hosts": results.good})


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this module with their actuators."""
    return (
        Registered(StopServers, ServiceActuator(ServiceState.STOPPED)),
        Registered(StartServers, ServiceActuator(ServiceState.RUNNING)),
        Registered(LinkRelease, LinkActuator()),
        *servers_versions.register(),
        *servers_health.register(),
        *servers_unpack.register(),
        *servers_roll.register(),
    )
