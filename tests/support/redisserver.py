"""A real redis-server for tests: a free port on loopback, nothing on the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.pgserver import free_port

PROGRAM = shutil.which("redis-server")
REQUIRED = os.environ.get("ROLLBACK_REAL_PARTS") == "require"
real_redis = [
    pytest.mark.real,
    pytest.mark.skipif(
        PROGRAM is None and not REQUIRED,
        reason="no redis-server here; install it, or set ROLLBACK_REAL_PARTS=require to fail instead",
    ),
]


@dataclass
class RedisServer:
    """A running server.

    Attributes:
        port: Where it listens on 127.0.0.1.
    """

    port: int

    def cli(self, *words: str, user: str = "", password: str = "") -> str:
        """Run a command by the server's own client and return what it says."""
        login = ["--user", user, "--pass", password, "--no-auth-warning"] if user else []
        argv = ["redis-cli", "-p", str(self.port), *login, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=10).stdout


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Start a server in an empty folder, and stop it in the end."""
    assert PROGRAM is not None, "ROLLBACK_REAL_PARTS=require, and there is no redis-server"
    port = free_port()
    # Nothing is ever written there: neither snapshots nor a log of commands are kept.
    argv = [PROGRAM, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        [*argv, "--dir", str(folder)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ready to accept connections" in line:
                break
        else:
            pytest.fail("redis-server did not start")
        yield RedisServer(port)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
