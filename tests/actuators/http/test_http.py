"""Health, version and synthetic transaction against a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from actuators import http
from actuators.http import Health, SyntheticTransaction, Version
from actuators.http_values import missing, shortened
from bot.domain.actuation import Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import FakeClock, Reports, fails, make_context, make_plan
from tests.support.pgserver import free_port

REGISTRY = Registry(*http.register())
HEALTH = Health(id="health", target="api", within="5s")
VERSION = Version(id="version", target="api", version="v2.3.1", within="5s")
SYNTHETIC = SyntheticTransaction(id="synthetic", target="api", within="5s")
SPECIFICATION = {"status": "healthy", "version": "v2.3.1", "database": "connected"}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Service:
    """A service whose answers a test chooses.

    Attributes:
        answers: What is answered, by path; the last of a list stays.
        bodies: The bodies that came in.
    """

    url: str
    answers: dict[str, list[Answer | tuple[int, Any]]] = field(default_factory=dict)
    bodies: list[Any] = field(default_factory=list)
    synthetic: dict[str, Any] | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        self.bodies.append(await request.json() if request.can_read_body else None)
        prepared = self.answers.get(request.path, [(404, {"error": "not found"})])
        answer = prepared.pop(0) if len(prepared) > 1 else prepared[0]
        if isinstance(answer, tuple):
            return web.json_response(answer[1], status=answer[0])
        return await answer(request)

    def context(self, step: Any, *, clock: FakeClock | None = None, reports: Reports | None = None) -> Any:
        """Return the context of a run of one step."""
        endpoint = {"service": "payments", "url": self.url, "synthetic": self.synthetic}
        page = {"kind": "metrics_page", "service": "payments", "url": f"{self.url}/metrics"}
        return make_context(
            make_plan(step),
            {"endpoints": {"api": endpoint}, "metrics": {"page": page}},
            clock=clock or FakeClock(),
            reports=reports,
        )

    async def apply(self, step: Any, **kwargs: Any) -> Any:
        """Apply a step."""
        return await REGISTRY.actuator(step).apply(step, self.context(step, **kwargs))


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service on a free port."""
    port = free_port()
    served = Service(url=f"http://127.0.0.1:{port}")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield served
    await runner.cleanup()


async def test_healthy_service(service: Service) -> None:
    """The specification's health answer passes, with version and latency as facts."""
    service.answers["/health"] = [(200, SPECIFICATION)]
    outcome = await service.apply(HEALTH)
    assert outcome.words == "api: HTTP 200, status 'healthy', version v2.3.1"
    assert outcome.facts["version"] == "v2.3.1"
    assert outcome.facts["latency_seconds"] >= 0


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, SPECIFICATION, "HTTP 503"),
        (200, {**SPECIFICATION, "status": "degraded"}, "status 'degraded'"),
        (200, ["healthy"], "status None"),
        (200, "healthy", "status None"),
        (204, SPECIFICATION, "HTTP 204"),
    ],
)
async def test_anything_but_200_and_healthy_is_unhealthy(
    service: Service, status: int, body: Any, words: str
) -> None:
    """Both the HTTP status and the JSON status must be right; the error says what came instead."""
    service.answers["/health"] = [(status, body)]
    with pytest.raises(ActuatorError, match="not as expected within 5s") as caught:
        await service.apply(HEALTH)
    assert words in caught.value.brief
    assert "only asked" in caught.value.untouched


async def test_health_is_awaited(service: Service) -> None:
    """A service that is starting is asked again at the interval, and progress tells what it says."""
    service.answers["/health"] = [
        (503, {"status": "starting"}),
        (503, {"status": "starting"}),
        (200, SPECIFICATION),
    ]
    clock, reports = FakeClock(), Reports()
    await service.apply(HEALTH, clock=clock, reports=reports)
    assert clock.seconds == 2
    assert [progress.done for progress in reports.seen] == [0, 1]
    assert "starting" in reports.seen[0].words


async def test_health_can_demand_a_version(service: Service) -> None:
    """A healthy service of the wrong version does not pass when the step names one."""
    service.answers["/health"] = [(200, {"status": "healthy", "version": "v2.4.0"})]
    await service.apply(HEALTH)
    with pytest.raises(ActuatorError, match=r"version v2\.4\.0"):
        await service.apply(HEALTH.model_copy(update={"version": "v2.3.1"}))


async def test_version_must_be_equal(service: Service) -> None:
    """The version page passes with exactly the version, and names the one it found otherwise."""
    service.answers["/version"] = [(200, {"version": "v2.3.1", "build": "20240110-1234"})]
    assert (await service.apply(VERSION)).facts["version"] == "v2.3.1"
    service.answers["/version"] = [(200, {"version": "v2.3.10"})]
    with pytest.raises(ActuatorError, match=r"version v2\.3\.10 instead of v2\.3\.1"):
        await service.apply(VERSION)
    service.answers["/version"] = [(500, {"version": "v2.3.1"})]
    with pytest.raises(ActuatorError, match="HTTP 500"):
        await service.apply(VERSION)


async def test_synthetic_transaction(service: Service) -> None:
    """The transaction is sent as configured, and passes by status and the expected part of the answer."""
    service.synthetic = {
        "path": "/api/v1/test-transaction",
        "body": {"test": True, "amount": 1.0},
        "expect": {"status": "confirmed", "receipt": {"test": True}},
    }
    good = {"status": "confirmed", "receipt": {"test": True, "id": 7}}
    service.answers["/api/v1/test-transaction"] = [(200, good)]
    outcome = await service.apply(SYNTHETIC)
    assert outcome.words == "api: POST /api/v1/test-transaction: HTTP 200"
    assert service.bodies == [{"test": True, "amount": 1.0}]
    for answer, words in (
        ((200, {**good, "status": "refused"}), "but status is 'refused', not 'confirmed'"),
        ((200, {"status": "confirmed", "receipt": {}}), "but receipt.test is missing"),
        ((201, good), "HTTP 201 instead of 200"),
        ((500, {"error": "currency"}), "HTTP 500 instead of 200"),
    ):
        service.answers["/api/v1/test-transaction"] = [answer]
        with pytest.raises(ActuatorError) as caught:
            await service.apply(SYNTHETIC)
        assert words in caught.value.brief


async def test_redirects_are_not_followed(service: Service) -> None:
    """A redirect is no health: it may lead to another service, and is named."""

    async def redirect(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/version"})

    service.answers["/health"] = [redirect]
    service.answers["/version"] = [(200, SPECIFICATION)]
    with pytest.raises(ActuatorError, match="HTTP 302 to /version"):
        await service.apply(HEALTH)
    assert service.bodies


async def test_a_page_that_is_elsewhere_is_a_warning_before_the_approval(service: Service) -> None:
    """A redirect or a refusal is most likely a wrong address: better told before the verification waits for it."""
    (found,) = await REGISTRY.actuator(VERSION).check(VERSION, service.context(VERSION))
    assert found.verdict is Verdict.WARN
    assert found.words.endswith("/version answers with HTTP 404")
    assert "correct `url`" in found.resolution


async def test_what_answers_hold_is_told_without_secrets(service: Service) -> None:
    """A sign-in page is named without its query, and a value that looks like a secret is masked."""

    async def sign_in(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "https://id.example.org/auth?code=hunter2"})

    service.answers["/health"] = [sign_in, (200, {"status": "token=hunter2"})]
    (found,) = await REGISTRY.actuator(HEALTH).check(HEALTH, service.context(HEALTH))
    assert found.words.endswith("HTTP 302 to https://id.example.org/auth (redirects are not followed)")
    with pytest.raises(ActuatorError, match="HTTP 200, status ") as caught:
        await service.apply(HEALTH)
    assert "hunter" not in caught.value.brief
    assert shortened("x" * 100).endswith("...")


async def test_every_look_is_a_fresh_one(service: Service) -> None:
    """No connection and no cookie is kept: else a load balancer would show the same instance again and again."""
    peers, cookies = set(), []

    async def sticky(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        cookies.append(request.headers.get("Cookie"))
        answer = web.json_response({"status": "starting" if len(cookies) < 3 else "healthy"})
        answer.set_cookie("server", "app01")
        return answer

    service.answers["/health"] = [sticky]
    await service.apply(HEALTH)
    assert len(peers) == 3
    assert cookies == [None, None, None]


def test_an_attempt_lasts_as_long_as_its_step_waits() -> None:
    """The engine does not cut a probe off before it gives up itself."""
    assert HEALTH.model_copy(update={"within": timedelta(minutes=10)}).deadline() == timedelta(
        minutes=10, seconds=30
    )


async def test_bodies_are_bounded(service: Service) -> None:
    """An endless body is cut off instead of filling the bot's memory, and does not pass."""

    async def huge(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b'{"status": "healthy"' + b" " * 2_000_000 + b"}")

    service.answers["/health"] = [huge]
    with pytest.raises(ActuatorError, match="more than 262144 bytes"):
        await service.apply(HEALTH)


async def test_broken_answers_are_named(service: Service) -> None:
    """A connection that breaks off in the middle is awaited like any other fault, and named in the end."""

    async def breaking(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    service.answers["/health"] = [breaking]
    with pytest.raises(ActuatorError, match=r"no valid answer|closed before"):
        await service.apply(HEALTH)
    service.answers["/health"] = [breaking, (200, SPECIFICATION)]
    assert (await service.apply(HEALTH)).facts["version"] == "v2.3.1"


async def test_unreachable_service_is_named(service: Service) -> None:
    """A service that does not listen fails the step with the address and the reason."""
    service.url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ActuatorError, match="/health: no connection: Connect") as caught:
        await service.apply(HEALTH)
    assert service.url in caught.value.brief
    assert not caught.value.transient


async def test_cancelled_probe_ends_at_once(service: Service) -> None:
    """Cancelling a probe that waits for an answer ends it; nothing keeps running."""
    asked, release = asyncio.Event(), asyncio.Event()

    async def hanging(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await release.wait()
        return web.json_response(SPECIFICATION)

    service.answers["/health"] = [hanging]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(service.apply(HEALTH))
        await asked.wait()
        task.cancel()
    assert task.cancelled()
    release.set()


async def test_checks_do_not_fail_on_a_service_that_is_down(service: Service) -> None:
    """A rollback is asked for because the service is ill: an unreachable endpoint warns and does not stop it."""
    service.synthetic = {"path": "/test"}
    service.answers |= {"/health": [(503, {"status": "degraded"})], "/version": [(200, SPECIFICATION)]}
    for step in (HEALTH, VERSION, SYNTHETIC):
        actuator = REGISTRY.actuator(step)
        (up,) = await actuator.check(step, service.context(step))
        assert up.verdict is Verdict.OK
        down = service.context(step).inventory.model_dump()
        down["endpoints"]["api"]["url"] = f"http://127.0.0.1:{free_port()}"
        (found,) = await actuator.check(step, make_context(make_plan(step), down, clock=FakeClock()))
        assert found.verdict is Verdict.WARN
        assert found.resolution
    assert service.bodies == [None, None, None]


async def test_checks_fail_on_what_is_not_configured(service: Service) -> None:
    """A missing synthetic transaction and a target of another kind are found before anything runs."""
    said = fails(await REGISTRY.actuator(SYNTHETIC).check(SYNTHETIC, service.context(SYNTHETIC)))
    assert "has no synthetic transaction" in said
    for target, words in (("page", "page is no endpoint"), ("other", "other is not in the inventory")):
        step = HEALTH.model_copy(update={"target": target})
        assert words in fails(await REGISTRY.actuator(step).check(step, service.context(step)))
        with pytest.raises(ActuatorError, match=words):
            await service.apply(step)


async def test_probes_leave_nothing_to_observe(service: Service) -> None:
    """A probe reads only, so that it may be repeated, and observes ABSENT without asking."""
    for step in (HEALTH, VERSION, SYNTHETIC):
        assert step.reads_only
        observed = await REGISTRY.actuator(step).observe(step, service.context(step))
        assert observed.presence is Presence.ABSENT
    assert service.bodies == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=30, deadline=None)
@given(expected=st.dictionaries(st.text(), JSON), more=st.dictionaries(st.text(), JSON))
def test_a_larger_answer_holds_what_is_expected(expected: dict[str, Any], more: dict[str, Any]) -> None:
    """An object that has all that is expected passes whatever else it has; itself it always has."""
    assert missing(expected, expected) is None
    assert missing(expected, {**more, **expected}) is None


def test_what_is_missing_is_named_by_its_path() -> None:
    """The first lack is named with its path; lists must be equal, and true is not 1."""
    assert missing({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b is 2, not 1"
    assert missing({"a": {"b": 1}}, {"a": 1}) == "a is no object"
    assert missing({"a": [1]}, {"a": [1, 2]}) == "a is [1, 2], not [1]"
    assert missing({"a": True}, {"a": 1}) == "a is 1, not True"
    assert missing({"a": 1}, None) == "the body is no object"


def test_parameters_are_checked() -> None:
    """A version must be named, and an unknown field is refused."""
    for wrong in ({"version": ""}, {}, {"version": "v1", "path": "/x"}):
        with pytest.raises(ValidationError):
            Version.model_validate({"id": "v", "kind": "http.version", "target": "api", **wrong})


async def test_answers_that_are_no_http_are_named(service: Service) -> None:
    """Another protocol on the port is told as no valid answer."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    service.url = f"http://127.0.0.1:{port}"
    async with server:
        with pytest.raises(ActuatorError, match="no valid answer"):
            await service.apply(HEALTH)
