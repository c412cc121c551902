"""Whether a device reaches what it must: a probe that looks until it does."""

from __future__ import annotations

from actuators.network import aid, baseline, reach
from actuators.network.device import device_of, family, opened, way_in
from actuators.network.reach import Expected
from actuators.network.session import SessionCutError
from actuators.network.steps import NetworkConnectivity, routes_of
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look
from actuators.transport.base import HostUnreachableError
from bot.domain.actuation import Check, Context, Fault, Outcome, Progress, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice
from bot.domain.times import format_duration


class ConnectivityActuator(LeavesNothing):
    """A probe: looks until everything is reached, or the time is up."""

    async def check(self, step: NetworkConnectivity, context: Context) -> tuple[Check, ...]:
        """Look whether there is something to look for and the device can be asked; what it finds is no obstacle."""
        subject = f"Connectivity of {step.target}"
        try:
            device = device_of(step, context)
            expected = await _expected(step, device, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        try:
            async with opened(step.target, device) as session:
                found = await reach.look(session, device, expected)
        except ActuatorError as error:
            # A device that is cut off may be the very reason of the rollback.
            return (cannot_look(subject, error, verdict=Verdict.WARN),)
        if found.bad:
            return (Check(subject, Verdict.WARN, found.words(), "The step waits for it after the rollback."),)
        return (Check(subject, Verdict.OK, found.words()),)

    async def apply(self, step: NetworkConnectivity, context: Context) -> Outcome:
        """Look until all is well."""
        device, clock = device_of(step, context), context.clock
        expected = await _expected(step, device, context)
        until = clock.monotonic() + step.within.total_seconds()
        while True:
            try:
                async with opened(step.target, device) as session:
                    found = await reach.look(session, device, expected)
                words, transient = found.words(), False
                if not found.bad:
                    return Outcome(words, found.facts())
            except (HostUnreachableError, SessionCutError) as error:
                words, transient = error.brief.rstrip("."), True
            context.report(Progress(0, None, "checks", words))
            if clock.monotonic() + step.every.total_seconds() > until:
                raise ActuatorError(
                    f"{step.target} does not reach what it must within {format_duration(step.within)}: {words}.",
                    untouched="The device was only read.",
                    resolution=f"See its log and routes. {way_in(device)}",
                    transient=transient,
                )
            await clock.sleep(step.every.total_seconds())

    async def remedies(self, step: NetworkConnectivity, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return the diagnoses of a device."""
        del fault
        return aid.diagnoses(step, context)


async def _expected(step: NetworkConnectivity, device: NetworkDevice, context: Context) -> Expected:
    """Return what the step and the inventory expect.

    Raises:
        ActuatorError: If that is nothing, or the baseline cannot be read.
    """
    table = await baseline.read(step, step.baseline, family(device), context)
    ping, routes = step.ping or device.ping, step.routes or routes_of(device.routes)
    if ping or routes or step.paths or table:
        return Expected(ping, routes, step.max_loss, step.count, step.paths, table)
    raise ActuatorError(
        f"Step {step.id}: neither it nor {step.target} names anything that must be reached.",
        untouched="Nothing was contacted.",
        resolution="Give `ping` or `routes`, in the step (`paths` and `baseline` too) or in the device's entry of"
        " the inventory.",
    )
