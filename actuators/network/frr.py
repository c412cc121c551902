"""FRR: `frr-reload.py` with a whole configuration, under a keeper on the router that goes back by itself."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from actuators.network import frr_scripts, shell, values
from actuators.network.platform import Standing, changes, moved, refused
from actuators.network.session import LONG, SessionCutError
from actuators.network.shell import Shell
from actuators.network.steps import NetworkReload
from actuators.processes import Finished
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice

_UNTOUCHED = "The router was only read."
_PATIENCE = LONG
"""Seconds that FRR may be at work until a fresh login is to tell how far it came."""
_SLICE = 3.0
"""Seconds for which one command waits on the router; a cut path shows at its end, and not after a minute."""


class Frr:
    """Speaks to machines with FRR."""

    speaks = "frr"

    def opened(self, name: str, device: NetworkDevice) -> AbstractAsyncContextManager[Shell]:
        """Give a login of its own."""
        return shell.opened(name, device)

    async def checks(self, session: Shell, step: NetworkReload) -> tuple[Check, ...]:
        """Verify programs, folder and file, that the way back is sure, and show what will change."""
        return tuple([check async for check in self._checks(session, step)])

    async def _checks(self, session: Shell, step: NetworkReload) -> AsyncIterator[Check]:
        machine = session.machine
        subject, who = (
            f"Rights on {step.target}",
            f"user {machine.run_as}" if machine.run_as else "the login's user",
        )
        shown = await session.program([*frr_scripts.vtysh(machine), "-c", "show version"])
        if shown.returncode != 0:
            resolution = (
                "Give the login FRR's programs by sudoers, and see that FRR runs (docs/actuators/network.md)."
            )
            yield Check(subject, Verdict.FAIL, _words(shown), resolution)
            return
        yield Check(subject, Verdict.OK, f"{shown.out.splitlines()[0]}, as {who}")
        subject, folder = f"Way back of {step.target}", machine.folder
        ready = await session.program(["sh", "-c", frr_scripts.READY, "sh", folder])
        if ready.returncode != 0:
            resolution = (
                f"Make {folder} for the login and FRR's group alone, mode 2770 (docs/actuators/network.md)."
            )
            yield Check(subject, Verdict.FAIL, f"{_words(ready)}; without it nothing could go back", resolution)
        else:
            yield Check(subject, Verdict.OK, f"a keeper in {folder} goes back if nobody confirms")
        try:
            standing = await self.look(session, step)
        except ActuatorError as error:
            yield cannot_look(f"File {step.file}", error)
            return
        yield Check(f"File {step.file}", Verdict.OK, "SHA-256 as pinned, and FRR can read it")
        yield changes(step, standing)

    async def look(self, session: Shell, step: NetworkReload) -> Standing:
        """Compare the running configuration with the file, and with the one that a restart loads."""
        await self._must_be_pinned(session, step)
        pending, note = await self._kept(session)
        said = await self._difference(session, step.file)
        to_come = values.frr_differences(said, step.ignore)
        return Standing(to_come, pending, saved=await self._saved(session, step), note=note)

    async def begin(self, session: Shell, step: NetworkReload, context: Context, before: Standing) -> str:
        """Let a keeper on the router replace the configuration, and wait until it has done so.

        The keeper compares file, difference and the way back once more under its lock, before it changes anything.
        """
        await self._must_be_pinned(session, step)
        said = await self._difference(session, step.file)
        now = values.frr_differences(said, step.ignore)
        if now != before.differences:
            raise moved(step, Standing(now, ""), "it was looked at")
        machine = session.machine
        # A name of its own for each attempt: what an earlier one left cannot be taken for this one's.
        name = f"{context.token(step)}.{secrets.token_hex(4)}"
        sealed = hashlib.sha256(said.encode()).hexdigest()
        seconds = str(int(step.confirm_within.total_seconds()))
        script = frr_scripts.begin(machine)
        await session.script(script, machine.folder, name, step.file, step.sha256, sealed, seconds)
        log = await self._at_rest(session, step, name, context)
        left = await self._difference(session, step.file)
        if values.frr_differences(left, step.ignore):
            # FRR's program does not always tell what it could not apply, e.g. to a daemon that does not run.
            await session.script(frr_scripts.BACK, machine.folder, name)
            await self._at_rest(session, step, name, context, left=left)
        return log

    async def confirm(self, session: Shell, step: NetworkReload, context: Context) -> str:
        """Tell the keeper to leave the change as it is, and wait for its answer."""
        del step, context
        done = await session.script(frr_scripts.CONFIRM, session.machine.folder)
        if done.returncode != 0:
            untouched = "The keeper goes back if it has not yet."
            raise refused(session, "the change is not confirmed", _said(done), untouched=untouched)
        return "confirmed"

    async def save(self, session: Shell) -> str:
        """Write the startup configuration."""
        said = _said(
            await session.program([*frr_scripts.vtysh(session.machine), "-c", "write memory"], seconds=LONG)
        )
        if "[OK]" not in said:
            untouched = "The configuration is in force until a restart."
            raise refused(session, "it is not saved", said, untouched=untouched)
        return said

    async def _kept(self, session: Shell) -> tuple[str, str]:
        """Return what waits for its confirmation, and what became of the latest change if that must be known."""
        done = await session.program(["sh", "-c", frr_scripts.STATE, "sh", session.machine.folder])
        held, _, rest = done.out.strip().partition(" ")
        left, _, rest = rest.partition(" ")
        state, _, why = rest.partition(" ")
        if done.returncode != 0 or held not in {"none", "held", "free"}:
            resolution = f"See that the login may enter and read {session.machine.folder}."
            raise refused(
                session, "what waits cannot be told", _said(done), untouched=_UNTOUCHED, resolution=resolution
            )
        if held == "held":
            return f"{left} s left" if state == "waiting" else state, ""
        why = values.masked(why)
        if state == "stuck":
            return "", f"the latest change could not go back ({why}): see the log in {session.machine.folder}"
        return "", f"the latest change went back: {why}" if state == "reverted" else ""

    async def _compared(self, session: Shell, file: str) -> Finished:
        return await session.program([*frr_scripts.reloading(session.machine), "--test", file], seconds=LONG)

    async def _difference(self, session: Shell, file: str) -> str:
        """Return what FRR would do to have a configuration in force, in its own words."""
        done = await self._compared(session, file)
        if done.returncode != 0:
            # A file that FRR cannot read is to it an empty one, and its answer the end of the whole configuration.
            raise refused(session, f"{file} cannot be compared", _said(done), untouched=_UNTOUCHED)
        return done.out

    async def _saved(self, session: Shell, step: NetworkReload) -> bool:
        done = await self._compared(session, frr_scripts.startup(session.machine))
        # Where there is none, or none that a restart could load, saving makes one.
        return done.returncode == 0 and not values.frr_differences(done.out, step.ignore)

    async def _must_be_pinned(self, session: Shell, step: NetworkReload) -> None:
        done = await session.program(["sha256sum", "--", step.file], seconds=LONG)
        if done.returncode != 0:
            resolution = "Copy the backup to the router again, or name the one that is there in the plan."
            raise refused(
                session, f"{step.file} cannot be read", _said(done), untouched=_UNTOUCHED, resolution=resolution
            )
        found = done.out.split()[0]
        if found != step.sha256:
            raise ActuatorError(
                f"{session.name}: {step.file} is not the file of the plan: it has the SHA-256 {found[:12]}..., not"
                f" {step.sha256[:12]}...",
                untouched=_UNTOUCHED,
                resolution="Find the right backup, or correct the pin in the plan and have it approved again.",
            )

    async def _at_rest(
        self, session: Shell, step: NetworkReload, name: str, context: Context, *, left: str = ""
    ) -> str:
        """Return what FRR said when the change is in force, or, where something is `left`, has gone back.

        Raises:
            SessionCutError: If the connection was cut meanwhile; the keeper goes on.
            ActuatorError: If nothing was changed, or the keeper went back.
        """
        tenths = str(int(_SLICE * 10))
        until = context.clock.monotonic() + _PATIENCE
        state = ""
        while context.clock.monotonic() < until:
            done = await session.script(frr_scripts.WAIT, session.machine.folder, name, tenths, seconds=2 * _SLICE)
            first, _, log = done.out.partition("\n")
            state, _, why = first.partition(" ")
            if state == "waiting" and not left:
                return log
            if state == "moved":
                raise moved(step, await self.look(session, step), "it was looked at")
            if state == "refused":
                raise refused(session, "nothing was changed", why, untouched="The router was only read.")
            if state in {"reverted", "stuck"}:
                said = f"{why}: {values.last_words(left)}" if left else why
                raise refused(session, f"{step.file} is not in force", said, untouched=_UNDONE[state])
        raise SessionCutError(
            f"{session.name}: FRR is still at work ({state or 'nothing was heard'}).",
            untouched="What is not confirmed the router takes back by itself.",
            resolution="Look at it again.",
            transient=True,
        )


_UNDONE = {
    "reverted": "The router went back: the configuration from before is in force.",
    "stuck": "The router could not go back to all of what was there before: its log names the lines.",
}


def _said(done: Finished) -> str:
    return f"{done.out}\n{done.err}".strip("\n")


def _words(done: Finished) -> str:
    return values.last_words(_said(done))
