"""A pipeline asks over HTTP whether a service may be deployed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.domain import events
from bot.domain.errors import RollbackError
from bot.domain.run import Run, apply
from handlers import hooks
from tests.support import rollbacks
from tests.support.console import serve
from tests.support.slack import Runs, world

TOKEN = "hook-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def blocking() -> Run:
    """Return a rollback that was given up and blocks deployments of its service."""
    of = rollbacks.plan()
    journal = [
        event.model_copy(update={"blocks": True}) if isinstance(event, events.ExecutionBegan) else event
        for event in rollbacks.histories(of)["aborted"]
    ]
    return rollbacks.run(of, tuple(journal))


@asynccontextmanager
async def hook() -> AsyncIterator[tuple[str, Runs, aiohttp.ClientSession]]:
    """Yield the hook's address up to the service's name, the journals behind it, and a client."""
    async with world() as slack:
        app = web.Application()
        app.add_routes(hooks.routes(slack.service, token=TOKEN))
        async with serve(app) as url, aiohttp.ClientSession() as client:
            yield f"{url}/hooks/deployments/", slack.runs, client


async def ask(client: aiohttp.ClientSession, url: str, **how: Any) -> tuple[int, dict[str, Any]]:
    """Return status and document of an answer."""
    async with client.request(how.pop("method", "GET"), url, headers=how.pop("headers", BEARER)) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_service_that_nothing_blocks_may_be_deployed(method: str) -> None:
    """200 and a yes, by either method."""
    async with hook() as (url, _, client):
        assert await ask(client, f"{url}payments", method=method) == (200, {"deploy": True})


async def test_blocked_service_is_told_why_until_the_hold_is_lifted() -> None:
    """423 names the rollback and its reason; lifted, the answer is yes."""
    async with hook() as (url, runs, client):
        run = runs.runs["rb-0001"] = blocking()
        status, document = await ask(client, f"{url}payments")
        assert status == 423
        assert document["deploy"] is False
        assert "blocked since 2024-01-15 15:47 UTC by rb-0001 (CHG0012345" in document["reason"]
        assert document["rollbacks"] == [{"id": "rb-0001", "change": "CHG0012345", "state": "aborted"}]
        lifted = events.DeploymentsReleased(at=rollbacks.at(30), who="U0MANAGER", why="fixed", name="J. Smith")
        runs.runs["rb-0001"] = apply(run, lifted)
        assert (await ask(client, f"{url}payments"))[0] == 200


async def test_a_misspelt_service_is_not_a_yes() -> None:
    """404 and a no, with the name that was meant, for a service that the inventory does not know."""
    async with hook() as (url, _, client):
        status, document = await ask(client, f"{url}paymets")
        assert (status, document["deploy"]) == (404, False)
        assert document["reason"].endswith("Did you mean payments?")


async def test_what_cannot_be_told_is_not_a_yes() -> None:
    """503 and a no while the store is away."""
    async with hook() as (url, runs, client):
        runs.away = True
        status, document = await ask(client, f"{url}payments")
        assert (status, document["deploy"]) == (503, False)
        assert "Do not deploy" in document["reason"]


async def test_a_rollback_that_cannot_be_read_is_not_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and a no while this bot cannot read what blocks the service, e.g. because a newer one made it."""

    async def unreadable(_self: Runs, _service: str) -> tuple[Run, ...]:
        raise RollbackError("rb-0001 cannot be read by this program")

    monkeypatch.setattr(Runs, "blocking", unreadable)
    async with hook() as (url, _, client):
        status, document = await ask(client, f"{url}payments")
        assert (status, document["deploy"]) == (503, False)


@pytest.mark.parametrize(
    "given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer h\xf6k"}]
)
async def test_nobody_is_answered_without_the_token(given: dict[str, str]) -> None:
    """401 tells nothing about any service, whatever the header holds."""
    async with hook() as (url, runs, client):
        runs.runs["rb-0001"] = blocking()
        status, document = await ask(client, f"{url}payments", headers=given)
        assert (status, document) == (401, {"error": "the token is missing or wrong"})


@pytest.mark.parametrize("name", ["a" * 81, "pay%00ments", "%0a"])
async def test_what_is_no_name_is_refused(name: str) -> None:
    """400 for a name that no service can have."""
    async with hook() as (url, _, client):
        status, document = await ask(client, f"{url}{name}")
        assert (status, document) == (400, {"error": "that is no name of a service"})


async def test_hook_without_a_token_is_not_served() -> None:
    """An empty token would let anybody ask: the routes are refused."""
    async with world() as slack:
        with pytest.raises(ValueError, match="open to everybody"):
            list(hooks.routes(slack.service, token=""))
