"""Juniper Junos: `rollback` to a pinned commit, `commit confirmed`, and `commit`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from actuators.network import device as devices
from actuators.network import values
from actuators.network.platform import Standing, changes, moved, refused
from actuators.network.session import LONG, Session
from actuators.network.steps import NetworkRollback
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice

_UNTOUCHED = "The device was only read."
_RESCUE = "/config/rescue.conf.gz"
_KEPT = 50
_OWN_COMMITS = 2
"""`commit confirmed` and `commit` move the wanted one on by two; the device forgets those beyond its limit."""
_RIGHTS = ("configure", "network", "rollback", "view", "view-configuration")


class Junos:
    """Speaks to Juniper devices."""

    speaks = "junos"

    def opened(self, name: str, device: NetworkDevice) -> AbstractAsyncContextManager[Session]:
        """Give a login of its own."""
        return devices.terminal(name, device)

    async def checks(self, session: Session, step: NetworkRollback) -> tuple[Check, ...]:
        """Verify rights and what comes back, and show what will change."""
        return tuple([check async for check in self._checks(session, step)])

    async def _checks(self, session: Session, step: NetworkRollback) -> AsyncIterator[Check]:
        said = await session.run("show cli authorization")
        granted = set(re.findall(r"^\s+([a-z-]+?)\s*-- ", said, re.MULTILINE))
        lacking = [right for right in _RIGHTS if right not in granted and "all" not in granted]
        if lacking:
            resolution = "Give its login class these permissions (docs/actuators/network.md)."
            yield Check(f"Rights on {step.target}", Verdict.FAIL, f"lacking: {', '.join(lacking)}", resolution)
        else:
            yield Check(f"Rights on {step.target}", Verdict.OK, "may configure and roll back")
        subject = f"Configuration of {step.target}"
        try:
            number = await self._number(session, step)
            standing = await self.look(session, step)
        except ActuatorError as error:
            yield cannot_look(subject, error)
            return
        if number is not None and number + _OWN_COMMITS >= _KEPT:
            words = f"{step.wanted()} is rollback {number} and about to be forgotten"
            yield Check(subject, Verdict.FAIL, words, f"Junos keeps {_KEPT} commits; load it from a file.")
        else:
            yield Check(subject, Verdict.OK, f"{step.wanted()} is `rollback {_argument(number)}` now")
        yield changes(step, standing)

    async def look(self, session: Session, step: NetworkRollback) -> Standing:
        """Compare the committed configuration with the wanted one."""
        return await self._look(session, step)

    async def _look(self, session: Session, step: NetworkRollback, *, within: str = "") -> Standing:
        listed = await self._commits(session, within=within)
        number = await self._number(session, step, within=within)
        if number == 0:
            return Standing((), listed[0].pending)
        other = _RESCUE if number is None else f"rollback {number}"
        said = await session.run(f"{within}show configuration | compare {other}", seconds=LONG)
        if values.complaint(said):
            raise refused(session, f"{step.wanted()} cannot be compared", said, untouched=_UNTOUCHED)
        lines = [line.rstrip() for line in said.splitlines() if line[:1] in {"+", "-", "!"}]
        return Standing(values.turned(lines), listed[0].pending)

    async def begin(self, session: Session, step: NetworkRollback, context: Context, before: Standing) -> str:
        """Load the wanted configuration and commit it under the timer, while nobody else can commit."""
        async with _exclusive(session):
            # Looked at once more under the lock: each commit of somebody else moves the numbers on.
            now = await self._look(session, step, within="run ")
            if now.differences != before.differences:
                raise moved(step, now, "it was looked at")
            number = await self._number(session, step, within="run ")
            said = await session.run(f"rollback {_argument(number)}", seconds=LONG)
            if "load complete" not in said:
                raise refused(session, f"{step.wanted()} was not loaded", said, untouched="Nothing was committed.")
            comment = f'comment "{context.rollback_id} {step.id}"'
            said = await session.run(f"commit confirmed {step.minutes()} {comment}", seconds=LONG)
            if "commit complete" not in said.splitlines():
                raise refused(
                    session,
                    f"{step.wanted()} was not committed (no `commit complete`)",
                    said,
                    untouched="The configuration in force is the one from before.",
                )
            return said

    async def confirm(self, session: Session, step: NetworkRollback, context: Context) -> str:
        """Commit for good."""
        async with _exclusive(session):
            said = await session.run(f'commit comment "{context.rollback_id} {step.id} confirmed"', seconds=LONG)
            if "commit complete" not in said.splitlines():
                raise refused(
                    session, "the change is not confirmed", said, untouched="The timer goes on if it runs."
                )
            return said

    async def save(self, session: Session) -> str:
        """Do nothing: Junos keeps what is committed."""
        del session
        return ""

    async def _commits(self, session: Session, *, within: str = "") -> tuple[values.Commit, ...]:
        said = await session.run(f"{within}show system commit")
        found = values.commits(said)
        if not found:
            raise refused(session, "it does not list its commits", said, untouched=_UNTOUCHED)
        return found

    async def _number(self, session: Session, step: NetworkRollback, *, within: str = "") -> int | None:
        """Return what `rollback` calls the wanted commit now; None: it is the rescue configuration, as pinned."""
        if step.rescue is not None:
            said = await session.run(f"{within}file checksum sha-256 {_RESCUE}")
            found = re.search(r"= ([0-9a-f]{64})$", said, re.MULTILINE)
            if not found:
                raise refused(session, "its rescue configuration cannot be read", said, untouched=_UNTOUCHED)
            if found[1] != step.rescue:
                raise _lacking(session, f"its rescue configuration has the SHA-256 {found[1][:12]}..., another one")
            return None
        listed = await self._commits(session, within=within)
        numbers = [commit.number for commit in listed if commit.when == step.committed]
        if len(numbers) != 1:
            raise _lacking(session, f"{len(numbers)} of its {len(listed)} commits are of {step.committed}")
        return numbers[0]


@asynccontextmanager
async def _exclusive(session: Session) -> AsyncIterator[None]:
    """Hold the configuration's lock; what was not committed is dropped at the end."""
    said = await session.run("configure exclusive")
    if values.complaint(said) or "Entering configuration mode" not in said:
        raise refused(
            session,
            "its configuration is being edited by somebody else, or may not be",
            said,
            untouched="Nothing was changed.",
            resolution="Let them commit or drop their changes (`show system users`), and retry.",
        )
    # After an error the session is closed, and an exclusive candidate ends with it.
    yield
    await session.run("exit configuration-mode")


def _argument(number: int | None) -> str:
    return "rescue" if number is None else str(number)


def _lacking(session: Session, what: str) -> ActuatorError:
    return ActuatorError(
        f"{session.name}: {what}.",
        untouched=_UNTOUCHED,
        resolution="See `show system commit` for what is there, correct the plan and have it approved again.",
    )
