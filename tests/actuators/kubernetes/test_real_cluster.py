"""What a real cluster is used for: a namespace of its own, and nothing of it left; shown on a double elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actuators.kubernetes import Rollback, Verify
from bot.domain.actuation import Presence, Verdict
from tests.actuators.kubernetes.test_checks import documented_rules
from tests.support.kubeapi.place import NEW, OLD, Place, somewhere
from tests.support.kubeapi.process import alone

WEB = "deployment/web"


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[Path]:
    """The kubeconfig of a cluster that runs in a process of its own, of which nothing but its API is known."""
    (tmp_path / "cluster").mkdir()
    async with alone(tmp_path / "cluster") as kubeconfig:
        yield kubeconfig


async def namespaces(place: Place) -> set[str]:
    """Return the namespaces that the cluster has."""
    found = await place.api._wire.ask("GET", "/api/v1/namespaces", doing="list namespaces")
    return {each["metadata"]["name"] for each in found["items"]}


async def test_named_cluster_is_used_and_left_as_it_was(elsewhere: Path, tmp_path: Path) -> None:
    """A rollback in a namespace that was made for it, with rights of an account of its own; then it is gone."""
    async with somewhere(tmp_path, real=elsewhere) as outer:
        before = await namespaces(outer)
        async with somewhere(tmp_path, real=elsewhere) as place:
            assert place.double is None
            assert await namespaces(outer) == before | {place.namespace}
            await place.deploy(WEB, OLD)
            await place.deploy(WEB, NEW)
            bot = await place.account("bot", documented_rules("web"))
            step = Rollback(id="back", target="shop", workload=WEB, revision=1)
            assert (await place.check(step, kubeconfig=bot)).verdict is Verdict.OK
            await place.apply(step, kubeconfig=bot)
            assert (await place.observe(step)).presence is Presence.PRESENT
            images = {"app": f"{OLD}@{await place.digest(WEB)}"}
            await place.apply(Verify(id="look", target="shop", workload=WEB, images=images), kubeconfig=bot)
        assert await namespaces(outer) == before


async def failing(kubeconfig: Path, folder: Path) -> None:
    """Do what a test does that fails half-way."""
    async with somewhere(folder, real=kubeconfig) as place:
        await place.deploy(WEB, OLD)
        raise LookupError


async def test_namespace_is_removed_after_a_failure_too(elsewhere: Path, tmp_path: Path) -> None:
    """A test that fails leaves nothing behind."""
    async with somewhere(tmp_path, real=elsewhere) as place:
        before = await namespaces(place)
        with pytest.raises(LookupError):
            await failing(elsewhere, tmp_path)
        assert await namespaces(place) == before
