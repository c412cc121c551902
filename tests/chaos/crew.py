"""The worker processes of a chaos run, each started again when it ends: what systemd or Kubernetes would do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.domain.ports import Clock

ROOT = Path(__file__).parents[2]
_BEFORE_RESTART = 0.3
_POLL = 0.05
_GRACE_SECONDS = 20.0


class Diary:
    """Writes down what was done to whom: one JSON document a line, `at` in seconds of the epoch.

    Args:
        path: The file.
        clock: The time.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._stream = path.open("a", encoding="utf-8", buffering=1)
        self._clock = clock

    def note(self, what: str, **more: Any) -> None:
        """Write a line."""
        self._stream.write(json.dumps({"at": self._clock.now().timestamp(), "what": what, **more}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


@dataclass
class Member:
    """One worker and its successors.

    Attributes:
        name: ``worker-1``, ...
        zone: The network zone that it works for.
        process: The process that runs now.
        ready: Whether it has said that it can be used.
        frozen: Whether it was stopped by SIGSTOP.
        told: Whether it was asked to end by SIGTERM.
    """

    name: str
    zone: str
    process: asyncio.subprocess.Process | None = None
    ready: bool = False
    frozen: bool = False
    told: bool = False

    @property
    def lives(self) -> bool:
        """Whether there is a process that has not ended."""
        return self.process is not None and self.process.returncode is None


class Crew:
    """Starts the workers, does harm to them, and starts them again.

    Args:
        folder: Where the workers find everything, and their logs go.
        zones: The zone of each worker.
        diary: Takes what happened.
        clock: The time.
    """

    def __init__(self, folder: Path, *, zones: Sequence[str], diary: Diary, clock: Clock) -> None:
        self.members = [Member(f"worker-{number}", zone) for number, zone in enumerate(zones, start=1)]
        self._folder = folder
        self._diary = diary
        self._clock = clock
        self._leaving = False

    async def run(self) -> None:
        """Keep every worker running until `dismiss`."""
        async with asyncio.TaskGroup() as group:
            for member in self.members:
                group.create_task(self._keep(member))

    async def assembled(self, *, seconds: float) -> None:
        """Wait until every worker is ready.

        Raises:
            RuntimeError: If they are not in time; with the last words of one.
        """
        deadline = self._clock.monotonic() + seconds
        while not all(member.ready for member in self.members):
            if self._clock.monotonic() > deadline:
                log = self._folder / f"{next(m.name for m in self.members if not m.ready)}.log"
                words = await asyncio.to_thread(log.read_text, encoding="utf-8", errors="replace")
                raise RuntimeError(f"the workers do not start: {words[-2000:]}")
            await self._clock.sleep(_POLL)

    async def dismiss(self) -> None:
        """Ask every worker to end, and kill those that do not within 20 s."""
        self._leaving = True
        deadline = self._clock.monotonic() + _GRACE_SECONDS
        while any(member.lives for member in self.members) and self._clock.monotonic() < deadline:
            for member in self.members:
                if not member.told:
                    self.send(member, signal.SIGTERM)
            await self._clock.sleep(0.05)
        for member in self.members:
            self.send(member, signal.SIGKILL)

    def send(self, member: Member, number: signal.Signals) -> bool:
        """Send a signal to a worker that lives; return whether there was one."""
        if member.process is None or not member.lives:
            return False
        # Noted before it is sent: what the worker does after it is never dated before the note.
        self._diary.note(number.name, worker=member.name, pid=member.process.pid)
        with suppress(ProcessLookupError):
            os.kill(member.process.pid, number)
        member.frozen = number is signal.SIGSTOP or (member.frozen and number is not signal.SIGCONT)
        member.told = member.told or number is signal.SIGTERM
        return True

    async def _keep(self, member: Member) -> None:
        with (self._folder / f"{member.name}.log").open("ab") as log:
            while not self._leaving:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.chaos.worker", str(self._folder), member.zone),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                )
                member.process, member.ready, member.frozen, member.told = process, False, False, False
                self._diary.note("started", worker=member.name, zone=member.zone, pid=process.pid)
                async with asyncio.TaskGroup() as group:
                    looking = group.create_task(self._notice_ready(member, process.pid))
                    code = await process.wait()
                    looking.cancel()
                self._diary.note("ended", worker=member.name, pid=process.pid, code=code)
                await self._clock.sleep(_BEFORE_RESTART)

    async def _notice_ready(self, member: Member, pid: int) -> None:
        mark = self._folder / f"ready-{pid}"
        while not await asyncio.to_thread(mark.exists):
            await self._clock.sleep(_POLL)
        mark.unlink()
        self._diary.note("ready", worker=member.name, pid=pid)
        member.ready = True
