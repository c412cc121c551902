"""What may help with a device: its own account, the way to its console, and a longer timer."""

from __future__ import annotations

import shlex
from typing import Any

from actuators.network import frr_scripts
from actuators.network.device import device_of, family, opened, way_in
from actuators.network.session import LONG, Line
from actuators.network.steps import (
    LONGEST,
    Guarded,
    NetworkLog,
    NetworkOutOfBand,
    NetworkReload,
    NetworkReplace,
    NetworkRollback,
)
from actuators.network.values import commits, complaint, masked
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look, shown, titled
from bot.domain.actuation import Check, Context, Outcome, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import FrrMachine, NetworkDevice
from bot.domain.plan import Step
from bot.domain.times import format_duration

_LOG_LINES = 30


def diagnoses(step: Step, context: Context) -> tuple[Remedy, ...]:
    """Return what shows the device's side of a failure. The device is not contacted."""
    device = context.inventory.find(step.target)
    if not isinstance(device, NetworkDevice):
        return ()
    against: dict[str, Any] = {}
    if isinstance(step, NetworkReplace | NetworkReload):
        against = {"file": step.file}
    elif isinstance(step, NetworkRollback):
        against = {"committed": step.committed}
    console = device.out_of_band
    words = console.words if console else "The inventory names no way to it (`out_of_band`)."
    return (
        Remedy(
            "device-log",
            "Show the device's log and changes",
            "Reads the device's log, the configurations it keeps, a change that is pending, and what differs.",
            NetworkLog(id="log", target=step.target, **against),
        ),
        Remedy(
            "out-of-band",
            titled(f"Show the way to the console of {step.target}"),
            f"Looks whether SSH answers, and tells how the console is reached. {words}"[:600],
            NetworkOutOfBand(id="console", target=step.target),
        ),
    )


def approved(step: Guarded, context: Context) -> str:
    """Return the seal that the change must have; empty: nobody approved one."""
    return step.difference or context.approved.get(step.id, "")


def longer(step: Guarded, context: Context) -> tuple[Remedy, ...]:
    """Return the same change with twice the time, as far as a device may be left waiting."""
    time = min(2 * step.confirm_within, LONGEST)
    if time <= step.confirm_within:
        return ()
    settle = step.settle * (time / step.confirm_within)
    # A remedy's step has a name of its own, so what was approved goes with it.
    again = step.model_copy(
        update={"confirm_within": time, "settle": settle, "difference": approved(step, context) or None}
    )
    return (
        Remedy(
            "longer-timer",
            titled(f"Retry with a timer of {format_duration(time)}"),
            f"Changes the device again; it goes back by itself after {format_duration(time)}, and all may take"
            f" {format_duration(again.settle)} to be reached. A change that still waits is looked at once more.",
            again,
            settles=True,
        ),
    )


class LogActuator(LeavesNothing):
    """A diagnosis: the device's log, archive or commits, timer and differences."""

    async def check(self, step: NetworkLog, context: Context) -> tuple[Check, ...]:
        """Look whether the device can be asked."""
        subject = f"Log of {step.target}"
        try:
            device = device_of(step, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        try:
            async with opened(step.target, device):
                return (Check(subject, Verdict.OK, "can be read"),)
        except ActuatorError as error:
            return (cannot_look(subject, error, verdict=Verdict.WARN),)

    async def apply(self, step: NetworkLog, context: Context) -> Outcome:
        """Read everything; what the device refuses is told in its place."""
        device = device_of(step, context)
        async with opened(step.target, device) as session:
            asked = await _ASKED[family(device)](step, session, device)
            answers = {command: masked(await session.run(command, seconds=LONG)) for command in asked}
        lines = []
        for command, said in answers.items():
            lines += [f"> {_short(command)}", *(said.splitlines()[-_LOG_LINES:] or ["(nothing)"])]
        refused = [command for command, said in answers.items() if complaint(said)]
        words = f"{step.target} was asked {len(answers)} things"
        if refused:
            words += f"; it gave no good answer to {', '.join(map(_short, refused))}"
        return Outcome(words, {}, shown(lines, most=5 * _LOG_LINES))


class OutOfBandActuator(LeavesNothing):
    """A diagnosis: whether SSH answers, and how a person reaches the console."""

    async def check(self, step: NetworkOutOfBand, context: Context) -> tuple[Check, ...]:
        """Look whether a way is known and whether it is needed."""
        subject = f"Console of {step.target}"
        try:
            device = device_of(step, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        answer = await _answers(step, device)
        if answer or device.out_of_band is None:
            return (Check(subject, Verdict.WARN, answer or "SSH answers", way_in(device)),)
        return (Check(subject, Verdict.OK, f"SSH answers. {way_in(device)}"),)

    async def apply(self, step: NetworkOutOfBand, context: Context) -> Outcome:
        """Tell the way."""
        device = device_of(step, context)
        answer = await _answers(step, device)
        reached = f"SSH gives no session: {answer}" if answer else f"{step.target} answers over SSH."
        after = "There, restore what makes it reachable first (interfaces, routes, access lists)."
        return Outcome(f"{reached} {way_in(device)} {after}", {"reachable": not answer})


def _short(command: str) -> str:
    """Return a command for people; of a script only that it is one."""
    return command if "\n" not in command else "(the changes that were kept)"


async def _answers(step: NetworkOutOfBand, device: NetworkDevice) -> str:
    """Return why there is no session, empty if there is one."""
    try:
        async with opened(step.target, device):
            return ""
    except ActuatorError as error:
        return error.brief


async def _cisco(step: NetworkLog, session: Line, device: NetworkDevice) -> tuple[str, ...]:
    del session, device
    asked = ("show logging", "show archive", "show archive config rollback timer")
    return (*asked, f"show archive config differences system:running-config {step.file}") if step.file else asked


async def _junos(step: NetworkLog, session: Line, device: NetworkDevice) -> tuple[str, ...]:
    del device
    asked = ("show log messages | last 30", "show system commit")
    kept = commits(await session.run("show system commit"))
    numbers = [commit.number for commit in kept if commit.when == step.committed]
    return (*asked, *(f"show configuration | compare rollback {number}" for number in numbers))


async def _frr(step: NetworkLog, session: Line, device: NetworkDevice) -> tuple[str, ...]:
    del session
    machine = device.frr or FrrMachine()
    vtysh, reload = shlex.join(frr_scripts.vtysh(machine)), shlex.join(frr_scripts.reloading(machine))
    kept = shlex.join(["sh", "-c", frr_scripts.HISTORY, "sh", machine.folder])
    asked = (f"{vtysh} -c 'show version'", f"{vtysh} -c 'show logging'", kept, "ip -4 route show")
    return (*asked, f"{reload} --test {step.file}") if step.file else asked


_ASKED = {"cisco": _cisco, "junos": _junos, "frr": _frr}
