"""What is behind a balancer: DNS by a real server on loopback, a CDN by a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from actuators import downstream
from actuators.downstream import DownstreamPurge, DownstreamTtl, ttl
from bot.domain.actuation import Check, Context, Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.support.actuation import fails, make_context, make_plan
from tests.support.nameserver import Zone, dns_server
from tests.support.pgserver import free_port

TTL = DownstreamTtl(id="ttl", target="edge")
PURGE = DownstreamPurge(id="purge", target="edge")
NAME = "pay.example.org"


def world(step: Step, **edge: Any) -> Context:
    """Return the context of a run of one step."""
    return make_context(make_plan(step), {"downstreams": {"edge": {"service": "payments", **edge}}})


@pytest.fixture
def registry() -> Registry:
    """The actuators of a process of its own."""
    return Registry(*downstream.register())


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    """Give a DNS server."""
    async with dns_server() as running:
        yield running


async def ask(registry: Registry, zone: Zone, *names: str) -> Any:
    """Apply the DNS diagnosis."""
    context = world(TTL, names=names or [NAME], resolver=f"127.0.0.1:{zone.port}")
    return await registry.actuator(TTL).apply(TTL, context)


async def test_time_to_live(registry: Registry, zone: Zone) -> None:
    """The answer is shown as dig shows it, with the longest time for which any part of it may be kept."""
    zone.records = [f"{NAME}. 300 IN CNAME edge.example.net.", "edge.example.net. 60 IN A 192.0.2.7"]
    outcome = await ask(registry, zone)
    assert outcome.output.splitlines() == [
        f"{NAME}. 300 IN CNAME edge.example.net.",
        "edge.example.net. 60 IN A 192.0.2.7",
    ]
    assert (
        f"{NAME} leads to 192.0.2.7 and may be kept for 5 minutes, until 2024-01-15 15:52:00 UTC" in outcome.words
    )
    assert "which owns the name" in outcome.words
    assert outcome.facts == {"ttl_seconds": {NAME: 300}, "addresses": {NAME: ["192.0.2.7"]}}
    assert {kind for _, kind, _ in zone.asked} == {"A", "AAAA"}


async def test_a_resolver_tells_its_own_cache_only(registry: Registry, zone: Zone) -> None:
    """What a resolver has left is no bound for others, and the words say so."""
    zone.records, zone.authoritative = [f"{NAME}. 17 IN A 192.0.2.7", f"{NAME}. 20 IN AAAA 2001:db8::7"], False
    outcome = await ask(registry, zone)
    assert "leads to 192.0.2.7, 2001:db8::7 and may be kept for 20 seconds" in outcome.words
    assert "other resolvers may keep it for longer" in outcome.words


async def test_long_answers_come_by_tcp(registry: Registry, zone: Zone) -> None:
    """An answer that is cut by UDP is asked for by TCP."""
    zone.records, zone.truncated = [f"{NAME}. 60 IN A 192.0.2.{n}" for n in range(1, 4)], True
    outcome = await ask(registry, zone)
    assert outcome.facts["addresses"] == {NAME: ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}
    assert "tcp" in {how for _, _, how in zone.asked}


async def test_names_that_do_not_exist(registry: Registry, zone: Zone) -> None:
    """One unknown name beside a known one is told; when none is known, the diagnosis fails and the check warns."""
    zone.records = [f"{NAME}. 60 IN A 192.0.2.7"]
    outcome = await ask(registry, zone, NAME, "gone.example.org")
    assert outcome.words.endswith("gone.example.org does not exist.")
    with pytest.raises(ActuatorError, match=r"gone\.example\.org does not exist"):
        await ask(registry, zone, "gone.example.org")
    context = world(TTL, names=["gone.example.org"], resolver=f"127.0.0.1:{zone.port}")
    (check,) = await registry.actuator(TTL).check(TTL, context)
    assert (check.verdict, check.words) == (Verdict.WARN, "gone.example.org does not exist.")


async def test_a_name_without_addresses(registry: Registry, zone: Zone) -> None:
    """A name that has no address is no error; it is told."""
    zone.records = [f"{NAME}. 60 IN TXT x"]
    assert f"{NAME} has no address" in (await ask(registry, zone)).words


async def test_a_server_that_says_nothing(registry: Registry, zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is given up in time, and may pass."""
    monkeypatch.setattr(ttl, "_SECONDS", 0.2)
    zone.silent = True
    with pytest.raises(ActuatorError, match=f"{NAME}: no answer within 0.2 seconds") as caught:
        await ask(registry, zone)
    assert caught.value.transient


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        ({}, "No names are given to ask for"),
        ({"names": [NAME], "resolver": "dns.example.org"}, "No DNS server can be asked"),
        ({"names": [NAME], "resolver": "10.0.0.53:x"}, "No DNS server can be asked"),
    ],
)
async def test_nobody_to_ask(registry: Registry, edge: dict[str, Any], words: str) -> None:
    """Without names, or with a resolver that is none, the check says what to add."""
    assert words in fails(await registry.actuator(TTL).check(TTL, world(TTL, **edge)))


async def test_targets_of_another_kind(registry: Registry) -> None:
    """A step on what is no downstream is refused before anything is contacted."""
    for step in (TTL, PURGE):
        with pytest.raises(ActuatorError, match="edge is not in the inventory"):
            await registry.actuator(step).apply(step, make_context(make_plan(step), {}))


@dataclass
class Cdn:
    """A CDN's purge endpoint.

    Attributes:
        url: Its address.
        status: What it answers.
        text: The answer's body.
        requests: What came in: method, headers, JSON.
    """

    url: str
    status: int = 200
    text: str = '{"status": "ok"}'
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Take a purge."""
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, dict(request.headers), body))
        return web.Response(status=self.status, text=self.text)


@pytest.fixture
async def cdn(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cdn]:
    """Give a CDN, and the bot's token for it."""
    monkeypatch.setenv("CDN_TOKEN", "hunter2-cdn")
    running = Cdn(f"http://127.0.0.1:{(port := free_port())}/purge")
    app = web.Application()
    app.router.add_route("*", "/purge", running.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield running
    finally:
        await runner.cleanup()


def purging(cdn: Cdn, **purge: Any) -> Context:
    """Return the context of a purge as the specification does it."""
    how = {"url": cdn.url, "body": {"zone": NAME}, "token": {"env": "CDN_TOKEN"}, **purge}
    return world(PURGE, purge=how)


async def test_the_cache_is_purged(registry: Registry, cdn: Cdn) -> None:
    """The request of the inventory is sent with its token, once; the CDN's word is the effect."""
    actuator = registry.actuator(PURGE)
    assert (await actuator.observe(PURGE, purging(cdn))).presence is Presence.UNKNOWN
    outcome = await actuator.apply(PURGE, purging(cdn))
    ((method, headers, body),) = cdn.requests
    assert (method, body, headers["Authorization"]) == ("POST", {"zone": NAME}, "Bearer hunter2-cdn")
    assert outcome.words == f"POST {cdn.url}: HTTP 200, the cache is purged"
    seen = await actuator.observe(PURGE, purging(cdn))
    assert (seen.presence, seen.words) == (
        Presence.PRESENT,
        "The CDN confirmed the purge at 2024-01-15 15:47:00 UTC",
    )


async def test_what_another_process_purged_is_not_known(registry: Registry, cdn: Cdn) -> None:
    """No CDN tells of a purge afterwards, so without its answer the outcome is unknown; repeating is harmless."""
    await registry.actuator(PURGE).apply(PURGE, purging(cdn))
    seen = await Registry(*downstream.register()).actuator(PURGE).observe(PURGE, purging(cdn))
    assert seen.presence is Presence.UNKNOWN
    assert "harmless" in seen.words


async def test_another_header(registry: Registry, cdn: Cdn) -> None:
    """CDNs that want their token bare in a header of their own get it so."""
    await registry.actuator(PURGE).apply(PURGE, purging(cdn, header="Fastly-Key", scheme="", method="PUT", body={}))
    ((method, headers, body),) = cdn.requests
    assert (method, headers["Fastly-Key"], body) == ("PUT", "hunter2-cdn", None)


@pytest.mark.parametrize(
    ("status", "transient", "words"),
    [
        (401, False, "environment variable CDN_TOKEN"),
        (429, True, "Retry"),
        (503, True, "Retry"),
        (404, False, "Correct `purge`"),
        (302, False, "Correct `purge`"),
    ],
)
async def test_refused_purges(registry: Registry, cdn: Cdn, status: int, words: str, *, transient: bool) -> None:
    """What a refusal means is told, and whether to retry; the token never is, even if the CDN repeats it."""
    cdn.status, cdn.text = status, "bad token hunter2-cdn"
    actuator = registry.actuator(PURGE)
    with pytest.raises(ActuatorError, match=f"HTTP {status}") as caught:
        await actuator.apply(PURGE, purging(cdn))
    assert caught.value.transient is transient
    assert words in caught.value.resolution
    assert "hunter2-cdn" not in f"{caught.value}{caught.value.output}"
    assert (await actuator.observe(PURGE, purging(cdn))).presence is Presence.UNKNOWN


async def checked(registry: Registry, context: Context) -> Check:
    """Check the purge."""
    (found,) = await registry.actuator(PURGE).check(PURGE, context)
    assert isinstance(found, Check)
    return found


async def test_checks_send_nothing(registry: Registry, cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the approval only the connection and the token are looked at; a missing token stops the rollback."""
    found = await checked(registry, purging(cdn))
    assert found.verdict is Verdict.OK
    assert "whether it accepts the token shows only when it is used" in found.words
    assert cdn.requests == []
    assert (await checked(registry, purging(cdn, url="http://127.0.0.1:9/purge"))).verdict is Verdict.WARN
    assert "No purge request is known" in (await checked(registry, world(PURGE))).words
    monkeypatch.delenv("CDN_TOKEN")
    assert "environment variable CDN_TOKEN is not set" in (await checked(registry, purging(cdn))).words


async def test_a_cdn_that_is_gone(registry: Registry, cdn: Cdn) -> None:
    """No answer is a passing error, and what became of the purge is not claimed."""
    with pytest.raises(ActuatorError, match="gave no answer") as caught:
        await registry.actuator(PURGE).apply(PURGE, purging(cdn, url="http://127.0.0.1:9/purge"))
    assert caught.value.transient
    assert "not known" in caught.value.untouched
