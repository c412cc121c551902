"""A rollout on Kubernetes: how long after it became complete the step that waits for it has ended.

The API server is the double of the tests, in a process of its own, whose controllers write down when the rollout
became complete, before they tell anybody. The clock of both processes is the machine's monotonic one.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from kubernetes.aio import client, config, watch

from actuators.kubernetes import Rollback
from actuators.kubernetes.changing import ChangeActuator
from actuators.kubernetes.pins import RevisionPin
from bot.domain.actuation import Context
from bot.domain.inventory import Inventory
from bot.domain.ports import Clock
from tests.bench import machine
from tests.bench.figures import Figure
from tests.bench.stage import Calls, Workshop
from tests.bench.statistics import percentile, spread
from tests.support.actuation import make_plan
from tests.support.kubeapi.place import NEW, OLD, SLEEPS
from tests.support.kubeapi.process import alone

ROLLBACKS = 30
GOAL_MS = 300.0
POD_SECONDS = 0.1
"""How long a pod takes to start: the waiting must have begun long before its end."""
_PLAIN = 15
_KUBECTL = 5
_NAMESPACE, _NAME = "bench", "web"
_TITLE = f"{_NAMESPACE}/{_NAME}"
_load: Any = config.load_kube_config
_watch: Any = watch.Watch


async def measure(shop: Workshop) -> list[Figure]:
    """Return the p95 of rollbacks to and fro, beside the least client that could wait."""
    folder = shop.folder / "kubernetes"
    folder.mkdir()
    async with alone(folder, pod_seconds=POD_SECONDS) as kubeconfig:
        log = Calls(folder / "complete.log", clock=shop.clock)
        await _load(config_file=str(kubeconfig))
        async with client.ApiClient() as connection:
            await _deploy(connection)
            shop.say(f"{ROLLBACKS} rollbacks to and fro, each one followed to its end")
            found = [await _roll_back(kubeconfig, connection, log, shop.clock) for _ in range(ROLLBACKS)]
            load = machine.load()
            shop.say("the same changes, followed by nothing but a watch of the Deployment")
            plain = [await _watched(connection, log, shop.clock) for _ in range(_PLAIN)]
            by_kubectl = await _by_kubectl(kubeconfig, connection, log, shop)
    return [
        Figure(
            name="Kubernetes completion noticed, p95",
            measured=percentile(found, 0.95) * 1000,
            goal=GOAL_MS,
            unit="ms",
            plain=percentile(plain, 0.95) * 1000,
            plain_tool="a bare watch by kubernetes.aio",
            detail=f"{ROLLBACKS} rollbacks: {spread(found, scale=1000, unit='ms')}{by_kubectl}",
            load=load,
        )
    ]


def _apps(connection: client.ApiClient) -> Any:
    return client.AppsV1Api(connection)


async def _deploy(connection: client.ApiClient) -> None:
    """Deploy a first release and a second one, and wait for both."""
    core: Any = client.CoreV1Api(connection)
    await core.create_namespace({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
    labels = {"app": _NAME}
    containers = [{"name": "app", "image": OLD, "command": SLEEPS}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": _NAME}, "spec": spec}
    await _apps(connection).create_namespaced_deployment(_NAMESPACE, body)
    await _complete(connection)
    await _change(connection, NEW)
    await _complete(connection)


async def _change(connection: client.ApiClient, image: str) -> None:
    body = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}
    await _apps(connection).patch_namespaced_deployment(_NAME, _NAMESPACE, body)


async def _read(connection: client.ApiClient) -> Any:
    return await _apps(connection).read_namespaced_deployment(_NAME, _NAMESPACE)


async def _other(connection: client.ApiClient) -> str:
    """Return the image that does not run now."""
    image = (await _read(connection)).spec.template.spec.containers[0].image
    return OLD if image == NEW else NEW


async def _since(connection: client.ApiClient, log: Calls, ended: float) -> float:
    """Return the seconds from the completion of the newest rollout to a moment."""
    generation = (await _read(connection)).metadata.generation
    seconds = ended - await log.wait("complete", _TITLE, str(generation))
    if seconds < 0:
        raise RuntimeError(f"somebody believed the rollout complete {-seconds:.3f} s before it was")
    return seconds


async def _roll_back(kubeconfig: Path, connection: client.ApiClient, log: Calls, clock: Clock) -> float:
    """Return the seconds between the completion and the end of the step, in which the pods have been verified."""
    revision = 1 if await _other(connection) == OLD else 2
    step = Rollback(id="back", target="shop", workload=f"deployment/{_NAME}", revision=revision)
    target = {"service": "shop", "kubeconfig": {"file": str(kubeconfig)}, "namespace": _NAMESPACE}
    inventory = Inventory.model_validate({"clusters": {"shop": target}})
    context = Context("rb-0001", make_plan(step), inventory, clock, lambda _progress: None)
    outcome = await ChangeActuator[Rollback](RevisionPin).apply(step, context)
    ended = clock.monotonic()
    if not outcome.facts["changed"]:
        raise RuntimeError(f"nothing was rolled back: {outcome.words}")
    return await _since(connection, log, ended)


async def _watched(connection: client.ApiClient, log: Calls, clock: Clock) -> float:
    """Return the same for the least client: a change, and a watch until the status says that it is complete."""
    await _change(connection, await _other(connection))
    await _complete(connection)
    return await _since(connection, log, clock.monotonic())


async def _complete(connection: client.ApiClient) -> None:
    """Return when the status of the Deployment says that its rollout is complete, as kubectl judges it."""
    only = {"namespace": _NAMESPACE, "field_selector": f"metadata.name={_NAME}"}
    listing = _apps(connection).list_namespaced_deployment
    found = await listing(**only)
    if _is_complete(found.items[0]):
        return
    stream: Any = _watch()
    async with stream as watching:
        since = found.metadata.resource_version
        async for event in watching.stream(listing, **only, resource_version=since):
            if _is_complete(event["object"]):
                return
    raise RuntimeError("the watch ended before the rollout was complete")


def _is_complete(deployment: Any) -> bool:
    status, wanted = deployment.status, deployment.spec.replicas
    if (status.observed_generation or 0) < deployment.metadata.generation:
        return False
    return bool(status.updated_replicas == status.replicas == status.available_replicas == wanted)


async def _by_kubectl(kubeconfig: Path, connection: client.ApiClient, log: Calls, shop: Workshop) -> str:
    """Return in words how long ``kubectl rollout status`` takes to end; nothing where there is no kubectl."""
    program = shutil.which("kubectl")
    if program is None:
        return ""
    shop.say("the same changes, followed by kubectl rollout status")
    found = []
    for _ in range(_KUBECTL):
        await _change(connection, await _other(connection))
        process = await asyncio.create_subprocess_exec(
            program, "--kubeconfig", str(kubeconfig), "-n", _NAMESPACE, "rollout", "status", "-w",
            f"deployment/{_NAME}", "--timeout=30s", stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if await process.wait():
            raise RuntimeError("kubectl failed")
        found.append(await _since(connection, log, shop.clock.monotonic()))
    return f"; kubectl rollout status: {spread(found, scale=1000, unit='ms')}"
