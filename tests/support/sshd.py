"""Real sshd on three loopback addresses, each with a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from tests.support.hosts import HERE, Estate, Folder, group
from tests.support.ssh import access

PROGRAM = Path("/usr/sbin/sshd")
_REQUIRED = os.environ.get("ROLLBACK_REAL_PARTS") == "require"
real_sshd = [
    pytest.mark.real,
    pytest.mark.skipif(
        not PROGRAM.exists() and not _REQUIRED,
        reason="no /usr/sbin/sshd here; install openssh-server, or set ROLLBACK_REAL_PARTS=require to fail instead",
    ),
]


@dataclass
class Daemon:
    """A running sshd."""

    address: str
    port: int
    key: asyncssh.SSHKey


@contextmanager
def sshd_estate(root: Path) -> Iterator[Estate]:
    """Give a group of three hosts behind real sshd daemons.

    Args:
        root: An empty folder.
    """
    user = pwd.getpwuid(os.getuid()).pw_name
    key = asyncssh.generate_private_key("ssh-ed25519")
    (root / "authorized").write_bytes(key.export_public_key())
    folders = {f"app{number:02}": Folder(root / f"app{number:02}", HERE) for number in (1, 2, 3)}
    processes: list[subprocess.Popen[bytes]] = []
    daemons: list[Daemon] = []
    try:
        for number, folder in enumerate(folders.values(), start=1):
            folder.build()
            daemon = Daemon(f"127.0.0.{number}", _free_port(), asyncssh.generate_private_key("ssh-ed25519"))
            processes.append(_start(root, folder, daemon))
            daemons.append(daemon)
        for daemon, process in zip(daemons, processes, strict=True):
            _wait(daemon, process)
        where = [
            {"name": name, "address": daemon.address, "port": daemon.port}
            for name, daemon in zip(folders, daemons, strict=True)
        ]
        yield Estate(folders, group(HERE, where, ssh={"user": user, **access(root, key, daemons)}))
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=10)
        for folder in folders.values():
            folder.end_service()


def _start(root: Path, folder: Folder, daemon: Daemon) -> subprocess.Popen[bytes]:
    if os.geteuid() == 0:
        # sshd separates its privileges into this empty folder; Debian's init makes it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    host_key = folder.root / "host_key"
    host_key.write_bytes(daemon.key.export_private_key())
    host_key.chmod(0o600)
    settings = folder.root / "sshd_config"
    command = f'cd {folder.root} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
    # HOME is set so that no shell profile of the real user is read: it costs time and may print.
    settings.write_text(
        f"""ListenAddress {daemon.address}:{daemon.port}
HostKey {host_key}
PidFile {folder.root}/sshd.pid
AuthorizedKeysFile {root}/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
SetEnv HOME={folder.root} PATH={folder.root}/bin:/usr/local/bin:/usr/bin:/bin
ForceCommand {command}
"""
    )
    program = shutil.which(PROGRAM)
    assert program is not None, "ROLLBACK_REAL_PARTS=require, and there is no /usr/sbin/sshd"
    with (folder.root / "sshd.log").open("wb") as log:
        return subprocess.Popen([program, "-D", "-e", "-f", str(settings)], stderr=log, stdin=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(daemon: Daemon, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        assert process.poll() is None, "sshd has ended; see sshd.log"
        with socket.socket() as probe:
            if probe.connect_ex((daemon.address, daemon.port)) == 0:
                return
        time.sleep(0.02)  # noqa: TID251 - sshd tells nobody when it listens
    pytest.fail("sshd does not listen after 10 seconds")
