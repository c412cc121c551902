"""Processes of the server: started so that they outlive the bot, known by more than a number."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from storage.embedded.identity import Identity

_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
_children: dict[int, subprocess.Popen[bytes]] = {}
# A server that this process started is its child: without asking for its end it stays a zombie that looks alive.


def environment(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the server's environment: what it needs to load, none of the bot's secrets, no ``PG*`` settings."""
    known = os.environ if source is None else source
    return {"LC_ALL": "C", **{name: known[name] for name in _KEPT if name in known}}


def spawn(argv: list[str], *, identity: Identity, output: int) -> int:
    """Start a program in a session of its own, so that neither Ctrl-C nor the bot's end reaches it.

    Args:
        argv: The program and its arguments.
        identity: The account it runs under.
        output: An open file that takes what it says.

    Returns:
        The number of the process.
    """
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env=environment(),
        start_new_session=True,
        umask=0o077,
        **identity.switch(),
    )
    _children[child.pid] = child
    return child.pid


def alive(pid: int) -> bool:
    """Return whether a process of that number runs, whoever's it is."""
    child = _children.get(pid)
    if child is not None:
        if child.poll() is None:
            return True
        del _children[pid]
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def arguments(pid: int) -> list[str]:
    """Return the command line of a process; empty when it has ended or is a zombie."""
    proc = Path("/proc")
    if (proc / "self" / "cmdline").exists():
        try:
            line = (proc / str(pid) / "cmdline").read_bytes()
        except OSError:
            return []
        return [os.fsdecode(part) for part in line.split(b"\0") if part]
    return _arguments_by_ps(pid)


def _arguments_by_ps(pid: int) -> list[str]:
    shown = subprocess.run(
        ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    state, _, command = shown.partition(" ")
    return [] if state.startswith("Z") or not command else [command.strip()]


def serves(pid: int, data: Path) -> bool:
    """Return whether the process is the PostgreSQL of that data folder, and not a later owner of its number."""
    if not alive(pid):
        return False
    argv = arguments(pid)
    if len(argv) == 1:  # ps gives one line; a path may hold spaces, so it is compared as a whole
        return "postgres" in argv[0] and argv[0].rstrip().endswith(f"-D {data}")
    places = [argv[i + 1] for i, word in enumerate(argv[:-1]) if word == "-D"]
    return (
        bool(argv)
        and "postgres" in Path(argv[0]).name
        and any(Path(place).resolve() == data.resolve() for place in places)
    )
