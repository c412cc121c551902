"""The files of a new database, and the settings every server of ours runs with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from pathlib import Path

from storage.embedded.errors import EmbeddedPostgresError
from storage.embedded.folder import HOST, Folder
from storage.embedded.identity import Identity
from storage.embedded.postmaster import USER
from storage.embedded.processes import environment

_BUILTIN_LOCALE_SINCE = 17
_IO_METHOD_SINCE = 18


def render_settings(folder: Folder, *, port: int, major: int) -> str:
    """Return the text of ``server.conf``.

    The store must never lose a committed journal entry, so fsync and synchronous commit are on; everything else is
    sized for one bot. What an operator sets by ALTER SYSTEM still wins.
    """
    sockets = folder.socket_folder()
    settings: dict[str, object] = {
        "listen_addresses": HOST,
        "port": port,
        "unix_socket_directories": sockets or "",
        "unix_socket_permissions": "0700",
        "max_connections": 60,
        "shared_buffers": "64MB",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "max_wal_size": "256MB",
        "jit": "off",
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "cluster_name": "rollback-bot",
        "logging_collector": "on",
        "log_directory": folder.log,
        # One file a weekday, begun anew a week later: the logs never grow beyond seven files.
        "log_filename": "postgres-%a.log",
        "log_file_mode": "0600",
        "log_rotation_age": "1d",
        "log_rotation_size": 0,
        "log_truncate_on_rotation": "on",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
    }
    if major >= _IO_METHOD_SINCE:
        settings["io_method"] = "sync"  # three worker processes fewer; this database fits into memory
    head = "# Written by the bot at every start. Your own settings: ALTER SYSTEM.\n"
    return head + "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items())


async def create_cluster(folder: Folder, *, bin_dir: Path, major: int, identity: Identity, password: str) -> None:
    """Create the database's files: in a folder beside, renamed when complete, so that half of it is never used.

    initdb makes its files durable itself before it ends (about 0.1 s of its 0.6 s here, so ``--no-sync`` with a
    later sync of our own would gain nothing).

    Args:
        folder: The bot's folder, locked.
        bin_dir: Programs that the account can run.
        major: Their major version.
        identity: Who owns the files.
        password: For the bot's role.

    Raises:
        EmbeddedPostgresError: If initdb fails; nothing stays behind.
    """
    for left in folder.path.glob("new-*"):
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own each time: an initdb that outlived a killed bot may still write into its folder.
    beside = folder.path / f"new-{secrets.token_hex(4)}"
    beside.mkdir(mode=0o700)
    try:
        secret = beside / "password"
        secret.touch(mode=0o600)
        secret.write_text(password + "\n")
        identity.give(beside)
        await _initdb(beside, bin_dir=bin_dir, major=major, identity=identity)
        handle = os.open(beside / "data" / "postgresql.conf", os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        with os.fdopen(handle, "w") as file:
            file.write("\ninclude '../server.conf'\n")
            file.flush()
            os.fsync(handle)
        (beside / "data").rename(folder.data)
        folder.sync()
    finally:
        shutil.rmtree(beside, ignore_errors=True)


async def _initdb(beside: Path, *, bin_dir: Path, major: int, identity: Identity) -> None:
    argv = [str(bin_dir / "initdb"), "-D", str(beside / "data"), f"--username={USER}"]
    argv += [f"--pwfile={beside / 'password'}", "--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"]
    argv += ["--no-instructions", "--locale=C"]
    if major >= _BUILTIN_LOCALE_SINCE:  # sorts by code point and knows every letter, on every system alike
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        env=environment(),
        start_new_session=True,
        umask=0o077,
        **identity.switch(),
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        last = "; ".join(said.decode(errors="replace").strip().splitlines()[-3:])
        raise EmbeddedPostgresError(
            f"The bot's database could not be created: {last or f'initdb ended with {process.returncode}'}",
            untouched="What was begun was removed; no data existed before.",
            resolution="Remove the cause and start the bot again, or give it the address of an existing database.",
        )


def _quoted(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{text}'"
