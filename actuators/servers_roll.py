"""servers.roll: batch after batch, stop, switch, start and see every host healthy before the next batch begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from actuators import servers_hosts, servers_manager, servers_release, servers_unpack
from actuators.servers_access import check_access, no_way
from actuators.servers_asking import Asker, asking
from actuators.servers_batches import Serial, batches, in_batches
from actuators.servers_folder import ServiceFolder
from actuators.servers_health import until_healthy
from actuators.servers_help import help_with_servers
from actuators.servers_hosts import Finding, across, at_once, named, observed, partly, survey, tally
from actuators.servers_manager import ServiceState
from actuators.servers_release import RELEASE, Release
from actuators.servers_unpack import UnpackingStep
from actuators.transport import HostError, Transport
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
    Verdict,
)
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup
from bot.domain.times import Duration, format_duration, parse_duration

_FEW = 6
"""Batches whose sizes are told one by one."""


class RollRelease(UnpackingStep):
    """Bring a release back batch after batch, so that the service never goes wholly down.

    Attributes:
        release: The release that the link is switched to, as in `servers.link`; without it, `backup` is unpacked as
            in `servers.unpack`.
        backup: The artifact, which is not needed where the release folder is there.
        version: The version that every host must name when asked for its health, if given.
        every: Time between two questions to a host.
        within: Time until a host must be healthy after its start.
    """

    kind: Literal["servers.roll"] = "servers.roll"
    backup: str | None = None
    serial: Serial = Field(default=("25%",), min_length=1)
    release: str | None = Field(default=None, pattern=RELEASE)
    version: str | None = Field(default=None, min_length=1)
    every: Duration = parse_duration("1s")
    within: Duration = parse_duration("1m")

    @model_validator(mode="after")
    def _something(self) -> RollRelease:
        if self.release is None and self.backup is None:
            raise ValueError("name what comes back: release (by the link), or backup (by unpacking it)")
        return self

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Roll {self.target} to {self.release or self.backup}, batch by batch"


@dataclass(frozen=True)
class _Way:
    """How the release of a host is looked at and switched.

    Attributes:
        wanted: The state that is the effect.
        state: Tells a host's state in words.
        switch: Brings the effect about on one host.
        ready: Looks whether it can be.
    """

    wanted: str
    state: Callable[[Transport, Host], Awaitable[str]]
    switch: Callable[[Transport, Host], Awaitable[str]]
    ready: Callable[[Transport, Host], Awaitable[Finding]]


@dataclass(frozen=True)
class _Rolling:
    """One step on one group, open.

    Attributes:
        step: The step.
        group: The hosts.
        transport: The way to them.
        way: How their release is switched.
        asker: Asks for their health.
        context: The run.
    """

    step: RollRelease
    group: ServerGroup
    transport: Transport
    way: _Way
    asker: Asker
    context: Context

    @property
    def wanted(self) -> str:
        """The state of a host that is done."""
        return f"{self.way.wanted}, {ServiceState.RUNNING.value}, {self.asker.wanted}"

    async def state(self, host: Host) -> str:
        """Return the release, the service and its health, in words; the health only where the rest is right."""
        parts = [await self.way.state(self.transport, host)]
        parts.append((await servers_manager.state_of(self.transport, host, self.group.manager)).value)
        if parts == [self.way.wanted, ServiceState.RUNNING.value]:
            parts.append((await self.asker.ask(host)).state)
        return ", ".join(parts)

    async def roll(self, host: Host, say: Callable[[Host, str], None]) -> str:
        """Stop, switch, start and wait for health; leave a host alone that is done already.

        Raises:
            HostError: If a part of it fails; the words tell which.
        """
        if await self.state(host) == self.wanted:
            return f"{self.wanted} already"
        say(host, "is being stopped")
        await self._bring(host, ServiceState.STOPPED)
        say(host, f"is being switched to {self.step.release or self.step.backup}")
        await self.way.switch(self.transport, host)
        say(host, "is being started")
        await self._bring(host, ServiceState.RUNNING)
        say(host, "is asked for its health")
        answers = await until_healthy(
            self.asker,
            [host],
            limit=1,
            every=self.step.every.total_seconds(),
            within=self.step.within.total_seconds(),
            clock=self.context.clock,
            seen=lambda _answers: None,
        )
        answer = answers[host.name]
        if answer.healthy:
            return self.wanted
        raise HostError(
            host.name,
            f"switched and started, and not healthy within {format_duration(self.step.within)}: {answer.why}.",
            untouched="The hosts of later batches run as before.",
            resolution="Look at the service's own log on the host.",
        )

    async def _bring(self, host: Host, wanted: ServiceState) -> None:
        await servers_manager.bring(self.transport, host, self.group, wanted=wanted, clock=self.context.clock)


class RollActuator:
    """Goes through a group batch by batch."""

    async def check(self, step: RollRelease, context: Context) -> tuple[Check, ...]:
        """Verify access, that the release can be switched, that hosts can be asked, and how far batches reach."""
        try:
            async with (
                servers_hosts.opened(step, context) as (group, transport),
                asking(group, transport, context.clock, version=step.version),
            ):
                way = _way(step, group, context)
                access, hosts = await check_access(step, group, transport)
                if not hosts:
                    return access

                async def status(host: Host) -> Finding:
                    return Finding((await servers_manager.state_of(transport, host, group.manager)).value)

                async def ready(host: Host) -> Finding:
                    return await way.ready(transport, host)

                limit = at_once(group, step.limit)
                service, _ = await survey(f"Service on {step.target}", hosts, status, limit=limit)
                subject = f"Release {step.release or step.backup} on {step.target}"
                release, _ = await survey(subject, hosts, ready, limit=limit)
        except ActuatorError as error:
            return (no_way(step, error),)
        return (*access, service, release, _reach(step, group))

    async def observe(self, step: RollRelease, context: Context) -> Observation:
        """Look at the release, the service and the health of every host."""
        try:
            async with (
                servers_hosts.opened(step, context) as (group, transport),
                asking(group, transport, context.clock, version=step.version) as asker,
            ):
                rolling = _Rolling(step, group, transport, _way(step, group, context), asker, context)
                results = await across(group.hosts, rolling.state, limit=at_once(group, step.limit))
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        return observed(results.good, results.bad, total=len(group.hosts), wanted=rolling.wanted)

    async def apply(self, step: RollRelease, context: Context) -> Outcome:
        """Roll batch after batch; a batch with too many failures is the last one."""
        async with (
            servers_hosts.opened(step, context) as (group, transport),
            asking(group, transport, context.clock, version=step.version) as asker,
        ):
            rolling = _Rolling(step, group, transport, _way(step, group, context), asker, context)
            doing, total, ended_so_far = f"Rolling to {step.release or step.backup}", len(group.hosts), 0
            split = list(batches(group.hosts, step.serial))
            number = {host.name: at for at, batch in enumerate(split, start=1) for host in batch}

            def say(host: Host, what: str) -> None:
                words = f"{doing}, batch {number[host.name]} of {len(split)}: {host.name} {what}"
                context.report(Progress(ended_so_far, total, "hosts", words))

            def ended(done: int, host: Host) -> None:
                nonlocal ended_so_far
                ended_so_far = done
                say(host, "has ended")

            async def one(host: Host) -> str:
                return await rolling.roll(host, say)

            context.report(Progress(0, total, "hosts", doing))
            results = await in_batches(step, group, one, ended=ended)
            if results.bad:
                raise partly(doing, results=results, total=total)
            return Outcome(tally(results.good, total=total), {"hosts": results.good})

    async def remedies(self, step: RollRelease, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what runs where, and what a denied permission needs."""
        return help_with_servers(step, fault, context)


def _way(step: RollRelease, group: ServerGroup, context: Context) -> _Way:
    """Return how the release is switched: by its link, or by unpacking its artifact.

    Raises:
        ActuatorError: If the plan has no such artifact backup.
    """
    if step.release is not None:
        release = Release(step.release, step.backup, group, context)

        async def linked(transport: Transport, host: Host) -> str:
            return await servers_release.linked(transport, host, group)

        async def ready(transport: Transport, host: Host) -> Finding:
            await release.available(transport, host)
            return await release.switchable(transport, host)

        return _Way(f"on {step.release}", linked, release.switch, ready)
    folder: ServiceFolder = servers_unpack.folder_of(step, step.backup or "", group, context)
    return _Way(folder.wanted, folder.state, folder.replace, folder.ready)


def _reach(step: RollRelease, group: ServerGroup) -> Check:
    """Tell the batches, and warn where one of them is the whole service."""
    sizes = [len(batch) for batch in batches(group.hosts, step.serial)]
    shown = named(map(str, sizes)) if len(sizes) <= _FEW else f"at most {max(sizes)}"
    subject, words = f"Batches of {step.target}", f"{len(sizes)} of {shown} hosts"
    if max(sizes) < len(group.hosts):
        return Check(subject, Verdict.OK, words)
    return Check(
        subject,
        Verdict.WARN,
        f"{words}: all hosts are down at the same time.",
        "Set `serial` to fewer hosts than the group has, or accept the interruption.",
    )


def register() -> tuple[Registered[Any], ...]:
    """Return the step of this module with its actuator."""
    return (Registered(RollRelease, RollActuator()),)
