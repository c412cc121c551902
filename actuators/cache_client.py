"""A few commands to a Redis server, read only, over asyncio's streams.

Looking at keys needs four commands of the protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/),
which does not warrant a client library of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from actuators import secrets
from actuators.redact import redact
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Cache

CONNECT = 5.0
"""Seconds."""
_ANSWER = 5.0
_LARGEST = 1024 * 1024
"""Bytes of one string, and elements of one list."""

Reply = bytes | int | list["Reply"] | None


class RefusedError(Exception):
    """The server answered with an error; the message is the server's."""


class CacheClient:
    """An open connection.

    Args:
        reader: What the server says.
        writer: What it is told.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, *command: str | bytes | int) -> Reply:
        """Send one command and return the answer.

        Raises:
            RefusedError: If the server refuses it.
            OSError, EOFError, TimeoutError, ValueError: If no whole answer came.
        """
        (reply,) = await self.ask_all([command])
        if isinstance(reply, RefusedError):
            raise reply
        return reply

    async def ask_all(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Reply | RefusedError]:
        """Send several commands at once and return the answers in order.

        Raises:
            OSError, EOFError, TimeoutError, ValueError: If an answer is missing.
        """
        async with asyncio.timeout(_ANSWER):
            self._writer.write(b"".join(map(_encoded, commands)))
            await self._writer.drain()
            return [await self._reply() for _ in commands]

    async def _reply(self) -> Reply | RefusedError:
        line = await self._reader.readuntil(b"\r\n")
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b"-":
                return RefusedError(rest.decode(errors="replace"))
            case b":":
                return int(rest)
            case b"$":
                return await self._string(_length(rest))
            case b"*":
                return await self._list(_length(rest))
            case _:
                raise ValueError("what answers there is no Redis server")

    async def _string(self, length: int) -> bytes | None:
        if length < 0:
            return None
        return (await self._reader.readexactly(length + 2))[:-2]

    async def _list(self, length: int) -> list[Reply]:
        found: list[Reply] = []
        for _ in range(length):
            reply = await self._reply()
            if isinstance(reply, RefusedError):
                raise reply
            found.append(reply)
        return found


@asynccontextmanager
async def connected(name: str, cache: Cache) -> AsyncIterator[CacheClient]:
    """Open a connection, log in and choose the database; close it in the end.

    Args:
        name: The target's name.
        cache: The target.

    Raises:
        ActuatorError: If the server does not answer or refuses, here or in the body.
    """
    password = secrets.resolve(cache.password) if cache.password else None
    try:
        async with asyncio.timeout(CONNECT):
            context = ssl.create_default_context() if cache.tls else None
            reader, writer = await asyncio.open_connection(cache.host, cache.port, ssl=context)
    except (OSError, TimeoutError) as error:
        raise _away(name, cache, error) from None
    try:
        client = CacheClient(reader, writer)
        if password is not None:
            await client.ask("AUTH", *([cache.user] if cache.user else []), password)
        if cache.database:
            await client.ask("SELECT", cache.database)
        yield client
    except RefusedError as error:
        # Some errors repeat what the server was told.
        said = redact(str(error), secrets=[password] if password else [])
        raise _refused(name, cache, said) from None
    except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
        raise _away(name, cache, error) from None
    finally:
        writer.close()


def _encoded(command: Sequence[str | bytes | int]) -> bytes:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _length(text: bytes) -> int:
    length = int(text)
    if length > _LARGEST:
        raise ValueError("the answer is too long")
    return length


def _refused(name: str, cache: Cache, said: str) -> ActuatorError:
    code = said.split(" ", 1)[0]
    resolution = {
        "NOAUTH": "Name the password's place (env or file) at the cache in the inventory.",
        "WRONGPASS": "Correct the secret, or the user of the cache in the inventory.",
        "NOPERM": "Let the user run SCAN, TTL and DBSIZE: docs/actuators/cache.md.",
    }.get(code, "Look at the server.")
    return ActuatorError(
        f"The cache {name} at {cache.host}:{cache.port} refuses: {said[:120]}.",
        untouched="Nothing was written to it.",
        resolution=resolution,
        transient=code in {"LOADING", "BUSY", "CLUSTERDOWN"},
    )


def _away(name: str, cache: Cache, error: Exception) -> ActuatorError:
    reason = (
        "no answer in time" if isinstance(error, TimeoutError) else getattr(error, "strerror", "") or str(error)
    )
    return ActuatorError(
        f"The cache {name} at {cache.host}:{cache.port} does not answer: {reason}.",
        untouched="Nothing was written to it.",
        resolution="Start it, or correct host and port in the inventory.",
        transient=True,
    )
