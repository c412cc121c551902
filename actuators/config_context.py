"""The SELinux contexts of configuration files: read before a file is replaced, and compared afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actuators.servers_hosts import named
from actuators.transport import HostError, Transport
from bot.domain.inventory import Host

_CONTEXTS = """LC_ALL=C
export LC_ALL
for path; do printf '%s\\n' "$(ls -dZ -- "$path" 2>/dev/null | head -n 1 | cut -d' ' -f1)"; done
"""
"""Prints ``?`` or nothing where there is none, or no ``-Z``."""
_LABEL = """PATH=$PATH:/usr/sbin:/sbin
command -v restorecon >/dev/null || exit 0
case $(getenforce 2>/dev/null) in Enforcing | Permissive) exec restorecon -- "$1" ;; esac
"""

CHANGED = "another SELinux context"
"""What a failure of `verify` says, so that the remedies know it."""


async def contexts(transport: Transport, host: Host, paths: Iterable[str]) -> dict[str, str]:
    """Return the context of each path as its extended attribute says; empty where there is none.

    Raises:
        HostError: If the host cannot be asked.
    """
    listed = list(paths)
    if not listed:
        return {}
    said = (await transport.run(host, ["sh", "-c", _CONTEXTS, "sh", *listed], sudo=True)).out.splitlines()
    return {path: context.strip("?") for path, context in zip(listed, said, strict=False)}


async def verify(transport: Transport, host: Host, before: Mapping[str, str]) -> None:
    """Compare the contexts of replaced files with those that they had.

    Args:
        transport: The way to the host.
        host: Which.
        before: The context that each path had.

    Raises:
        HostError: If one has another context now, as where the login may not set it.
    """
    after = await contexts(transport, host, before)
    lost = [path for path, context in before.items() if context != after.get(path)]
    if lost:
        now, was = after.get(lost[0]) or "none", before[lost[0]] or "none"
        raise HostError(
            host.name,
            f"{named(lost)} restored with {CHANGED}: {now}, and it was {was}.",
            untouched="Content, owner and mode are right.",
            resolution=f"Put it right before the service starts: restorecon -v {lost[0]}.",
        )


async def label(transport: Transport, host: Host, path: str) -> None:
    """Give a file that was not there before the context that the policy says of its name.

    It was made under a temporary name, which the policy may label otherwise. Without SELinux nothing happens.

    Raises:
        HostError: If the host cannot be asked, or restorecon fails.
    """
    finished = await transport.run(host, ["sh", "-c", _LABEL, "sh", path], sudo=True)
    if not finished.ok:
        raise HostError(
            host.name,
            f"{path} restored with {CHANGED}, as restorecon fails: {finished.complaint().splitlines()[-1]}",
            untouched="Content, owner and mode are right.",
            resolution=f"Put it right before the service starts: restorecon -v {path}.",
            output=finished.complaint(),
        )
