"""servers.versions: what runs on every host of a group, for people who look for what was left behind."""

from __future__ import annotations

from typing import Any, Literal

from actuators import servers_hosts, servers_manager
from actuators.probes import LeavesNothing
from actuators.remedies import Diagnosis, cannot_look, shown
from actuators.servers_hosts import across, at_once, in_a_word, tally
from actuators.servers_release import linked
from actuators.transport import HostError, Transport
from bot.domain.actuation import Check, Context, Outcome, Registered, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup

_LIMIT = 10


class ShowVersions(Diagnosis):
    """Shows for every host of a server group which release its link names, and whether the service runs."""

    kind: Literal["servers.versions"] = "servers.versions"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"What runs on every host of {self.target}"


class VersionsActuator(LeavesNothing):
    """A diagnosis: reads the links and asks the services' managers."""

    async def check(self, step: ShowVersions, context: Context) -> tuple[Check, ...]:
        """Look whether the hosts can be asked."""
        try:
            states = (await _states(step, context))[0]
        except ActuatorError as error:
            return (cannot_look(f"Hosts of {step.target}", error),)
        verdict = Verdict.OK if "unreachable" not in states.values() else Verdict.WARN
        return (Check(f"Hosts of {step.target}", verdict, tally(states, total=len(states))),)

    async def apply(self, step: ShowVersions, context: Context) -> Outcome:
        """Tell each host apart."""
        states, details = await _states(step, context)
        wanted = f"on {context.plan.versions.restored}, running"
        words = tally(states, total=len(states), wanted=wanted)
        return Outcome(words, {"hosts": states}, shown(details))


async def _states(step: ShowVersions, context: Context) -> tuple[dict[str, str], list[str]]:
    """Return the state of every host in words, and the same with the reasons where a host cannot tell.

    Raises:
        ActuatorError: If the group cannot be reached at all.
    """
    async with servers_hosts.opened(step, context) as (group, transport):

        async def one(host: Host) -> str:
            return f"{await linked(transport, host, group)}, {await _runs(transport, host, group)}"

        results = await across(group.hosts, one, limit=at_once(group, _LIMIT))
    states = {
        host.name: results.good[host.name] if host.name in results.good else in_a_word(results.bad[host.name])
        for host in group.hosts
    }
    return states, [
        f"{name}: {results.bad[name].what if name in results.bad else state}" for name, state in states.items()
    ]


async def _runs(transport: Transport, host: Host, group: ServerGroup) -> str:
    """Return whether the service runs. A manager that does not say so is no reason not to tell the release."""
    try:
        return (await servers_manager.state_of(transport, host, group.manager)).value
    except HostError as error:
        return f"state not known ({error.what.rstrip('.')})"


def register() -> tuple[Registered[Any], ...]:
    """Return the step of this module with its actuator."""
    return (Registered(ShowVersions, VersionsActuator()),)
