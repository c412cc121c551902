from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actuators import processes
from actuators.processes import ProgramMissingError, ProgramTimeoutError
from tests.support.estates import linux_only
from tests.support.hosts import Signal, gone


async def test_a_program_gets_its_arguments_and_input_unchanged() -> None:
    """No shell looks at arguments; input, output, messages and exit code come through."""
    argv = ["sh", "-c", 'cat; printf "%s" "$1" >&2; exit 3', "sh", "$(id) 'a' \"b\" *"]
    finished = await processes.run(argv, stdin=b"in\n", timeout=10)
    assert (finished.returncode, finished.out, finished.err) == (3, "in\n", "$(id) 'a' \"b\" *")
    assert finished.complaint() == "$(id) 'a' \"b\" *"


async def test_the_bots_own_variables_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program sees PATH and what it is given, and none of the bot's tokens."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret")
    finished = await processes.run(["env"], env={"PGPASSWORD": "x"}, timeout=10)
    assert "SLACK_BOT_TOKEN" not in finished.out
    assert "PGPASSWORD=x" in finished.out
    assert "PATH=" in finished.out


async def test_lines_arrive_while_the_program_runs(tmp_path: Path) -> None:
    """A line callback is called before the program ends, and once for a last line without an end."""
    pipe = Signal(tmp_path / "go")
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        (tmp_path / "go").write_text("on\n")

    argv = ["sh", "-c", f"echo one >&2; read x < {tmp_path}/go; printf two >&2"]
    await processes.run(argv, timeout=10, on_stderr_line=on_line)
    pipe.close()
    assert lines == ["one", "two"]


async def test_a_failing_callback_ends_the_program(tmp_path: Path) -> None:
    """An exception of a line callback reaches the caller, and the program does not go on."""

    def on_line(line: str) -> None:
        (tmp_path / "pid").write_text(line)
        raise ValueError(line)

    with pytest.raises(ValueError, match=r"^\d+$"):
        await processes.run(["sh", "-c", "echo $$; exec sleep 100"], timeout=10, on_stdout_line=on_line)
    assert await gone(int((tmp_path / "pid").read_text()))


async def test_output_is_bounded_to_its_end() -> None:
    """Of a flood the last bytes are kept, and it is said that some are missing."""
    script = "head -c 3000000 /dev/zero; echo end"
    finished = await processes.run(["sh", "-c", script], timeout=20, output_limit=1000)
    assert len(finished.stdout) == 1000
    assert finished.stdout.endswith(b"end\n")
    assert finished.truncated


async def test_cancelling_ends_the_whole_group(tmp_path: Path) -> None:
    """A cancelled caller leaves neither the program nor its children behind."""
    pipe = Signal(tmp_path / "pids")
    argv = ["sh", "-c", f"sleep 100 & echo $$ $! > {tmp_path}/pids; wait"]
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(processes.run(argv, timeout=None))
        pids = [int(pid) for pid in (await pipe.line()).split()]
        task.cancel()
    pipe.close()
    assert task.cancelled()
    assert len(pids) == 2
    assert all([await gone(pid) for pid in pids])


@pytest.mark.parametrize("passes", range(6))
async def test_cancelling_while_the_program_starts_ends_it(tmp_path: Path, passes: int) -> None:
    """A caller that is cancelled before the program has fully started neither hangs nor leaves it behind."""
    pid = tmp_path / "pid"
    argv = ["sh", "-c", f"echo $$ > {pid}; exec sleep 100"]
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(processes.run(argv, timeout=None))
        for _ in range(passes):
            await asyncio.wait({task}, timeout=0)
        task.cancel()
    assert task.cancelled()
    told = pid.read_text() if pid.exists() else ""
    assert not told or await gone(int(told))


async def test_the_time_limit_ends_even_what_ignores_the_request(tmp_path: Path) -> None:
    """A program over its time is told so in words, and killed when it does not heed SIGTERM."""
    pid = tmp_path / "pid"
    argv = ["sh", "-c", f"trap '' TERM; echo $$ > {pid}; echo password=x >&2; while :; do sleep 1; done"]
    with pytest.raises(ProgramTimeoutError) as caught:
        await processes.run(argv, timeout=0.5)
    assert caught.value.brief == "sh ran longer than 0.5 seconds and was stopped."
    assert caught.value.transient
    assert caught.value.output == "password=***"
    assert await gone(int(pid.read_text()))


async def test_a_daemon_left_behind_holds_nobody_up(tmp_path: Path) -> None:
    """A program has ended when it exits, though a daemon that it started keeps its output open and lives on."""
    script = f"setsid sleep 100 & echo $! > {tmp_path}/pid; echo started"
    finished = await processes.run(["sh", "-c", script], timeout=10)
    assert finished.out == "started\n"
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


async def test_input_that_nobody_reads_is_dropped() -> None:
    """A program may end without reading its input."""
    finished = await processes.run(["true"], stdin=b"x" * 5_000_000, timeout=10)
    assert finished.ok


async def test_a_missing_program_is_told_before_anything_starts() -> None:
    """A program that is not installed is named, with what to do."""
    with pytest.raises(ProgramMissingError) as caught:
        await processes.run(["no-such-program-here"], timeout=10)
    assert caught.value.brief == "The program no-such-program-here is not there or cannot be run."
    assert caught.value.resolution


@linux_only
async def test_a_program_dies_with_a_killed_bot() -> None:
    """When the bot is killed with SIGKILL, the kernel kills the program that it runs."""
    bot = start_bot()
    assert bot.stdout is not None
    with bot.stdout:
        pid = int(await asyncio.to_thread(bot.stdout.readline))
    bot.kill()
    bot.wait(timeout=10)
    assert await gone(pid)


def start_bot() -> subprocess.Popen[str]:
    """Start a process that runs a program as the bot does, and prints the program's process id."""
    code = (
        "import asyncio;from actuators import processes;"
        "asyncio.run(processes.run(['sh','-c','echo $$; exec sleep 100'],timeout=None,"
        "on_stdout_line=lambda line: print(line, flush=True)))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
