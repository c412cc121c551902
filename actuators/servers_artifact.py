"""The artifact of a release as it lies on a host, looked at before anything is unpacked from it."""

from __future__ import annotations

from actuators.transport import HostError, Transport
from bot.domain.inventory import Host
from bot.domain.plan import Backup

_LISTING = 300.0


async def sound(transport: Transport, host: Host, artifact: Backup, *, untouched: str, folder: str = "") -> None:
    """Look whether an artifact is whole: its digest if the plan has one, and every member readable.

    Args:
        transport: The way to the host.
        host: Where it lies.
        artifact: The plan's backup.
        untouched: What was left as it was if it is not.
        folder: The release folder that is missing, if that is why it is needed.

    Raises:
        HostError: If it is missing, another one, damaged or empty.
    """
    path = artifact.location
    digest = (await transport.digests(host, [path]))[path]
    if digest is None:
        gone = f"the release folder {folder} is not there, and neither is " if folder else ""
        raise HostError(
            host.name,
            f"{gone}the artifact {path}{'' if folder else ' is not there'}.",
            untouched=untouched,
            resolution="Look for another copy of the artifact; without one, this rollback is not possible.",
        )
    if artifact.sha256 is not None and digest != artifact.sha256:
        raise HostError(
            host.name,
            f"the artifact {path} is not the one of the plan: its SHA-256 begins with {digest[:12]},"
            f" the plan's with {artifact.sha256[:12]}.",
            untouched=untouched,
            resolution="Find the artifact that was backed up before the deployment, and put it there.",
        )
    finished = await transport.run(host, ["tar", "-tzf", path], sudo=True, timeout=_LISTING)
    if not finished.ok or not finished.stdout:
        raise HostError(
            host.name,
            f"the artifact {path} is damaged or empty: {finished.complaint().splitlines()[-1]}.",
            untouched=untouched,
            resolution="Look for another copy of the artifact; without one, this rollback is not possible.",
            output=finished.complaint() if not finished.ok else "",
        )
