"""A service's page of metrics on a real HTTP server, with counters that a test drives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import prometheus_client
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tests.support.pgserver import free_port

BUCKETS = (0.05, 0.1, 0.175, 0.25, 0.5, 1.0)


class Release:
    """The counters of one process."""

    def __init__(self, *, buckets: tuple[float, ...] = BUCKETS, started: float | None = None) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types there
        self.registry = CollectorRegistry()
        labels = ["method", "status"]
        self._requests = Counter("http_requests", "Requests.", labels, registry=self.registry)
        self._durations = Histogram(
            "http_request_duration_seconds", "Times.", ["method"], buckets=buckets, registry=self.registry
        )
        if started is not None:
            Gauge("process_start_time_seconds", "Start.", registry=self.registry).set(started)

    def serve(self, count: int, *, failed: int = 0, seconds: float = 0.12) -> None:
        """Count requests, so many failed ones among them."""
        for number in range(count):
            status = "500" if number < failed else ("404" if number % 7 == 6 else "200")
            self._requests.labels("POST", status).inc()
            self._durations.labels("POST").observe(seconds)


@dataclass
class Page:
    """The page.

    Attributes:
        url: Its address.
        release: The process that answers; None: it answers 503.
        text: Answered instead of metrics, if given.
        asked: How often the page was asked for.
    """

    url: str
    release: Release | None = field(default_factory=Release)
    text: str | None = None
    asked: int = 0

    async def handle(self, _request: web.Request) -> web.Response:
        """Answer."""
        self.asked += 1
        if self.text is not None:
            return web.Response(text=self.text)
        if self.release is None:
            return web.Response(status=503)
        return web.Response(body=prometheus_client.generate_latest(self.release.registry))

    @property
    def live(self) -> Release:
        """The process that answers."""
        assert self.release is not None
        return self.release

    def inventory(self) -> dict[str, Any]:
        """Return an inventory with the page."""
        return {"metrics": {"page": {"kind": "metrics_page", "service": "payments", "url": self.url}}}


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page on a free port."""
    port = free_port()
    served = Page(url=f"http://127.0.0.1:{port}/metrics")
    app = web.Application()
    app.router.add_get("/metrics", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield served
    await runner.cleanup()
