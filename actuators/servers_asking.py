"""Asking a host for the health of its service: by HTTP from here, or by a command there."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from actuators.http_client import Request, UnreachableError, exchange
from actuators.http_values import missing
from actuators.redact import redact
from actuators.servers_hosts import in_a_word
from actuators.transport import HostError, Transport
from bot.domain.clock import Clock
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, HostHealth, ServerGroup

_PATIENCE = 5.0
"""Seconds for one question."""
_OK = 200


@dataclass(frozen=True)
class Answer:
    """What a host said of its service.

    Attributes:
        healthy: Whether the answer is as the inventory expects.
        state: In a few words, the same on hosts that are alike.
        version: The version it named.
        why: What was wrong, with the reason.
    """

    healthy: bool
    state: str
    version: str | None = None
    why: str = ""


class Asker:
    """Asks the hosts of one group.

    Args:
        group: The group.
        transport: The way to its hosts, for a command.
        session: For HTTP.
        clock: The time.
        version: The version that hosts must name; None: any.
    """

    def __init__(
        self,
        group: ServerGroup,
        transport: Transport,
        session: aiohttp.ClientSession,
        clock: Clock,
        *,
        version: str | None,
    ) -> None:
        self._health = health_of(group)
        self._transport = transport
        self._session = session
        self._clock = clock
        self._version = version

    @property
    def wanted(self) -> str:
        """The state of a host that is as it should be."""
        return f"healthy on {self._version}" if self._version else "healthy"

    async def ask(self, host: Host) -> Answer:
        """Ask one host once. Whatever goes wrong is an answer, and not a healthy one."""
        try:
            by_command = bool(self._health.command)
            good, text, words = await (self._by_command(host) if by_command else self._by_http(host))
        except HostError as error:
            return Answer(healthy=False, state=in_a_word(error), why=error.what.rstrip("."))
        except UnreachableError as error:
            return Answer(healthy=False, state="unreachable", why=f"{self._url(host)}: {error}")
        return self._judged(good=good, text=text, words=words)

    def _judged(self, *, good: bool, text: str, words: str) -> Answer:
        document = _json(text)
        found = document.get(self._health.version) if isinstance(document, dict) else None
        version = redact(found)[:80] if isinstance(found, str) else None
        named = f" on {version}" if version else ""
        if not good:
            return Answer(healthy=False, state=f"not healthy{named}", version=version, why=words)
        lack = missing(self._health.expect, document) if self._health.expect else None
        if lack is not None:
            return Answer(healthy=False, state=f"not healthy{named}", version=version, why=f"{words}, but {lack}")
        if self._version is not None and version != self._version:
            why = f"it runs {version or 'a version that it does not tell'}, not {self._version}"
            return Answer(healthy=False, state=named.strip() or "without a version", version=version, why=why)
        return Answer(healthy=True, state=self.wanted, version=version)

    async def _by_http(self, host: Host) -> tuple[bool, str, str]:
        answer = await exchange(self._session, Request(self._url(host), timeout=_PATIENCE), clock=self._clock)
        return answer.status == _OK and not answer.truncated, answer.text, answer.words()

    async def _by_command(self, host: Host) -> tuple[bool, str, str]:
        finished = await self._transport.run(host, self._health.command, sudo=True, timeout=_PATIENCE)
        words = f"the health command exits {finished.returncode}"
        if not finished.ok:
            words += f": {finished.complaint().splitlines()[-1]}"
        return finished.ok, finished.out, words

    def _url(self, host: Host) -> str:
        return f"{self._health.scheme}://{_bracketed(host.address)}:{self._health.port}{self._health.path}"


@asynccontextmanager
async def asking(
    group: ServerGroup, transport: Transport, clock: Clock, *, version: str | None
) -> AsyncIterator[Asker]:
    """Give the means to ask the hosts of a group.

    Raises:
        ActuatorError: If the inventory does not say how.
    """
    # Every question is a connection of its own: an old one says little about a service that was just started. As
    # many may be open as hosts are asked, so that those that hang hold none of the others up.
    connector = aiohttp.TCPConnector(limit=0, force_close=True, use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Asker(group, transport, session, clock, version=version)


def health_of(group: ServerGroup) -> HostHealth:
    """Return how the hosts of a group are asked.

    Raises:
        ActuatorError: If the inventory does not say.
    """
    if group.health is not None:
        return group.health
    raise ActuatorError(
        "The inventory does not say how the hosts of this group tell their health.",
        untouched="No host was asked.",
        resolution="Add `health: {port: ..., path: /health}` (or `command`) to the group in the inventory.",
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _bracketed(address: str) -> str:
    """Return an address as it stands in a URL."""
    try:
        return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address  # noqa: PLR2004 - IPv6
    except ValueError:
        return address
