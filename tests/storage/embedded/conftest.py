"""Real time and real folders for the embedded server's tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.embedded import EmbeddedPostgres
from storage.embedded.postmaster import read_pid_file
from storage.embedded.processes import serves


class RealClock:
    """The system's time: a real server is waited for."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)  # noqa: TID251 - this is the Clock

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the Clock


@contextlib.contextmanager
def passable_folder() -> Iterator[Path]:
    """Make a short folder that every account can pass; whatever server still runs in it is ended afterwards."""
    # Not tmp_path: as root pytest closes its parent, and the server runs as somebody else.
    path = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    for data in [found.parent for found in path.rglob("postmaster.pid")]:
        # A test that failed may still hold the folder's lock, so the server is ended without asking for it.
        left = read_pid_file(data)
        while left and serves(left.pid, data):
            os.kill(left.pid, signal.SIGKILL)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def clock() -> RealClock:
    """Real time."""
    return RealClock()


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder to put data folders into."""
    with passable_folder() as path:
        yield path


@pytest.fixture(scope="session")
def used_folder() -> Iterator[Path]:
    """A data folder whose database was created, used and stopped."""

    async def use(folder: Path) -> None:
        async with EmbeddedPostgres(folder, clock=RealClock()):
            pass

    with passable_folder() as path:
        asyncio.run(use(path / "db"))
        yield path / "db"


@pytest.fixture
def db(home: Path, used_folder: Path) -> Path:
    """A stopped data folder of the test's own, copied because initdb takes longer than most tests."""
    subprocess.run(["cp", "-a", used_folder, home / "db"], check=True)
    return home / "db"
