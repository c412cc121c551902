"""Hosts over SSH: keys only, host keys always checked, one connection a host."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import asyncssh

from actuators.processes import Finished
from actuators.redact import redact
from actuators.transport import ssh_session
from actuators.transport.base import SHORT, HostError, HostUnreachableError, SudoRefusedError
from actuators.transport.remote_files import RemoteFiles
from actuators.transport.ssh_lines import Lines
from bot.domain.inventory import Host
from bot.domain.inventory import Ssh as Access

_NOT_FOUND = 127


class Ssh(RemoteFiles):
    """The hosts of one group over SSH.

    Args:
        access: How they are reached.
        token: A name unique to the step of the run, for temporary files.

    Attributes:
        lines: The connections.

    Raises:
        ActuatorError: If the private key or the file of known hosts cannot be used.
    """

    def __init__(self, access: Access, *, token: str) -> None:
        super().__init__(token=token)
        self._access = access
        self.lines = Lines(access)

    async def run(
        self,
        host: Host,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        stdin: bytes | None = None,
        timeout: float = SHORT,  # noqa: ASYNC109 - see the protocol
        leashed: bool = True,
    ) -> Finished:
        """Run a command. SSH carries a string, so the arguments are quoted for the login's shell."""
        as_root = sudo and self._access.sudo
        inner = ssh_session.leash(argv) if leashed and stdin is None else list(argv)
        command = shlex.join(["sudo", "-n", "--", *inner] if as_root else inner)
        try:
            finished = await self._execute(host, command, stdin=stdin, timeout=timeout)
        except TimeoutError:
            raise _too_long(host, argv, timeout) from None
        except (asyncssh.Error, OSError) as error:
            raise _cut(host, argv, redact(str(error))) from None
        if finished is None:
            raise _cut(host, argv, self.lines.loss())
        if as_root:
            _refuse_sudo(host, finished, user=self._access.user)
        return finished

    async def _execute(
        self,
        host: Host,
        command: str,
        *,
        stdin: bytes | None,
        timeout: float,  # noqa: ASYNC109 - see the protocol
    ) -> Finished | None:
        connection = await self.lines.to(host)
        try:
            return await ssh_session.execute(connection, command, stdin=stdin, timeout=timeout)
        except asyncssh.ChannelOpenError as error:
            if error.code != asyncssh.OPEN_CONNECT_FAILED or not connection.is_closed():
                raise
        # The connection had ended before it took the command, which was therefore not begun: a new one is safe.
        connection = await self.lines.to(host)
        return await ssh_session.execute(connection, command, stdin=stdin, timeout=timeout)

    async def close(self) -> None:
        """Close every connection. When cancelled meanwhile, they are dropped."""
        await self.lines.close()


def _shown(argv: Sequence[str]) -> str:
    """Return a command for people: without the text of a script, short, redacted."""
    words = ["sh" if argv[:2] == ["sh", "-c"] else argv[0], *(argv[4:] if argv[:2] == ["sh", "-c"] else argv[1:])]
    text = redact(shlex.join(words))
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - fits a line of chat


def _too_long(host: Host, argv: Sequence[str], timeout: float) -> HostError:
    return HostError(
        host.name,
        f"`{_shown(argv)}` ran longer than {timeout:g} seconds and was stopped.",
        untouched="What it had done until then stays.",
        resolution="Look on the host why it is slow; ask again when it can end in time.",
        transient=True,
    )


def _cut(host: Host, argv: Sequence[str], reason: str) -> HostUnreachableError:
    return HostUnreachableError(
        host.name,
        f"{reason} while `{_shown(argv)}` ran.",
        untouched="How far the command came is not known; the next look at the host tells.",
        resolution="Check the host and the network to it.",
        transient=True,
    )


def _refuse_sudo(host: Host, finished: Finished, *, user: str) -> None:
    """Tell sudo's own refusals from a failure of the command.

    sudo says `sudo: ...` and exits 1 in either case (sudo(8), "EXIT STATUS"); the shell says 127 without sudo.
    """
    said = finished.err.strip().splitlines()
    by_sudo = finished.returncode == 1 and bool(said) and said[-1].startswith("sudo: ")
    by_shell = finished.returncode == _NOT_FOUND and bool(said) and "sudo" in said[-1]
    if by_sudo or by_shell:
        raise SudoRefusedError(
            host.name,
            f"sudo without a password is refused to {user}: {redact(said[-1])}",
            untouched="Nothing was run there.",
            resolution=f"Let {user} use sudo without a password (NOPASSWD in sudoers); try `sudo -n whoami`.",
            output=redact(finished.err),
        )
