"""A mesh after a failed deployment: traffic goes to the failed version, and the earlier one stands by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from actuators.mesh import MeshSubset
from bot.domain.plan import Step
from tests.actuators.kubernetes.worlds import application, case, cluster
from tests.actuators.mesh.test_subset import OTHER, STABLE, rule
from tests.actuators.mesh.test_weights import (
    CHECKOUT,
    gateway_says,
    gateway_weights,
    http_route,
    service,
    virtual_service,
    weights,
)
from tests.support.contract import Case, Cases, Ground
from tests.support.kubeapi.kinds import named
from tests.support.kubeapi.place import Place
from tests.support.kubeapi.store import Store

DEPLOYED = {"argocd.argoproj.io/instance": "web"}
"""Labels of an object that the Application web deploys."""


async def virtual_services(place: Place) -> None:
    """A VirtualService that sends everything to blue, deployed by an Application."""
    await application(place, "web")
    await virtual_service(place, CHECKOUT, labels=DEPLOYED)
    await service(place, "web-green")


async def rules(place: Place) -> None:
    """A DestinationRule whose subset selects the failed version."""
    await rule(place, subsets=[STABLE, OTHER])


@asynccontextmanager
async def routed(ground: Ground, *, step: Step, prepare: Callable[[Place], Awaitable[None]]) -> Cases:
    """Istio, with something prepared."""
    async with cluster(ground) as (place, store):
        await prepare(place)
        yield case(place, store, step)


@asynccontextmanager
async def gateway(place: Place, store: Store) -> AsyncIterator[None]:
    """A gateway that takes up the route web whenever it has changed."""

    def generation() -> int:
        found: int = store.get(named("HTTPRoute"), place.namespace, "web")["metadata"]["generation"]
        return found

    async def controlling() -> None:
        seen = 0
        while True:
            if generation() == seen:
                await store.news(1)
            else:
                seen = generation()
                await gateway_says(place)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(controlling())
        yield
        task.cancel()


@asynccontextmanager
async def http_routes(ground: Ground) -> Cases:
    """An HTTPRoute that sends everything to blue, and its gateway."""
    async with cluster(ground) as (place, store):
        green, blue = {"name": "web-green", "port": 80, "weight": 0}, {"name": "web-blue", "port": 80, "weight": 1}
        await http_route(place, green, blue)
        await gateway_says(place)
        async with gateway(place, store):
            yield case(place, store, gateway_weights())


SUBSET = MeshSubset(id="stable", target="shop", destination_rule="web", subset="stable", labels={"app": "web"})
WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    "mesh.weights": partial(routed, step=weights(), prepare=virtual_services),
    "mesh.subset": partial(routed, step=SUBSET, prepare=rules),
    "gateway.weights": http_routes,
}
