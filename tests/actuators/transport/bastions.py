"""Bastions: SSH servers that run nothing and only let connections through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from tests.support.ssh import access


class _Door(asyncssh.SSHServer):
    """Decides about one connection."""

    def __init__(self, bastion: Bastion) -> None:
        self._bastion = bastion

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Note that somebody has come."""
        self._bastion.connections.append(conn)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """Let a connection through, or not."""
        del orig_host, orig_port
        self._bastion.asked.append(f"{dest_host}:{dest_port}")
        if not self._bastion.forwards:
            # As sshd answers where AllowTcpForwarding is off.
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
        return True


@dataclass
class Bastion:
    """A bastion with a host key and a login of its own.

    Attributes:
        address: Where it listens.
        key: Its host key.
        port: Where it listens.
        forwards: Whether it lets connections through.
        asked: Where connections were asked for.
        connections: Who has come.
        way: The bastion as the inventory names it.
    """

    address: str
    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    port: int = 0
    forwards: bool = True
    asked: list[str] = field(default_factory=list)
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    way: dict[str, Any] = field(default_factory=dict)

    def open_connections(self) -> int:
        """Count the connections that still stand."""
        return sum(not connection.is_closed() for connection in self.connections)

    def cut(self) -> None:
        """Cut every connection, as a network does."""
        for connection in self.connections:
            connection.abort()


@asynccontextmanager
async def bastion(folder: Path, address: str) -> AsyncIterator[Bastion]:
    """Run a bastion.

    Args:
        folder: For its files; made here.
        address: Where it listens.
    """
    made, key = Bastion(address), asyncssh.generate_private_key("ssh-ed25519")
    await asyncio.to_thread(folder.mkdir)
    public = asyncssh.import_authorized_keys(key.export_public_key().decode())
    acceptor = await asyncssh.listen(
        address,
        0,
        server_factory=lambda: _Door(made),
        server_host_keys=[made.key],
        authorized_client_keys=public,
    )
    made.port = acceptor.get_port()
    made.way = {"address": address, "port": made.port, "user": "jump", **access(folder, key, [made])}
    try:
        yield made
    finally:
        acceptor.close()
        await acceptor.wait_closed()
        made.cut()
