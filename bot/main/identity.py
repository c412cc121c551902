"""Names of processes for leases, and which of them are known to be dead.

A name is ``host:boot:pid:birth:instance``. Processes of this very host and boot are judged by their process id and
time of birth. A container cannot see the processes of the one that it replaces; it judges by the instance, the name
of its place: whoever was there before is dead.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

_LONGEST_NAME: Final = 63
"""PostgreSQL keeps that many bytes of a session's name."""
_LONGEST_ROLE: Final = 31
"""`worker/` and the longest name of a zone."""


def own_name(instance: str = "") -> str:
    """Return the name of this process.

    Args:
        instance: Name of its place, the same after a restart and never used by two processes at once; may be empty.
    """
    pid = os.getpid()
    return f"{socket.gethostname()}:{_boot()}:{pid}:{_birth(pid)}:{instance}"


def application_name(role: str) -> str:
    """Return how the process is called in ``pg_stat_activity``.

    Args:
        role: What it does, e.g. ``bot`` or ``worker/dmz``.

    Returns:
        Role, host and process id, e.g. ``rollback-bot/worker/dmz@app-7/812``.
    """
    begin, end = f"rollback-bot/{role[:_LONGEST_ROLE]}@", f"/{os.getpid()}"
    # Of a long host name the end tells more: pods differ there.
    return f"{begin}{socket.gethostname()[-(_LONGEST_NAME - len(begin) - len(end)) :]}{end}"


def known_dead(owners: Sequence[str], *, own: str) -> tuple[str, ...]:
    """Return those of the owners that are known not to live any more.

    Args:
        owners: Names of processes.
        own: The name of this process.
    """
    return tuple(owner for owner in owners if owner != own and _is_dead(owner, own))


def _is_dead(owner: str, own: str) -> bool:
    host, boot, pid, birth, instance = (*owner.split(":"), *[""] * 5)[:5]
    if instance and instance == own.rpartition(":")[2]:
        return True
    if (host, boot) != (socket.gethostname(), _boot()):
        return False
    return not (pid.isdigit() and birth != "" and _birth(int(pid)) == birth)


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
