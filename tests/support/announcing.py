"""What tests of the announcer share: rollbacks with something to say, and a chat that fails."""

from __future__ import annotations

from bot.domain import events
from bot.domain.announcements import announcements
from bot.domain.run import Run
from tests.support.engine import Lab


def note(lab: Lab, number: int = 1) -> events.IncidentOpened:
    """Return an event that makes a note in the thread."""
    return events.IncidentOpened(at=lab.clock.now(), who="w", why="", incident=f"INC000000{number}")


async def noted(lab: Lab, run: Run, *, times: int = 1) -> Run:
    """Return the rollback with some more notes due."""
    for number in range(1, times + 1):
        run = await lab.runs.append(run, note(lab, number), lease=None)
    return run


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
