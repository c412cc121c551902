"""Talks to the witness: one JSON document a line over a unix socket, both ways."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.domain.ports import Clock

Message = dict[str, Any]


class Line:
    """A connection to the witness.

    Args:
        reader: What it answers.
        writer: What it is told.
        clock: Stamps each message with the moment at which its sender was awake.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock

    def tell(self, **message: Any) -> None:
        """Send a message that has no answer."""
        stamped = {"sent": self._clock.now().timestamp(), **message}
        self._writer.write(json.dumps(stamped).encode() + b"\n")

    async def ask(self, **message: Any) -> Message:
        """Send a message and return its answer.

        Raises:
            ConnectionError: If the witness is gone.
        """
        self.tell(**message)
        answer = await self._reader.readline()
        if not answer:
            raise ConnectionError("the witness is gone")
        found: Message = json.loads(answer)
        return found


@asynccontextmanager
async def line(socket: Path, clock: Clock) -> AsyncIterator[Line]:
    """Yield a connection to the witness; it is closed at the end."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        yield Line(reader, writer, clock)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
