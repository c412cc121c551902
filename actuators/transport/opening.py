"""Opens the way to a server group for the time of one step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actuators.transport import kept
from actuators.transport.base import Transport
from actuators.transport.local import Local
from actuators.transport.ssh import Ssh
from bot.domain.inventory import ServerGroup
from bot.domain.inventory import Ssh as Access


@asynccontextmanager
async def open_group(group: ServerGroup, token: str, *, run: str = "") -> AsyncIterator[Transport]:
    """Give the way to the hosts of a group; one connection per host, made at the first use, closed at the end.

    Args:
        group: The hosts and how to reach them.
        token: A name unique to the step of the run (`Context.token`), for temporary files on the hosts.
        run: The run, if its next step may take the connections over (`actuators.transport.kept`).

    Raises:
        ActuatorError: If the private key or the file of known hosts cannot be used. Hosts that cannot be reached
            show at their first use.
    """
    if group.ssh is None:
        yield Local(token=token)
    elif run:
        async with _kept(group.ssh, token, run) as ssh:
            yield ssh
    else:
        ssh = Ssh(group.ssh, token=token)
        try:
            yield ssh
        finally:
            await ssh.close()


@asynccontextmanager
async def _kept(access: Access, token: str, run: str) -> AsyncIterator[Ssh]:
    keeper = await kept.keeper()
    # Reading keys and known hosts anew finds out what cannot be used before anything idle is looked for.
    ssh = Ssh(access, token=token)
    way = kept.way(run, access)
    left = await keeper.take(way)
    if left is not None:
        ssh.lines = left
    well = False
    try:
        yield ssh
        well = True
    finally:
        if well:
            await keeper.leave(way, ssh.lines)
        else:
            await ssh.close()
