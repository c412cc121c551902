"""terraform.state_restore: an earlier state is pushed back, of the same lineage and with a higher serial."""

from __future__ import annotations

import json
from pathlib import Path

from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look, shown
from actuators.terraform import core, places, s3
from actuators.terraform.core import Core
from actuators.terraform.steps import TerraformStateRestore, TerraformStateVersions
from actuators.terraform.values import State, read_lock, read_state
from bot.domain.actuation import Check, Context, Observation, Outcome, Presence, Verdict
from bot.domain.errors import ActuatorError


class StateRestoreActuator:
    """Pushes an earlier state back. It changes the record alone: the next plan shows what really differs."""

    async def check(self, step: TerraformStateRestore, context: Context) -> tuple[Check, ...]:
        """Look whether both states can be read and are of the pinned lineage, and whether the state is free."""
        subject = f"State of {step.target}"
        try:
            async with core.opened(step, context) as tool:
                present, earlier = await _both(step, tool)
                lock = read_lock(await tool.locked())
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        if lock is not None:
            words = f"Locked by {lock.words()}"
            return (Check(subject, Verdict.WARN, words, "Wait until they have finished, or ask them."),)
        now = present.words() if present else "none"
        return (Check(subject, Verdict.OK, f"now: {now}; {step.source()}: {earlier.words()}"),)

    async def observe(self, step: TerraformStateRestore, context: Context) -> Observation:
        """Look whether the state holds what the earlier one holds."""
        try:
            async with core.opened(step, context) as tool:
                present, earlier = await _both(step, tool)
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        if present is None:
            return Observation(Presence.ABSENT, f"{step.target} has no state")
        if present.same_record(earlier):
            return Observation(Presence.PRESENT, f"the state holds what {step.source()} holds ({present.words()})")
        return Observation(Presence.ABSENT, f"the state holds something else ({present.words()})")

    async def apply(self, step: TerraformStateRestore, context: Context) -> Outcome:
        """Keep the present state, raise the serial, and push."""
        async with core.opened(step, context) as tool:
            present, earlier = await _both(step, tool)
            if present is not None and present.same_record(earlier):
                return Outcome(f"The state holds what {step.source()} holds already", {"serial": present.serial})
            kept = places.keep(present, step, context) if present is not None else {}
            serial = max(earlier.serial, present.serial if present else 0) + 1
            pushed = tool.folder / "restored.tfstate"
            # An older serial is refused as "over newer state"; the tool's own -force would also skip the lineage.
            pushed.write_bytes(json.dumps({**earlier.document, "serial": serial}).encode())
            await tool.run("state", "push", "-lock-timeout=0s", str(pushed))
            after = await tool.state()
        before = f" Before: {kept['kept_state']}" if kept else ""
        words = f"{step.source()} is the state of {step.target} again: {after.words()}.{before}"
        return Outcome(words, {**kept, "serial": after.serial})


class StateVersionsActuator(LeavesNothing):
    """A diagnosis: which earlier states there are."""

    async def check(self, step: TerraformStateVersions, context: Context) -> tuple[Check, ...]:
        """Look whether they can be listed."""
        subject = f"Earlier states of {step.target}"
        try:
            found, kept = await _earlier_ones(step, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        return (Check(subject, Verdict.OK, f"{len(found)} versions in S3, {len(kept)} kept by the bot"),)

    async def apply(self, step: TerraformStateVersions, context: Context) -> Outcome:
        """List them, the newest first."""
        found, kept = await _earlier_ones(step, context)
        lines = [f"version {v.id}  {v.written}  {v.size} bytes{'  (now)' if v.latest else ''}" for v in found]
        lines += [f"file {file}  sha256 {sha256}" for file, sha256 in kept]
        words = f"Earlier states of {step.target}: {len(found)} versions in S3, {len(kept)} kept by the bot"
        return Outcome(words, {"versions": len(found), "kept": len(kept)}, shown(lines))


async def _earlier_ones(
    step: TerraformStateVersions, context: Context
) -> tuple[list[s3.Version], list[tuple[str, str]]]:
    async with core.opened(step, context) as tool:
        # Whoever cannot reach the backend would take an empty list for the truth.
        await tool.pull()
        found = await s3.versions(tool) if s3.kept_by(tool) else []
    return found, places.kept_states(step, context)


async def _both(step: TerraformStateRestore, tool: Core) -> tuple[State | None, State]:
    """Read the present state and the earlier one.

    Raises:
        ActuatorError: If either cannot be read, or is of another lineage than the pinned one.
    """
    present = await tool.pull()
    data = await s3.content(tool, step.version) if step.version is not None else _of_file(step)
    earlier = tool.reading(read_state, data.decode(errors="replace"), f"the state in {step.source()}")
    if earlier is None:
        raise _refused(f"{step.source()} holds no state.")
    for what, state in ((step.source(), earlier), (f"The present state of {step.target}", present)):
        if state is not None and state.lineage != step.lineage:
            raise _refused(f"{what} is of lineage {state.lineage}, the step's is {step.lineage}: another stack's.")
    return present, earlier


def _of_file(step: TerraformStateRestore) -> bytes:
    file = Path(str(step.file))
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _refused(f"{file} cannot be read: {error.strerror}.") from None
    if places.digest(data) != step.sha256:
        raise _refused(f"{file} is not the file that was pinned: its SHA-256 is {places.digest(data)}.")
    return data


def _refused(brief: str) -> ActuatorError:
    return ActuatorError(
        brief, untouched="The state is as it was.", resolution="Name the right earlier state and its lineage."
    )
