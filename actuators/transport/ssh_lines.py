"""The connections to the hosts of a group, and those to the bastions on the way."""

from __future__ import annotations

import asyncio

import asyncssh

from actuators.transport import ssh_connect
from actuators.transport.base import HostError
from actuators.transport.ssh_connect import Hop
from bot.domain.inventory import Host
from bot.domain.inventory import Ssh as Access

_CLOSING = 2.0


class Lines:
    """One connection a host, made at the first use; one for all of them to each bastion on the way.

    Args:
        access: How the hosts are reached.

    Raises:
        ActuatorError: If a private key or a file of known hosts cannot be used.
    """

    def __init__(self, access: Access) -> None:
        self._login = ssh_connect.login(access)
        self._chain = ssh_connect.chain(access)
        self._timeout = access.connect_timeout.total_seconds()
        self._open: dict[Host, asyncssh.SSHClientConnection] = {}
        self._opening: dict[Host, asyncio.Lock] = {}
        self._tunnels: list[asyncssh.SSHClientConnection] = []
        self._tunnelling = asyncio.Lock()
        self._tries = 0
        self._failure: HostError | None = None

    async def to(self, host: Host) -> asyncssh.SSHClientConnection:
        """Return the connection to a host.

        Raises:
            HostError: If it cannot be made; its words tell the hop that failed.
        """
        async with self._opening.setdefault(host, asyncio.Lock()):
            known = self._open.get(host)
            if known is not None and not known.is_closed():
                return known
            hop = Hop(host.address, host.port, self._login, f"{host.address}:{host.port}")
            tunnel = await self._tunnel(host)
            behind = self._chain[-1].name if tunnel else ""
            self._open[host] = await ssh_connect.connect(
                host, hop, timeout=self._timeout, tunnel=tunnel, behind=behind
            )
            return self._open[host]

    def whole(self) -> bool:
        """Return whether every connection that was made still stands."""
        return not any(each.is_closed() for each in (*self._tunnels, *self._open.values()))

    def loss(self) -> str:
        """Return what was lost, in words, when a command found its connection gone."""
        for hop, tunnel in zip(self._chain, self._tunnels, strict=False):
            if tunnel.is_closed():
                return f"the connection to {hop.name} was lost"
        return "the connection was lost"

    async def close(self) -> None:
        """Close every connection, the bastions' last. When cancelled meanwhile, they are dropped."""
        connections = [*self._open.values(), *reversed(self._tunnels)]
        self._open.clear()
        self._tunnels.clear()
        try:
            async with asyncio.timeout(_CLOSING):
                for connection in connections:
                    connection.close()
                for connection in connections:
                    await connection.wait_closed()
        except TimeoutError:
            # A host that has vanished does not say goodbye.
            return
        finally:
            for connection in connections:
                connection.abort()

    async def _tunnel(self, host: Host) -> asyncssh.SSHClientConnection | None:
        """Return the connection to the last bastion. Hosts that waited for the same failure share it."""
        if not self._chain:
            return None
        asked_at = self._tries
        async with self._tunnelling:
            if self._tunnels and not any(tunnel.is_closed() for tunnel in self._tunnels):
                return self._tunnels[-1]
            if self._failure is not None and self._tries > asked_at:
                raise _same(self._failure, host)
            try:
                await self._through(host)
            finally:
                self._tries += 1
            return self._tunnels[-1]

    async def _through(self, host: Host) -> None:
        """Connect to every bastion, each through the one before."""
        for tunnel in self._tunnels:
            tunnel.abort()
        self._tunnels.clear()
        behind, self._failure = "", None
        for hop in self._chain:
            before = self._tunnels[-1] if self._tunnels else None
            try:
                self._tunnels.append(
                    await ssh_connect.connect(host, hop, timeout=self._timeout, tunnel=before, behind=behind)
                )
            except HostError as error:
                self._failure = error
                for tunnel in self._tunnels:
                    tunnel.abort()
                self._tunnels.clear()
                raise
            behind = hop.name


def _same(error: HostError, host: Host) -> HostError:
    """Return the failure that another host met on the common way."""
    return type(error)(
        host.name,
        error.what,
        untouched=error.untouched,
        resolution=error.resolution,
        transient=error.transient,
        output=error.output,
    )
