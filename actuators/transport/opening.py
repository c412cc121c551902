"""Opens the way to a server group for the time of one step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actuators.transport.base import Transport
from actuators.transport.local import Local
from actuators.transport.ssh import Ssh
from bot.domain.inventory import ServerGroup


@asynccontextmanager
async def open_group(group: ServerGroup, token: str) -> AsyncIterator[Transport]:
    """Give the way to the hosts of a group; one connection per host, made at the first use, closed at the end.

    Args:
        group: The hosts and how to reach them.
        token: A name unique to the step of the run (`Context.token`), for temporary files on the hosts.

    Raises:
        ActuatorError: If the private key or the file of known hosts cannot be used. Hosts that cannot be reached
            show at their first use.
    """
    if group.ssh is None:
        yield Local(token=token)
        return
    ssh = Ssh(group.ssh, token=token)
    try:
        yield ssh
    finally:
        await ssh.close()
