"""A line-oriented session with a device: one command, its whole answer, and nothing taken for granted."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Protocol

import asyncssh

from actuators.network.values import masked
from bot.domain.errors import ActuatorError

_MORE = re.compile(r" ?-{2,3} ?\(?[Mm]ore(?: \d+%)?\)? ?-{2,3} ?")
_QUESTION = re.compile(
    r"(?:\[(?:confirm|no|yes|y/n|yes/no|yes,no)\]|\?)\s*(?:\((?:yes|no)\))?\s*:?$", re.IGNORECASE
)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x07|\x00")
_RUBBED_OUT = re.compile(r"\x08+ *\x08*")
_FURNITURE = re.compile(r"\[edit[^\]]*\]|\{(?:master|backup|primary|secondary|linecard)(?::[^}]*)?\}")
_TAIL = 400
"""Characters at the end of what came that are looked at for a prompt."""
_LARGEST = 8_000_000
PAUSE = 1.0
"""Seconds without a word after which what looks like a question is one."""
SHORT, LONG = 15.0, 120.0
"""Seconds that a command may take: one that shows, and one that works on the configuration."""


class SessionCutError(ActuatorError):
    """The connection ended, or nothing more came, in the middle of a command: how that ended is not known."""


class Line(Protocol):
    """Whatever takes a command on a device and returns what was printed.

    Attributes:
        name: The device, for messages.
    """

    name: str

    async def run(self, command: str, *, seconds: float = SHORT) -> str:
        """Run one command and return what was printed; raises `ActuatorError` if no answer came."""
        ...


@dataclass
class Session:
    """A shell on a device.

    Attributes:
        name: The device, for messages.
        process: The shell.
        prompt: The prompt: any device's at first, then this one's.
    """

    name: str
    process: asyncssh.SSHClientProcess[str]
    prompt: re.Pattern[str]
    latest: str = field(default="", init=False)

    async def begin(self) -> None:
        """Wait for the first prompt and bind the session to it, so that nothing else is taken for one.

        Raises:
            SessionCutError: If there is none.
        """
        await self._until_prompt("the login", SHORT)
        found = self.prompt.fullmatch(self.latest)
        assert found is not None  # noqa: S101 - what the prompt was recognised by
        self.prompt = re.compile(re.escape(found["host"]) + r"(?:\([^)\n]*\))?[>#]")

    async def run(self, command: str, *, seconds: float = SHORT) -> str:
        """Send a command and return what the device answered, without echo and prompt.

        Args:
            command: One line.
            seconds: How long it may take.

        Raises:
            SessionCutError: If the connection ended before the prompt came back, or nothing more came.
            ActuatorError: If the device asks a question, which nobody answers on a person's behalf.
        """
        assert "\n" not in command  # noqa: S101 - a second line would be a second command
        try:
            self.process.stdin.write(f"{command}\n")
            await self.process.stdin.drain()
        except (OSError, asyncssh.Error):
            raise self._cut(command, "the connection is gone") from None
        lines = (await self._until_prompt(command, seconds)).split("\n")[:-1]
        if lines and lines[0].strip().endswith(command):
            del lines[0]
        kept = [line.rstrip() for line in lines if not _FURNITURE.fullmatch(line.strip())]
        return "\n".join(kept).strip("\n")

    async def _until_prompt(self, command: str, seconds: float) -> str:
        text = question = ""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    chunk = await self._more(command, question)
                    text += chunk
                    if not chunk or len(text) > _LARGEST:
                        raise self._cut(command, "the connection ended" if not chunk else "the answer has no end")
                    last = plain(text[-_TAIL:]).rsplit("\n", 1)[-1].strip()
                    if self.prompt.fullmatch(last):
                        self.latest = last
                        return plain(text)
                    if _MORE.search(last):
                        text = _MORE.sub("", text)
                        self.process.stdin.write(" ")
                    question = last if last and _QUESTION.search(last) else ""
        except TimeoutError:
            raise self._cut(command, f"nothing more came for {seconds:g} seconds") from None
        except (OSError, asyncssh.Error):
            raise self._cut(command, "the connection was cut") from None

    async def _more(self, command: str, question: str) -> str:
        """Return what comes next. Where a question seems to stand, it is one if nothing follows it."""
        if not question:
            return await self.process.stdout.read(65536)
        reading = asyncio.timeout(PAUSE)
        try:
            async with reading:
                return await self.process.stdout.read(65536)
        except TimeoutError:
            if not reading.expired():
                raise
            raise self._asked(command, question) from None

    def _cut(self, command: str, why: str) -> SessionCutError:
        return SessionCutError(
            f"{self.name}: {why} during {command!r}.",
            untouched="How it ended is not known yet; what is not confirmed, the device takes back by itself.",
            resolution="Look whether the device is reached; if not, use its console.",
            transient=True,
        )

    def _asked(self, command: str, question: str) -> ActuatorError:
        return ActuatorError(
            f"{self.name} asks {masked(question)[-120:]!r} at {command!r}, which no plan foresees.",
            untouched="It was not answered; the session is closed.",
            resolution="See on the device why it asks, settle that, and retry.",
        )


def plain(text: str) -> str:
    """Return what a terminal would show, with single line ends."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    return _RUBBED_OUT.sub("", text).replace("\r", "")
