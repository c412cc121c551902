"""A service's page of metrics with good values."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import prometheus_client
from aiohttp import web

from actuators.metrics import BackAtBaseline
from tests.actuators.metrics.conftest import Release
from tests.support.actuation import make_context, make_plan
from tests.support.contract import Case, Cases, Ground
from tests.support.pgserver import free_port

STEP = BackAtBaseline(id="metrics", target="page", settle="1s", within="10s", p95_tolerance=9)


@asynccontextmanager
async def page(ground: Ground) -> Cases:
    """A page whose service answers a hundred requests at every look."""
    release, written = Release(), list[str]()

    async def answer(request: web.Request) -> web.Response:
        if request.method != "GET":
            written.append(request.path)
        release.serve(100)
        return web.Response(body=prometheus_client.generate_latest(release.registry))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()

    def context(where: int) -> Any:
        target = {"kind": "metrics_page", "service": "payments", "url": f"http://127.0.0.1:{where}/metrics"}
        return make_context(make_plan(STEP), {"metrics": {"page": target}}, clock=ground.clock)

    try:
        yield Case(STEP, context(port), context(free_port()), state=lambda: tuple(written))
    finally:
        await runner.cleanup()


WORLDS = {"metrics.baseline": page}
