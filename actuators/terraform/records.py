"""Steps on the state's record: import, state rm, and the release of a lock. No infrastructure is changed."""

from __future__ import annotations

from actuators.remedies import cannot_look
from actuators.terraform import core, places
from actuators.terraform.steps import TerraformImport, TerraformStateRm, TerraformUnlock
from actuators.terraform.values import Lock, read_lock
from bot.domain.actuation import Check, Context, Observation, Outcome, Presence, Verdict
from bot.domain.errors import ActuatorError


class ImportActuator:
    """Takes an existing resource into the state."""

    async def check(self, step: TerraformImport, context: Context) -> tuple[Check, ...]:
        """Look whether the state can be read, is free, and has nothing else at the address."""
        subject = f"State of {step.target}"
        try:
            async with core.opened(step, context) as tool:
                state, lock = await tool.state(), read_lock(await tool.locked())
            _must_be_free(step, state.resources.get(step.address))
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        return (Check(subject, Verdict.OK, state.words()), *_lock_check(step.target, lock))

    async def observe(self, step: TerraformImport, context: Context) -> Observation:
        """Look whether the address holds the resource."""
        try:
            async with core.opened(step, context) as tool:
                state = await tool.state()
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        held = state.resources.get(step.address)
        if held is None:
            return Observation(Presence.ABSENT, f"{step.address} is not in the state ({state.words()})")
        words = f"{step.address} is {held or 'a resource without an id'} in the state ({state.words()})"
        return Observation(Presence.PRESENT if held == step.identity else Presence.ABSENT, words)

    async def apply(self, step: TerraformImport, context: Context) -> Outcome:
        """Keep the state and import."""
        async with core.opened(step, context) as tool:
            state = await tool.state()
            held = state.resources.get(step.address)
            if held == step.identity:
                return Outcome(f"{step.address} is {held} in the state already", {"serial": state.serial})
            _must_be_free(step, held)
            kept = places.keep(state, step, context)
            await tool.import_(step.address, step.identity)
            after = await tool.state()
        words = f"{step.identity} is {step.address} now; {after.words()}. Before: {kept['kept_state']}"
        return Outcome(words, {**kept, "serial": after.serial})


class StateRmActuator:
    """Takes a resource out of the state."""

    async def check(self, step: TerraformStateRm, context: Context) -> tuple[Check, ...]:
        """Look what the address stands for, and whether the state is free."""
        subject = f"State of {step.target}"
        try:
            async with core.opened(step, context) as tool:
                state, lock = await tool.state(), read_lock(await tool.locked())
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        held = state.holding(step.address)
        words = f"{step.address} stands for {', '.join(held) or 'nothing'}; {state.words()}"
        verdict = Verdict.OK if held else Verdict.WARN
        resolution = "" if held else "Nothing would be done."
        return (Check(subject, verdict, words, resolution), *_lock_check(step.target, lock))

    async def observe(self, step: TerraformStateRm, context: Context) -> Observation:
        """Look whether the state still holds the address."""
        try:
            async with core.opened(step, context) as tool:
                state = await tool.state()
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        held = state.holding(step.address)
        if held:
            return Observation(Presence.ABSENT, f"the state holds {', '.join(held)} ({state.words()})")
        return Observation(Presence.PRESENT, f"{step.address} is not in the state ({state.words()})")

    async def apply(self, step: TerraformStateRm, context: Context) -> Outcome:
        """Keep the state and take the address out of it."""
        async with core.opened(step, context) as tool:
            state = await tool.state()
            held = state.holding(step.address)
            if not held:
                return Outcome(f"{step.address} is not in the state", {"serial": state.serial})
            kept = places.keep(state, step, context)
            await tool.run("state", "rm", "-lock-timeout=0s", step.address)
            after = await tool.state()
        words = f"Out of the state: {', '.join(held)}; {after.words()}. Before: {kept['kept_state']}"
        return Outcome(words, {**kept, "serial": after.serial, "removed": list(held)})


class UnlockActuator:
    """Releases a lock that a process left behind."""

    async def check(self, step: TerraformUnlock, context: Context) -> tuple[Check, ...]:
        """Look who holds which lock."""
        subject = f"Lock of {step.target}"
        try:
            lock = await _held(step, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        if lock is None:
            return (Check(subject, Verdict.WARN, "The state is not locked", "Nothing would be done."),)
        if lock.id != step.lock:
            words = f"Another lock is held now: {lock.words()}, lock id {lock.id}. It is left alone."
            return (Check(subject, Verdict.WARN, words, "Wait until they have finished."),)
        words = f"Held by {lock.words()}"
        return (Check(subject, Verdict.WARN, words, "Make sure that this process no longer runs."),)

    async def observe(self, step: TerraformUnlock, context: Context) -> Observation:
        """Look whether this lock is still held; another one is not its matter."""
        try:
            lock = await _held(step, context)
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        if lock is None:
            return Observation(Presence.PRESENT, f"the state of {step.target} is not locked")
        if not lock.id:
            return Observation(
                Presence.UNKNOWN, f"locked by {lock.words()}; the backend does not tell the lock's id"
            )
        gone = lock.id != step.lock
        words = f"locked by {lock.words()}, lock id {lock.id}"
        return Observation(Presence.PRESENT if gone else Presence.ABSENT, words)

    async def apply(self, step: TerraformUnlock, context: Context) -> Outcome:
        """Release it, if it is still this one."""
        async with core.opened(step, context) as tool:
            lock = read_lock(await tool.locked())
            if lock is None or lock.id != step.lock:
                now = f"; now held by {lock.words()}" if lock else ""
                return Outcome(f"Lock {step.lock} on {step.target} is gone already{now}")
            await tool.run("force-unlock", "-force", step.lock)
        return Outcome(f"Lock {step.lock} on {step.target} is released; it was held by {lock.words()}")


async def _held(step: TerraformUnlock, context: Context) -> Lock | None:
    async with core.opened(step, context) as tool:
        return read_lock(await tool.locked())


def _lock_check(target: str, lock: Lock | None) -> tuple[Check, ...]:
    if lock is None:
        return ()
    words = f"Locked by {lock.words()}"
    return (Check(f"Lock of {target}", Verdict.WARN, words, "Wait until they have finished, or ask them."),)


def _must_be_free(step: TerraformImport, held: str | None) -> None:
    if held is not None and held != step.identity:
        raise ActuatorError(
            f"{step.address} of {step.target} is {held or 'a resource without an id'} in the state already.",
            untouched="The state is as it was.",
            resolution="Take that out of the state first, if it is stale; or name another address.",
        )
