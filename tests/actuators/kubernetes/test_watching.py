"""Watches: what a controller does is seen at once, and faults of the connection are lived through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actuators.kubernetes import Rollback, Verify
from actuators.kubernetes.api import Query
from actuators.kubernetes.resources import CONFIG_MAP
from actuators.kubernetes.watching import mirrored
from bot.domain.actuation import Verdict
from tests.support.kubeapi import KubeApi
from tests.support.kubeapi.place import NEW, OLD, Place
from tests.support.kubeapi.store import RefusedError

WEB = "deployment/web"
STEP = Rollback(id="back", target="shop", workload=WEB, revision=1)


@pytest.fixture
async def double(place: Place) -> AsyncIterator[KubeApi]:
    """The double with two releases of web; its faults can be had at will."""
    if place.double is None:
        pytest.skip("faults of the server can only be had of the double")
    await place.deploy(WEB, OLD)
    await place.deploy(WEB, NEW)
    untroubled = place.double.server.interfere
    yield place.double
    place.double.server.interfere = untroubled


async def rolled_back(place: Place, double: KubeApi, disturb: Any) -> None:
    """Roll back, with something done to the server while the controllers stand still."""
    double.frozen = True
    begun = asyncio.Event()
    place.reports.on_report = lambda _: begun.set()
    async with asyncio.TaskGroup() as group:
        doing = group.create_task(place.apply(STEP))
        await begun.wait()
        disturb()
        double.frozen = False
        outcome = await doing
    assert outcome.words.startswith("deployment/web: 2 of 2 pods on 1.36")


async def test_broken_watches_are_taken_up_again(place: Place, double: KubeApi) -> None:
    """A restart of the API server breaks every watch off; the step goes on."""
    await rolled_back(place, double, double.server.drop_watches)


async def test_history_that_is_too_old_is_listed_anew(place: Place, double: KubeApi) -> None:
    """The server answers 410 to a watch that it cannot go on with: the objects are listed again."""

    def disturb() -> None:
        double.store.forget_events()
        double.server.drop_watches()

    await rolled_back(place, double, disturb)


async def test_server_that_is_away_for_a_moment(place: Place, double: KubeApi) -> None:
    """Refusals that pass are waited out."""
    refused: list[str] = []

    def interfere(method: str, path: str) -> None:
        if method == "GET" and len(refused) < 4:
            refused.append(path)
            raise RefusedError(503, "ServiceUnavailable", "the server is currently unable to handle the request")

    def disturb() -> None:
        double.server.interfere = interfere
        double.server.drop_watches()

    await rolled_back(place, double, disturb)
    assert len(refused) == 4


async def test_server_that_is_away_at_the_beginning_is_a_passing_fault(place: Place, double: KubeApi) -> None:
    """Before anything was done the engine may try the step again by itself."""

    def interfere(_method: str, _path: str) -> None:
        raise RefusedError(503, "ServiceUnavailable", "the server is currently unable to handle the request")

    double.server.interfere = interfere
    error = await place.fails(STEP)
    assert error.transient
    assert "HTTP 503" in error.brief


async def test_right_that_is_lost_meanwhile_ends_the_waiting(place: Place, double: KubeApi) -> None:
    """A refusal that does not pass is raised at once."""

    def interfere(_method: str, path: str) -> None:
        if path.endswith("/pods"):
            raise RefusedError(403, "Forbidden", "pods is forbidden")

    def disturb() -> None:
        double.server.interfere = interfere
        double.server.drop_watches()

    with pytest.raises(ExceptionGroup) as caught:
        await rolled_back(place, double, disturb)
    assert "pods is forbidden" in str(caught.value.exceptions[0])


async def test_completion_is_noticed_within_300_ms(place: Place, double: KubeApi) -> None:
    """The time from the condition to the step's end is that of a watch's event, not that of a poll."""
    step = Verify(id="look", target="shop", workload=WEB, images={"app": OLD})
    double.frozen = True
    begun = asyncio.Event()
    place.reports.on_report = lambda _: begun.set()
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(place.apply(step))
        await begun.wait()
        double.frozen = False
        await place.change(WEB, {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": OLD}]}}}})
        await place.until(WEB, lambda w: len(w.pods) == 2 and all(p.ready and p.label == "1.36" for p in w.pods))
        complete = time.monotonic()
        await looking
    assert time.monotonic() - complete < 0.3


async def test_mirror_follows_what_enters_and_leaves_a_selection(place: Place) -> None:
    """Objects that are made, changed, no longer selected or deleted are told as such."""
    async with mirrored(place.api, Query(CONFIG_MAP, labels="tier in (a,b)")) as mirror:

        async def until(names: set[str]) -> None:
            async with asyncio.timeout(10):
                while {obj["metadata"]["name"] for obj in mirror.objects(0)} != names:
                    await mirror.changed()

        await until(set())
        for name in ("one", "two"):
            made = await place.create("ConfigMap", {"metadata": {"name": name, "labels": {"tier": "a"}}})
        await until({"one", "two"})
        path = CONFIG_MAP.path(place.namespace, "one")
        await place.send_as("test", path, {"metadata": {"labels": {"tier": "c"}}})
        await until({"two"})
        await place.api.delete(CONFIG_MAP, "two", uid=made["metadata"]["uid"])
        await until(set())


async def test_server_that_does_not_tell_its_version_is_no_obstacle(place: Place, double: KubeApi) -> None:
    """Hardened clusters keep it from most people; everything else is checked all the same."""

    def interfere(_method: str, path: str) -> None:
        if path == "/version":
            raise RefusedError(403, "Forbidden", "forbidden: User cannot get path /version")

    double.server.interfere = interfere
    checks = await place.check(STEP)
    assert checks.verdict is Verdict.OK, list(checks)
    assert "Kubernetes ? answers" in checks.of("Cluster shop")
