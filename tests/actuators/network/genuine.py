"""A genuine FRR router: zebra and staticd in a network namespace, behind a real sshd and a veth of its own."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.support.ssh import access

_DAEMONS = Path("/usr/lib/frr")
_SSHD = Path("/usr/sbin/sshd")
_PROGRAMS = ("/usr/bin/vtysh", "/usr/bin/ip", "/usr/bin/ping", "/usr/bin/sudo", "/usr/bin/traceroute")
_PORT = 2222
_NUMBERS = itertools.count()
GOOD = "ip route 10.0.0.0/8 10.1.1.254"
FAILED = "ip route 10.0.0.0/8 10.1.1.9"


@dataclass
class Genuine:
    """A running router.

    Attributes:
        name: Its namespace, and the pathspace of its daemons.
        gateway: The address of the machine at the other end of its management network.
        address: Its own there.
        root: A folder that only root and FRR can read.
        entry: Its entry in the inventory.
        processes: What runs in its namespace.
    """

    name: str
    gateway: str
    address: str
    root: Path
    key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    port: int = _PORT
    entry: dict[str, Any] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where changes are kept."""
        return self.root / "changes"

    @property
    def startup(self) -> Path:
        """What a restart loads."""
        return Path("/etc/frr") / self.name / "frr.conf"

    def inside(self, *argv: str) -> str:
        """Run a program in the namespace and return what it prints."""
        command = ["ip", "netns", "exec", self.name, *argv]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    def vtysh(self, *commands: str) -> str:
        """Say commands to FRR."""
        return self.inside("vtysh", "-N", self.name, *(word for said in commands for word in ("-c", said)))

    def running(self) -> str:
        """Return the configuration in force."""
        return self.vtysh("show running-config no-header")

    def routes(self) -> str:
        """Return the kernel's routes."""
        return self.inside("ip", "-4", "route", "show")

    def configure(self, *lines: str) -> None:
        """Change what is in force."""
        self.vtysh("configure terminal", *lines)

    def keep(self, file: str, content: str) -> tuple[str, str]:
        """Write a file that FRR can read, and return its path and SHA-256."""
        path = self.root / file
        path.write_text(content)
        path.chmod(0o644)
        return str(path), hashlib.sha256(content.encode()).hexdigest()

    def good(self) -> str:
        """Return the configuration from before the failed one."""
        return (self.root / "good.conf").read_text()

    def state(self) -> object:
        """Return everything that a step could change."""
        changes = sorted(str(path) for path in self.folder.rglob("*"))
        return self.running(), self.startup.read_text(), changes

    def kill(self, daemon: str) -> None:
        """Kill one of FRR's daemons."""
        (process,) = [process for process in self.processes if f"/{daemon}" in str(process.args)]
        process.kill()
        process.wait(timeout=10)

    def writable(self, *, yes: bool) -> None:
        """Let FRR write its startup configuration, or not."""
        for place in (self.startup.parent, *self.startup.parent.iterdir()):
            shutil.chown(place, "frr" if yes else "root", "frr")

    def keepers(self) -> list[int]:
        """Return the processes that keep a change now."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.folder).encode() in (words := (folder / "cmdline").read_bytes()).split(b"\0"):
                    found += [int(folder.name)] if b"\0rollback-rb-" in words else []
        return found

    def until(self, wanted: str) -> None:
        """Wait until the latest change is in a state."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            states = [path.read_text() for path in self.folder.glob("*.change/state")]
            if any(state.startswith(wanted) for state in states):
                return
            time.sleep(0.05)  # noqa: TID251 - the router tells nobody when it has come so far
        pytest.fail(f"no change is {wanted}")


def need() -> None:
    """Skip where no router can be started, with the reason; fail where only its programs are missing."""
    if os.geteuid() != 0:
        pytest.skip("a router in a network namespace needs root")
    programs = [_SSHD, _DAEMONS / "zebra", _DAEMONS / "frr-reload.py", *map(Path, _PROGRAMS)]
    missing = [str(path) for path in programs if not path.exists()]
    if missing and os.environ.get("ROLLBACK_REAL_PARTS") == "require":
        pytest.fail(f"ROLLBACK_REAL_PARTS=require, and there is no {', '.join(missing)}")
    if missing:
        packages = "frr, frr-pythontools, iproute2, iputils-ping, openssh-server, sudo and traceroute"
        pytest.skip(f"no {', '.join(missing)} here; install {packages}")
    probe = f"rb{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    subprocess.run(["ip", "netns", "del", probe], check=True)


@contextmanager
def frr_router() -> Iterator[Genuine]:
    """Give a router whose configuration is the failed one, saved, and whose way back lies in ``good.conf``."""
    need()
    number = next(_NUMBERS)
    name = f"rb{os.getpid()}x{number}"
    net = int(IPv4Address("198.18.0.0")) + 4 * ((os.getpid() * 61 + number) % 32768)
    root = Path(tempfile.mkdtemp(prefix="rollback-frr-"))
    router = Genuine(name, str(IPv4Address(net + 1)), str(IPv4Address(net + 2)), root)
    try:
        _build(router)
        yield router
    finally:
        _end(router)


def _build(router: Genuine) -> None:
    name, outside = router.name, f"{router.name}m"
    for command in (
        f"ip netns add {name}",
        f"ip link add {outside} type veth peer name mgmt netns {name}",
        f"ip addr add {router.gateway}/30 dev {outside}",
        f"ip link set {outside} up",
        f"ip -n {name} link set lo up",
        f"ip -n {name} addr add {router.address}/30 dev mgmt",
        f"ip -n {name} link set mgmt up",
        f"ip -n {name} link add up0 type veth peer name up1",
        f"ip -n {name} addr add 10.1.1.1/24 dev up0",
        f"ip -n {name} link set up0 up",
        f"ip -n {name} link set up1 up",
    ):
        subprocess.run(command.split(), check=True, capture_output=True, timeout=20)
    router.root.chmod(0o750)
    shutil.chown(router.root, group="frr")
    router.folder.mkdir()
    shutil.chown(router.folder, group="frr")
    router.folder.chmod(0o2770)
    # The first is there wherever systemd has started; FRR's programs write into it.
    for place in (Path("/var/run/frr"), Path("/var/run/frr") / name, router.startup.parent):
        place.mkdir(parents=True, exist_ok=True)
        shutil.chown(place, "frr", "frr")
    router.startup.with_name("vtysh.conf").write_text("service integrated-vtysh-config\n")
    for daemon in ("zebra", "staticd"):
        _start(router, str(_DAEMONS / daemon), "-N", name, "-A", "127.0.0.1", "-f", "/dev/null")
        _wait(lambda daemon=daemon: (Path("/var/run/frr") / name / f"{daemon}.vty").exists())
    router.configure(GOOD)
    router.keep("good.conf", router.running())
    router.configure(f"no {GOOD}", FAILED)
    router.vtysh("write memory")
    _listen(router)


def _listen(router: Genuine) -> None:
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    login = asyncssh.generate_private_key("ssh-ed25519")
    (router.root / "authorized").write_bytes(login.export_public_key())
    host_key, settings = router.root / "host_key", router.root / "sshd_config"
    host_key.write_bytes(router.key.export_private_key())
    host_key.chmod(0o600)
    # HOME is set so that no shell profile of the real user is read: it costs time and may print.
    settings.write_text(
        f"""ListenAddress {router.address}:{_PORT}
HostKey {host_key}
PidFile none
AuthorizedKeysFile {router.root}/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
SetEnv HOME={router.root} PATH=/usr/local/bin:/usr/bin:/bin
ForceCommand exec sh -c "$SSH_ORIGINAL_COMMAND"
"""
    )
    sshd = _start(router, str(_SSHD), "-D", "-e", "-f", str(settings))

    def listens() -> bool:
        assert sshd.poll() is None, "sshd has ended"
        with socket.socket() as probe:
            return probe.connect_ex((router.address, _PORT)) == 0

    _wait(listens)
    router.entry = {
        "service": "payments",
        "platform": "frr",
        "address": router.address,
        "port": _PORT,
        "user": "root",
        "connect_timeout": "1s",
        "ping": [router.gateway],
        "routes": ["10.0.0.0/8"],
        "frr": {"pathspace": router.name, "run_as": "frr", "folder": str(router.folder)},
        **access(router.root, login, [router]),
    }


def _start(router: Genuine, *argv: str) -> subprocess.Popen[bytes]:
    """Start a program in the namespace; `ip netns exec` becomes it."""
    with (router.root / "log").open("ab") as log:
        process = subprocess.Popen(
            ["ip", "netns", "exec", router.name, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    router.processes.append(process)
    return process


def _wait(done: Any) -> None:
    until = time.monotonic() + 10
    while not done():
        assert time.monotonic() < until, "the router does not come up"
        time.sleep(0.02)  # noqa: TID251 - daemons tell nobody when they listen


def _end(router: Genuine) -> None:
    for keeper in router.keepers():
        with suppress(ProcessLookupError):
            os.kill(keeper, 9)
    for process in reversed(router.processes):
        process.terminate()
        process.wait(timeout=10)
    subprocess.run(["ip", "link", "del", f"{router.name}m"], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", router.name], check=False, capture_output=True)
    for place in (router.root, Path("/var/run/frr") / router.name, router.startup.parent):
        shutil.rmtree(place, ignore_errors=True)
