"""What starts and stops a service on a host: a systemd unit, or commands of the service's own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum

from actuators.processes import Finished
from actuators.redact import redact, tail
from actuators.transport import HostError, Transport
from bot.domain.clock import Clock
from bot.domain.inventory import Host, ServerGroup, ServiceCommands, Systemd

_TURN = 150.0
"""Seconds that a start or stop may take; systemd itself gives up after 90 (DefaultTimeoutStopSec)."""
_SETTLE = 15.0
"""Seconds to wait for a unit that says it is on its way."""
_LOOK_EVERY = 0.25
_LSB_STOPPED = 3
"""https://refspecs.linuxbase.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/iniscrptact.html"""

Manager = Systemd | ServiceCommands


class ServiceState(StrEnum):
    """Whether the service runs on a host."""

    RUNNING = "running"
    STOPPED = "stopped"
    CHANGING = "on its way"


_SYSTEMD = {
    "active": ServiceState.RUNNING,
    "reloading": ServiceState.RUNNING,
    "inactive": ServiceState.STOPPED,
    "failed": ServiceState.STOPPED,
    "activating": ServiceState.CHANGING,
    "deactivating": ServiceState.CHANGING,
}
"""ActiveState of a unit (systemctl(1), org.freedesktop.systemd1(5))."""

_VERB = {ServiceState.RUNNING: "start", ServiceState.STOPPED: "stop"}

_BRING = """look() {{ {status}; }} </dev/null >/dev/null 2>&1
look
before=$?
case $before in
"$1") echo "codes $before"; exit 0 ;;
0 | 3) ;;
*) echo "codes $before"; exit 0 ;;
esac
{act} </dev/null
acted=$?
look
printf '\\n%s %s %s %s\\n' codes "$before" "$acted" "$?"
"""
"""The commands stand in it quoted. The last line tells the exit codes of looking, acting and looking again."""


async def state_of(transport: Transport, host: Host, manager: Manager) -> ServiceState:
    """Return whether the service runs, as its manager says.

    Raises:
        HostError: If the manager gives no answer that can be relied on.
    """
    if isinstance(manager, Systemd):
        return await _unit_state(transport, host, manager.unit)
    finished = await transport.run(host, manager.status, sudo=True)
    if finished.ok:
        return ServiceState.RUNNING
    if finished.returncode == _LSB_STOPPED:
        return ServiceState.STOPPED
    raise HostError(
        host.name,
        f"the status command gives no answer (exit code {finished.returncode}): {_last(finished)}",
        untouched="The service is as it was.",
        resolution="Its exit code must be 0 when the service runs and 3 when it is stopped; run it on the host.",
        output=finished.complaint(),
    )


async def bring(transport: Transport, host: Host, group: ServerGroup, *, wanted: ServiceState, clock: Clock) -> str:
    """Start or stop the service if it is not so already, and return in words what it is.

    Raises:
        HostError: If it does not come to that; with the service's last messages.
    """
    manager = group.manager
    if isinstance(manager, ServiceCommands) and group.ssh is not None:
        return await _at_one_go(transport, host, manager, wanted=wanted, clock=clock)
    if await state_of(transport, host, manager) is wanted:
        return f"{wanted.value} already"
    # A unit's job is carried out by systemd itself, and a sudoers file may allow exactly this command: so it is
    # neither leashed nor put into a script. On the bot's own machine a script's programs would outlive the bot.
    argv, leashed = _command(manager, _VERB[wanted]), not isinstance(manager, Systemd)
    finished = await transport.run(host, argv, sudo=True, timeout=_TURN, leashed=leashed)
    await _must_be(wanted, transport, host, manager, finished, clock=clock)
    return wanted.value


async def _at_one_go(
    transport: Transport, host: Host, manager: ServiceCommands, *, wanted: ServiceState, clock: Clock
) -> str:
    """Look, act and look again in one command on the host: its own round trips cost nothing."""
    there = 0 if wanted is ServiceState.RUNNING else _LSB_STOPPED
    act = _command(manager, _VERB[wanted])
    script = _BRING.format(status=shlex.join(manager.status), act=shlex.join(act))
    argv = ["sh", "-c", script, "sh", str(there)]
    finished = await transport.run(host, argv, sudo=True, timeout=_TURN)
    said, _, codes = finished.out.rstrip("\n").rpartition("\n")
    match codes.split():
        case ["codes", before] if before == str(there):
            return f"{wanted.value} already"
        case ["codes", _]:
            # The manager gives no answer; asked once more, its words tell why.
            await state_of(transport, host, manager)
            raise HostError(
                host.name,
                "the status command gives now this answer, now that.",
                untouched="The service is as it was.",
                resolution="Look at the service on the host.",
            )
        case ["codes", _, acted, after] if acted == "0" and after == str(there):
            return wanted.value
        case ["codes", _, acted, _]:
            ended = Finished(int(acted), said.strip().encode(), finished.stderr, truncated=finished.truncated)
        case _:
            ended = finished
    await _must_be(wanted, transport, host, manager, ended, clock=clock)
    return wanted.value


async def _must_be(
    wanted: ServiceState, transport: Transport, host: Host, manager: Manager, finished: Finished, *, clock: Clock
) -> None:
    """Return when the manager says that it is so.

    Raises:
        HostError: If it does not come to that; with the service's last messages.
    """
    verb = _VERB[wanted]
    if not finished.ok:
        raise HostError(
            host.name,
            f"the service did not {verb}: {_last(finished)}",
            resolution=f"Look at the service on the host and {verb} it there if need be.",
            output=await _messages(transport, host, manager, finished),
        )
    found = await _settled(transport, host, manager, clock=clock)
    if found is not wanted:
        raise HostError(
            host.name,
            f"the command to {verb} the service succeeded, and the service is {found.value}.",
            resolution="Look at the service's own log on the host.",
            output=await _messages(transport, host, manager, finished),
        )


async def _settled(transport: Transport, host: Host, manager: Manager, *, clock: Clock) -> ServiceState:
    until = clock.monotonic() + _SETTLE
    while True:
        found = await state_of(transport, host, manager)
        if found is not ServiceState.CHANGING or clock.monotonic() >= until:
            return found
        await clock.sleep(_LOOK_EVERY)


async def _unit_state(transport: Transport, host: Host, unit: str) -> ServiceState:
    argv = ["systemctl", "show", "--property=LoadState,ActiveState", "--", unit]
    finished = await transport.run(host, argv)
    found = dict(line.split("=", 1) for line in finished.out.splitlines() if "=" in line)
    state = _SYSTEMD.get(found.get("ActiveState", ""))
    if finished.ok and state is not None and found.get("LoadState") not in {"not-found", "bad-setting", "error"}:
        return state
    reason = (
        f"the unit {unit} is {found.get('LoadState')}" if finished.ok and found else f"systemctl: {_last(finished)}"
    )
    raise HostError(
        host.name,
        f"{reason}.",
        untouched="The service is as it was.",
        resolution="Correct the unit's name in the inventory, or install the unit on the host.",
        output=finished.complaint() if not finished.ok else "",
    )


def _command(manager: Manager, verb: str) -> Sequence[str]:
    if isinstance(manager, Systemd):
        return ("systemctl", verb, "--", manager.unit)
    return manager.start if verb == "start" else manager.stop


async def _messages(transport: Transport, host: Host, manager: Manager, finished: Finished) -> str:
    """Return what the service said last, for whoever has to find out why."""
    said = redact(f"{finished.out}\n{finished.err}").strip()
    if isinstance(manager, Systemd):
        argv = ["systemctl", "status", "--no-pager", "--full", "--lines=15", "--", manager.unit]
        said = redact((await transport.run(host, argv)).out).strip() or said
    return tail(said)


def _last(finished: Finished) -> str:
    return finished.complaint().splitlines()[-1]
