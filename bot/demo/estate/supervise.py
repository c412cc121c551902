"""A small service manager: start, stop, restart and status of the one program that a unit file describes.

Runs as a script (`supervise.py UNIT start|stop|restart|status`) with nothing but the standard library, so that it
answers in some 30 ms. A unit file is JSON:

    {"name": "payments",                 # how messages call it
     "argv": ["/path/program", "..."],   # what is started
     "link": "/path/current",            # optional: the release link; its target's name is the version
     "pidfile": "/path/payments.pid", "log": "/path/payments.log",
     "start_timeout": 10, "stop_timeout": 5}   # seconds

**The pidfile's lock is the truth**, not the number in it: the running program holds a `flock` on it (inherited
over fork and exec), which the kernel drops the moment it dies, however it dies. So a recycled process id can never
be taken for the service, and a zombie is not alive. The file must be on a local file system. The number is written
before the program is executed, so a manager killed at any moment leaves no program that cannot be found again.

A program tells that it is ready by a line on the pipe whose number is in READY_FD.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUNNING, FAILED, USAGE, STOPPED = 0, 1, 2, 3
LOG_LINES = 15
POLL_SECONDS = 0.02
ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")


class UnitError(Exception):
    """The service could not be started or stopped; the text says why and what is left."""


class Unit:
    """One supervised program."""

    def __init__(self, path: Path) -> None:
        unit: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.name: str = unit["name"]
        self.argv: list[str] = unit["argv"]
        self.link: str | None = unit.get("link")
        self.pidfile = Path(unit["pidfile"])
        self.log = Path(unit["log"])
        self.start_timeout = float(unit["start_timeout"])
        self.stop_timeout = float(unit["stop_timeout"])

    def running(self) -> tuple[int, str] | None:
        """Return the running program's process id and version, or None when it does not run.

        Raises:
            UnitError: a live process holds the pidfile, which names none (somebody wrote into it).
        """
        try:
            with self.pidfile.open(encoding="utf-8") as file:
                # Shared, so that two callers asking at once do not take each other for the service.
                if _try_lock(file.fileno(), fcntl.LOCK_SH):
                    return None
                found = _parse(_read_settled(file.fileno()))
        except FileNotFoundError:
            return None
        if found is None:
            raise UnitError(f"{self.name}: a live process holds {self.pidfile}, which names no process")
        return found

    def status(self) -> tuple[int, str]:
        """Return an exit code (0 running, 3 stopped) and a sentence."""
        found = self.running()
        if found is not None:
            return RUNNING, f"{self.name} {found[1]}".rstrip() + f" is running (pid {found[0]})"
        with contextlib.suppress(FileNotFoundError):
            stale = _parse(self.pidfile.read_text(encoding="utf-8"))
            if stale is not None:
                return STOPPED, f"{self.name} is stopped (its pidfile is stale: pid {stale[0]} is gone)"
        return STOPPED, f"{self.name} is stopped"

    def start(self) -> str:
        """Start the program and wait until it is ready; a program that runs already is left alone.

        Raises:
            UnitError: it ended or was not ready in time; then it has been ended, and the log's tail is quoted.
        """
        with self._exclusively():
            found = self.running()
            if found is not None:
                return f"{self.name} {found[1]}".rstrip() + f" runs already (pid {found[0]})"
            self.log.parent.mkdir(parents=True, exist_ok=True)
            version = Path(self.link).resolve().name if self.link else ""
            log_start = self.log.stat().st_size if self.log.exists() else 0
            process, ready = self._spawn(version)
            try:
                problem = _wait_ready(ready, process, timeout=self.start_timeout)
            finally:
                os.close(ready)
            if problem:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                self._clear()
                raise UnitError(f"{self.name} {version} {problem}; its log says:\n{self._log_tail(log_start)}")
            return f"{self.name} {version}".rstrip() + f" started (pid {process.pid})"

    def stop(self) -> str:
        """End the program: SIGTERM, then SIGKILL to its process group after the unit's stop timeout.

        Raises:
            UnitError: it survived both, or may not be signalled by this user.
        """
        with self._exclusively():
            found = self.running()
            if found is None:
                self._clear()
                return f"{self.name} is stopped already"
            denied = ""
            for number, seconds in ((signal.SIGTERM, self.stop_timeout), (signal.SIGKILL, 2.0)):
                try:
                    os.killpg(found[0], number)
                    patience = seconds
                except ProcessLookupError:
                    patience = seconds  # it has just ended; the lock will tell
                except PermissionError as error:
                    # Another user's program; macOS says the same of one that has ended and is not reaped.
                    denied, patience = f" ({error})", 0.2
                if self._wait_stopped(patience):
                    self._clear()
                    return f"{self.name} {found[1]}".rstrip() + f" stopped by {number.name}"
            raise UnitError(f"{self.name} (pid {found[0]}) is still running after SIGKILL{denied}")

    def _spawn(self, version: str) -> tuple[subprocess.Popen[bytes], int]:
        """Start the program in a session of its own, holding the pidfile's lock; return it and the ready pipe."""
        lock = self._take_lock()
        ready, ready_child = os.pipe()

        def before_exec() -> None:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n{version}\n".encode(), 0)

        try:
            with self.log.open("ab") as log:
                process = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env={**_clean_environment(), "READY_FD": str(ready_child)},
                    pass_fds=(lock, ready_child),
                    start_new_session=True,
                    preexec_fn=before_exec,  # noqa: PLW1509 - this program has one thread
                )
        except OSError as error:
            os.close(ready)
            raise UnitError(f"{self.name} cannot be executed: {error}") from error
        finally:
            os.close(lock)
            os.close(ready_child)
        return process, ready

    def _take_lock(self) -> int:
        """Open the pidfile and lock it for the program to be started."""
        self.pidfile.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.pidfile, os.O_RDWR | os.O_CREAT, 0o644)
        for _ in range(50):
            if _try_lock(descriptor, fcntl.LOCK_EX):
                os.ftruncate(descriptor, 0)  # so that no reader takes a dead predecessor's number for ours
                return descriptor
            time.sleep(POLL_SECONDS)  # noqa: TID251 - a script of its own; only somebody's status holds it now
        os.close(descriptor)
        raise UnitError(f"{self.name}: {self.pidfile} stays locked by another process; nothing was started")

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Let one start or stop work at a time; the kernel frees the lock of a killed one."""
        path = self.pidfile.with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _wait_stopped(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.running() is None:
                return True
            time.sleep(POLL_SECONDS)  # noqa: TID251 - a script of its own, with no clock to be given
        return self.running() is None

    def _clear(self) -> None:
        """Empty the pidfile; deleting it would let a waiting start lock a file that nobody sees."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.pidfile, 0)

    def _log_tail(self, start: int) -> str:
        with self.log.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "  (nothing)"


def _clean_environment() -> dict[str, str]:
    """Return what a service may know of its starter's environment: secrets must not come along."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_settled(descriptor: int) -> str:
    """Read the pidfile of a program that is alive; the number follows its lock by some milliseconds."""
    text = ""
    for _ in range(50):
        text = os.pread(descriptor, 200, 0).decode()
        if text.count("\n") == 2:  # noqa: PLR2004 - two lines: process id, version
            break
        time.sleep(POLL_SECONDS)  # noqa: TID251 - a script of its own, with no clock to be given
    return text


def _parse(text: str) -> tuple[int, str] | None:
    lines = [*text.splitlines(), "", ""]
    return (int(lines[0]), lines[1]) if lines[0].isdigit() else None


def _wait_ready(ready: int, process: subprocess.Popen[bytes], *, timeout: float) -> str:
    """Wait for the ready line; return what went wrong, or nothing."""
    readable, _, _ = select.select([ready], [], [], timeout)
    if not readable:
        return f"was not ready within {timeout:g} s and was ended"
    if os.read(ready, 200).startswith(b"READY"):
        return ""
    try:
        return f"ended at its start with exit code {process.wait(1)}"
    except subprocess.TimeoutExpired:
        return "closed READY_FD without saying READY and was ended"


def main(argv: list[str]) -> int:
    """Run one command; return its exit code: 0 done or running, 1 failed, 2 usage, 3 stopped (status)."""
    commands = ("start", "stop", "restart", "status")
    if len(argv) != 2 or argv[1] not in commands:  # noqa: PLR2004 - the unit and the command
        sys.stderr.write(f"usage: supervise UNIT {'|'.join(commands)}\n")
        return USAGE
    unit = Unit(Path(argv[0]))
    code, said = RUNNING, []
    try:
        if argv[1] == "status":
            code, words = unit.status()
            said.append(words)
        if argv[1] in ("stop", "restart"):
            said.append(unit.stop())
        if argv[1] in ("start", "restart"):
            said.append(unit.start())
    except UnitError as error:
        code = FAILED
        sys.stderr.write(f"{error}\n")
    if said:
        sys.stdout.write("\n".join(said) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
