"""Programs of the bot's own machine: argument lists only, bounded output, no child left behind.

Every program leads a session and process group of its own. When the caller is cancelled or the time is up, the
whole group is asked to end (SIGTERM), then made to (SIGKILL), and reaped. When the bot itself dies (`kill -9`), the
kernel kills the program by PR_SET_PDEATHSIG (Linux). A program that runs by `sudo` loses that mark, because the
kernel clears it for set-user-ID programs; the program's own children never have it and end when their pipes break.
The mark also fires when the *thread* that started the program ends: run the event loop in the main thread.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from subprocess import DEVNULL, PIPE

from actuators.processes_output import OUTPUT_LIMIT, Collector, Finished, Line
from actuators.redact import redact, tail
from bot.domain.errors import ActuatorError

__all__ = [
    "OUTPUT_LIMIT",
    "Collector",
    "Finished",
    "Line",
    "ProgramMissingError",
    "ProgramTimeoutError",
    "run",
]

_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL; pg_dump and pg_restore use them to cancel their statements on the server."""
_DRAIN = 0.5
"""Seconds to wait for the output's end once the program is gone: a daemon that it left may hold the pipes."""
_REAP = 5.0
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_MARK_BY_PYTHON = "import ctypes,os,sys;ctypes.CDLL(None).prctl(1,9,0,0,0);os.execvp(sys.argv[1],sys.argv[1:])"
"""The number of PR_SET_PDEATHSIG is 1, that of SIGKILL 9."""


class ProgramMissingError(ActuatorError):
    """A program that is needed is not installed on the bot's machine."""


class ProgramTimeoutError(ActuatorError):
    """A program ran longer than it may and was stopped."""


class _Child(asyncio.SubprocessProtocol):
    """Follows one program. Its end is its exit: the pipes may stay open in a daemon that it left."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, out: Collector, err: Collector) -> None:
        self.out = out
        self.err = err
        self.failure: Exception | None = None
        self.over: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        try:
            (self.out if fd == 1 else self.err).feed(data)
        except Exception as error:  # noqa: BLE001 - a callback's fault belongs to whoever awaits the program
            self.failure = self.failure or error
            _settle(self.over)

    def process_exited(self) -> None:
        _settle(self.exited)
        _settle(self.over)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        _settle(self.closed)


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float | None,  # noqa: ASYNC109 - the end of the time also ends the process group, which a scope cannot do
    cwd: str | None = None,
    on_stdout_line: Line | None = None,
    on_stderr_line: Line | None = None,
    output_limit: int = OUTPUT_LIMIT,
) -> Finished:
    """Run a program to its end.

    Args:
        argv: The program and its arguments; no shell looks at them.
        env: Added to a small environment (PATH, HOME, locale ...). The bot's own variables are not passed on: they
            hold its tokens.
        stdin: What the program reads; without it, nothing.
        timeout: Seconds until it is stopped; None: as long as the caller waits.
        cwd: The folder to run in.
        on_stdout_line: Takes each line of the output while the program runs.
        on_stderr_line: Takes each line of the messages, e.g. those of ``pg_restore --verbose``.
        output_limit: Bytes of each stream to keep.

    Returns:
        How it ended, whatever the exit code.

    Raises:
        ProgramMissingError: If there is no such program.
        ProgramTimeoutError: If the time was up. The whole process group was ended.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | dict(env or {})
    _must_exist(argv[0], environment)
    loop = asyncio.get_running_loop()
    child = _Child(
        loop,
        out=Collector(limit=output_limit, on_line=on_stdout_line),
        err=Collector(limit=output_limit, on_line=on_stderr_line),
    )
    transport = await _start(
        child, [*_mark(), *argv], env=environment, cwd=cwd, stdin=DEVNULL if stdin is None else PIPE
    )
    try:
        if stdin is not None:
            _write(transport, stdin)
        await asyncio.wait({child.over}, timeout=timeout)
        if child.failure is not None:
            raise child.failure
        if not child.exited.done():
            raise _too_long(argv[0], timeout, child)
        await asyncio.wait({child.closed}, timeout=_DRAIN)
    finally:
        await _leave(transport, child)
    stdout, stderr = child.out.finish(), child.err.finish()
    returncode = transport.get_returncode()
    return Finished(
        returncode=-signal.SIGKILL if returncode is None else returncode,
        stdout=stdout,
        stderr=stderr,
        truncated=child.out.truncated or child.err.truncated,
    )


async def _start(
    child: _Child, argv: Sequence[str], *, env: Mapping[str, str], cwd: str | None, stdin: int
) -> asyncio.SubprocessTransport:
    """Start the program. A cancellation meanwhile takes effect once it has started, and ends it.

    asyncio may wait for ever for a program whose start is cancelled while its pipes are being connected
    (https://github.com/python/cpython/issues/125502), so the start is a task that nobody cancels.
    """
    loop = asyncio.get_running_loop()
    starting = loop.create_task(
        loop.subprocess_exec(lambda: child, *argv, env=env, cwd=cwd, stdin=stdin, start_new_session=True)
    )
    cancelled: asyncio.CancelledError | None = None
    while not starting.done():
        try:
            await asyncio.wait({starting})
        except asyncio.CancelledError as error:
            cancelled = error
    try:
        transport, _ = starting.result()
    except OSError as error:
        raise ProgramMissingError(
            f"The program {argv[0]} cannot be started: {error.strerror or error}.",
            untouched="Nothing was started.",
            resolution="Look at the machine of the bot: its programs, memory and process limits.",
        ) from None
    if cancelled is not None:
        await _leave(transport, child)
        raise cancelled
    return transport


def _write(transport: asyncio.SubprocessTransport, data: bytes) -> None:
    pipe = transport.get_pipe_transport(0)
    if isinstance(pipe, asyncio.WriteTransport):
        pipe.write(data)
        pipe.write_eof()


async def _leave(transport: asyncio.SubprocessTransport, child: _Child) -> None:
    """End the group if it still runs, and give back the pipes. A second cancellation only skips the grace."""
    if not child.exited.done():
        group = transport.get_pid()
        _signal(group, signal.SIGTERM)
        try:
            await asyncio.wait({child.exited}, timeout=_GRACE)
        finally:
            # The leader may have gone and left members behind, so the group is killed in either case.
            _signal(group, signal.SIGKILL)
            await asyncio.wait({child.exited}, timeout=_REAP)
            _close(transport)
        return
    _close(transport)


def _close(transport: asyncio.SubprocessTransport) -> None:
    stdin = transport.get_pipe_transport(0)
    if isinstance(stdin, asyncio.WriteTransport) and stdin.get_write_buffer_size() > 0:
        # close() would wait for a reader that may never come.
        stdin.abort()
    transport.close()


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
    except PermissionError:
        # The program runs as another user (sudo): its own parent has to end it.
        return


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _must_exist(program: str, environment: Mapping[str, str]) -> None:
    if shutil.which(program, path=environment.get("PATH")) is None:
        raise ProgramMissingError(
            f"The program {program} is not there or cannot be run.",
            untouched="Nothing was started.",
            resolution="Install it on the machine of the bot, or correct its path in the inventory.",
        )


def _too_long(program: str, timeout: float | None, child: _Child) -> ProgramTimeoutError:
    return ProgramTimeoutError(
        f"{program} ran longer than {timeout:g} seconds and was stopped.",
        untouched="What it had done until then stays.",
        resolution="Look why it is slow; ask again when it can end in time.",
        transient=True,
        output=tail(redact(child.err.finish().decode(errors="replace"))),
    )


@functools.cache
def _mark() -> tuple[str, ...]:
    """Return the launcher that sets PR_SET_PDEATHSIG and becomes the program.

    A function between fork and exec (`preexec_fn`) could hang in a process with threads, so a program does it.
    """
    if not sys.platform.startswith("linux"):
        return ()
    by_setpriv = ("setpriv", "--pdeathsig", "SIGKILL", "--")
    try:
        # Busybox has a setpriv without this option.
        subprocess.run([*by_setpriv, "true"], check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return (sys.executable, "-I", "-S", "-c", _MARK_BY_PYTHON)
    return by_setpriv
