"""The bot's data folder: who may enter it, who holds it, and the small files in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from pathlib import Path

from storage.embedded.errors import EmbeddedPostgresError, FolderInUseError

HOST = "127.0.0.1"
_HALF = ".half-"
_LONGEST_SOCKET_PATH = 100  # macOS allows 103 bytes, Linux 107


class Folder:
    """The folder of one embedded server.

    ``data/`` holds the database, ``log/`` its logs, ``socket/`` its Unix socket, ``programs/`` a private copy of
    the programs if one was needed, ``password`` the bot's password, ``port`` the port of last time, ``lock`` the
    lock, ``server.conf`` the settings. As root the folder itself is open for passage (0711); the data, the logs and
    the password in it are not.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.data = self.path / "data"
        self.log = self.path / "log"
        self.sockets = self.path / "socket"
        self.settings = self.path / "server.conf"
        self._lock: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    def prepare(self) -> None:
        """Create the folder if it is new. A new or empty one is closed to others, as root open for passage only.

        Raises:
            OSError: If that is not allowed.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not any(self.path.iterdir()) and self.path.stat().st_uid == os.geteuid():
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)

    def acquire(self) -> None:
        """Take the lock; the kernel gives it back when the process ends, however it ends.

        Raises:
            FolderInUseError: If another bot has it; names its process.
        """
        if self._lock is not None:
            return
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip()
            os.close(handle)
            raise FolderInUseError(
                f"Another bot (process {holder or 'unknown'}) works on {self.path}.",
                untouched="It and its database were left alone.",
                resolution="Stop it first, or give this bot a data folder of its own.",
            ) from None
        except OSError:
            os.close(handle)
            raise
        self._lock = handle
        self._keep_owner(handle)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        for left in self.path.glob(f"{_HALF}*"):
            left.unlink()

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def password(self) -> str:
        """Return the password; a new one as long as there is no database.

        Raises:
            EmbeddedPostgresError: If there is a database, but its password is gone.
        """
        path = self.path / "password"
        try:
            known = path.read_text().strip()
        except FileNotFoundError:
            known = ""
        if known:
            return known
        if self.data.exists():
            raise EmbeddedPostgresError(
                f"The password of the bot's database is missing: {path}.",
                untouched=f"The data in {self.data} was left as it is; nothing was started.",
                resolution="Put the file back from a backup, or set a new password with `postgres --single` "
                "(ALTER ROLE rollback PASSWORD '...') and write it into that file.",
            )
        fresh = secrets.token_urlsafe(32)
        self.write(path, fresh + "\n", mode=0o600)
        return fresh

    def write(self, path: Path, text: str, *, mode: int) -> None:
        """Replace a small file at once and for good."""
        half = self.path / f"{_HALF}{secrets.token_hex(4)}"
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w") as file:
            self._keep_owner(handle)
            os.fchmod(handle, mode)
            file.write(text)
            file.flush()
            os.fsync(handle)
        half.replace(path)
        self.sync()

    def sync(self) -> None:
        """Make names in the folder durable."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def port(self, fixed: int | None) -> int:
        """Return the port to listen on: the fixed one, else that of last time, else a free one.

        Raises:
            EmbeddedPostgresError: If the fixed one is taken.
        """
        if fixed is not None:
            if _is_free(fixed):
                return fixed
            raise EmbeddedPostgresError(
                f"Port {fixed}, which the bot's database is set to, is taken by another program.",
                untouched="Nothing was started.",
                resolution="End that program, or set another port, or none: then the bot takes a free one.",
            )
        with contextlib.suppress(FileNotFoundError, ValueError):
            known = int((self.path / "port").read_text())
            if _is_free(known):
                return known
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            return int(probe.getsockname()[1])

    def remember_port(self, port: int) -> None:
        """Keep the port for next time, so that the address stays the same."""
        path = self.path / "port"
        if not path.exists() or path.read_text().strip() != str(port):
            self.write(path, f"{port}\n", mode=0o600)

    def forget_port(self) -> None:
        """Take another port next time."""
        (self.path / "port").unlink(missing_ok=True)

    def socket_folder(self) -> Path | None:
        """Return where the Unix socket can lie; None when its path would be too long or cannot be written down."""
        text = str(self.sockets)
        fits = len(os.fsencode(f"{text}/.s.PGSQL.65535.lock")) <= _LONGEST_SOCKET_PATH
        return self.sockets if fits and not set(text) & set(",\"'\\\n") else None

    def _keep_owner(self, handle: int) -> None:
        # When root works in a user's folder, that user must be able to go on without root.
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.fchown(handle, owner.st_uid, owner.st_gid)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As PostgreSQL itself does: connections of the last server that only wait for their end are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except (OSError, OverflowError):
            return False
    return True
