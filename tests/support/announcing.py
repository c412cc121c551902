"""What tests of the announcer share: rollbacks with something to say, and a chat that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bot.domain import events
from bot.domain.actuation import Progress
from bot.domain.announcements import Announcement, announcements
from bot.domain.ports import MessageRef
from bot.domain.run import Run
from bot.engine.wanted import COUNTDOWN
from tests.support.engine import Lab
from tests.support.fakes import Channel


def note(lab: Lab, number: int = 1) -> events.IncidentOpened:
    """Return an event that makes a note in the thread."""
    return events.IncidentOpened(at=lab.clock.now(), who="w", why="", incident=f"INC000000{number}")


async def noted(lab: Lab, run: Run, *, times: int = 1) -> Run:
    """Return the rollback with some more notes due."""
    for number in range(1, times + 1):
        run = await lab.runs.append(run, note(lab, number), lease=None)
    return run


async def wait_out(lab: Lab, seconds: float) -> None:
    """Let time pass for the announcers and for what the ledger holds: it is judged by the database's clock."""
    await lab.sql("UPDATE message SET claimed_at = claimed_at - make_interval(secs => :seconds)", seconds=seconds)
    await lab.clock.advance(seconds)


async def claimed(lab: Lab, run: Run, key: str) -> None:
    """Leave a claim without a message, as a process does that dies while it posts."""
    await lab.sql("INSERT INTO message (rollback_id, key) VALUES (:id, :key)", id=run.id, key=key)


async def noted_in_ledger(lab: Lab, run: Run) -> dict[str, MessageRef | None]:
    """Return where the ledger has each message of the journal."""
    return {key: entry.ref for key, entry in (await lab.ledger.all(run.id)).items() if key != COUNTDOWN}


class Cut:
    """A chat that fails at some calls, a given number of times."""

    def __init__(self, error: Exception, **times: int) -> None:
        self.error = error
        self.times = {what.replace("_", " ", 1).replace("_", "-"): left for what, left in times.items()}
        self.calls: list[str] = []

    async def __call__(self, what: str) -> None:
        """Fail if the call is among those."""
        self.calls.append(what)
        name = next((known for known in self.times if what.startswith(known)), None)
        if name and self.times[name]:
            self.times[name] -= 1
            raise self.error


def expected(lab: Lab, run: Run) -> list[str]:
    """Return the keys of all messages that must exist, in their order."""
    return [announcement.key for announcement in announcements(run, lab.policy)]


def all_said(lab: Lab, run: Run) -> bool:
    """Return whether exactly these messages have been posted, in their order."""
    return lab.chat.keys() == expected(lab, run)


@dataclass
class Line:
    """One process's connection to the chat, which can hang or be cut in either direction.

    Attributes:
        chat: The chat.
        trouble: Called at each ``post KEY``, ``edit KEY``, ``find KEY``, ``withdraw`` on the way there, and with
            ``: done`` on the way back; may raise or wait.
    """

    chat: Channel
    trouble: Callable[[str], Awaitable[None]] | None = None
    calls: list[str] = field(default_factory=list)

    async def _pass(self, what: str) -> None:
        self.calls.append(what)
        if self.trouble:
            await self.trouble(what)

    async def post(
        self,
        run: Run,
        announcement: Announcement,
        *,
        thread: MessageRef | None,
        progress: dict[str, Progress],
        plain: str = "",
    ) -> MessageRef:
        """See the port."""
        await self._pass(f"post {announcement.key}")
        ref = await self.chat.post(run, announcement, thread=thread, progress=progress, plain=plain)
        await self._pass(f"post {announcement.key}: done")
        return ref

    async def edit(
        self, run: Run, announcement: Announcement, ref: MessageRef, *, progress: dict[str, Progress]
    ) -> None:
        """See the port."""
        await self._pass(f"edit {announcement.key}")
        await self.chat.edit(run, announcement, ref, progress=progress)
        await self._pass(f"edit {announcement.key}: done")

    async def find(self, run: Run, announcement: Announcement, *, thread: MessageRef | None) -> MessageRef | None:
        """See the port."""
        await self._pass(f"find {announcement.key}")
        return await self.chat.find(run, announcement, thread=thread)

    async def withdraw(self, ref: MessageRef) -> None:
        """See the port."""
        await self._pass("withdraw")
        await self.chat.withdraw(ref)

    async def tell(self, users: Sequence[str], text: str) -> None:
        """See the port."""
        await self.chat.tell(users, text)


class Hangs:
    """Lets one call hang until it is told to go on, on its way there or back."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, what: str) -> None:
        """Hang, the first time that the call passes."""
        if what == self.what and not self.reached.is_set():
            self.reached.set()
            await self.go.wait()


async def lose_floor(lab: Lab) -> None:
    """Let the floor lapse, as if whoever has it had been silent for too long."""
    await lab.sql("UPDATE speaker SET until = clock_timestamp()")


async def speakers(lab: Lab) -> list[str]:
    """Return who has the floor."""
    rows = await lab.sql("SELECT owner FROM speaker WHERE until > clock_timestamp()")
    return [row[0] for row in rows]
