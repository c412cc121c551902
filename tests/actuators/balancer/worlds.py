"""Load balancers and what is behind them: a real HAProxy, moto with IAM enforced, a DNS server and a CDN."""

from __future__ import annotations

import asyncio
import csv
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from aiohttp import web

from actuators.balancer import AlbHealth, AlbWeights, BalancerWatch, HaproxyIsolate, HaproxyStat, HaproxyWeights
from actuators.downstream import DownstreamPurge, DownstreamTtl
from bot.domain.actuation import Context
from bot.domain.plan import Step
from tests.actuators.balancer.test_alb import WHOLE, decision
from tests.actuators.metrics.conftest import Release
from tests.support import aws
from tests.support.actuation import make_context, make_plan
from tests.support.contract import Case, Cases, Ground
from tests.support.haproxy import PROGRAM, balancer, sides
from tests.support.nameserver import dns_server
from tests.support.pgserver import free_port

GREEN = {"green": 100, "blue": 0}
HAPROXY: tuple[Step, ...] = (
    HaproxyWeights(id="switch", target="lb", backend="payments", weights=GREEN),
    HaproxyIsolate(id="isolate", target="lb", backend="payments", servers=("green",)),
    HaproxyStat(id="stat", target="lb", backend="payments"),
)
ALB: tuple[Step, ...] = (AlbWeights(id="switch", target="lb", weights=GREEN), AlbHealth(id="health", target="lb"))


def asked(path: Path, line: str) -> str:
    """Speak to HAProxy's runtime API without the code under test."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(f"{line}\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


@asynccontextmanager
async def settled() -> AsyncIterator[None]:
    """Let connections that were just being accepted come to their end before the loop does."""
    yield
    for _ in range(20):
        await asyncio.sleep(0)  # noqa: TID251 - gives the loop its turns


@asynccontextmanager
async def haproxy(ground: Ground, *, step: Step) -> Cases:
    """A HAProxy that sends all traffic to blue."""
    if PROGRAM is None and os.environ.get("ROLLBACK_REAL_PARTS") != "require":
        pytest.skip("no haproxy here")
    async with sides() as pair, settled(), balancer(ground.folder, pair) as running:

        def state() -> object:
            rows = csv.DictReader(asked(running.socket, "show stat payments 4 -1").splitlines())
            servers = [(row["svname"], row["status"], row["weight"]) for row in rows]
            return servers, running.state.exists(), running.config.read_text()

        near = {"load_balancers": {"lb": running.target()}}
        away = {"load_balancers": {"lb": running.target(socket=str(ground.folder / "nowhere.sock"))}}
        context = partial(make_context, make_plan(step), clock=ground.clock)
        yield Case(step, context(near), context(away), state)


@contextmanager
def account() -> Iterator[tuple[int, dict[str, str], str, str, dict[str, str]]]:
    """Give moto's port, the bot's key, and a listener, a rule and target groups."""
    with tempfile.TemporaryDirectory() as folder, aws.moto_server(Path(folder) / "log") as port:
        yield port, aws.make_user(port), *aws.build(port)


@asynccontextmanager
async def alb(ground: Ground, *, step: Step) -> Cases:
    """A listener that sends everything to blue, and a user who may do what is documented and no more."""
    moto, key, listener, rule, groups = ground.shared("moto", account)
    async with aws.front(moto) as front:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            ground.monkeypatch.delenv(name, raising=False)
        environment = {"AWS_ENDPOINT_URL": front.url, "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
        for name, value in {**environment, **key}.items():
            ground.monkeypatch.setenv(name, value)
        front.answers["SimulatePrincipalPolicy"] = decision("allowed")
        site = aws.Site(front, listener, rule, groups)
        aws.permit(moto, *WHOLE)
        site.restore()
        context = partial(make_context, make_plan(step), clock=ground.clock)
        near = {"load_balancers": {"lb": site.target()}}
        away = {"load_balancers": {"lb": site.target(endpoint_url=f"http://127.0.0.1:{free_port()}")}}
        yield Case(step, context(near), context(away), lambda: (site.weights(), site.rule_weights()))


@asynccontextmanager
async def served(answer: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """Give the address of a small HTTP server."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def watch(ground: Ground) -> Cases:
    """A page of metrics with few errors, after a switch of HAProxy."""
    step = BalancerWatch(id="watch", target="page", switch="switch", settle="1s", within="10s", needs=("switch",))
    release = Release()

    async def answer(_request: web.Request) -> web.Response:
        release.serve(100)
        return web.Response(body=prometheus_client.generate_latest(release.registry))

    if PROGRAM is None and os.environ.get("ROLLBACK_REAL_PARTS") != "require":
        pytest.skip("no haproxy here")
    async with sides() as pair, settled(), balancer(ground.folder, pair) as running, served(answer) as url:

        def context(where: str) -> Context:
            page = {"kind": "metrics_page", "service": "payments", "url": f"{where}/metrics"}
            inventory = {"metrics": {"page": page}, "load_balancers": {"lb": running.target()}}
            return make_context(make_plan(HAPROXY[0], step), inventory, clock=ground.clock)

        near, away = context(url), context(f"http://127.0.0.1:{free_port()}")
        yield Case(step, near, away, lambda: asked(running.socket, "get weight payments/green"))


def edge(ground: Ground, step: Step, **fields: Any) -> Context:
    """Return the context of a run with something downstream."""
    inventory = {"downstreams": {"edge": {"service": "payments", **fields}}}
    return make_context(make_plan(step), inventory, clock=ground.clock)


@asynccontextmanager
async def ttl(ground: Ground) -> Cases:
    """A DNS server that knows one name."""
    step = DownstreamTtl(id="ttl", target="edge")
    async with dns_server() as zone:
        zone.records = ["pay.example.org. 60 IN A 192.0.2.7"]
        context = partial(edge, ground, step, names=["pay.example.org"])
        near, away = context(resolver=f"127.0.0.1:{zone.port}"), context(resolver=f"127.0.0.1:{free_port()}")
        yield Case(step, near, away, state=lambda: tuple(zone.records))


@asynccontextmanager
async def purge(ground: Ground) -> Cases:
    """A CDN whose cache can be emptied."""
    step = DownstreamPurge(id="purge", target="edge")
    cache = {"/": "old"}

    async def answer(_request: web.Request) -> web.Response:
        cache.clear()
        return web.json_response({"status": "ok"})

    async with served(answer) as url:
        near = edge(ground, step, purge={"url": f"{url}/purge"})
        away = edge(ground, step, purge={"url": f"http://127.0.0.1:{free_port()}/purge"})
        yield Case(step, near, away, state=lambda: tuple(cache), refuses=False)


WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    **{step.kind: partial(haproxy, step=step) for step in HAPROXY},
    **{step.kind: partial(alb, step=step) for step in ALB},
    "balancer.watch": watch,
    "downstream.ttl": ttl,
    "downstream.purge": purge,
}
