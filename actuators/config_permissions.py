"""config.permissions and config.restorecon: why a file cannot be written, and its security context put right."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from actuators import config_access, servers_hosts
from actuators.config_access import Access
from actuators.probes import LeavesNothing
from actuators.remedies import Diagnosis, cannot_look, shown
from actuators.servers_hosts import (
    Finding,
    ServersStep,
    across,
    at_once,
    in_a_word,
    observed,
    partly,
    survey,
    tally,
)
from actuators.transport import HostError, Transport
from bot.domain.actuation import Check, Context, Observation, Outcome, Presence, Registered
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup

_LIMIT = 10
_LABELLED = "labelled as the policy says"

AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00-\x1f]{0,1000}$")]
Paths = Annotated[tuple[AbsolutePath, ...], Field(min_length=1, max_length=20)]

_RESTORECON = """PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export LC_ALL
[ "$(getenforce 2>/dev/null)" = Enforcing ] || { echo "SELinux is not enforcing here" >&2; exit 45; }
command -v restorecon >/dev/null || { echo "there is no restorecon here" >&2; exit 46; }
how=$1
shift
exec restorecon $how -- "$@"
"""
"""`-n` only says what would be changed. Without `-R` nothing below a folder is touched (restorecon(8))."""


class ShowPermissions(Diagnosis):
    """Shows who the bot is on every host, and what keeps it from writing some paths.

    Attributes:
        paths: Absolute paths on the hosts.
    """

    kind: Literal["config.permissions"] = "config.permissions"
    paths: Paths

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"What the bot may do on {self.target}"


class RestoreContext(ServersStep):
    """Exactly these files and folders have the security context that SELinux' policy gives them.

    Attributes:
        paths: Absolute paths on the hosts; nothing below a folder is touched.
    """

    kind: Literal["config.restorecon"] = "config.restorecon"
    paths: Paths

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Put the security context right on {self.target}"


class PermissionsActuator(LeavesNothing):
    """A diagnosis: reads identity, sudo, modes, lists and contexts."""

    async def check(self, step: ShowPermissions, context: Context) -> tuple[Check, ...]:
        """Look whether the hosts can be asked."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                found, _ = await survey(
                    f"Hosts of {step.target}",
                    group.hosts,
                    lambda host: _reached(transport, host),
                    limit=at_once(group, _LIMIT),
                )
        except ActuatorError as error:
            return (cannot_look(f"Hosts of {step.target}", error),)
        return (found,)

    async def apply(self, step: ShowPermissions, context: Context) -> Outcome:
        """Look at every host."""
        async with servers_hosts.opened(step, context) as (group, transport):
            results = await across(
                group.hosts,
                lambda host: config_access.look(transport, host, step.paths),
                limit=at_once(group, _LIMIT),
            )
        written = [str(place) for place in (group.releases, group.current, group.config) if place is not None]
        states = {
            name: config_access.obstacle(access, step.paths, written=written)
            for name, access in results.good.items()
        }
        states |= {name: in_a_word(error) for name, error in results.bad.items()}
        words = f"{tally(states, total=len(group.hosts))}.{_advice(group, list(results.good.values()))}"
        details = [line for name, access in results.good.items() for line in (f"{name}:", *access.lines())]
        details += [f"{name}: {error.what}" for name, error in results.bad.items()]
        return Outcome(words, {"hosts": states}, shown(details, most=100))


async def _reached(transport: Transport, host: Host) -> Finding:
    finished = await transport.run(host, ["true"])
    if not finished.ok:
        raise HostError(host.name, f"commands cannot be run: {finished.complaint()}")
    return Finding("answered")


def _advice(group: ServerGroup, found: Sequence[Access]) -> str:
    """Say what about sudo could be changed, where it is not used."""
    if group.ssh is None or group.ssh.sudo or not found:
        return ""
    usable = sum(access.sudo for access in found)
    user, number = group.ssh.user, f"{usable} of {len(group.hosts)} hosts"
    if not usable:
        return f" sudo without a password gives {user} nothing; the rights themselves must be given to it."
    if group.ssh.sudo_if_denied:
        return f" sudo works without a password on {number}, and the inventory allows the step to be tried with it."
    return (
        f" sudo works without a password for {user} on {number}. With `sudo_if_denied: true` at `ssh` of the group "
        "a person may use it in the next rollback; now give the rights by hand, and retry."
    )


class RestoreContextActuator:
    """Runs restorecon where SELinux is enforcing."""

    async def check(self, step: RestoreContext, context: Context) -> tuple[Check, ...]:
        """Verify that the contexts can be read on every host."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):

                async def one(host: Host) -> Finding:
                    wrong = await mislabelled(transport, host, step.paths)
                    return Finding(f"would be labelled anew: {', '.join(wrong)}" if wrong else _LABELLED)

                found, _ = await survey(
                    f"Security context on {step.target}", group.hosts, one, limit=at_once(group, step.limit)
                )
        except ActuatorError as error:
            return (cannot_look(f"Hosts of {step.target}", error),)
        return (found,)

    async def observe(self, step: RestoreContext, context: Context) -> Observation:
        """Let restorecon say what it would change."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                results = await across(
                    group.hosts,
                    lambda host: mislabelled(transport, host, step.paths),
                    limit=at_once(group, step.limit),
                )
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        states = {
            name: f"with another context of {', '.join(wrong)}" if wrong else _LABELLED
            for name, wrong in results.good.items()
        }
        return observed(states, results.bad, total=len(group.hosts), wanted=_LABELLED)

    async def apply(self, step: RestoreContext, context: Context) -> Outcome:
        """Label what is labelled otherwise."""
        async with servers_hosts.opened(step, context) as (group, transport):

            async def one(host: Host) -> str:
                said = await _restorecon(transport, host, "-v", step.paths)
                return "labelled anew" if said else _LABELLED

            results = await across(group.hosts, one, limit=at_once(group, step.limit))
            if results.bad:
                raise partly("Putting the security context right", results=results, total=len(group.hosts))
        return Outcome(tally(results.good, total=len(group.hosts)), {"hosts": results.good})


async def mislabelled(transport: Transport, host: Host, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths whose security context is not the one that the policy gives them.

    Raises:
        HostError: If SELinux is not enforcing there, restorecon is missing, or it cannot look.
    """
    said = await _restorecon(transport, host, "-n -v", paths)
    words = {
        posixpath.normpath(word) for line in said.splitlines() for word in line.split() if word.startswith("/")
    }
    return tuple(path for path in paths if posixpath.normpath(path) in words)


async def _restorecon(transport: Transport, host: Host, how: str, paths: Sequence[str]) -> str:
    finished = await transport.run(host, ["sh", "-c", _RESTORECON, "sh", how, *paths], sudo=True)
    if finished.ok:
        return finished.out.strip()
    raise HostError(
        host.name,
        f"restorecon cannot be used: {finished.complaint().splitlines()[-1]}.",
        untouched="No file's content, owner or mode was changed.",
        resolution="Look at the file's context on the host: ls -Z, restorecon -v.",
        output=finished.complaint(),
    )


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this module with their actuators."""
    return (
        Registered(ShowPermissions, PermissionsActuator()),
        Registered(RestoreContext, RestoreContextActuator()),
    )
