"""A healthy service that notes whatever is written to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from aiohttp import web

from actuators.http import Health, SyntheticTransaction, Version
from actuators.http_dependencies import ShowDependencies
from bot.domain.plan import Step
from tests.support.actuation import make_context, make_plan
from tests.support.contract import Case, Cases, Ground
from tests.support.pgserver import free_port

STEPS: tuple[Step, ...] = (
    Health(id="health", target="api", within="2s"),
    Version(id="version", target="api", version="v2.3.1", within="2s"),
    SyntheticTransaction(id="synthetic", target="api", within="2s"),
    ShowDependencies(id="dependencies", target="api", endpoints=("api",)),
)


@asynccontextmanager
async def service(ground: Ground, *, step: Step) -> Cases:
    """A service on a free port; a test transaction leaves nothing behind in it."""
    del ground
    written: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method != "GET" and request.path != "/test":
            written.append(request.path)
        return web.json_response({"status": "healthy", "version": "v2.3.1"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()

    def context(where: int) -> Any:
        url = f"http://127.0.0.1:{where}"
        endpoint = {"service": "payments", "url": url, "synthetic": {"path": "/test", "body": {"test": True}}}
        plan = make_plan(step).model_copy(update={"dependencies": ("api",)})
        return make_context(plan, {"endpoints": {"api": endpoint}})

    try:
        yield Case(step, context(port), context(free_port()), state=lambda: tuple(written))
    finally:
        await runner.cleanup()


WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    step.kind: partial(service, step=step) for step in STEPS
}
