"""Whether the hosts of a group answer, and whether sudo needs no password there."""

from __future__ import annotations

from actuators.remedies import cannot_look
from actuators.servers_hosts import Finding, at_once, survey
from actuators.transport import HostError, Transport
from bot.domain.actuation import Check
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import Step


async def check_access(
    step: Step, group: ServerGroup, transport: Transport, *, limit: int = 20
) -> tuple[tuple[Check, ...], tuple[Host, ...]]:
    """Verify that every host answers, and that sudo needs no password where it is used.

    Returns:
        The checks, and the hosts where all is well.
    """

    async def reach(host: Host) -> Finding:
        finished = await transport.run(host, ["true"])
        if not finished.ok:
            raise HostError(host.name, f"commands cannot be run: {finished.complaint()}")
        return Finding("answered" if group.ssh is None else f"let {group.ssh.user} in")

    async def root(host: Host) -> Finding:
        # The specification's own verification: ssh HOST 'sudo whoami'.
        finished = await transport.run(host, ["whoami"], sudo=True, leashed=False)
        if not finished.ok:
            raise HostError(host.name, f"sudo fails: {finished.complaint()}")
        return Finding(f"give {finished.out.strip()} by sudo without a password")

    limit = at_once(group, limit)
    reached, hosts = await survey(f"Hosts of {step.target}", group.hosts, reach, limit=limit)
    if group.ssh is None or not group.ssh.sudo or not hosts:
        return (reached,), hosts
    sudo, hosts = await survey(f"sudo on {step.target}", hosts, root, limit=limit)
    return (reached, sudo), hosts


def no_way(step: Step, error: ActuatorError) -> Check:
    """Return the check of a group that cannot even be tried."""
    return cannot_look(f"Hosts of {step.target}", error)
