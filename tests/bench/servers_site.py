"""Fifty hosts for the benchmark of servers: each a real sshd on a loopback address of its own, with a service."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from bot.domain.inventory import Inventory
from bot.domain.ports import Clock
from tests.support.hosts import HERE
from tests.support.ssh import access
from tests.support.sshd import PROGRAM

SECONDS = 0.5
"""How long each service takes to start and to end: little for a real one."""
GROUP = "payments-app"
OLD, NEW = "v2.3.1", "v2.4.0"
_PATIENCE = 30.0

_SERVICE = """#!/bin/sh
cd "$(dirname "$0")/.." || exit 4
case $1 in
start | stop)
  answer=$(pwd -P)/answer.$$
  mkfifo "$answer"
  exec 3<>"$answer"
  echo "$1 $answer" >ctl
  read -r _ <&3
  rm -f "$answer" ;;
status)
  read -r pid <pid && kill -0 "$pid" && exit 0
  exit 3 ;;
esac 2>/dev/null
"""


@dataclass
class SshdHost:
    """A host.

    Attributes:
        name: In the inventory.
        folder: What lies on it.
        address: Where sshd and the service listen.
        port: sshd's.
        key: The host's key.
    """

    name: str
    folder: Path
    address: str
    port: int
    key: asyncssh.SSHKey

    def settings(self, authorized: Path) -> str:
        """Return sshd's settings. What a login shell reads is left out: it costs every tool the same."""
        command = f'cd {self.folder} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
        return f"""ListenAddress {self.address}:{self.port}
HostKey {self.folder}/host_key
PidFile {self.folder}/sshd.pid
AuthorizedKeysFile {authorized}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
SetEnv HOME={self.folder} PATH=/usr/local/bin:/usr/bin:/bin
ForceCommand {command}
"""


@dataclass
class Site:
    """The hosts and how they are reached.

    Attributes:
        folder: Where everything lies.
        hosts: All of them.
        health_port: Where the services listen.
        user: The login name.
        clock: The time.
    """

    folder: Path
    hosts: list[SshdHost]
    health_port: int
    user: str
    clock: Clock

    def inventory(self, names: int | None = None) -> Inventory:
        """Return the inventory with the first so many of the hosts; None: all."""
        service = f"{HERE}/bin/service"
        group: dict[str, Any] = {
            "service": "payments",
            "hosts": [
                {"name": host.name, "address": host.address, "port": host.port} for host in self.hosts[:names]
            ],
            "ssh": {
                "user": self.user,
                "key": {"file": str(self.folder / "key")},
                "known_hosts": str(self.folder / "known_hosts"),
            },
            "manager": {
                "kind": "commands",
                "start": [service, "start"],
                "stop": [service, "stop"],
                "status": [service, "status"],
            },
            "releases": f"{HERE}/releases",
            "current": f"{HERE}/current",
            "health": {"port": self.health_port},
        }
        return Inventory.model_validate({"server_groups": {GROUP: group}})

    async def deploy(self) -> None:
        """Bring every host to the failed release, its service running."""
        await asyncio.gather(*(self._ask(host, "stop") for host in self.hosts))
        for host in self.hosts:
            (host.folder / "current").unlink(missing_ok=True)
            (host.folder / "current").symlink_to(f"{HERE}/releases/{NEW}")
        await asyncio.gather(*(self._ask(host, "start") for host in self.hosts))

    def rolled_back(self) -> int:
        """Count the hosts whose link is on the old release and whose service runs since."""
        done = 0
        for host in self.hosts:
            try:
                moment = (host.folder / "current").lstat().st_mtime_ns
                done += (host.folder / "pid").stat().st_mtime_ns > moment
                done -= (host.folder / "current").readlink().name != OLD
            except FileNotFoundError:
                continue
        return done

    async def _ask(self, host: SshdHost, verb: str) -> None:
        service = host.folder / "bin/service"
        process = await asyncio.create_subprocess_exec(str(service), verb)
        async with asyncio.timeout(_PATIENCE):
            await process.wait()


@asynccontextmanager
async def site(folder: Path, clock: Clock, *, hosts: int) -> AsyncIterator[Site]:
    """Run the hosts; whatever happens, everything is ended.

    Args:
        folder: An empty folder.
        clock: The time.
        hosts: How many, at most 200.
    """
    made = _all_built(folder, hosts)
    running = Site(folder, made, _free_port(), pwd.getpwuid(os.getuid()).pw_name, clock)
    processes: list[asyncio.subprocess.Process] = []
    try:
        processes += [await _sshd(host) for host in made]
        named = [f"{host.name}={host.address}" for host in made]
        init = (
            sys.executable,
            "-m",
            "tests.bench.servers_init",
            str(folder),
            str(running.health_port),
            str(SECONDS),
        )
        processes.append(await asyncio.create_subprocess_exec(*init, *named))
        async with asyncio.timeout(_PATIENCE):
            for host in made:
                while not await _answers(host):
                    await clock.sleep(0.05)
            while not (folder / "listening").exists():
                await clock.sleep(0.05)
        yield running
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def _all_built(folder: Path, hosts: int) -> list[SshdHost]:
    """Lay out every host, one key that all let in, and the file of their own keys."""
    folder.chmod(0o711)
    key, port = asyncssh.generate_private_key("ssh-ed25519"), _free_port()
    (folder / "authorized").write_bytes(key.export_public_key())
    if os.geteuid() == 0:
        # sshd separates its privileges into this empty folder; Debian's init makes it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    made = [_built(folder, number, port) for number in range(1, hosts + 1)]
    access(folder, key, made)
    for host in made:
        (host.folder / "host_key").write_bytes(host.key.export_private_key())
        (host.folder / "host_key").chmod(0o600)
        (host.folder / "sshd_config").write_text(host.settings(folder / "authorized"))
    return made


def _built(folder: Path, number: int, port: int) -> SshdHost:
    name = f"app{number:02}"
    root = folder / name
    for release in (OLD, NEW):
        (root / "releases" / release).mkdir(parents=True)
    (root / "current").symlink_to(f"{HERE}/releases/{NEW}")
    (root / "bin").mkdir()
    (root / "bin/service").write_text(_SERVICE)
    (root / "bin/service").chmod(0o755)
    return SshdHost(name, root, f"127.0.10.{number}", port, asyncssh.generate_private_key("ssh-ed25519"))


async def _sshd(host: SshdHost) -> asyncio.subprocess.Process:
    settings = host.folder / "sshd_config"
    program = shutil.which(PROGRAM)
    if program is None:
        raise RuntimeError("this benchmark needs /usr/sbin/sshd; install openssh-server")
    with (host.folder / "sshd.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            program, "-D", "-e", "-f", str(settings), stdin=asyncio.subprocess.DEVNULL, stderr=log
        )


async def _answers(host: SshdHost) -> bool:
    try:
        _, writer = await asyncio.open_connection(host.address, host.port)
    except OSError:
        return False
    writer.close()
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
