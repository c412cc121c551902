"""command.run: a command that the inventory allows by name, on every host of a server group."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actuators import servers_hosts
from actuators.command_call import Call, UnsureError, called, refused, run
from actuators.command_look import LookAtCommand, register_look
from actuators.command_markers import Marker
from actuators.remedies import cannot_look, titled
from actuators.servers_hosts import Finding, across, at_once, in_a_word, partly, survey, tally, told
from actuators.transport import HostError, SudoRefusedError, Transport
from bot.domain.actuation import (
    Check,
    Context,
    Fault,
    Observation,
    Outcome,
    Presence,
    Progress,
    Registered,
    Remedy,
    Verdict,
)
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, Name, ServerGroup
from bot.domain.plan import Step
from bot.domain.times import in_words

_SHOWN = 5
_DONE = "done"
_PROGRAM = """[ -f "$1" ] && [ -x "$1" ] && exit 0
[ -e "$1" ] && { echo "$1 is no program that the login can run" >&2; exit 1; }
echo "there is no $1, or the login cannot see it" >&2
exit 1
"""


class RunCommand(Step):
    """Run a command that the inventory allows, on every host of a server group.

    Attributes:
        command: Its name among the group's `commands`.
        parameters: The values of its parameters.
        limit: Hosts that are worked on at once.
    """

    kind: Literal["command.run"] = "command.run"
    command: Name
    parameters: dict[str, str] = Field(default_factory=dict)
    limit: int = Field(default=10, ge=1, le=200)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Run {self.command} on {self.target}"


class CommandActuator:
    """Runs the command where its effect is not there yet, and notes on the host that it began and how it ended."""

    async def check(self, step: RunCommand, context: Context) -> tuple[Check, ...]:
        """Verify that hosts answer, that the command may be run there, and that its effect can be told."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                call = _call(step, group, transport, context)
                limit = at_once(group, step.limit)
                reached, hosts = await survey(
                    f"Hosts of {step.target}", group.hosts, lambda host: _reach(transport, host), limit=limit
                )
                if not hosts:
                    return _shown(step, call), reached
                program, _ = await survey(
                    f"Command {step.command} on {step.target}",
                    hosts,
                    lambda host: _program(call, host),
                    limit=limit,
                )
                effect, _ = await survey(
                    f"Effect of {step.command} on {step.target}",
                    hosts,
                    lambda host: _tells(call, host),
                    limit=limit,
                )
        except ActuatorError as error:
            return (cannot_look(f"Command {step.command} on {step.target}", error),)
        return _shown(step, call), reached, program, effect

    async def observe(self, step: RunCommand, context: Context) -> Observation:
        """Look whether the effect is there on every host: by the observing command, else by what the run noted."""
        try:
            async with servers_hosts.opened(step, context) as (group, transport):
                call = _call(step, group, transport, context)
                results = await across(group.hosts, call.done, limit=at_once(group, step.limit))
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        states = {name: _DONE if there else "not done" for name, there in results.good.items()}
        states |= {name: _unknown(error) for name, error in results.bad.items()}
        words = tally(states, total=len(group.hosts), wanted=_DONE)
        if results.bad:
            return Observation(Presence.UNKNOWN, f"{words}. {told(results.bad)}", {"hosts": states})
        there = all(results.good.values())
        return Observation(Presence.PRESENT if there else Presence.ABSENT, words, {"hosts": states})

    async def apply(self, step: RunCommand, context: Context) -> Outcome:
        """Run the command on every host where its effect is not there.

        Where nobody can tell, it is run as well: a step of unknown outcome is applied by a person's word alone.
        """
        async with servers_hosts.opened(step, context) as (group, transport):
            call, total = _call(step, group, transport, context), len(group.hosts)
            doing = f"Running {step.command}"

            def ended(done: int, host: Host) -> None:
                context.report(Progress(done, total, "hosts", f"{doing}: {host.name} has ended"))

            context.report(Progress(0, total, "hosts", doing))
            results = await across(
                group.hosts, lambda host: _run(call, host), limit=at_once(group, step.limit), ended=ended
            )
        if results.bad:
            raise partly(doing, results=results, total=total)
        states = {name: "done already" if said is None else _DONE for name, said in results.good.items()}
        said = [f"{name}:\n{output}" for name, output in results.good.items() if output]
        more = [f"... and {len(said) - _SHOWN} more hosts"] if len(said) > _SHOWN else []
        return Outcome(tally(states, total=total), {"hosts": states}, "\n".join([*said[:_SHOWN], *more]))

    async def remedies(self, step: RunCommand, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return the diagnosis of what the command left behind."""
        del fault
        try:
            group = servers_hosts.group_of(step, context)
        except ActuatorError:
            return ()
        if step.command not in group.commands:
            return ()
        look = LookAtCommand(
            id="look", target=step.target, command=step.command, parameters=step.parameters, run_as=step.id
        )
        words = (
            f"Shows for every host what {step.command} noted and said, and runs what observes it. Changes nothing."
        )
        return (Remedy("look", titled(f"What came of {step.command}"), words, look),)


def _call(step: RunCommand, group: ServerGroup, transport: Transport, context: Context) -> Call:
    return called(
        step.command,
        step.parameters,
        group=group,
        target=step.target,
        transport=transport,
        token=context.token(step),
    )


async def _run(call: Call, host: Host) -> str | None:
    """Run the command on a host and return what it said; None if its effect was there already.

    Raises:
        HostError: If it did not end well, or could not be run.
    """
    try:
        if await call.done(host):
            return None
    except UnsureError:
        pass
    await _note(call, host, Marker(call.digest))
    command = call.command
    try:
        finished = await run(
            call.transport, host, call.argv, sudo=command.sudo, timeout=command.timeout.total_seconds()
        )
    except SudoRefusedError:
        await _note(call, host, None)
        raise
    except HostError as error:
        # Whatever it was, the command may have done something: nobody repeats it without looking.
        error.transient = False
        raise
    said = call.told(finished)
    await _note(call, host, Marker(call.digest, finished.returncode, said))
    if finished.returncode in command.exit_codes:
        return said
    raise HostError(
        host.name,
        f"{call.name} ended with exit code {finished.returncode}.",
        untouched="What it had done until then stays.",
        resolution="Read what it said, and look on the host what came of it.",
        output=said,
    )


async def _note(call: Call, host: Host, marker: Marker | None) -> None:
    """Note on the host how far the command is; None: nothing of it was run. Where it notes nothing, do nothing."""
    if call.markers is None:
        return
    if marker is None:
        await call.markers.forget(host)
    else:
        await call.markers.write(host, marker)


def _shown(step: RunCommand, call: Call) -> Check:
    """Show the approver exactly what will be run, and whether the step's time is enough for it."""
    subject, deadline, limit = f"What {step.command} runs", step.deadline(), call.command.timeout
    told_by = (
        "its effect is looked at" if call.command.observe else "nobody can look at its effect, it notes its end"
    )
    if deadline < limit:
        words = (
            f"the step is stopped after {in_words(deadline)}, and the command may take {in_words(limit)} on a host"
        )
        return Check(subject, Verdict.WARN, words, "Set the step's `timeout` in the plan.", detail=call.shown())
    return Check(subject, Verdict.OK, told_by, detail=call.shown())


async def _reach(transport: Transport, host: Host) -> Finding:
    finished = await transport.run(host, ["true"])
    if not finished.ok:
        raise HostError(host.name, f"commands cannot be run: {finished.complaint()}")
    return Finding("answered")


async def _program(call: Call, host: Host) -> Finding:
    """Verify that the command may be run: by sudo's own word, or because the login can run the program."""
    if call.command.sudo:
        finished = await call.transport.run(host, ["sudo", "-n", "-l", "--", *call.argv], leashed=False)
        if not finished.ok:
            raise refused(host, call.argv, finished.complaint().splitlines()[-1])
        return Finding("may run it by sudo")
    finished = await call.transport.run(host, ["sh", "-c", _PROGRAM, "sh", call.argv[0]])
    if not finished.ok:
        raise HostError(
            host.name,
            finished.complaint().splitlines()[-1],
            resolution="Install the program on the host, or correct its path in the inventory.",
        )
    return Finding("can run it")


async def _tells(call: Call, host: Host) -> Finding:
    """Verify that the observing command gives an answer, and that markers can be written."""
    if call.markers:
        await call.markers.writable(host)
    seen = await call.look(host)
    if seen is None:
        return Finding("will note its end")
    return Finding("have the effect already" if seen.there else "lack the effect")


def _unknown(error: HostError) -> str:
    return "not known" if isinstance(error, UnsureError) else in_a_word(error)


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this module with their actuators."""
    return (Registered(RunCommand, CommandActuator()), register_look())
