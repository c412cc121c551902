"""The way to the machine of an FRR router: single commands over SSH, with exit codes, and no terminal."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from actuators.network.session import SHORT, SessionCutError
from actuators.processes import Finished
from actuators.transport.base import HostError
from actuators.transport.ssh import Ssh
from bot.domain.inventory import FrrMachine, Host, NetworkDevice
from bot.domain.inventory import Ssh as Access


class Shell:
    """The machine of an FRR router.

    Args:
        name: The device's name in the inventory.
        device: The device.
        ssh: The open way.
    """

    def __init__(self, name: str, device: NetworkDevice, ssh: Ssh) -> None:
        self.name = name
        self.machine = device.frr or FrrMachine()
        self._host = Host(name=name, address=device.address, port=device.port)
        self._ssh = ssh

    async def run(self, command: str, *, seconds: float = SHORT) -> str:
        """Run a command line without a shell, and return what it printed, messages last.

        Raises:
            ActuatorError: If the connection was cut, or the time was up.
        """
        finished = await self.program(shlex.split(command), seconds=seconds)
        return f"{finished.out}{finished.err}".strip("\n")

    async def program(self, argv: Sequence[str], *, seconds: float = SHORT) -> Finished:
        """Run a program to its end, whatever its exit code.

        Raises:
            HostError: If the connection was cut, or the time was up.
        """
        return await self._ssh.run(self._host, argv, timeout=seconds)

    async def script(self, text: str, *arguments: str, seconds: float = SHORT) -> Finished:
        """Run a script of the shell with arguments.

        Raises:
            SessionCutError: If the connection was cut or nothing came in time: how far it came is not known.
        """
        try:
            return await self.program(["sh", "-c", text, "sh", *arguments], seconds=seconds)
        except HostError as error:
            raise SessionCutError(
                error.brief,
                untouched="How far the router came is not known; what is not confirmed it takes back by itself.",
                resolution=error.resolution,
                transient=True,
            ) from None


@asynccontextmanager
async def opened(name: str, device: NetworkDevice) -> AsyncIterator[Shell]:
    """Give the machine's shell, from a login of its own, closed at the end.

    Raises:
        ActuatorError: If it cannot be reached, is not the one on record, or refuses the login.
    """
    assert device.key is not None  # noqa: S101 - a rule of the inventory for this platform
    access = Access(
        user=device.user, key=device.key, known_hosts=device.known_hosts, connect_timeout=device.connect_timeout
    )
    ssh = Ssh(access, token=name)
    try:
        shell = Shell(name, device, ssh)
        await shell.program(["true"])
        yield shell
    finally:
        await ssh.close()
