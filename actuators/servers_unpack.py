"""servers.unpack: a service whose folder is the release itself, replaced by what its artifact holds."""

from __future__ import annotations

import posixpath
from typing import Any, Literal

from pydantic import Field, field_validator

from actuators import servers_hosts
from actuators.servers_access import check_access, no_way
from actuators.servers_batches import BatchedStep, in_batches
from actuators.servers_folder import ServiceFolder
from actuators.servers_help import help_with_servers
from actuators.servers_hosts import Finding, across, at_once, backup_of, observed, partly, survey, tally
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Registered, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import BackupKind


class UnpackingStep(BatchedStep):
    """A step that may unpack an artifact.

    Attributes:
        strip: Leading folders of the archive's paths that are dropped, as tar's ``--strip-components``.
        keep: Paths within the folder that are carried over from the old one, e.g. ``data``.
    """

    strip: int = Field(default=0, ge=0, le=5)
    keep: tuple[str, ...] = ()

    @field_validator("keep")
    @classmethod
    def _inside(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for path in keep:
            plain = posixpath.normpath(path) == path and not path.startswith(("/", "..", "-"))
            if not plain or path == ".":
                raise ValueError(f"{path!r} must be a plain path within the folder, such as data or etc/app.conf")
        return keep


class UnpackArtifact(UnpackingStep):
    """Replace the service's folder on every host of a server group by what an artifact holds.

    Attributes:
        backup: An artifact backup (tar.gz on the hosts) with its `sha256`.
    """

    kind: Literal["servers.unpack"] = "servers.unpack"
    backup: str

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Unpack {self.backup} on {self.target}"


class UnpackActuator:
    """Makes the new folder beside the old one, and lets them change places."""

    async def check(self, step: UnpackArtifact, context: Context) -> tuple[Check, ...]:
        """Verify access, that the artifact is the plan's, and that there is room; tell what would be left out."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                folder = folder_of(step, step.backup, group, context)
                access, hosts = await check_access(step, group, transport)
                if not hosts:
                    return access

                async def ready(host: Host) -> Finding:
                    return await folder.ready(transport, host)

                limit = at_once(group, step.limit)
                found, _ = await survey(f"Artifact {step.backup} on {step.target}", hosts, ready, limit=limit)
        except ActuatorError as error:
            return (no_way(step, error),)
        return (*access, found)

    async def observe(self, step: UnpackArtifact, context: Context) -> Observation:
        """Look on every host whether the folder is what the artifact makes, file by file."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                folder = folder_of(step, step.backup, group, context)
                results = await across(
                    group.hosts, lambda host: folder.state(transport, host), limit=at_once(group, step.limit)
                )
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        return observed(results.good, results.bad, total=len(group.hosts), wanted=folder.wanted)

    async def apply(self, step: UnpackArtifact, context: Context) -> Outcome:
        """Replace the folder on every host where it is not so already."""
        async with servers_hosts.opened(step, context) as (group, transport):
            folder = folder_of(step, step.backup, group, context)
            doing, total = f"Unpacking {step.backup}", len(group.hosts)

            async def one(host: Host) -> str:
                return await folder.replace(transport, host)

            def ended(done: int, host: Host) -> None:
                context.report(Progress(done, total, "hosts", f"{doing}: {host.name} has ended"))

            context.report(Progress(0, total, "hosts", doing))
            results = await in_batches(step, group, one, ended=ended)
            if results.bad:
                raise partly(doing, results=results, total=total)
            return Outcome(tally(results.good, total=total), {"hosts": results.good})

    async def remedies(self, step: UnpackArtifact, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what runs where, and what a denied permission needs."""
        return help_with_servers(step, fault, context)


def folder_of(step: UnpackingStep, backup: str, group: ServerGroup, context: Context) -> ServiceFolder:
    """Return the folder that an artifact is unpacked into.

    Raises:
        ActuatorError: If the plan has no such artifact, or does not pin it by its digest.
    """
    artifact = backup_of(backup, BackupKind.ARTIFACT, context)
    if artifact.sha256 is None:
        raise ActuatorError(
            f"The plan does not pin the artifact {backup} by its digest.",
            untouched="No host was contacted.",
            resolution="Add `sha256` to that backup in the plan: else any file of that name would be unpacked.",
        )
    kept = f".before-{context.rollback_id}-{context.clock.now():%Y%m%d}"
    return ServiceFolder(group, artifact, strip=step.strip, keep=step.keep, kept=kept)


def register() -> tuple[Registered[Any], ...]:
    """Return the step of this module with its actuator."""
    return (Registered(UnpackArtifact, UnpackActuator()),)
