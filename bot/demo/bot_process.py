"""The bot as a process of its own, started again when it dies: what systemd or Kubernetes would do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp

from bot.demo.scenario import SiteFiles
from bot.domain.errors import RollbackError
from bot.domain.ports import Clock

COMMAND = (sys.executable, "-m", "bot", "serve")
_READY_SECONDS = 40.0
_STOP_SECONDS = 20.0
_POLL = 0.05


class BotProcess:
    """Runs the bot's command, by default `python -m bot serve`.

    Args:
        folder: The bot's data folder.
        files: Its site.
        port: The console's port.
        clock: The time.
        on_death: Called with the exit code when the bot ended without being told to; it is started again.
        command: What is run.
    """

    def __init__(
        self,
        folder: Path,
        files: SiteFiles,
        *,
        port: int,
        clock: Clock,
        on_death: Callable[[int], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "bot.log"
        self._folder = folder
        self._clock = clock
        self._on_death = on_death
        self._command = command
        self._stopping = False
        self._process: asyncio.subprocess.Process | None = None
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ROLLBACK_", "SLACK_"))},
            "ROLLBACK_DATA_DIR": str(folder),
            "ROLLBACK_INVENTORY": str(files.inventory),
            "ROLLBACK_POLICY": str(files.policy),
            "ROLLBACK_PLANS": str(files.plans),
            "ROLLBACK_CONSOLE_PORT": str(port),
        }

    @property
    def pid(self) -> int:
        """The process id of the bot that runs now."""
        if self._process is None:
            raise RuntimeError("the bot has not been started")
        return self._process.pid

    async def start(self) -> None:
        """Start the bot."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
            )  # fmt: skip

    async def supervise(self) -> None:
        """Start the bot again whenever it dies, until cancelled."""
        while self._process is not None:
            code = await self._process.wait()
            if self._stopping:
                return
            self._on_death(code)
            await self.start()

    async def ready(self, session: aiohttp.ClientSession) -> dict[str, str]:
        """Wait until the bot answers.

        Returns:
            The console's sign-in token by user id.

        Raises:
            RollbackError: If it does not within 40 s.
        """
        deadline = self._clock.monotonic() + _READY_SECONDS
        tokens = self._folder / "console-tokens.json"
        while self._clock.monotonic() < deadline:
            if tokens.exists():
                known: dict[str, str] = json.loads(tokens.read_text(encoding="utf-8"))
                if await self._answers(session, next(iter(known.values()))):
                    return known
            await self._clock.sleep(_POLL)
        last = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        raise RollbackError(
            f"The bot does not answer. Its last words:\n{chr(10).join(last)}", resolution=str(self.log)
        )

    async def _answers(self, session: aiohttp.ClientSession, token: str) -> bool:
        try:
            async with session.get(
                f"{self.url}/api/me",
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=2),
            ) as answer:
                return answer.status == 200  # noqa: PLR2004 - HTTP OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    def kill(self) -> None:
        """Kill the bot as a crash would."""
        os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Stop the bot in good order; kill it if it does not end."""
        self._stopping = True
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def memory(self) -> int | None:
        """Return the resident memory of the bot in bytes; None where the system does not tell."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        except OSError:
            return None
        line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), None)
        return int(line.split()[1]) * 1024 if line else None
