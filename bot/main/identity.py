"""Names of processes for leases, and which of them are known to be dead.

A name is ``host:boot:pid:birth``. Only processes of this very host and boot are judged; a process id that was given
to another process since is told apart by its time of birth.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path


def own_name() -> str:
    """Return the name of this process."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{_boot()}:{pid}:{_birth(pid)}"


def known_dead(owners: Sequence[str]) -> tuple[str, ...]:
    """Return those of the owners that ran on this machine since it started and do not live any more."""
    here = f"{socket.gethostname()}:{_boot()}:"
    return tuple(owner for owner in owners if owner.startswith(here) and not _lives(owner.removeprefix(here)))


def _lives(process: str) -> bool:
    pid, _, birth = process.partition(":")
    return pid.isdigit() and birth != "" and _birth(int(pid)) == birth


@cache
def _boot() -> str:
    proc = Path("/proc/sys/kernel/random/boot_id")
    if proc.exists():
        # A container has a process table of its own: a name from another one must not be judged here.
        namespace = Path("/proc/self/ns/pid")
        suffix = f"-{namespace.readlink()}" if namespace.exists() else ""
        return (proc.read_text().strip()[:8] + suffix).replace(":", "")
    answer = subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False)
    return "".join(c for c in answer.stdout if c.isdigit())[:10] or "unknown"


def _birth(pid: int) -> str:
    """Return when the process began, in a form to be compared only; empty if there is no such process."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        zombie = fields[0] in "ZX"
        return "" if zombie else fields[19]
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "".join(answer.stdout.split()).replace(":", "")
