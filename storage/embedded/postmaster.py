"""What a running server says of itself: its pid file, its log, its answer to a login."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from pydantic import SecretStr

USER = "rollback"
_LINES = 8
_LOGIN_SECONDS = 2


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL and how to reach it.

    Attributes:
        host: Always loopback.
        port: Its TCP port.
        user: The bot's role, a superuser of this server.
        password: The role's password.
        bin_dir: Where programs of the same major version are (``pg_dump``, ``psql`` if the package has them).
        data_dir: The database's files.
    """

    host: str
    port: int
    user: str
    password: SecretStr
    bin_dir: Path
    data_dir: Path

    def url(self, dbname: str) -> str:
        """Return the libpq URL of a database, password included: not for logs."""
        secret = quote(self.password.get_secret_value(), safe="")
        return f"postgresql://{quote(self.user, safe='')}:{secret}@{self.host}:{self.port}/{quote(dbname, safe='')}"


@dataclass(frozen=True)
class PidFile:
    """``postmaster.pid``, see https://www.postgresql.org/docs/current/storage-file-layout.html.

    Attributes:
        pid: The server's process.
        port: Its TCP port; 0 as long as it is not known.
        sockets: The folder of its Unix socket; empty: none.
        status: ``starting``, ``stopping``, ``ready``, ``standby``; empty as long as it is not known.
    """

    pid: int
    port: int
    sockets: str
    status: str


def read_pid_file(data: Path) -> PidFile | None:
    """Return what the pid file says, or None if there is none that can be understood."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    lines += [""] * (_LINES - len(lines))
    pid = lines[0].strip()
    if not pid.isdecimal():
        return None
    port = lines[3].strip()
    return PidFile(
        pid=int(pid), port=int(port) if port.isdecimal() else 0, sockets=lines[4].strip(), status=lines[7].strip()
    )


def data_version(data: Path) -> int | None:
    """Return the major version that wrote the data folder, or None if it is none."""
    try:
        return int((data / "PG_VERSION").read_text().split(".")[0])
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def answers_on_socket(pid_file: PidFile) -> bool:
    """Return whether somebody listens on the server's Unix socket, be it in another container."""
    if not pid_file.sockets:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(f"{pid_file.sockets}/.s.PGSQL.{pid_file.port}")
        except OSError:
            return False
    return True


async def login_problem(server: Server) -> str:
    """Log in and make sure that it is the server of the data folder.

    Returns:
        Empty when it is; else why not, in the server's words.
    """
    try:
        async with asyncio.timeout(2 * _LOGIN_SECONDS):
            connection = await psycopg.AsyncConnection.connect(
                server.url("postgres"), connect_timeout=_LOGIN_SECONDS, autocommit=True
            )
            async with connection:
                row = await (await connection.execute("SHOW data_directory")).fetchone()
    except (psycopg.Error, TimeoutError) as error:
        return (str(error).strip().splitlines() or ["no answer"])[-1].replace(
            server.password.get_secret_value(), "***"
        )
    found = str(row[0]) if row else ""
    return "" if _same(found, server.data_dir) else f"port {server.port} serves {found}"


def _same(one: str, other: Path) -> bool:
    return Path(one).resolve() == other.resolve()


class Log:
    """The server's own words: what it says before its log is open, and the log.

    Args:
        folder: Holds ``start.log`` and the rotated logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, int] = {}

    def mark(self) -> None:
        """Remember how far the logs go now."""
        self._seen = {path: path.stat().st_size for path in self._folder.glob("*.log")}

    def since_mark(self) -> str:
        """Return what was written after the mark."""
        said: list[str] = []
        for path in sorted(self._folder.glob("*.log"), key=lambda path: path.name != "start.log"):
            with path.open("rb") as file:
                file.seek(self._seen.get(path, 0) if path.name != "start.log" else 0)
                said.append(file.read().decode(errors="replace"))
        return "".join(said)
