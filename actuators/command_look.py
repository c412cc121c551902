"""command.look: what a command left behind on every host, for people who have to decide about it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actuators import servers_hosts
from actuators.command_call import Call, UnsureError, called
from actuators.probes import LeavesNothing
from actuators.remedies import Diagnosis, cannot_look, shown
from actuators.servers_hosts import across, at_once, in_a_word, tally
from actuators.transport import Transport
from bot.domain.actuation import Check, Context, Outcome, Registered, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, Name, ServerGroup

_LIMIT = 10


class LookAtCommand(Diagnosis):
    """Shows for every host what a command noted and said, and what observes it finds.

    Attributes:
        command: Its name among the group's `commands`.
        parameters: The values of its parameters.
        run_as: The step of this rollback that runs it, whose markers are read.
    """

    kind: Literal["command.look"] = "command.look"
    command: Name
    parameters: dict[str, str] = Field(default_factory=dict)
    run_as: Name

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"What came of {self.command} on {self.target}"


class LookActuator(LeavesNothing):
    """A diagnosis: reads the markers and runs the observing command."""

    async def check(self, step: LookAtCommand, context: Context) -> tuple[Check, ...]:
        """Look whether the hosts can be asked."""
        try:
            states = (await _states(step, context))[0]
        except ActuatorError as error:
            return (cannot_look(f"Hosts of {step.target}", error),)
        away = any(state in ("unreachable", "not readable") for state in states.values())
        verdict = Verdict.WARN if away else Verdict.OK
        return (Check(f"Hosts of {step.target}", verdict, tally(states, total=len(states))),)

    async def apply(self, step: LookAtCommand, context: Context) -> Outcome:
        """Tell each host apart."""
        states, details = await _states(step, context)
        return Outcome(tally(states, total=len(states), wanted="done"), {"hosts": states}, shown(details))


async def _states(step: LookAtCommand, context: Context) -> tuple[dict[str, str], list[str]]:
    """Return the state of every host in a word, and what there is to read of it.

    Raises:
        ActuatorError: If the group cannot be reached at all, or the command cannot be looked at.
    """
    async with servers_hosts.opened(step, context) as (group, transport):
        call = _call(step, group, transport, context)
        results = await across(group.hosts, lambda host: _one(call, host), limit=at_once(group, _LIMIT))
    states, details = {}, []
    for host in group.hosts:
        if host.name in results.good:
            states[host.name], lines = results.good[host.name]
        else:
            error = results.bad[host.name]
            states[host.name], lines = in_a_word(error), [error.what]
        details += [f"{host.name}: {states[host.name]}", *(f"  {line}" for line in lines)]
    return states, details


async def _one(call: Call, host: Host) -> tuple[str, list[str]]:
    lines: list[str] = []
    marker = await call.markers.read(host) if call.markers else None
    if marker is not None:
        how = "noted no end" if marker.code is None else f"ended with exit code {marker.code}"
        lines += [f"it began and {how}", *marker.output.splitlines()]
    elif call.markers:
        lines.append("it noted no beginning")
    try:
        there = await call.done(host)
        seen = await call.look(host)
    except UnsureError as error:
        return "not known", [*lines, error.what, *error.output.splitlines()]
    observed = seen.output.splitlines() if seen else []
    return "done" if there else "not done", [*lines, *observed]


def _call(step: LookAtCommand, group: ServerGroup, transport: Transport, context: Context) -> Call:
    token = f"{context.rollback_id}-{step.run_as}"  # as `Context.token` names what that step leaves
    return called(step.command, step.parameters, group=group, target=step.target, transport=transport, token=token)


def register_look() -> Registered[Any]:
    """Return the step of this module with its actuator."""
    return Registered(LookAtCommand, LookActuator())
