"""One allow-listed command with its parameters filled in: what is run, and how its effect is told on one host."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actuators.command_markers import Marker, Markers
from actuators.processes import Finished
from actuators.redact import redact, tail
from actuators.transport import HostError, SudoRefusedError, Transport
from bot.domain import allowed
from bot.domain.allowed import AllowedCommand
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup

_LINES = 15
_CHARACTERS = 1500
_READ_MOST = 65536
_SECRET = "(its output is secret and not shown)"  # noqa: S105 - words for people


class UnsureError(HostError):
    """Nobody can tell from a host whether the command's effect is there."""


@dataclass(frozen=True)
class Seen:
    """What an observing command said.

    Attributes:
        there: Whether the effect is there.
        output: What it printed, the last lines, redacted.
    """

    there: bool
    output: str


@dataclass(frozen=True)
class Call:
    """A command as it is run.

    Attributes:
        name: Its name in the inventory.
        command: What the inventory says of it.
        values: The values of its parameters, which match their patterns.
        transport: The way to the hosts.
        markers: Where it notes its beginning and its end; None: nowhere.
    """

    name: str
    command: AllowedCommand
    values: Mapping[str, str]
    transport: Transport
    markers: Markers | None

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return allowed.filled(self.command, self.values)

    @property
    def digest(self) -> str:
        """SHA-256 of what is run, in hex."""
        return hashlib.sha256(json.dumps([self.command.sudo, *self.argv]).encode()).hexdigest()

    def shown(self) -> str:
        """Return the command for people, quoted as a shell would need it."""
        return redact(shlex.join(by_sudo(self.argv, sudo=self.command.sudo)))

    async def done(self, host: Host) -> bool:
        """Return whether the command's effect is there.

        Raises:
            UnsureError: If nobody can tell.
            HostError: If the host cannot be asked.
        """
        marker = await self.marker(host)
        if self.command.observe is None:
            return self._ended_well(host, marker)
        seen = await self.look(host)
        if seen is None or seen.there:
            return True
        if marker is not None and marker.code is None:
            raise _unsure(
                host, "the effect is not there, and the command began without noting an end: it may still run"
            )
        return False

    async def marker(self, host: Host) -> Marker | None:
        """Return what an earlier attempt of this run noted; None if nothing.

        Raises:
            HostError: If it cannot be read, or tells of another command.
        """
        found = await self.markers.read(host) if self.markers else None
        if found is not None and found.digest != self.digest:
            raise HostError(
                host.name,
                "a marker of this step tells of another command.",
                untouched="Nothing was run.",
                resolution="Look on the host what was run, and move the marker away.",
            )
        return found

    async def look(self, host: Host) -> Seen | None:
        """Ask the observing command, if there is one.

        Raises:
            UnsureError: If its exit code says nothing.
            HostError: If it cannot be run.
        """
        observing = self.command.observe
        if observing is None:
            return None
        argv = allowed.filled(observing, self.values)
        finished = await run(
            self.transport, host, argv, sudo=observing.sudo, timeout=observing.timeout.total_seconds()
        )
        said = self.told(finished)
        if finished.returncode in observing.absent:
            return Seen(there=False, output=said)
        if finished.returncode in observing.there:
            held = observing.output is None or bool(re.search(observing.output, finished.out[-_READ_MOST:]))
            return Seen(there=held, output=said)
        what = f"the observing command ended with exit code {finished.returncode}, which says nothing"
        raise _unsure(host, what, output=said)

    def told(self, finished: Finished) -> str:
        """Return the last lines that a command said, redacted; nothing of what is secret."""
        if self.command.output_secret:
            return _SECRET
        said = "\n".join(part.strip()[-_READ_MOST:] for part in (finished.out, finished.err) if part.strip())
        shown = "".join(each for each in redact(said) if each in "\n\t" or each.isprintable())
        return tail(shown, _LINES)[-_CHARACTERS:]

    def _ended_well(self, host: Host, marker: Marker | None) -> bool:
        if marker is None:
            return False
        if marker.code is None:
            raise _unsure(host, "the command began and noted no end")
        if marker.code in self.command.exit_codes:
            return True
        raise _unsure(host, f"the command ended with exit code {marker.code}, and what it did cannot be told")


def called(
    name: str, values: Mapping[str, str], *, group: ServerGroup, target: str, transport: Transport, token: str
) -> Call:
    """Return a command of the inventory with the values filled in.

    Args:
        name: Its name in the inventory.
        values: The values of its parameters.
        group: The hosts.
        target: Their name in the inventory.
        transport: The way to them.
        token: A name unique to the step of the run, for its markers.

    Raises:
        ActuatorError: If the inventory allows no such command, or a value does not match.
    """
    command = group.commands.get(name)
    if command is None:
        known = ", ".join(sorted(group.commands)) or "none"
        raise ActuatorError(
            f"The inventory allows no command {name} on {target}. Allowed: {known}.",
            untouched="No host was contacted.",
            resolution="Correct the step's `command`, or have it allowed in the inventory's `commands`.",
        )
    problems = list(command.problems(values))
    if problems:
        raise ActuatorError(
            f"The command {name} on {target} cannot be filled in: {'; '.join(problems)}.",
            untouched="No host was contacted.",
            resolution="Correct the step's `parameters` in the plan.",
        )
    markers = Markers(transport, str(command.markers), token) if command.markers else None
    return Call(name, command, dict(values), transport, markers)


def by_sudo(argv: Sequence[str], *, sudo: bool) -> list[str]:
    """Return the command as it is given to the host."""
    return ["sudo", "-n", "--", *argv] if sudo else list(argv)


async def run(transport: Transport, host: Host, argv: Sequence[str], *, sudo: bool, timeout: float) -> Finished:  # noqa: ASYNC109 - the end of the time also ends the command on the host
    """Run a command as it stands in the inventory; by sudo exactly so, for a sudoers file that allows just that.

    Raises:
        SudoRefusedError: If sudo refuses; nothing was run.
        HostError: If it could not be run to its end.
    """
    finished = await transport.run(host, by_sudo(argv, sudo=sudo), timeout=timeout, leashed=not sudo)
    said = finished.err.strip().splitlines()
    if sudo and finished.returncode == 1 and said and said[-1].startswith("sudo: "):
        raise refused(host, argv, said[-1])
    return finished


def refused(host: Host, argv: Sequence[str], said: str) -> SudoRefusedError:
    """Return the error of a command that sudo does not permit."""
    return SudoRefusedError(
        host.name,
        f"sudo refuses `{redact(shlex.join(argv))[:160]}`: {redact(said)}",
        untouched="It was not run.",
        resolution="Allow exactly this command in sudoers (NOPASSWD); try `sudo -n -l -- COMMAND` on the host.",
        output=redact(said),
    )


def _unsure(host: Host, what: str, *, output: str = "") -> UnsureError:
    return UnsureError(
        host.name,
        f"{what}.",
        untouched="Nothing was run to find that out.",
        resolution="Look on the host what came of it, then decide.",
        output=output,
    )
