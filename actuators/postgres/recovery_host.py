"""The machine that a base backup is recovered on, and the commands that are run there."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from actuators.processes import Finished
from actuators.transport import HostError, Transport
from actuators.transport.base import SHORT
from actuators.transport.local import Local
from actuators.transport.ssh import Ssh
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database, Pitr
from bot.domain.plan import Step

_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET = 107
"""Bytes of a socket's path; unix(7)."""


@dataclass(frozen=True)
class RecoveryHost:
    """The machine, as one step sees it.

    Attributes:
        pitr: What the inventory says of it.
        transport: The way to it.
        run_folder: The folder that this run has there: nobody else's.
    """

    pitr: Pitr
    transport: Transport
    run_folder: str

    @property
    def name(self) -> str:
        """The machine, as messages name it."""
        return self.pitr.host.name

    def program(self, name: str) -> str:
        """Return the path of one of PostgreSQL's programs there, or its name if it is on PATH."""
        return str(PurePosixPath(self.pitr.bin_dir) / name) if self.pitr.bin_dir else name

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float = SHORT,  # noqa: ASYNC109 - handed on; the end of the time also ends the command
    ) -> Finished:
        """Run a command there as the recovered server's user, in English and UTC.

        Raises:
            HostError: If the machine cannot be reached, or sudo refuses.
        """
        whole = ["env", "LC_ALL=C", "TZ=UTC", *argv]
        if self.pitr.user is not None:
            whole = ["sudo", "-n", "-u", self.pitr.user, "--", *whole]
        finished = await self.transport.run(self.pitr.host, whole, stdin=stdin, timeout=timeout)
        if not finished.ok and self.pitr.user is not None and finished.err.startswith("sudo: "):
            raise HostError(
                self.name,
                f"sudo to {self.pitr.user} is refused: {finished.complaint()}",
                untouched="Nothing was run there.",
                resolution=f"Let the login run commands as {self.pitr.user} without a password (NOPASSWD), or "
                "leave `user` out of the target's `pitr`.",
            )
        return finished

    async def script(
        self,
        text: str,
        *arguments: str,
        stdin: bytes | None = None,
        timeout: float = SHORT,  # noqa: ASYNC109 - see `run`
    ) -> Finished:
        """Run a short shell script there; what varies are its arguments, never its text."""
        return await self.run(["sh", "-c", text, "sh", *arguments], stdin=stdin, timeout=timeout)

    def error(
        self,
        finished: Finished,
        what: str,
        *,
        resolution: str,
        secrets: Sequence[str] = (),
        transient: bool = False,
    ) -> HostError:
        """Return the error of a command that failed there."""
        said = finished.complaint(secrets=secrets)
        return HostError(
            self.name,
            f"{what}: {said.splitlines()[-1]}",
            untouched="The live database was not touched.",
            resolution=resolution,
            transient=transient,
            output=said,
        )


def pitr_of(target: Database, step: Step) -> Pitr:
    """Return the target's section of point-in-time recovery.

    Raises:
        ActuatorError: If it has none.
    """
    if target.pitr is not None:
        return target.pitr
    raise ActuatorError(
        f"Target {step.target} has no section `pitr` in the inventory.",
        untouched="Nothing was touched.",
        resolution="Say there where base backups and archived WAL lie: docs/actuators/pitr.md.",
    )


@asynccontextmanager
async def recovery_host(step: Step, target: Database, context: Context) -> AsyncIterator[RecoveryHost]:
    """Give the machine for the time of one step.

    Raises:
        ActuatorError: If the inventory does not say which one, or its key cannot be used.
    """
    pitr = pitr_of(target, step)
    folder = _run_folder(pitr, target, context)
    token = context.token(step)
    if pitr.ssh is None:
        yield RecoveryHost(pitr, Local(token=token), folder)
        return
    ssh = Ssh(pitr.ssh, token=token)
    try:
        yield RecoveryHost(pitr, ssh, folder)
    finally:
        await ssh.close()


def _run_folder(pitr: Pitr, target: Database, context: Context) -> str:
    """Return the run's folder, the same at every attempt. Its name is short: the path of a socket has an end."""
    identity = f"{target.host} {target.port} {target.dbname}"
    name = f"{context.rollback_id}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    folder = str(PurePosixPath(pitr.scratch) / name)
    if len(f"{folder}/{_SOCKET}".encode()) <= _LONGEST_SOCKET:
        return folder
    raise ActuatorError(
        f"{folder} is too long a path: the recovered server's socket in it could not be opened.",
        untouched="Nothing was touched.",
        resolution="Name a shorter folder as `scratch` of the target's `pitr`.",
    )
