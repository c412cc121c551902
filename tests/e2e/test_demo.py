from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from bot.demo import play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KILLING_BOT = Path(__file__).with_name("killing_bot.py")
STEPS = (
    "stop", "drain", "safety", "restore", "swap", "compare", "link", "config", "start",
    "health", "version", "synthetic", "metrics",
)  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's unprivileged user can reach, even if the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="rollback-demo-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def test_demo_rolls_a_faulty_release_back_and_the_customers_are_served_again(folder: Path) -> None:
    """The demo performs a whole rollback, says so in the specification's lines, and ends with exit code 0."""
    shown = io.StringIO()
    code = await play.perform(folder, live=False, keep=True, out=Console(file=shown, width=140))
    text = shown.getvalue()
    assert code == 0, text + (folder / "bot" / "bot.log").read_text()
    for line in (
        r"ROLLBACK IN PROGRESS",
        r"Change: CHG0012345 - Payment service v2.4.0 deployment",
        r"Trigger: Error rate \d+(\.\d)?% \(threshold: (10|2)%\)",
        r"Started: \d{4}-\d\d-\d\d \d\d:\d\d UTC",
        r"Expected duration: \d+ (minutes?|seconds?)",
        r"Bridge: https://meet.example.org/incident-bridge",
        r"Lead: @O. Larsen",
        r"Rollback authorised by: J. Smith \(Change Manager\)",
        r"Authorisation time: \d{4}-\d\d-\d\d \d\d:\d\d UTC",
        r"Reason: ",
        r"✅ ROLLBACK COMPLETE",
        r"Service status: Restored to v2.3.1",
        r"Error rate: 0(\.\d)?% \(baseline: \d",
        r"Response time: \d+ms p95 \(baseline: \d+ms\)",
        r"Incident record: INC\d{7}",
        r"Post-incident review: Scheduled \d{4}-\d\d-\d\d 10:00 UTC",
        r"Problem: PRB\d{7}",
        r"Status: Failed - Rolled back",
    ):
        assert re.search(line, text), f"{line!r} is missing in:\n{text}"


@pytest.mark.parametrize("mode", ["before", "after"])
async def test_bot_that_is_killed_at_every_step_finishes_the_same_rollback(
    folder: Path, tmp_path: Path, mode: str
) -> None:
    """A kill -9 at every step, and a restart each time, end in the same rollback; nothing is done twice."""
    crashes = tmp_path
    shown = io.StringIO()
    code = await play.perform(
        folder,
        live=False,
        keep=True,
        out=Console(file=shown, width=140),
        patience=timedelta(minutes=8),  # each restart costs seconds on a busy machine
        command=(sys.executable, str(KILLING_BOT), mode, str(crashes)),
    )
    text = shown.getvalue()
    assert code == 0, text + (folder / "bot" / "bot.log").read_text()[-6000:]
    assert {file.stem for file in crashes.glob("*.killed")} == set(STEPS)
    assert text.count("ROLLBACK COMPLETE\n") + text.count("ROLLBACK COMPLETE ") >= 1
    assert len(re.findall(r"✅ ROLLBACK COMPLETE", text)) == 1
    ended: set[str] = set()
    probes = {"compare", "health", "version", "synthetic", "metrics"}
    for line in (crashes / "calls.log").read_text().splitlines():
        word, step = line.split()
        if word == "end":
            ended.add(step)
        else:
            assert step in probes or step not in ended, f"{step} was done again although its effect was there"


async def test_demo_touches_no_folder_of_somebody_else(folder: Path) -> None:
    """A folder that holds anything but a demo is refused, and left as it is."""
    (folder / "bot").mkdir()
    (folder / "bot" / "precious.py").touch()
    shown = io.StringIO()
    assert await play.perform(folder, live=False, keep=False, out=Console(file=shown, width=200)) == 1
    assert "is not a folder of the demo" in shown.getvalue()
    assert (folder / "bot" / "precious.py").exists()
