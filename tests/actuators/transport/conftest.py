"""The fixtures of hosts."""

from __future__ import annotations

from tests.support.estates import estate, one_ssh_host, place, ssh_hosts

__all__ = ["estate", "one_ssh_host", "place", "ssh_hosts"]
