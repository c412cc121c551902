"""Routers as their vendors' command lines behave: state, timers, prompts, paging and errors, on asyncssh."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from tests.support.actuation import FakeClock
from tests.support.ssh import access

WELCOME = "\r\n*** Authorised use only: everything is recorded ***\r\n\r\n"
PAGE = 22


class CutError(Exception):
    """The connection is cut here."""


@dataclass
class Terminal:
    """What one session has of its own.

    Attributes:
        paging: Whether long answers stop at --More--.
        prompt: What is printed when a command has ended.
        candidate: What the session edits, on Junos.
    """

    prompt: str
    paging: bool = True
    candidate: str | None = None


@dataclass
class Router:
    """A device that keeps its state over sessions.

    Attributes:
        clock: Its timers go by it.
        key: Its host key.
        address: Where it listens.
        cut: Beginnings of commands in which the connection is lost, and whether they are carried out before.
        instead: What it answers to a command in place of the usual.
        silent: Whether no new session gets a prompt.
        pages_always: Whether it pages although it was told not to.
        asked: Every command it got.
        losing: Share of pings that get lost, 0..1.
    """

    clock: FakeClock = field(default_factory=FakeClock)
    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    address: str = "127.0.0.1"
    port: int = 0
    name: str = "edge01"
    cut: dict[str, bool] = field(default_factory=dict)
    instead: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    pages_always: bool = False
    asked: list[str] = field(default_factory=list)
    losing: float = 0.0
    password: str = ""
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)

    def terminal(self) -> Terminal:
        """Return a new session."""
        raise NotImplementedError

    def answer(self, command: str, terminal: Terminal) -> str:
        """Carry a command out and return what is printed."""
        raise NotImplementedError

    def config(self) -> str:
        """Return what is in force."""
        raise NotImplementedError

    def tick(self) -> None:
        """Let timers that have ended act."""
        raise NotImplementedError

    def state(self) -> object:
        """Return everything that a step could change."""
        raise NotImplementedError

    def reachable(self) -> bool:
        """Return whether a new session gets through to the device."""
        self.tick()
        return not self.silent and "deny management" not in self.config()

    def loss(self, host: str) -> float:
        """Return the share of pings to a host that get lost."""
        return 1.0 if "shutdown" in self.config() or host.startswith("dark") else self.losing

    def trace(self, host: str) -> list[str] | None:
        """Return the hops to a host, an empty one where nobody answers; None: nobody knows the host."""
        if host.startswith("nowhere"):
            return None
        first = re.findall(r"10\.1\.1\.[19]\b", self.config())[0]
        return [first, "", "", ""] if self.loss(host) else [first, "", "10.20.0.5"]

    async def serve(self, process: asyncssh.SSHServerProcess[str]) -> None:
        """Hold a session."""
        if not self.reachable():
            process.channel.get_connection().abort()
            return
        terminal = self.terminal()
        process.stdout.write(f"{WELCOME}{terminal.prompt}")
        try:
            while line := await self._line(process):
                command = line.strip()
                process.stdout.write(f"{command}\r\n")
                await self._print(process, self._act(command, terminal), terminal)
                process.stdout.write(terminal.prompt)
        except (CutError, asyncssh.Error, OSError):
            process.channel.get_connection().abort()
            return
        process.exit(0)

    async def _line(self, process: asyncssh.SSHServerProcess[str]) -> str:
        line = ""
        while not line.endswith("\n"):
            character = await process.stdin.read(1)
            if not character:
                return ""
            line += character
        return line

    def _act(self, command: str, terminal: Terminal) -> str:
        self.tick()
        self.asked.append(command)
        cut = next((start for start in self.cut if command.startswith(start)), None)
        if cut is not None and not self.cut.pop(cut):
            raise CutError
        if command in self.instead:
            return self.instead[command]
        said = self.answer(command, terminal)
        if cut is not None:
            raise CutError
        return said

    async def _print(self, process: asyncssh.SSHServerProcess[str], said: str, terminal: Terminal) -> None:
        if said.endswith("[confirm]"):  # a question: the prompt never comes
            process.stdout.write(said)
            await process.stdin.read()
            raise CutError
        lines = said.split("\n") if said else []
        for number, line in enumerate(lines, start=1):
            process.stdout.write(f"{line}\r\n")
            if (terminal.paging or self.pages_always) and number % PAGE == 0:
                process.stdout.write(" --More-- ")
                if await process.stdin.read(1) != " ":
                    raise CutError
                process.stdout.write("\b" * 10 + " " * 10 + "\b" * 10)


def lines_of(config: str) -> list[str]:
    """Return the lines of a configuration that count."""
    return [line for line in config.splitlines() if line.strip() not in {"", "!"}]


def differences(old: str, new: str) -> list[str]:
    """Return what comes (+) and what goes (-) from one configuration to the other."""
    before, after = lines_of(old), lines_of(new)
    return [f"+{line}" for line in after if line not in before] + [
        f"-{line}" for line in before if line not in after
    ]


class _Door(asyncssh.SSHServer):
    """Takes a password, where the router has one."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection, so that it can be cut."""
        self._router.connections.append(conn)

    def password_auth_supported(self) -> bool:
        """Return whether there is a password."""
        return bool(self._router.password)

    def validate_password(self, username: str, password: str) -> bool:
        """Return whether it is the right one."""
        return username == "rollback" and password == self._router.password


@asynccontextmanager
async def running(router: Router, folder: Path, *, platform: str, **fields: Any) -> AsyncIterator[dict[str, Any]]:
    """Let a router listen, and give its entry of the inventory.

    Args:
        router: The router.
        folder: Where the client's key and the known hosts are written.
        platform: What the inventory calls it.
        fields: Further fields of the entry.
    """
    key = asyncssh.generate_private_key("ssh-ed25519")
    acceptor = await asyncssh.listen(
        router.address,
        router.port,
        server_factory=lambda: _Door(router),
        server_host_keys=[router.key],
        authorized_client_keys=asyncssh.import_authorized_keys(key.export_public_key().decode()),
        process_factory=router.serve,
        line_editor=False,
    )
    router.port = acceptor.get_port()
    try:
        yield {
            "service": "payments",
            "platform": platform,
            "address": router.address,
            "port": router.port,
            "user": "rollback",
            "connect_timeout": "3s",
            **access(folder, key, [router]),
            **fields,
        }
    finally:
        acceptor.close()
        for connection in router.connections:
            connection.abort()
        await acceptor.wait_closed()
