"""What a load balancer's entry in the inventory must say; checked before anybody contacts one."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bot.domain.arns import Arn, parse_arn

if TYPE_CHECKING:
    from bot.domain.inventory import LoadBalancer


def check_haproxy(balancer: LoadBalancer) -> None:
    """Check that HAProxy can be reached in exactly one way.

    Raises:
        ValueError: Says what to write.
    """
    sockets = balancer.sockets()
    by_path = [socket for socket in sockets if socket.startswith("/")]
    if not sockets:
        raise ValueError("haproxy needs `socket`: a path like /run/haproxy/admin.sock, or host:port")
    for socket in sockets:
        if socket not in by_path:
            split_address(socket)
    if (balancer.ssh is None) != (not balancer.hosts):
        raise ValueError("`hosts` and `ssh` go together: the balancers' machines, and how they are reached")
    if balancer.ssh is not None and (len(sockets) != 1 or not by_path):
        raise ValueError("through ssh `socket` is one path, the same on every host")
    if len(by_path) > 1:
        raise ValueError("several paths are several balancers on one machine, which share no state; name one")
    if balancer.state_file is not None and not by_path:
        raise ValueError("a state file can be written on the worker's machine or through ssh, not by TCP")
    if balancer.config is not None and not by_path:
        raise ValueError("a configuration can be read on the worker's machine or through ssh, not by TCP")
    if balancer.listener_arn or balancer.target_groups or balancer.rules:
        raise ValueError("listener_arn, target_groups and rules belong to the flavour alb")


def check_alb(balancer: LoadBalancer) -> None:
    """Check that everything named lies in one account and region, and rules belong to the listener.

    Raises:
        ValueError: Says what is wrong.
    """
    if balancer.listener_arn is None:
        raise ValueError("alb needs `listener_arn`")
    if balancer.sockets() or balancer.hosts or balancer.ssh or balancer.state_file or balancer.backends:
        raise ValueError("socket, hosts, ssh, state_file and backends belong to the flavour haproxy")
    listener = parse_arn(balancer.listener_arn, "listener")
    if balancer.region is not None and balancer.region != listener.region:
        raise ValueError(f"the listener is in {listener.region}, not in {balancer.region}")
    for name, text in (balancer.target_groups or {}).items():
        same_place(listener, parse_arn(text, "targetgroup"), name)
    for name, text in (balancer.rules or {}).items():
        rule = parse_arn(text, "listener-rule")
        same_place(listener, rule, name)
        if rule.path[:-1] != listener.path:
            raise ValueError(f"{name} is a rule of another listener")


def same_place(listener: Arn, other: Arn, name: str) -> None:
    """Check that a listener can use another resource.

    Raises:
        ValueError: If partition, region or account differ.
    """
    if other.place != listener.place:
        raise ValueError(f"{name} lies in {' '.join(other.place)}, the listener in {' '.join(listener.place)}")


def split_address(text: str) -> tuple[str, int]:
    """Read ``host:port``; an IPv6 address stands in brackets.

    Raises:
        ValueError: If it is no address with a port.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536 or not host.strip("[]"):  # noqa: PLR2004 - ports
        raise ValueError(f"{text[:80]!r} is neither a path nor host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def private_way(url: str) -> bool:
    """Return whether nobody on the network can read what is sent there."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
