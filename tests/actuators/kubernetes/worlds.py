"""A cluster after a failed deployment: workloads with two releases, and a GitOps owner that deploys them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml

from actuators.kubernetes import (
    DeletePods,
    History,
    PodRef,
    Pods,
    Resume,
    Rollback,
    SetImage,
    Suspend,
    Verify,
)
from actuators.kubernetes.api import Json
from bot.domain.plan import Step
from tests.support.contract import Case, Cases, Ground
from tests.support.kubeapi.node import digest_of
from tests.support.kubeapi.place import MISSING, NEW, OLD, Place, somewhere, write
from tests.support.kubeapi.store import Store, clone
from tests.support.pgserver import free_port

WEB = "deployment/web"
PINNED = f"{OLD}@{digest_of('1.36')}"
_OF_CONTROLLERS = ("managedFields", "resourceVersion")


def contents(store: Store) -> Json:
    """Return all that a cluster holds, without what its own controllers write when they have nothing to do.

    Left out are events, pods on their way out, and of workloads and pods their status and who wrote last; every
    other object is there whole, so that a write without an effect is seen by its resource version.
    """
    found = {}
    for key, obj in store.objects.items():
        kind, metadata = key[0], obj["metadata"]
        if kind == "events." or (kind == "pods." and "deletionTimestamp" in metadata):
            continue
        kept = clone(obj)
        if kind == "pods." or kind.endswith(".apps"):
            kept.pop("status", None)
            kept["metadata"] = {name: value for name, value in metadata.items() if name not in _OF_CONTROLLERS}
        found["/".join(key)] = kept
    return found


def elsewhere(place: Place) -> Path:
    """Write the administrator's kubeconfig with an address where nobody listens."""
    document = yaml.safe_load(place.kubeconfig.read_text(encoding="utf-8"))
    for each in document["clusters"]:
        each["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    return write(place.folder / "away.kubeconfig", document)


@asynccontextmanager
async def cluster(ground: Ground) -> AsyncIterator[tuple[Place, Store]]:
    """A namespace, and everything that the API server holds; its runs have the clock of the contract."""
    async with somewhere(ground.folder) as place:
        if place.double is None:
            pytest.skip("what a real cluster holds besides changes by itself; the double tells every write")
        place.clock = ground.clock
        yield place, place.double.store


def case(place: Place, store: Store, step: Step) -> Case:
    """Return a step in a place as it is now."""
    away = place.context(step, kubeconfig=elsewhere(place))
    return Case(step, place.context(step), away, state=lambda: contents(store))


async def application(place: Place, name: str, *, heals: bool = False, tracked: str = "") -> None:
    """Make an Argo CD Application that deploys by itself.

    Args:
        place: Where.
        name: Its name.
        heals: Whether it sets back every change.
        tracked: What deploys the Application itself; empty: a person.
    """
    note = {"argocd.argoproj.io/tracking-id": f"{tracked}:argoproj.io/Application:{place.namespace}/{name}"}
    metadata = {"name": name, "annotations": note if tracked else {}}
    automated = {"prune": True, **({"selfHeal": True} if heals else {})}
    spec = {"project": "default", "destination": {}, "source": {"repoURL": f"https://git.example.org/{name}"}}
    await place.create(
        "Application", {"metadata": metadata, "spec": {**spec, "syncPolicy": {"automated": automated}}}
    )


async def releases(place: Place) -> None:
    """Deploy a good and a failed release, and an Application that deploys further ones by itself."""
    await application(place, "web")
    await place.deploy(WEB, OLD, cause="Deploy v2.3.1 - CHG0012340")
    mark = {"argocd.argoproj.io/tracking-id": f"web:apps/Deployment:{place.namespace}/web"}
    await place.change(WEB, {"metadata": {"annotations": mark}})
    await place.deploy(WEB, NEW, cause="Deploy v2.4.0 - CHG0012345")


async def deploying(place: Place) -> None:
    """An Application that sets back every change, and another one that deploys that one."""
    await application(place, "apps")
    await application(place, "web", heals=True, tracked="apps")


async def suspended(place: Place) -> None:
    """The same, after a rollback has suspended it."""
    await deploying(place)
    await place.apply(Suspend(id="hold", target="shop", owner="application/web"))


@asynccontextmanager
async def prepared(ground: Ground, *, step: Step, prepare: Callable[[Place], Awaitable[None]]) -> Cases:
    """A cluster in which something has been prepared."""
    async with cluster(ground) as (place, store):
        await prepare(place)
        yield case(place, store, step)


@asynccontextmanager
async def stuck(ground: Ground) -> Cases:
    """A release whose image cannot be pulled; the controllers stand still, so that only the step changes pods."""
    async with cluster(ground) as (place, store):
        await place.deploy(WEB, OLD)
        await place.deploy(WEB, MISSING, settled=False)
        found = await place.until(WEB, lambda workload: any(pod.trouble for pod in workload.pods))
        assert place.double is not None
        place.double.frozen = True
        pods = tuple(PodRef(name=pod.name, uid=pod.uid) for pod in found.pods if pod.trouble)
        yield case(place, store, DeletePods(id="delete", target="shop", workload=WEB, pods=pods))


WORKLOAD_STEPS: tuple[Step, ...] = (
    Rollback(id="back", target="shop", workload=WEB, revision=1, images={"app": PINNED}),
    SetImage(id="image", target="shop", workload=WEB, images={"app": PINNED}),
    Verify(id="verify", target="shop", workload=WEB, images={"app": NEW}),
    History(id="history", target="shop", workload=WEB),
    Pods(id="pods", target="shop", workload=WEB),
)
WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    **{step.kind: partial(prepared, step=step, prepare=releases) for step in WORKLOAD_STEPS},
    "kubernetes.delete_pods": stuck,
    "gitops.suspend": partial(
        prepared, step=Suspend(id="hold", target="shop", owner="application/web"), prepare=deploying
    ),
    "gitops.resume": partial(
        prepared, step=Resume(id="resume", target="shop", owner="application/web"), prepare=suspended
    ),
}
