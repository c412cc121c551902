"""cache.keys: what a service keeps in its cache, for people who look for data of the failed version."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from actuators.cache_client import CacheClient, RefusedError, Reply, connected
from actuators.probes import LeavesNothing
from actuators.remedies import Diagnosis, cannot_look, shown
from actuators.targets import target_of
from bot.domain.actuation import Check, Context, Outcome, Registered, Verdict
from bot.domain.clock import Clock
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Cache
from bot.domain.times import in_words

_BATCH = 1000
_PATIENCE = 6.0
"""Seconds that keys are counted for at most."""
_MOST = 200_000
"""Keys that are counted at most."""
_SAMPLE = 10
"""Keys of each shape whose time to live is asked for."""
_SHAPES = 20
_PARTS = 6
"""Parts of a key that its shape tells apart."""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,29}")


class ShowKeys(Diagnosis):
    """Counts the service's keys in a cache by their shape, and shows how long they live. No key itself is shown."""

    kind: Literal["cache.keys"] = "cache.keys"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Keys in the cache {self.target}"


@dataclass
class Keys:
    """What was counted.

    Attributes:
        total: Keys that match.
        all_counted: Whether the end was reached.
        shapes: Keys of each shape: their number and a few of them.
    """

    total: int = 0
    all_counted: bool = True
    shapes: dict[str, tuple[int, list[bytes]]] = field(default_factory=lambda: defaultdict(lambda: (0, [])))

    def add(self, key: bytes) -> None:
        """Count one."""
        looks = shape(key)
        number, sample = self.shapes[looks]
        self.total += 1
        self.shapes[looks] = (number + 1, sample if len(sample) >= _SAMPLE else [*sample, key])


def shape(key: bytes) -> str:
    """Return what a key looks like: ``payments:user:*:cart``. Numbers, names and tokens of people are left out."""
    parts = key.decode(errors="replace").split(":")
    shown = [part if _PLAIN.fullmatch(part) else "*" for part in parts[:_PARTS]]
    return ":".join([*shown, "*"] if len(parts) > _PARTS else shown)


class KeysActuator(LeavesNothing):
    """A diagnosis: walks over the keys with SCAN, which holds the server up for no more than a batch."""

    async def check(self, step: ShowKeys, context: Context) -> tuple[Check, ...]:
        """Look whether the cache answers and the role may look at it."""
        subject = f"Cache {step.target}"
        try:
            cache = _cache(step, context)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        try:
            async with connected(step.target, cache) as client:
                _scanned(await client.ask("SCAN", 0, "MATCH", cache.keys, "COUNT", 1))
        except ActuatorError as error:
            return (cannot_look(subject, error, verdict=Verdict.WARN),)
        return (Check(subject, Verdict.OK, f"{cache.host}:{cache.port} answers"),)

    async def apply(self, step: ShowKeys, context: Context) -> Outcome:
        """Count, and ask how long some of them live."""
        cache = _cache(step, context)
        async with connected(step.target, cache) as client:
            keys = await _count(client, cache.keys, context.clock)
            size = await _size(client)
            largest = sorted(keys.shapes.items(), key=lambda each: -each[1][0])[:_SHAPES]
            lives = [await _lives(client, sample) for _, (_, sample) in largest]
        lines = [f"{number:,} {name}; {life}" for (name, (number, _)), life in zip(largest, lives, strict=True)]
        if len(keys.shapes) > _SHAPES:
            lines.append(f"... and {len(keys.shapes) - _SHAPES} further shapes")
        words = f"{'' if keys.all_counted else 'at least '}{keys.total:,} keys match {cache.keys} in {step.target}"
        if size is not None:
            words += f", of {size:,} in all"
        if largest:
            words += f"; most: {largest[0][0]}"
        return Outcome(words, {"keys": keys.total, "all_counted": keys.all_counted}, shown(lines))


async def _count(client: CacheClient, pattern: str, clock: Clock) -> Keys:
    """Walk over the keys. SCAN may yield a key twice (https://redis.io/docs/latest/commands/scan/)."""
    keys, seen, until = Keys(), set[bytes](), clock.monotonic() + _PATIENCE
    cursor: bytes = b"0"
    while True:
        reply = await client.ask("SCAN", cursor, "MATCH", pattern, "COUNT", _BATCH)
        cursor, batch = _scanned(reply)
        for key in batch:
            if key not in seen:
                seen.add(key)
                keys.add(key)
        if cursor == b"0":
            return keys
        if clock.monotonic() >= until or keys.total >= _MOST:
            keys.all_counted = False
            return keys


def _scanned(reply: Reply) -> tuple[bytes, list[bytes]]:
    match reply:
        case [bytes() as cursor, list() as batch]:
            return cursor, [key for key in batch if isinstance(key, bytes)]
        case _:
            raise ValueError("what answers there is no Redis server")


async def _size(client: CacheClient) -> int | None:
    """Return the number of all keys, None if the role may not know."""
    try:
        found = await client.ask("DBSIZE")
    except RefusedError:
        return None
    return found if isinstance(found, int) else None


async def _lives(client: CacheClient, sample: Sequence[bytes]) -> str:
    """Say how long some keys live yet (TTL: seconds; -1: for ever; -2: gone meanwhile)."""
    answers = await client.ask_all([("TTL", key) for key in sample])
    left = [seconds for seconds in answers if isinstance(seconds, int) and seconds > -2]  # noqa: PLR2004 - see above
    if not left:
        return "how long they live is not known"
    never = sum(seconds == -1 for seconds in left)
    if never == len(left):
        return f"of {len(left)} looked at, none ever expires"
    longest = in_words(timedelta(seconds=max(left)))
    return f"of {len(left)} looked at, {never} never expire, the others live for {longest} at most"


def _cache(step: ShowKeys, context: Context) -> Cache:
    return target_of(step, context, Cache, called="cache", section="caches", untouched="Nothing was asked.")


def register() -> tuple[Registered[Any], ...]:
    """Return the step of this actuator with what carries it out."""
    return (Registered(ShowKeys, KeysActuator()),)
