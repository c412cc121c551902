"""What happens, told to every open page: one stream, each user hearing only what is theirs."""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from handlers.console.model import Json

KEPT: Final = 500
BACKLOG: Final = 4_000


@dataclass(frozen=True)
class Event:
    """Something a page must know.

    Attributes:
        number: Rises by one with each event of this process.
        kind: For example `message.posted`.
        data: The JSON payload.
        audience: The users who may hear it; None means everybody.
    """

    number: int
    kind: str
    data: Json
    audience: frozenset[str] | None


class Hub:
    """Fan events out to subscribers, and keep the last ones for pages that reconnect."""

    def __init__(self) -> None:
        # A page that reconnects to another process must reload instead of resuming in the middle of other numbers.
        self.epoch = secrets.token_hex(4)
        self._number = 0
        self._recent: deque[Event] = deque(maxlen=KEPT)
        self._listeners: dict[asyncio.Queue[Event | None], str] = {}
        self.closed = False

    @property
    def position(self) -> str:
        """The id of the newest event, as the stream writes it."""
        return f"{self.epoch}-{self._number}"

    def publish(self, kind: str, data: Json, *, to: Collection[str] | None = None) -> None:
        """Tell everybody, or only the users in `to`."""
        self._number += 1
        event = Event(self._number, kind, data, None if to is None else frozenset(to))
        self._recent.append(event)
        for queue, user_id in list(self._listeners.items()):
            if not self._hears(user_id, event):
                continue
            if queue.qsize() >= BACKLOG:
                # The reader is stuck; ending its stream makes it reconnect and reload instead of eating memory.
                self._end(queue)
            else:
                queue.put_nowait(event)

    @contextmanager
    def subscribe(self, user_id: str, *, after: str | None = None) -> Iterator[asyncio.Queue[Event | None]]:
        """Hear what a user may hear.

        Args:
            user_id: The listener.
            after: Id of the last event the listener has, to resume behind it; an id that is too old or of another
                process yields one `resync` event, upon which the listener loads the state afresh.

        Yields:
            A queue of events; None on it means the end.
        """
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        for event in self._missed(after):
            if self._hears(user_id, event):
                queue.put_nowait(event)
        if self.closed:
            queue.put_nowait(None)
        self._listeners[queue] = user_id
        try:
            yield queue
        finally:
            self._listeners.pop(queue, None)

    def close(self) -> None:
        """End every stream, so that the server can stop at once."""
        self.closed = True
        for queue in list(self._listeners):
            self._end(queue)

    def _end(self, queue: asyncio.Queue[Event | None]) -> None:
        self._listeners.pop(queue, None)
        queue.put_nowait(None)

    def _missed(self, after: str | None) -> list[Event]:
        if after is None:
            return []
        epoch, _, number = after.partition("-")
        oldest = self._recent[0].number if self._recent else self._number + 1
        if epoch == self.epoch and number.isdecimal() and oldest - 1 <= int(number) <= self._number:
            return [event for event in self._recent if event.number > int(number)]
        return [Event(self._number, "resync", {}, None)]

    @staticmethod
    def _hears(user_id: str, event: Event) -> bool:
        return event.audience is None or user_id in event.audience

    def frame(self, event: Event) -> bytes:
        """Write an event as a server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
        data = json.dumps({"type": event.kind, **event.data}, ensure_ascii=False)
        return f"id: {self.epoch}-{event.number}\ndata: {data}\n\n".encode()
