"""What may help with a device: its own account, the way to its console, and a longer timer."""

from __future__ import annotations

from typing import Any

from actuators.network.device import device_of, failed, family, opened, way_in
from actuators.network.session import LONG, Session
from actuators.network.steps import (
    LONGEST,
    Guarded,
    NetworkLog,
    NetworkOutOfBand,
    NetworkReplace,
    NetworkRollback,
)
from actuators.network.values import commits, complaint, masked
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look, shown, titled
from bot.domain.actuation import Check, Context, Outcome, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice
from bot.domain.plan import Step
from bot.domain.times import format_duration

_LOG_LINES = 30


def diagnoses(step: Step, context: Context) -> tuple[Remedy, ...]:
    """Return what shows the device's side of a failure. The device is not contacted."""
    device = context.inventory.find(step.target)
    if not isinstance(device, NetworkDevice):
        return ()
    against: dict[str, Any] = {}
    if isinstance(step, NetworkReplace):
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


def longer(step: Guarded) -> tuple[Remedy, ...]:
    """Return the same change with twice the time, as far as a device may be left waiting."""
    time = min(2 * step.confirm_within, LONGEST)
    if time <= step.confirm_within:
        return ()
    again = step.model_copy(update={"confirm_within": time, "settle": step.settle * (time / step.confirm_within)})
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
            return (failed(subject, error),)
        try:
            async with opened(step.target, device):
                return (Check(subject, Verdict.OK, "can be read"),)
        except ActuatorError as error:
            return (cannot_look(subject, error, verdict=Verdict.WARN),)

    async def apply(self, step: NetworkLog, context: Context) -> Outcome:
        """Read everything; what the device refuses is told in its place."""
        device = device_of(step, context)
        async with opened(step.target, device) as session:
            asked = await _cisco(step) if family(device) == "cisco" else await _junos(step, session)
            answers = {command: masked(await session.run(command, seconds=LONG)) for command in asked}
        lines = []
        for command, said in answers.items():
            lines += [f"> {command}", *(said.splitlines()[-_LOG_LINES:] or ["(nothing)"])]
        refused = [command for command, said in answers.items() if complaint(said)]
        words = f"{step.target} was asked {len(answers)} things"
        if refused:
            words += f"; it gave no good answer to {', '.join(refused)}"
        return Outcome(words, {}, shown(lines, most=5 * _LOG_LINES))


class OutOfBandActuator(LeavesNothing):
    """A diagnosis: whether SSH answers, and how a person reaches the console."""

    async def check(self, step: NetworkOutOfBand, context: Context) -> tuple[Check, ...]:
        """Look whether a way is known and whether it is needed."""
        subject = f"Console of {step.target}"
        try:
            device = device_of(step, context)
        except ActuatorError as error:
            return (failed(subject, error),)
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


async def _answers(step: NetworkOutOfBand, device: NetworkDevice) -> str:
    """Return why there is no session, empty if there is one."""
    try:
        async with opened(step.target, device):
            return ""
    except ActuatorError as error:
        return error.brief


async def _cisco(step: NetworkLog) -> tuple[str, ...]:
    asked = ("show logging", "show archive", "show archive config rollback timer")
    return (*asked, f"show archive config differences system:running-config {step.file}") if step.file else asked


async def _junos(step: NetworkLog, session: Session) -> tuple[str, ...]:
    asked = ("show log messages | last 30", "show system commit")
    kept = commits(await session.run("show system commit"))
    numbers = [commit.number for commit in kept if commit.when == step.committed]
    return (*asked, *(f"show configuration | compare rollback {number}" for number in numbers))
