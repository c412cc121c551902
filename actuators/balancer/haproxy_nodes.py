"""The ways to HAProxy's runtime API: a socket on the worker's machine, TCP, or a socket on a host behind SSH."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from actuators.balancer import targets
from actuators.redact import redact
from actuators.transport import HostError, Transport
from actuators.transport.local import Local
from actuators.transport.ssh import Ssh
from bot.domain.actuation import Context
from bot.domain.balancers import split_address
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, LoadBalancer
from bot.domain.plan import Step

T = TypeVar("T")

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
_LIMIT = 8 * 1024 * 1024
"""Bytes of an answer; ``show stat`` of a thousand servers takes half a megabyte."""


class BalancerError(ActuatorError):
    """Something failed on one balancer.

    Args:
        node: Its name.
        brief: What happened, without the name.
        untouched: What was left as it was.
        resolution: What to do next.
        transient: Whether the same call may succeed later without anybody's help.
    """

    def __init__(
        self, node: str, brief: str, *, untouched: str = "", resolution: str = "", transient: bool = False
    ) -> None:
        super().__init__(f"{node}: {brief}", untouched=untouched, resolution=resolution, transient=transient)
        self.what = brief


class NodeUnreachableError(BalancerError):
    """The balancer's runtime API cannot be reached, or did not answer to the end."""


class Way(Protocol):
    """A way to one runtime API."""

    async def talk(self, line: str) -> str:
        """Send one line of commands, and return the whole answer.

        Raises:
            NodeUnreachableError: If no whole answer came in time.
        """
        ...


@dataclass(frozen=True)
class Node:
    """One running HAProxy.

    Attributes:
        name: Its host's name in the inventory, or its address.
        way: The way to its runtime API.
        files: Its machine's files, None where they are out of reach.
        host: Its machine.
    """

    name: str
    way: Way
    files: Transport | None
    host: Host

    async def ask(self, *commands: str) -> str:
        """Send commands in one line, which HAProxy carries out one right after the other.

        Raises:
            NodeUnreachableError: If no whole answer came in time.
            BalancerError: If the socket's level does not permit it.
        """
        answer = await self.way.talk(";".join(commands))
        if "Permission denied" in answer.splitlines():
            raise BalancerError(
                self.name,
                "its runtime socket does not permit that.",
                untouched="What stands before the refused command may have been done; the next look tells.",
                resolution="Give the `stats socket` in HAProxy's configuration `level admin`.",
            )
        return answer


@dataclass(frozen=True)
class _Stream:
    """A socket on the worker's machine, or TCP."""

    name: str
    address: str

    async def talk(self, line: str) -> str:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await self._connect()
        except TimeoutError:
            raise self._unreachable(f"gave no answer within {CONNECT_SECONDS:g} seconds") from None
        except OSError as error:
            raise self._unreachable(f"cannot be reached: {error.strerror or error}") from None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(f"{line}\n".encode())
                await writer.drain()
                return (await _read(reader)).decode(errors="replace")
        except TimeoutError:
            raise self._unreachable(f"did not answer within {ANSWER_SECONDS:g} seconds") from None
        except OSError as error:
            raise self._unreachable(f"broke off: {error.strerror or error}") from None
        finally:
            # HAProxy closes by itself after its answer, so nothing is left to wait for.
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.address.startswith("/"):
            return await asyncio.open_unix_connection(self.address)
        host, port = split_address(self.address)
        return await asyncio.open_connection(host, port)

    def _unreachable(self, what: str) -> NodeUnreachableError:
        return NodeUnreachableError(
            self.name,
            f"the runtime API at {self.address} {what}.",
            untouched="Whether a command was carried out is told by the next look at it.",
            resolution="Check that HAProxy runs, that `stats socket` in its configuration names this address, and"
            " that the bot's user may open it.",
            transient=True,
        )


async def _read(reader: asyncio.StreamReader) -> bytes:
    parts = bytearray()
    while (data := await reader.read(65536)) and len(parts) <= _LIMIT:
        parts += data
    return bytes(parts)


@dataclass(frozen=True)
class _Relay:
    """A socket on a host: `socat` carries the line there, as the specification's own commands do."""

    host: Host
    transport: Transport
    path: str

    async def talk(self, line: str) -> str:
        # Without -t socat leaves half a second after the end of its input, whatever HAProxy still has to say.
        argv = ["socat", f"-t{ANSWER_SECONDS:g}", "stdio", f"UNIX-CONNECT:{self.path}"]
        stdin = f"{line}\n".encode()
        try:
            finished = await self.transport.run(self.host, argv, sudo=True, stdin=stdin, timeout=ANSWER_SECONDS + 5)
        except HostError as error:
            raise NodeUnreachableError(
                self.host.name,
                error.what,
                untouched=error.untouched,
                resolution=error.resolution,
                transient=error.transient,
            ) from None
        if finished.ok:
            return finished.out
        raise NodeUnreachableError(
            self.host.name,
            f"the runtime socket {self.path} cannot be reached there: {redact(finished.complaint())}",
            untouched="Nothing was changed there.",
            resolution="Check that HAProxy runs there, that socat is installed, and that the login's user may open"
            " the socket (its group, or sudo).",
            transient=True,
        )


@asynccontextmanager
async def opened(step: Step, context: Context) -> AsyncIterator[tuple[LoadBalancer, tuple[Node, ...]]]:
    """Open the ways to every HAProxy of the step's load balancer.

    Raises:
        ActuatorError: If the inventory has no such load balancer, or its SSH key cannot be used.
    """
    balancer = targets.balancer_of(step, context, flavour="haproxy")
    token = context.token(step)
    if balancer.ssh is not None:
        ssh = Ssh(balancer.ssh, token=token)
        (path,) = balancer.sockets()
        try:
            yield (
                balancer,
                tuple(Node(h.name, _Relay(h, ssh, path), files=ssh, host=h) for h in balancer.hosts or ()),
            )
        finally:
            await ssh.close()
        return
    here = Host(name="localhost")
    yield (
        balancer,
        tuple(
            Node(step.target if path else socket, _Stream(step.target if path else socket, socket), files, here)
            for socket in balancer.sockets()
            for path in [socket.startswith("/")]
            for files in [Local(token=token) if path else None]
        ),
    )


@dataclass(frozen=True)
class Across(Generic[T]):
    """What came of the same act on every balancer.

    Attributes:
        good: The results by name.
        bad: The failures by name.
    """

    good: Mapping[str, T]
    bad: Mapping[str, ActuatorError]

    def all(self) -> Mapping[str, T]:
        """Return the results if all are good.

        Raises:
            ActuatorError: The first failure.
        """
        for error in self.bad.values():
            raise error
        return self.good


async def across(nodes: Sequence[Node], act: Callable[[Node], Awaitable[T]]) -> Across[T]:
    """Act on every balancer side by side. One's failure stops none of the others."""
    good: dict[str, T] = {}
    bad: dict[str, ActuatorError] = {}

    async def one(node: Node) -> None:
        try:
            good[node.name] = await act(node)
        except ActuatorError as error:
            bad[node.name] = error

    async with asyncio.TaskGroup() as tasks:
        for node in nodes:
            tasks.create_task(one(node))
    order = [node.name for node in nodes]
    return Across({n: good[n] for n in order if n in good}, {n: bad[n] for n in order if n in bad})
