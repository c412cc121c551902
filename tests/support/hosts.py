"""Hosts of a service: folders with releases, configuration and a real service, reached locally or over SSH.

Every SSH host has a folder of its own on this machine. The inventory names one path for all hosts of a group, so
the paths begin with ``/proc/self/cwd``: the folder that a host's commands are started in.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import select
import signal
import tarfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.domain.actuation import Context
from bot.domain.plan import Step
from tests.support.actuation import FakeClock, RealClock, Reports, make_context, make_plan

HERE = "/proc/self/cwd"
NEW_CONF = "[app]\nversion = 2.4\npool = 5\n"
OLD_CONF = "# payments\n[app]\nversion = 2.3\npool = 20\n"
NEW_DATABASE = "host: db\npassword: new-hunter3\n"
OLD_DATABASE = "host: db\npassword: old-hunter2\n"

_SERVICE = """#!/bin/sh
cd "$(dirname "$0")/.." || exit 4
# What has ended and was not waited for is a zombie where there is /proc to tell.
runs() {
  pid=$(cat pid) && kill -0 "$pid" || return 1
  [ -r "/proc/$pid/stat" ] || return 0
  read -r _ _ state _ <"/proc/$pid/stat" && [ "$state" != Z ]
} 2>/dev/null
case $1 in
start)
  [ ! -f refuses ] || { echo "bind: address in use, password=hunter2" >&2; exit 1; }
  runs && exit 0
  echo start >>log
  $(command -v setsid) sleep 1000 >/dev/null 2>&1 </dev/null &
  echo $! >pid ;;
stop)
  [ ! -f refuses ] || { echo "stop refused" >&2; exit 1; }
  echo stop >>log
  runs && kill -KILL "$(cat pid)"
  while runs; do :; done
  rm -f pid ;;
status)
  [ ! -f silent ] || exit 4
  runs || exit 3 ;;
esac
"""
_SYSTEMCTL = """#!/bin/sh
for unit; do :; done
case $1 in
show)
  if [ -f "units/$unit" ]; then echo LoadState=loaded; echo "ActiveState=$(head -n1 "units/$unit")"
    # Each look uses up one line, so that a unit can be on its way for a while.
    [ "$(wc -l <"units/$unit")" -le 1 ] || sed -i 1d "units/$unit"
  else echo LoadState=not-found; echo ActiveState=inactive; fi ;;
start) echo "$*" >>log; printf 'activating\\nactive\\n' >"units/$unit" ;;
stop) echo "$*" >>log; printf 'deactivating\\ninactive\\n' >"units/$unit" ;;
status) echo "unit messages" ;;
esac
"""
_SUDO = """#!/bin/sh
[ ! -f sudo-refuses ] || { echo "sudo: a password is required" >&2; exit 1; }
echo "$*" >>sudo.log
shift 2
exec "$@"
"""
_VALIDATE = """#!/bin/sh
if grep -q broken "$1"; then echo "syntax error in line 1 of $(basename "$1")" >&2; exit 1; fi
"""


@dataclass
class Folder:
    """What lies on one host.

    Attributes:
        root: The host's folder.
        base: The same folder as the inventory writes it.
    """

    root: Path
    base: str

    def build(self) -> None:
        """Lay out a service after a failed deployment of v2.4.0."""
        for name in ("releases/v2.4.0", "releases/v2.3.1", "etc", "backup/cfg", "artifacts", "bin", "units"):
            (self.root / name).mkdir(parents=True)
        for release in ("v2.4.0", "v2.3.1"):
            (self.root / "releases" / release / "app").write_text(release)
        (self.root / "current").symlink_to(f"{self.base}/releases/v2.4.0")
        self.write("etc/app.conf", NEW_CONF, mode=0o640)
        self.write("etc/database.yml", NEW_DATABASE, mode=0o600)
        self.write("backup/cfg/app.conf", OLD_CONF)
        self.write("backup/cfg/database.yml", OLD_DATABASE)
        (self.root / "artifacts/v2.3.1.tar.gz").write_bytes(artifact())
        (self.root / "units/payments.service").write_text("active\n")
        (self.root / "sudo.log").touch()
        scripts = {"service": _SERVICE, "systemctl": _SYSTEMCTL, "sudo": _SUDO, "validate": _VALIDATE}
        for name, text in scripts.items():
            self.write(f"bin/{name}", text, mode=0o755)

    def write(self, name: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file."""
        (self.root / name).write_text(text)
        (self.root / name).chmod(mode)

    def read(self, name: str) -> str:
        """Read a file."""
        return (self.root / name).read_text()

    def has(self, name: str) -> bool:
        """Tell whether something lies there."""
        return os.path.lexists(self.root / name)

    def release(self) -> str:
        """Return the release that the link names."""
        return (self.root / "current").readlink().name

    def log(self, name: str = "log") -> list[str]:
        """Return what the service's manager was asked to do."""
        return self.read(name).splitlines() if self.has(name) else []

    def files(self) -> set[str]:
        """Return every path below the folder, hidden ones included."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}

    def end_service(self) -> None:
        """End the service if a test left it running."""
        if (self.root / "pid").is_file():
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(self.read("pid")), signal.SIGKILL)


def artifact(*, folder: str = "payments-v2.3.1/", content: str = "v2.3.1") -> bytes:
    """Return an artifact that holds one release."""
    packed = io.BytesIO()
    # Without a time of packing, so that the same content has the same digest.
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        member = tarfile.TarInfo(f"{folder}app")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()


def sha256(data: bytes) -> str:
    """Return the digest in hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Estate:
    """A server group and what lies on its hosts.

    Attributes:
        folders: By host, in the inventory's order.
        group: The group as the inventory writes it.
        reports: Progress that was reported.
    """

    folders: dict[str, Folder]
    group: dict[str, Any]
    reports: Reports = field(default_factory=Reports)

    @property
    def only(self) -> Folder:
        """The first host's folder."""
        return next(iter(self.folders.values()))

    def context(
        self,
        step: Step,
        *,
        clock: RealClock | FakeClock | None = None,
        digests: Mapping[str, str] | None = None,
    ) -> Context:
        """Return the context of a run of one step, with the backups of every host.

        Args:
            step: The step.
            clock: The clock.
            digests: SHA-256 of a backup, by its id.
        """
        base = self.only.base
        backups = [
            {
                "id": name,
                "kind": kind,
                "target": "payments-app",
                "location": f"{base}/{location}",
                "taken_at": "2024-01-15 14:30",
                "sha256": (digests or {}).get(name),
            }
            for name, kind, location in (
                ("build", "artifact", "artifacts/v2.3.1.tar.gz"),
                ("cfg", "configuration", "backup/cfg"),
                ("one", "configuration", "backup/cfg/app.conf"),
            )
        ]
        inventory = {"server_groups": {"payments-app": self.group}}
        return make_context(make_plan(step, backups=backups), inventory, clock=clock, reports=self.reports)


def group(base: str, hosts: Iterable[dict[str, Any]], *, ssh: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a server group as the inventory writes it."""
    service = f"{base}/bin/service"
    return {
        "service": "payments",
        "hosts": list(hosts),
        "ssh": ssh,
        "manager": {
            "kind": "commands",
            "start": [service, "start"],
            "stop": [service, "stop"],
            "status": [service, "status"],
        },
        "releases": f"{base}/releases",
        "current": f"{base}/current",
        "config": f"{base}/etc",
        "validate_config": [f"{base}/bin/validate", "{file}"],
    }


def local_estate(root: Path) -> Estate:
    """Return a group of one host, which is this machine."""
    folder = Folder(root, str(root))
    folder.build()
    return Estate({"app01": folder}, group(str(root), [{"name": "app01"}]))


async def gone(pid: int, *, within: float = 10.0) -> bool:
    """Wait for any process to end, and tell whether it did."""
    return await asyncio.to_thread(_gone, pid, within)


def _gone(pid: int, within: float) -> bool:
    if not hasattr(os, "pidfd_open"):
        # Only Linux has a handle to wait on.
        until = time.monotonic() + within
        while time.monotonic() < until:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.02)  # noqa: TID251 - see above
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        readable, _, _ = select.select([handle], [], [], within)
        return bool(readable)
    finally:
        os.close(handle)


class Signal:
    """A named pipe that a command writes to, so that a test knows that it has begun."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o622)
        path.chmod(0o622)
        # Opened for reading and writing, so that neither side waits for the other to open it.
        self._handle = os.open(path, os.O_RDWR)

    async def line(self) -> str:
        """Return the next line."""
        return (await asyncio.to_thread(os.read, self._handle, 4096)).decode().strip()

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._handle)
