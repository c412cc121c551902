"""Reads metrics targets: a service's own page, or queries against a Prometheus API."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack
from datetime import timedelta

import aiohttp

from actuators import secrets
from actuators.http_client import Answer, Request, UnreachableError, exchange, join
from actuators.metrics.page import Scrape, UnreadableError, read_page
from actuators.metrics.window import Window
from bot.domain.clock import Clock
from bot.domain.criteria import Reading
from bot.domain.errors import ActuatorError
from bot.domain.inventory import MetricsPage, MetricsTarget, PrometheusQueries
from bot.domain.times import parse_duration

KEEP = parse_duration("5m")
INTERVAL = parse_duration("1s")
_PAGE_LIMIT = 8 * 1024 * 1024
"""Bytes of a page of metrics."""
_OK = 200
_REQUEST_TIMEOUT = 3.0
"""Seconds; a page that takes longer counts as not answering."""
_LONGEST_P95 = 86_400.0
"""Seconds; nobody waits for an answer that long."""
_WHOLE = 1.05
_ACCEPT = {"Accept": "text/plain;version=0.0.4"}


class Sampler:
    """Remembers a window of each page, and asks Prometheus, which remembers by itself.

    Args:
        clock: The only source of time.
        interval: How old the newest sample of a page may be before a reading takes another one.
        keep: How much of a page is remembered.
    """

    def __init__(self, *, clock: Clock, interval: timedelta = INTERVAL, keep: timedelta = KEEP) -> None:
        self._clock = clock
        self._interval = interval.total_seconds()
        self._keep = keep.total_seconds()
        self._windows: dict[tuple[str, str], Window] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def interval(self) -> timedelta:
        """The time between two samples of a page."""
        return timedelta(seconds=self._interval)

    async def open(self) -> None:
        """Keep connections open from now on."""
        if self._session is None:
            self._session = aiohttp.ClientSession()

    async def close(self) -> None:
        """Close them; readings go on with a connection of their own each."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def sample(self, target_name: str, target: MetricsPage) -> str:
        """Look at a page once and remember what was found.

        Returns:
            Why the page could not be read; empty if it could.
        """
        key = (target_name, target.url)
        async with self._locks.setdefault(key, asyncio.Lock()):
            return await self._sample(key, target)

    async def read(self, target_name: str, target: MetricsTarget, *, window: timedelta) -> Reading:
        """Return what a target says of the last `window`; None where nobody knows.

        Args:
            target_name: The target's name.
            target: The target.
            window: How far back to look; Prometheus queries hold their own window.
        """
        if isinstance(target, PrometheusQueries):
            return await self._ask(target_name, target)
        key = (target_name, target.url)
        async with self._locks.setdefault(key, asyncio.Lock()):
            newest = self._window(key).newest
            if newest is None or self._clock.monotonic() - newest >= self._interval:
                await self._sample(key, target)
            return self._window(key).read(now=self._clock.monotonic(), window=window, source=target_name)

    async def problem(self, target_name: str, target: MetricsTarget) -> str:
        """Say why a target cannot be read at the moment; empty if it can."""
        if isinstance(target, MetricsPage):
            return await self.sample(target_name, target)
        empty = []
        try:
            for name, query in _queries(target):
                if query is not None and await self._query(target, name, query) is None:
                    empty.append(name)
        except (UnreachableError, UnreadableError, ActuatorError) as error:
            return str(error)
        return f"{target.url}: no data for {', '.join(empty)}" if empty else ""

    def _window(self, key: tuple[str, str]) -> Window:
        # Twice as many as the interval asks for, since readings take samples as well.
        limit = max(2, math.ceil(2 * self._keep / max(self._interval, 0.1)))
        return self._windows.setdefault(key, Window(keep=self._keep, limit=limit))

    async def _sample(self, key: tuple[str, str], target: MetricsPage) -> str:
        scrape: Scrape | None = None
        problem = ""
        try:
            request = Request(target.url, headers=_ACCEPT, timeout=_REQUEST_TIMEOUT, limit=_PAGE_LIMIT)
            answer = await self._exchange(request)
            if answer.status != _OK or answer.truncated:
                problem = f"{target.url}: {answer.words()}{', too long' if answer.truncated else ''}"
            else:
                scrape = read_page(answer.text, target)
        except (UnreachableError, UnreadableError) as error:
            problem = f"{target.url}: {error}"
        self._window(key).add(self._clock.monotonic(), scrape)
        return problem

    async def _ask(self, target_name: str, target: PrometheusQueries) -> Reading:
        answers = await asyncio.gather(*(self._value(target, name, query) for name, query in _queries(target)))
        error_rate, p95, availability = answers
        return Reading(
            error_rate=error_rate,
            p95=None if p95 is None else timedelta(seconds=p95),
            availability=availability,
            source=target_name,
        )

    async def _value(self, target: PrometheusQueries, name: str, query: str | None) -> float | None:
        if query is None:
            return None
        try:
            return await self._query(target, name, query)
        except (UnreachableError, UnreadableError, ActuatorError):
            return None

    async def _query(self, target: PrometheusQueries, name: str, query: str) -> float | None:
        """Ask for one value; None if there is none.

        Raises:
            UnreachableError: If the server does not answer.
            UnreadableError: If it refuses the query, or answers with more than one series or an impossible value.
        """
        headers = {"Authorization": f"Bearer {secrets.resolve(target.token)}"} if target.token else None
        url = join(target.url, "/api/v1/query")
        answer = await self._exchange(
            Request(url, params={"query": query}, headers=headers, timeout=_REQUEST_TIMEOUT)
        )
        document = answer.json()
        if answer.status != _OK or not isinstance(document, dict) or document.get("status") != "success":
            reason = document.get("error") if isinstance(document, dict) else None
            raise UnreadableError(f"{url}: {answer.words()}: {reason or 'no Prometheus answer'}")
        value = _single(document.get("data"), url=url)
        return None if value is None else _possible(name, value, url=url)

    async def _exchange(self, request: Request) -> Answer:
        async with AsyncExitStack() as stack:
            session = self._session
            if session is None:
                session = await stack.enter_async_context(aiohttp.ClientSession())
            return await exchange(session, request, clock=self._clock)


def _queries(target: PrometheusQueries) -> tuple[tuple[str, str | None], ...]:
    return (
        ("error_rate", target.error_rate),
        ("p95", target.p95),
        ("availability", target.availability),
    )


def _possible(name: str, value: float, *, url: str) -> float:
    """Return a value that can be what its name says; 12.3 for 12.3 % would demand a rollback of a sound service.

    Raises:
        UnreadableError: If it cannot be: then it is unknown.
    """
    if name == "p95":
        if not 0 <= value <= _LONGEST_P95:
            raise UnreadableError(f"{url}: p95 is {value:g}, it must be in seconds")
        return value
    # Two extrapolated rates may be slightly apart.
    if not 0 <= value <= _WHOLE:
        raise UnreadableError(f"{url}: {name} is {value:g}, it must be a share of 0..1")
    return min(value, 1.0)


def _single(data: object, *, url: str) -> float | None:
    """Return the one value of an instant query's answer.

    See https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries; a missing metric is an empty
    result, which is not zero, and a division by zero is NaN.
    """
    result = data.get("result") if isinstance(data, dict) else None
    kind = data.get("resultType") if isinstance(data, dict) else None
    try:
        if kind == "scalar":
            pairs = [result]
        elif kind == "vector" and isinstance(result, list):
            pairs = [entry["value"] for entry in result]
        else:
            raise UnreadableError(f"{url}: the query yields a {kind}, not one value")
        values = [float(pair[1]) for pair in pairs]  # type: ignore[index]  # anything else is a TypeError, caught below
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, UnreadableError):
            raise
        raise UnreadableError(f"{url}: no Prometheus answer") from None
    if len(values) > 1:
        raise UnreadableError(f"{url}: the query yields {len(values)} series, it must be aggregated to one")
    return values[0] if values and math.isfinite(values[0]) else None
