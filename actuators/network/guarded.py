"""A change of a device under its own dead-man switch: confirmed only from a fresh login that reaches all it must.

Whatever cuts the bot off, its own crash included, the device takes the change back by itself.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from actuators.network import aid, baseline, reach
from actuators.network.device import device_of, family, way_in
from actuators.network.platform import SHORT_SEAL, L, Platform, Standing, moved, seal_of
from actuators.network.reach import Expected
from actuators.network.session import SessionCutError
from actuators.network.steps import Guarded, routes_of
from actuators.network.values import masked
from actuators.redact import tail
from actuators.remedies import cannot_look, titled
from actuators.transport.base import HostUnreachableError
from bot.domain.actuation import (
    Check,
    Context,
    Fault,
    Observation,
    Outcome,
    Presence,
    Progress,
    Remedy,
    Verdict,
)
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice
from bot.domain.times import format_duration, utc_second

G = TypeVar("G", bound=Guarded)


class GuardedActuator(Generic[L, G]):
    """Carries out a guarded change on one platform.

    Args:
        platform: How the platform is changed.
    """

    def __init__(self, platform: Platform[L, G]) -> None:
        self._platform = platform

    async def check(self, step: G, context: Context) -> tuple[Check, ...]:
        """Verify login, rights and what comes back; show what will change, and what proves that it may stay."""
        try:
            device = self._device(step, context)
            async with self._platform.opened(step.target, device) as session:
                found = await self._platform.checks(session, step)
        except ActuatorError as error:
            return (cannot_look(f"Device {step.target}", error),)
        return (*found, await _proof(step, device, context), _console(step, device))

    async def observe(self, step: G, context: Context) -> Observation:
        """Compare what is in force with what is wanted; what waits for its confirmation is unknown."""
        try:
            device = self._device(step, context)
            async with self._platform.opened(step.target, device) as session:
                standing = await self._platform.look(session, step)
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        return _observed(step, standing)

    async def apply(self, step: G, context: Context) -> Outcome:
        """Change the device under its timer, look from a fresh login, and confirm."""
        device = self._device(step, context)
        async with self._platform.opened(step.target, device) as session:
            before = await self._platform.look(session, step)
            if before.settled:
                return Outcome(f"{step.target} has the wanted configuration already")
            if before.pending and not before.wanted:
                raise _somebody_elses(step, before)
            # Read before anything is changed: without it nothing could be confirmed.
            expected = await _expected(step, device, context)
            said = "" if before.wanted else await self._begin(session, step, context, before)
        words = await self._confirmed(step, device, context, expected)
        return Outcome(f"{step.words()}: done and confirmed ({words})", {}, tail(masked(said)))

    async def remedies(self, step: G, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what shows the device's side and the console, a longer time, and the change as it is now."""
        found = (*aid.diagnoses(step, context), *aid.longer(step, context))
        return (*found, *await self._as_it_is_now(step, fault, context))

    def _device(self, step: G, context: Context) -> NetworkDevice:
        return device_of(step, context, speaks=self._platform.speaks)

    async def _as_it_is_now(self, step: G, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return the change with the difference that the failure showed, if it still is that one."""
        if not aid.approved(step, context):
            return ()
        try:
            async with self._platform.opened(step.target, self._device(step, context)) as session:
                now = await self._platform.look(session, step)
        except ActuatorError:
            return ()
        seal = seal_of(step, now)
        if (
            seal == aid.approved(step, context)
            or now.wanted
            or f"difference {seal[:SHORT_SEAL]}" not in fault.brief
        ):
            return ()
        words = (
            f"Changes the device although it is no longer as it was approved: {now.words()}, exactly what the"
            f" failure lists (difference {seal[:SHORT_SEAL]}). If it has changed once more, nothing is done."
        )
        again = step.model_copy(update={"difference": seal})
        return (Remedy("as-it-is-now", titled(f"Change {step.target} as it is now"), words, again, settles=True),)

    async def _begin(self, session: L, step: G, context: Context, before: Standing) -> str:
        approved = aid.approved(step, context)
        if approved and seal_of(step, before) != approved:
            raise moved(step, before, "the approval")
        timer = format_duration(step.confirm_within)
        context.report(Progress(0, 2, "stages", f"{step.words()}, under a timer of {timer}"))
        try:
            return await self._platform.begin(session, step, context, before)
        except SessionCutError as error:
            # The change may have moved the very address of this session: a fresh login will tell.
            return str(error)

    async def _confirmed(self, step: G, device: NetworkDevice, context: Context, expected: Expected) -> str:
        """Confirm as soon as a fresh login reaches everything; return what was reached.

        Raises:
            ActuatorError: If that was not so in time, or the device took the change back.
        """
        clock, every = context.clock, step.every.total_seconds()
        until = clock.monotonic() + step.settle.total_seconds()
        while True:
            try:
                words, done = await self._try(step, device, context, expected)
            except (HostUnreachableError, SessionCutError) as error:
                words, done = error.brief.rstrip("."), False
            if done:
                return words
            context.report(Progress(1, 2, "stages", f"Not confirmed yet: {words}"))
            if clock.monotonic() + every > until:
                raise _unconfirmed(step, device, words, context)
            await clock.sleep(every)

    async def _try(self, step: G, device: NetworkDevice, context: Context, expected: Expected) -> tuple[str, bool]:
        """Look once from a fresh login, and confirm and save if all is well."""
        async with self._platform.opened(step.target, device) as session:
            standing = await self._platform.look(session, step)
            if standing.pending and not standing.wanted:
                return _observed(step, standing).words, False
            if not standing.wanted:
                raise _taken_back(step, standing)
            found = await reach.look(session, device, expected)
            if found.bad:
                return found.words(), False
            if standing.pending:
                await self._platform.confirm(session, step, context)
            if not standing.saved:
                await self._platform.save(session)
            after = await self._platform.look(session, step)
            if after.settled:
                return found.words(), True
            return _observed(step, after).words, False


def _observed(step: Guarded, standing: Standing) -> Observation:
    timer = f"a change waits for its confirmation on {step.target} (timer: {standing.pending})"
    if standing.pending and standing.wanted:
        words = (
            f"The wanted configuration is in force, and {timer}; unconfirmed, the device takes it back by itself"
        )
        return Observation(Presence.UNKNOWN, words)
    if standing.pending:
        return Observation(Presence.UNKNOWN, f"{timer[0].upper()}{timer[1:]}, and it is not the wanted one")
    if not standing.wanted:
        words = f"{step.target} differs from the wanted configuration in {standing.count()} lines"
        parts = (words, "no change waits for its confirmation", standing.note)
        return Observation(Presence.ABSENT, "; ".join(filter(None, parts)))
    if not standing.saved:
        words = f"The wanted configuration is in force on {step.target}, and not saved: a restart would lose it"
        return Observation(Presence.ABSENT, words)
    return Observation(Presence.PRESENT, f"{step.target} has the wanted configuration, confirmed and saved")


async def _expected(step: Guarded, device: NetworkDevice, context: Context) -> Expected:
    table = await baseline.read(step, step.baseline, family(device), context)
    return Expected(device.ping, routes_of(device.routes), step.max_loss, baseline=table)


async def _proof(step: Guarded, device: NetworkDevice, context: Context) -> Check:
    subject = f"Confirmation on {step.target}"
    try:
        expected = await _expected(step, device, context)
    except ActuatorError as error:
        return cannot_look(subject, error)
    words = f"{expected.words()}, within {format_duration(step.settle)}"
    if expected.ping or expected.routes or expected.baseline:
        timer = format_duration(step.confirm_within)
        return Check(subject, Verdict.OK, f"needs {words}; else the device goes back after {timer}")
    resolution = "Name hosts and networks in `ping` and `routes` of the device in the inventory."
    return Check(subject, Verdict.WARN, f"needs {words}", resolution)


def _console(step: Guarded, device: NetworkDevice) -> Check:
    subject = f"Console of {step.target}"
    if device.out_of_band is not None:
        return Check(subject, Verdict.OK, way_in(device))
    return Check(
        subject, Verdict.WARN, "no way to it is known", "Add `out_of_band` to the device in the inventory."
    )


def _somebody_elses(step: Guarded, standing: Standing) -> ActuatorError:
    return ActuatorError(
        f"{step.target}: another change waits for its confirmation (timer: {standing.pending}).",
        untouched="The device was only read.",
        resolution="Let whoever made it confirm it or take it back, or wait until the device does; then retry.",
    )


def _taken_back(step: Guarded, standing: Standing) -> ActuatorError:
    return ActuatorError(
        f"{step.target} does not have the wanted configuration: it differs in {standing.count()} lines,"
        f" and no change waits for its confirmation{f'; {standing.note}' if standing.note else ''}.",
        untouched="The device refused the change or took it back: the configuration from before is in force.",
        resolution="See the device's log for why; retry, with a longer timer if it ended too early.",
    )


def _unconfirmed(step: Guarded, device: NetworkDevice, words: str, context: Context) -> ActuatorError:
    latest = utc_second(context.clock.now() + step.confirm_within)
    return ActuatorError(
        f"{step.target} was changed and not confirmed, since it does not reach what it must: {words}.",
        untouched=f"The device takes the change back by itself, by {latest} at the latest; nothing was confirmed.",
        resolution=f"Retry while it waits to look once more, or wait. If it stays cut off: {way_in(device)}",
    )
