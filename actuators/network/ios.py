"""Cisco IOS and IOS XE: `configure replace` with its revert timer, and `configure confirm`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from actuators.network import device as devices
from actuators.network import values
from actuators.network.platform import Standing, changes, refused
from actuators.network.session import LONG, Session
from actuators.network.steps import NetworkReplace
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice

_UNTOUCHED = "The device was only read."
_TIMER = re.compile(r"^Timer value:\s*(.+?)\s*$", re.MULTILINE)
_HIGHEST = "Current privilege level is 15"


class Ios:
    """Speaks to Cisco devices."""

    speaks = "cisco"

    def opened(self, name: str, device: NetworkDevice) -> AbstractAsyncContextManager[Session]:
        """Give a login of its own."""
        return devices.terminal(name, device)

    async def checks(self, session: Session, step: NetworkReplace) -> tuple[Check, ...]:
        """Verify privilege, archive and file, and show what will change."""
        return tuple([check async for check in self._checks(session, step)])

    async def _checks(self, session: Session, step: NetworkReplace) -> AsyncIterator[Check]:
        level = await session.run("show privilege")
        if _HIGHEST in level:
            yield Check(f"Rights on {step.target}", Verdict.OK, _HIGHEST)
        else:
            resolution = "Give the bot's user privilege 15 (`username NAME privilege 15`), or by AAA."
            yield Check(f"Rights on {step.target}", Verdict.FAIL, values.last_words(level), resolution)
        archive = await session.run("show archive")
        if "archive configurations allowed" in archive or "archive file will be named" in archive:
            yield Check(f"Archive of {step.target}", Verdict.OK, "is configured, so the revert timer works")
        else:
            words = f"{values.last_words(archive)}; without it the device cannot go back by itself"
            yield Check(f"Archive of {step.target}", Verdict.FAIL, words, "Configure `archive` with a `path`.")
        try:
            yield Check(f"File {step.file}", Verdict.OK, await self._must_be_pinned(session, step))
            standing = await self.look(session, step)
        except ActuatorError as error:
            yield cannot_look(f"File {step.file}", error)
            return
        yield changes(step, standing)

    async def look(self, session: Session, step: NetworkReplace) -> Standing:
        """Compare the running configuration with the file, and with the one that a restart loads."""
        timer = await session.run("show archive config rollback timer")
        found = _TIMER.search(timer)
        if not found and values.NOTHING_PENDING not in timer:
            raise refused(session, "it does not tell whether a change is pending", timer, untouched=_UNTOUCHED)
        to_come = await self._differences(session, "system:running-config", step.file, step)
        unsaved = await self._differences(session, "nvram:startup-config", "system:running-config", step)
        return Standing(to_come, found[1] if found else "", saved=not unsaved)

    async def begin(self, session: Session, step: NetworkReplace, context: Context, before: Standing) -> str:
        """Replace the configuration; the device goes back by itself on an error, and when its timer ends."""
        del context, before
        await self._must_be_pinned(session, step)
        command = f"configure replace {step.file} force revert trigger error timer {step.minutes()}"
        said = await session.run(command, seconds=LONG)
        if "Rollback Done" in said.splitlines():
            return said
        raise refused(
            session,
            f"{step.file} was not put in force (no `Rollback Done`)",
            said,
            untouched="What was applied of it the device takes back by itself.",
        )

    async def confirm(self, session: Session, step: NetworkReplace, context: Context) -> str:
        """Stop the timer; that it has stopped is read by whoever looks next."""
        del step, context
        said = await session.run("configure confirm")
        if values.complaint(said):
            raise refused(session, "the change is not confirmed", said, untouched="The timer goes on if it runs.")
        return said

    async def save(self, session: Session) -> str:
        """Write the startup configuration."""
        said = await session.run("write memory", seconds=LONG)
        if "[OK]" not in said:
            raise refused(
                session, "it is not saved", said, untouched="The configuration is in force until a restart."
            )
        return said

    async def _differences(self, session: Session, old: str, new: str, step: NetworkReplace) -> tuple[str, ...]:
        said = await session.run(f"show archive config differences {old} {new}", seconds=LONG)
        found = values.cisco_differences(said, step.ignore)
        if found is None:
            raise refused(session, f"{old} and {new} cannot be compared", said, untouched=_UNTOUCHED)
        return found

    async def _must_be_pinned(self, session: Session, step: NetworkReplace) -> str:
        """Check that the file is the one of the plan, and say how that is known."""
        said = await session.run(f"dir {step.file}")
        size = values.file_size(said, re.split(r"[:/]", step.file)[-1])
        if size is None:
            raise refused(
                session,
                f"there is no file {step.file}",
                said,
                untouched=_UNTOUCHED,
                resolution="Copy the backup to the device again, or name the one that is there in the plan.",
            )
        if step.size not in {None, size}:
            raise _another(session, step, f"has {size} bytes, not {step.size}")
        kind, expected = ("sha512", step.sha512) if step.sha512 else ("md5", step.md5)
        said = await session.run(f"verify /{kind} {step.file}", seconds=LONG)
        found = values.digest(said, step.file)
        if found is None:
            raise refused(session, f"the {kind} of {step.file} cannot be read", said, untouched=_UNTOUCHED)
        if found != expected:
            raise _another(session, step, f"has the {kind} {found[:12]}..., not {(expected or '')[:12]}...")
        return f"{size} bytes, {kind} as pinned"


def _another(session: Session, step: NetworkReplace, what: str) -> ActuatorError:
    return ActuatorError(
        f"{session.name}: {step.file} is not the file of the plan: it {what}.",
        untouched=_UNTOUCHED,
        resolution="Find the right backup, or correct the pin in the plan and have it approved again.",
    )
