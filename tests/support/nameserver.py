"""A tiny DNS server on loopback that answers what a test says."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.pgserver import free_port


@dataclass
class Zone(asyncio.DatagramProtocol):
    """What the server knows.

    Attributes:
        port: Where it listens, by UDP and TCP.
        records: Lines as ``dig`` shows them, e.g. ``pay.example.org. 300 IN A 192.0.2.1``.
        authoritative: Whether it owns the zone.
        truncated: Whether UDP answers are cut, so that TCP must be used.
        silent: Whether it answers nothing.
        asked: The questions, with how they came.
    """

    port: int
    records: list[str] = field(default_factory=list)
    authoritative: bool = True
    truncated: bool = False
    silent: bool = False
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    _transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        # asyncio's own transport for datagrams is no subclass of the type that its documentation names.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer by UDP."""
        answer = self.answer(data, "udp")
        assert self._transport is not None
        if self.truncated:
            answer.answer.clear()
            answer.flags |= dns.flags.TC
        if not self.silent:
            self._transport.sendto(answer.to_wire(), addr)

    async def by_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer by TCP: each message has its length before it."""
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        wire = self.answer(await reader.readexactly(length), "tcp").to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
        await writer.drain()
        writer.close()

    def answer(self, data: bytes, how: str) -> dns.message.Message:
        """Return the answer to a question, the names that it leads on to included."""
        question = dns.message.from_wire(data)
        (asked,) = question.question
        self.asked.append((asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype), how))
        answer = dns.message.make_response(question)
        if self.authoritative:
            answer.flags |= dns.flags.AA
        name, known = asked.name, False
        for line in self.records:
            owner, ttl, _, kind, value = line.split()
            if owner != name.to_text():
                continue
            known = True
            if kind == "CNAME" or dns.rdatatype.from_text(kind) == asked.rdtype:
                records = dns.rrset.from_text(owner, int(ttl), "IN", kind, value)
                answer.answer.append(records)
                name = records[0].target if kind == "CNAME" else name
        if not known:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


@asynccontextmanager
async def dns_server() -> AsyncIterator[Zone]:
    """Give a DNS server on a free port."""
    zone = Zone(free_port())
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: zone, local_addr=("127.0.0.1", zone.port))
    server = await asyncio.start_server(zone.by_tcp, "127.0.0.1", zone.port)
    try:
        yield zone
    finally:
        transport.close()
        server.close()
        await server.wait_closed()
