"""Hosts with a program that the inventory allows."""

from __future__ import annotations

from typing import Any

from tests.support.estates import estate, one_ssh_host, place, ssh_hosts
from tests.support.hosts import Estate

__all__ = ["allow", "estate", "one_ssh_host", "place", "ssh_hosts"]

_FLIP = """#!/bin/sh
cd "$(dirname "$0")/.." || exit 4
printf '<%s>' "$@" >>flips; echo >>flips
echo "flipping to $1, password=hunter2"
[ ! -p began ] || { echo began >began; exec sleep 60; }
[ ! -f slow ] || exec sleep 60
[ ! -f broken ] || { echo "no such side" >&2; exit 7; }
printf '%s' "$1" >side
[ ! -f odd ] || exit 3
"""
_SIDE = """#!/bin/sh
cd "$(dirname "$0")/.." || exit 4
[ ! -f mute ] || exit 9
echo "side: $(cat side 2>/dev/null)"
[ "$(cat side 2>/dev/null)" = "$1" ] || exit 1
"""
_SUDO = """#!/bin/sh
[ "$1" = -n ] || { echo "sudo: a terminal is required" >&2; exit 1; }
shift
only=; [ "$1" != -l ] || { only=yes; shift; }
shift
grep -qxF -e "$*" sudoers || { echo "sudo: a password is required" >&2; exit 1; }
[ -z "$only" ] || { echo "$*"; exit 0; }
echo "$*" >>sudo.log
exec "$@"
"""


def allow(estate: Estate, **more: Any) -> None:
    """Put the programs on every host and let the inventory allow ``flip``, which notes its end.

    Args:
        estate: The hosts.
        more: What else the inventory says of the command.
    """
    for folder in estate.folders.values():
        folder.write("bin/flip", _FLIP, mode=0o755)
        folder.write("bin/side", _SIDE, mode=0o755)
        folder.write("bin/sudo", _SUDO, mode=0o755)
        folder.write("sudoers", f"{folder.base}/bin/flip green\n")
        (folder.root / "markers").mkdir(mode=0o777, exist_ok=True)
        (folder.root / "markers").chmod(0o777)
    base = estate.only.base
    command = {
        "argv": [f"{base}/bin/flip", "{side}"],
        "parameters": {"side": "green|blue"},
        "markers": f"{base}/markers",
    }
    estate.group["commands"] = {"flip": {**command, **more}}


def observing(estate: Estate, **more: Any) -> dict[str, Any]:
    """Return the command that tells to which side it was flipped."""
    return {"argv": [f"{estate.only.base}/bin/side", "{side}"], "absent": [1], **more}
