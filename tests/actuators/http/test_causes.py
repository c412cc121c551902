"""Errors that persist after a rollback: what else is looked at, and what the dependencies say."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from actuators import http, metrics
from actuators.http import Health
from actuators.http_dependencies import ShowDependencies
from actuators.metrics import BackAtBaseline, MetricsSource
from bot.domain.actuation import Context, Registry, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Plan
from tests.support.actuation import FakeClock, fails, make_context, make_plan
from tests.support.helping import remedies_of
from tests.support.pgserver import free_port

METRICS = BackAtBaseline(id="metrics", target="page")
HEALTH = Health(id="health", target="api")
REGISTRY = Registry(*http.register(), *metrics.register(MetricsSource({}, clock=FakeClock())))


@pytest.fixture
async def others() -> AsyncIterator[str]:
    """Other services behind one address: each path is another one's health page."""

    async def answer(request: web.Request) -> web.StreamResponse:
        answers: dict[str, tuple[int, Any]] = {
            "/good": (200, {"status": "UP"}),
            "/plain": (200, "fine"),
            "/ill": (200, {"status": "degraded"}),
            "/down": (503, {"status": "healthy"}),
            "/endless": (200, "x" * 300_000),
        }
        status, body = answers[request.path]
        return web.json_response(body, status=status)

    port = free_port()
    app = web.Application()
    app.router.add_get("/{path}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


def context(url: str, *, dependencies: tuple[str, ...] = (), backups: tuple[dict[str, Any], ...] = ()) -> Context:
    """Return the context of a run with servers, other services in two zones and a cache."""
    servers = {
        "service": "payments", "hosts": [{"name": "app01"}], "releases": "/r", "current": "/c", "config": "/etc/x",
        "manager": {"kind": "systemd", "unit": "payments"},
    }  # fmt: skip
    endpoints = {
        name: {"service": name, "url": url, "health": f"/{name}"} for name in ("good", "plain", "ill", "down")
    }
    inventory = {
        "server_groups": {"payments-app": servers, "unrelated": servers},
        "endpoints": {**endpoints, "far": {"service": "far", "url": url, "health": "/good", "zone": "dmz"}},
        "caches": {"cache": {"service": "payments", "host": "127.0.0.1", "keys": "payments:*"}},
    }
    plan = make_plan(METRICS, HEALTH, backups=backups)
    return make_context(plan.model_copy(update={"dependencies": dependencies}), inventory, clock=FakeClock())


CONFIGURATION = {
    "id": "cfg",
    "kind": "configuration",
    "target": "payments-app",
    "location": "/b",
    "taken_at": "2024-01-15 14:30",
}


@pytest.mark.parametrize("step", [METRICS, HEALTH])
async def test_persisting_errors_lead_to_everything_that_can_be_looked_at(others: str, step: Any) -> None:
    """Versions and drift of the plan's servers, its dependencies zone by zone, its caches; all of it only looks."""
    known = context(others, dependencies=("good", "far", "cache", "ill", "gone"), backups=(CONFIGURATION,))
    found = await remedies_of(REGISTRY, step, known, "error rate 12%")
    assert [remedy.id for remedy in found] == [
        "versions-payments-app", "drift-payments-app", "dependencies-default", "dependencies-dmz", "keys-cache",
    ]  # fmt: skip
    assert all(remedy.step.reads_only and remedy.step.diagnoses for remedy in found)
    assert isinstance(found[2].step, ShowDependencies)
    assert found[2].step.endpoints == ("good", "ill")
    assert await remedies_of(REGISTRY, step, context(others), "error rate 12%") == ()


def test_dependencies_are_part_of_the_plan_only_where_they_are_named(others: str) -> None:
    """A plan without them has the digest that it had; one with them has their targets in its approval."""
    bare, named = context(others).plan, context(others, dependencies=("good",)).plan
    assert "dependencies" not in bare.model_dump(mode="json")
    assert named.digest() != bare.digest()
    assert "good" in named.all_targets()
    assert isinstance(named, Plan)


async def test_dependencies_are_asked_for_their_health(others: str) -> None:
    """HTTP 200 and a status of health, if one is given; what is ill is named with what it said."""
    step = ShowDependencies(id="d", target="good", endpoints=("good", "plain", "ill", "down"))
    outcome = await REGISTRY.actuator(step).apply(step, context(others))
    assert outcome.words.startswith("2 of 4 dependencies healthy; ill: ")
    assert f"ill: {others}/ill: HTTP 200, status 'degraded' in " in outcome.words
    assert f"down: {others}/down: HTTP 503, status 'healthy' in " in outcome.words
    assert outcome.facts == {"healthy": ["good", "plain"], "ill": ["ill", "down"]}
    assert f"good: {others}/good: HTTP 200, status 'UP'" in outcome.output
    verdicts = {
        check.subject: check.verdict for check in await REGISTRY.actuator(step).check(step, context(others))
    }
    assert verdicts["Dependency good"] is Verdict.OK
    assert verdicts["Dependency ill"] is Verdict.WARN


async def test_a_dependency_that_does_not_answer_is_told_apart() -> None:
    """Nothing listens there: that is a finding, no failure."""
    step = ShowDependencies(id="d", target="good", endpoints=("good",))
    outcome = await REGISTRY.actuator(step).apply(step, context(f"http://127.0.0.1:{free_port()}"))
    assert outcome.words.startswith("0 of 1 dependencies healthy; good: ")
    assert "no connection" in outcome.words


async def test_a_body_that_is_cut_off_is_no_health(others: str) -> None:
    """What cannot be read to its end says nothing, whatever its status; the finding says whom to ask."""
    run = context(others)
    endpoint = run.inventory.endpoints["good"].model_copy(update={"health": "/endless"})
    inventory = run.inventory.model_copy(update={"endpoints": {"good": endpoint}})
    step = ShowDependencies(id="dependencies", target="good", endpoints=("good",))
    (found,) = await REGISTRY.actuator(step).check(step, dataclasses.replace(run, inventory=inventory))
    assert found.verdict is Verdict.WARN
    assert "HTTP 200 with too long a body" in found.words
    assert "owner" in found.resolution


async def test_a_dependency_must_be_an_endpoint(others: str) -> None:
    """A wrong name is found before anything is asked."""
    step = ShowDependencies(id="d", target="good", endpoints=("good", "cache"))
    assert "cache is no endpoint" in fails(await REGISTRY.actuator(step).check(step, context(others)))
    with pytest.raises(ActuatorError, match="Nothing was asked"):
        await REGISTRY.actuator(step).apply(step, context(others))
