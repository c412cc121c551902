"""The store of a chaos run: a PostgreSQL server of its own that is crashed and frozen."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from unittest import mock

from tests.support import pgserver
from tests.support.pgserver import PgServer

_SETTINGS = {"fsync": "on", "max_connections": "150"}
"""Beside those of every test server: commits are flushed, and there is room for all workers."""

_DATABASE = "store"
_STOP_SECONDS = 20


@contextmanager
def running() -> Iterator[PgServer]:
    """Start a server with an empty database for the store, and remove it in the end."""
    with mock.patch.dict(pgserver._SETTINGS, _SETTINGS), pgserver.running_server() as server:
        server.execute(f"CREATE DATABASE {_DATABASE}")
        yield server


def url_of(server: PgServer) -> str:
    """Return the address of the store, password included: not for logs."""
    return f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{_DATABASE}"


def crash(server: PgServer) -> None:
    """End the server as «immediate» does: no checkpoint, every connection is cut, recovery follows at the start."""
    if server.process is not None:
        server.process.send_signal(signal.SIGQUIT)
        server.process.wait(_STOP_SECONDS)
        server.process = None


def freeze(server: PgServer) -> tuple[int, ...]:
    """Stop the server's processes where they are; connections hang. Returns them, for `thaw`."""
    if server.process is None:
        return ()
    os.kill(server.process.pid, signal.SIGSTOP)  # first, so that it starts no more of them
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, check=False
    )
    backends = tuple(map(int, listed.stdout.split()))
    _send(signal.SIGSTOP, backends)
    return (*backends, server.process.pid)


def thaw(frozen: Sequence[int]) -> None:
    """Let the processes go on."""
    _send(signal.SIGCONT, frozen)


def _send(number: signal.Signals, pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
