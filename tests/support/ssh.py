"""SSH servers in this process, one a host, that run real commands."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import asyncssh

from tests.support.hosts import HERE, Estate, Folder, group

NOBODY = 65534


@dataclass
class SshHost:
    """An SSH server in this process that runs real commands in a host's folder.

    Attributes:
        folder: What lies on the host.
        address: Where it listens.
        port: Where it listens.
        key: The host's key.
        as_nobody: Whether the commands run without any rights of root.
        sudo_elevates: Whether those that begin with sudo have them all the same.
    """

    folder: Folder
    address: str
    key: asyncssh.SSHKey
    port: int = 0
    as_nobody: bool = False
    sudo_elevates: bool = False
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    _children: list[asyncio.subprocess.Process] = field(default_factory=list)
    _acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self, authorized: asyncssh.SSHKey) -> None:
        """Listen, and let one key in."""
        public = asyncssh.import_authorized_keys(authorized.export_public_key().decode())
        self._acceptor = await asyncssh.listen(
            self.address,
            self.port,
            server_host_keys=[self.key],
            authorized_client_keys=public,
            process_factory=self._handle,
            encoding=None,
            acceptor=self.connections.append,
        )
        self.port = self._acceptor.get_port()

    async def stop(self) -> None:
        """Stop listening, end every connection and whatever was started."""
        if self._acceptor is None:
            return
        self._acceptor.close()
        await self._acceptor.wait_closed()
        self.cut()
        for child in self._children:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
        self._acceptor = None

    def cut(self) -> None:
        """Cut every connection, as a network does."""
        for connection in self.connections:
            connection.abort()

    def open_connections(self) -> int:
        """Count the connections that still stand."""
        return sum(not connection.is_closed() for connection in self.connections)

    async def _handle(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        elevated = self.sudo_elevates and (process.command or "").startswith("sudo -n -- ")
        nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        nobody = nobody if self.as_nobody and not elevated else {}
        child = await asyncio.create_subprocess_exec(
            *("sh", "-c", process.command or "true"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder.root,
            env={"PATH": f"{self.folder.root}/bin:{os.environ['PATH']}"},
            start_new_session=True,
            **nobody,
        )
        self._children.append(child)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(_feed(process.stdin, child.stdin))
            tasks.create_task(_copy(child.stdout, process.stdout))
            tasks.create_task(_copy(child.stderr, process.stderr))
            code = await child.wait()
            feeding.cancel()
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    """Hand on what the client sends; its end, and a cut connection, are the end of the command's input."""
    with suppress(asyncssh.Error, OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _copy(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    """Hand on what the command says; nobody may be listening any more."""
    while data := await source.read(65536):
        with suppress(asyncssh.Error, OSError):
            sink.write(data)
            await sink.drain()


@dataclass
class SshEstate(Estate):
    """A group over asyncssh.

    Attributes:
        servers: By host.
    """

    servers: dict[str, SshHost] = field(default_factory=dict)


@asynccontextmanager
async def ssh_estate(root: Path, *, hosts: int = 3, sudo: bool = False) -> AsyncIterator[SshEstate]:
    """Give a group of hosts on loopback addresses of their own.

    Args:
        root: An empty folder.
        hosts: How many.
        sudo: Whether the group uses sudo.
    """
    key = asyncssh.generate_private_key("ssh-ed25519")
    servers: dict[str, SshHost] = {}
    try:
        for number in range(1, hosts + 1):
            folder = Folder(root / f"app{number:02}", HERE)
            folder.build()
            host_key = asyncssh.generate_private_key("ssh-ed25519")
            servers[f"app{number:02}"] = SshHost(folder, f"127.0.1.{number}", host_key)
            await servers[f"app{number:02}"].start(key)
        ssh = {"user": "deploy", **access(root, key, servers.values()), "sudo": sudo, "connect_timeout": "5s"}
        where = [{"name": name, "address": host.address, "port": host.port} for name, host in servers.items()]
        folders = {name: host.folder for name, host in servers.items()}
        yield SshEstate(folders, group(HERE, where, ssh=ssh), servers=servers)
    finally:
        for server in servers.values():
            await server.stop()
            server.folder.end_service()


class Listening(Protocol):
    """A host with an address and a key."""

    address: str
    port: int
    key: asyncssh.SSHKey


def access(root: Path, key: asyncssh.SSHKey, hosts: Iterable[Listening]) -> dict[str, Any]:
    """Write the private key and the file of known hosts, and return them as the inventory names them."""
    private = root / "key"
    private.write_bytes(key.export_private_key())
    private.chmod(0o600)
    known = root / "known_hosts"
    lines = [f"[{host.address}]:{host.port} {host.key.export_public_key().decode()}" for host in hosts]
    known.write_text("".join(lines))
    return {"key": {"file": str(private)}, "known_hosts": str(known)}
