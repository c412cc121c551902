"""What a figure depends on besides the program: the machine, Python, PostgreSQL and whether it really writes."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psycopg


def load() -> float:
    """Return the load average over one minute; 0 where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return 0.0


def processor_seconds(pid: int) -> float | None:
    """Return the processor time that a process has used; None where the system does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return None
    fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_seconds() -> float | None:
    """Return the time that the machine's cores have been idle, added up; None where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    fields = stat.read_text(encoding="utf-8").splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, str]:
    """Return the facts of the machine and of Python, by name."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(cores()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load average at the start": f"{load():.1f}",
    }


async def server_facts(url: str) -> dict[str, str]:
    """Return the facts of a PostgreSQL server, by name.

    Raises:
        psycopg.OperationalError: It does not answer.
    """
    found = {}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for setting in ("server_version", "fsync", "synchronous_commit", "full_page_writes"):
            row = await (await connection.execute(b"SELECT current_setting(%s)", [setting])).fetchone()
            found[f"postgresql {setting.removeprefix('server_')}"] = str(row[0]) if row else "unknown"
    return found


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = next((line for line in lines if line.startswith("model name")), "")
    return named.partition(":")[2].strip() or platform.processor() or "unknown"
