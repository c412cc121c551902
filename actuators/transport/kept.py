"""Connections that stay open between consecutive steps of one run.

A step that ends well leaves its connections here, and the next step (or the look after it) of the same run on the
same hosts takes them over: logging in costs more than most of what is done then. They are lent to one step at a
time. Nothing runs on them meanwhile, so an idle one can do no harm, and it does not stay long:

* after `IDLE` seconds it is closed;
* a step that failed or was cancelled, because its lease was lost or somebody said so, leaves none;
* another key, another file of known hosts or another line in the inventory is another way, and the old one unused;
* when the process ends its event loop, all are closed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from actuators import secrets
from actuators.transport.ssh_lines import Lines
from bot.domain.inventory import Bastion
from bot.domain.inventory import Ssh as Access

IDLE = 10.0
"""Seconds; consecutive steps follow each other much faster."""


@dataclass
class _Idle:
    lines: Lines
    timer: asyncio.TimerHandle


@dataclass
class Keeper:
    """The idle connections of one event loop, by run and way."""

    _idle: dict[str, _Idle] = field(default_factory=dict)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    async def take(self, way: str) -> Lines | None:
        """Return connections that an earlier step has left; None if there are none that all stand."""
        found = self._idle.pop(way, None)
        if found is None:
            return None
        found.timer.cancel()
        if found.lines.whole():
            return found.lines
        await found.lines.close()
        return None

    async def leave(self, way: str, lines: Lines) -> None:
        """Keep connections for the next step. Those of a step that ran beside it are closed."""
        before = self._idle.pop(way, None)
        timer = asyncio.get_running_loop().call_later(IDLE, self._expire, way)
        self._idle[way] = _Idle(lines, timer)
        if before is not None:
            before.timer.cancel()
            await before.lines.close()

    def idle(self) -> int:
        """Return how many ways have connections that nobody uses."""
        return len(self._idle)

    async def close(self) -> None:
        """Close everything."""
        idle = list(self._idle.values())
        self._idle.clear()
        for each in idle:
            each.timer.cancel()
            await each.lines.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _expire(self, way: str) -> None:
        idle = self._idle.pop(way)
        closing = asyncio.get_running_loop().create_task(idle.lines.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


_KEEPERS: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[AsyncGenerator[Keeper, None], Keeper]] = (
    WeakKeyDictionary()
)


async def keeper() -> Keeper:
    """Return the keeper of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _KEEPERS:
        # A loop that ends closes its asynchronous generators: asyncio's own way of tidying up at the very end.
        lasting = _lasting()
        _KEEPERS[loop] = (lasting, await anext(lasting))
    return _KEEPERS[loop][1]


async def _lasting() -> AsyncGenerator[Keeper, None]:
    found = Keeper()
    try:
        yield found
    finally:
        await found.close()


def way(run: str, access: Access) -> str:
    """Return a digest of the run and of all that decides how hosts are reached, keys and known hosts included.

    Raises:
        ActuatorError: If a key cannot be read.
        OSError: If a file of known hosts cannot be.
    """
    parts = [run, access.model_dump_json()]
    ways: list[Access | Bastion] = [access, *access.bastion]
    for each in ways:
        parts += [secrets.resolve(each.key), Path(each.known_hosts).read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
