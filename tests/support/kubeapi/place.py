"""A namespace to test in: of the double, or of a real cluster where ROLLBACK_TEST_KUBECONFIG names one."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import actuators.kubernetes
import actuators.mesh
from actuators.kubernetes.api import Api, Json, Patch, Resource
from actuators.kubernetes.connection import opened
from actuators.kubernetes.resources import WORKLOADS
from actuators.kubernetes.rollout import rollout
from actuators.kubernetes.steps import Pods
from actuators.kubernetes.watching import Mirror, mirrored
from actuators.kubernetes.workload import Workload, build, look
from bot.domain.actuation import (
    Check,
    Context,
    Fault,
    KnowsRemedies,
    Observation,
    Outcome,
    Registry,
    Remedy,
    Verdict,
)
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.support.actuation import FakeClock, RealClock, Reports, make_context, make_plan
from tests.support.kubeapi import KubeApi, running
from tests.support.kubeapi.kinds import named

OLD, NEW, MISSING = "busybox:1.36", "busybox:1.37", "busybox:no-such-tag"
SLEEPS = ["sh", "-c", "sleep 3600"]
CRASHES = ["sh", "-c", "echo schema is too old; exit 3"]
_REAL = os.environ.get("ROLLBACK_TEST_KUBECONFIG")
_PATIENCE = 120 if _REAL else 10


REGISTRY = Registry(*actuators.kubernetes.register(), *actuators.mesh.register())
SOON = timedelta(seconds=90 if _REAL else 1)
"""How long a step may take that is to fail."""


class Checks(tuple[Check, ...]):
    """What a check found."""

    __slots__ = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        order = (Verdict.OK, Verdict.WARN, Verdict.FAIL)
        return max((check.verdict for check in self), key=order.index)

    def of(self, subject: str, verdict: Verdict | None = None) -> str:
        """Return the words on a subject, with what to do, one line each."""
        found = [c for c in self if c.subject == subject and verdict in (None, c.verdict)]
        return "\n".join(f"{c.verdict}: {c.words} {c.resolution}".rstrip() for c in found)


@dataclass
class Place:
    """A namespace with what tests do to it.

    Attributes:
        api: The API server, as an administrator.
        folder: For kubeconfigs.
        kubeconfig: The administrator's.
        double: The double; None on a real cluster.
        reports: What the actuators reported.
        clock: Their time.
    """

    api: Api
    folder: Path
    kubeconfig: Path
    double: KubeApi | None
    reports: Reports = field(default_factory=Reports)
    clock: RealClock | FakeClock = field(default_factory=RealClock)

    @property
    def namespace(self) -> str:
        """Its name."""
        return self.api.namespace

    def inventory(self, kubeconfig: Path | None = None) -> dict[str, Any]:
        """Return an inventory with the cluster as ``shop``."""
        where = {"file": str(kubeconfig or self.kubeconfig)}
        cluster = {"service": "shop", "kubeconfig": where, "namespace": self.namespace, "argocd": self.namespace}
        return {"clusters": {"shop": cluster}}

    def context(self, *steps: Step, kubeconfig: Path | None = None) -> Context:
        """Return the context of a run of these steps."""
        return make_context(make_plan(*steps), self.inventory(kubeconfig), clock=self.clock, reports=self.reports)

    async def check(self, step: Step, *others: Step, kubeconfig: Path | None = None) -> Checks:
        """Let a step's actuator check, as part of a plan with other steps before it."""
        context = self.context(*others, step, kubeconfig=kubeconfig)
        return Checks(await REGISTRY.actuator(step).check(step, context))

    async def observe(self, step: Step) -> Observation:
        """Let a step's actuator look."""
        return await REGISTRY.actuator(step).observe(step, self.context(step))

    async def apply(self, step: Step, *, kubeconfig: Path | None = None) -> Outcome:
        """Let a step's actuator act."""
        return await REGISTRY.actuator(step).apply(step, self.context(step, kubeconfig=kubeconfig))

    async def fails(self, step: Step) -> ActuatorError:
        """Let a step's actuator act, and return the error that it ends with."""
        with pytest.raises(ActuatorError) as caught:
            await self.apply(step)
        return caught.value

    async def remedies(self, step: Step) -> dict[str, Remedy]:
        """Return the remedies that a step's actuator knows, by id."""
        actuator = REGISTRY.actuator(step)
        assert isinstance(actuator, KnowsRemedies)
        found = await actuator.remedies(step, Fault("it failed"), self.context(step))
        return {remedy.id: remedy for remedy in found}

    async def create(self, kind: str, body: Json) -> Json:
        """Make an object of a kind."""
        known = named(kind)
        resource = Resource(known.group, known.versions[0], known.plural, known.kind)
        document = {"apiVersion": known.api_version, "kind": kind, **body}
        return await self.api.create(resource.path(self.namespace), document, doing=f"create {kind}")

    async def change(self, title: str, body: Json) -> Json:
        """Lay a strategic merge patch over a workload."""
        kind, _, name = title.partition("/")
        return await self.api.patch(WORKLOADS[kind], name, body, how=Patch.STRATEGIC)

    async def send_as(self, manager: str, path: str, body: Json, *, how: Patch = Patch.STRATEGIC) -> None:
        """Change an object in the name of another field manager."""
        headers, params = {"Content-Type": how.value}, [("fieldManager", manager)]
        await self.api._wire.ask("PATCH", path, doing="be changed", params=params, headers=headers, body=body)

    async def deploy(
        self, title: str, image: str = OLD, *, cause: str = "", settled: bool = True, **pod: Any
    ) -> Workload:
        """Deploy a version of a workload, the first or a further one.

        Args:
            title: ``deployment/web``.
            image: The image of its container ``app``.
            cause: The change cause.
            settled: Whether to wait until its rollout is complete.
            pod: Further keys of the container.

        Returns:
            The workload then.
        """
        kind, _, name = title.partition("/")
        template = _template(name, image, pod)
        notes = {"kubernetes.io/change-cause": cause} if cause else {}
        found = await self.api.find(WORKLOADS[kind], name)
        if found is None:
            spec: Json = {"selector": {"matchLabels": {"app": name}}, "template": template}
            spec |= {"serviceName": name} if kind == "statefulset" else {}
            spec |= {} if kind == "daemonset" else {"replicas": 2}
            metadata = {"name": name, "annotations": notes}
            await self.create(WORKLOADS[kind].kind, {"metadata": metadata, "spec": spec})
        else:
            container = {"name": "app", "image": image, "command": SLEEPS, **pod}
            spec = {"template": {"spec": {"containers": [container]}}}
            await self.change(title, {"metadata": {"annotations": notes}, "spec": spec})
        if settled:
            return await self.until(title, lambda workload: rollout(workload).complete and _counted(workload))
        return await self.until(title, lambda workload: workload.observed)

    async def until(self, title: str, good: Callable[[Workload], bool]) -> Workload:
        """Wait until a workload is as wanted."""
        first = await look(self.api, title)
        async with asyncio.timeout(_PATIENCE), mirrored(self.api, *first.queries()) as mirror:
            while True:
                workload = _built(title, mirror)
                if workload is not None and good(workload):
                    return workload
                await mirror.changed()

    async def digest(self, title: str) -> str:
        """Return the digest of the image that a workload's pods run."""
        workload = await self.until(title, lambda found: any(p.image_ids.get("app") for p in found.pods))
        image_id = next(pod.image_ids["app"] for pod in workload.pods if pod.image_ids.get("app"))
        return image_id.partition("@")[2]

    async def pass_time(self, seconds: float) -> None:
        """Let time go by, as objects tell it."""
        if self.double is not None:
            self.double.put_forward(seconds)
        else:
            await asyncio.sleep(seconds)  # noqa: TID251 - a real cluster has the machine's time

    async def account(self, name: str, rules: Iterable[Json]) -> Path:
        """Make a service account that may do just this, and return its kubeconfig."""
        await self.create("ServiceAccount", {"metadata": {"name": name}})
        await self.create("Role", {"metadata": {"name": name}, "rules": list(rules)})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        await self.create("RoleBinding", {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        token = (await self.api.create(path, request, doing="give a token"))["status"]["token"]
        return self.as_user(name, {"token": token})

    def as_user(self, name: str, user: Json) -> Path:
        """Write a kubeconfig for somebody else of the same cluster."""
        document = yaml.safe_load(self.kubeconfig.read_text())
        wanted = document["current-context"]
        context = next(c["context"] for c in document["contexts"] if c["name"] == wanted)
        document["users"] = [{"name": "user", "user": user}]
        document["contexts"] = [{"name": wanted, "context": {**context, "user": "user"}}]
        return write(self.folder / f"{name}.kubeconfig", document)

    async def serves(self, group: str) -> None:
        """Skip the test where the cluster has no such kinds installed."""
        if not await self.api.served(group):
            pytest.skip(f"the cluster serves no {group}")


def write(path: Path, document: Json) -> Path:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@asynccontextmanager
async def somewhere(folder: Path, *, real: Path | None = Path(_REAL) if _REAL else None) -> AsyncIterator[Place]:
    """Yield a namespace of its own, and remove it afterwards.

    Args:
        folder: For kubeconfigs.
        real: The kubeconfig of a real cluster; None: a double is started.
    """
    if real is not None:
        async with _namespace(real, folder, None) as place:
            yield place
    else:
        async with running() as double:
            kubeconfig = write(folder / "admin.kubeconfig", double.kubeconfig())
            async with _namespace(kubeconfig, folder, double) as place:
                yield place


@asynccontextmanager
async def _namespace(kubeconfig: Path, folder: Path, double: KubeApi | None) -> AsyncIterator[Place]:
    name = f"rollback-test-{uuid.uuid4().hex[:8]}"
    step = Pods(id="open", target="shop", workload="deployment/none")
    cluster = {"service": "shop", "kubeconfig": {"file": str(kubeconfig)}, "namespace": name}
    context = make_context(make_plan(step), {"clusters": {"shop": cluster}})
    async with opened(step, context) as api:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await api.create("/api/v1/namespaces", body, doing="create a namespace")
        try:
            yield Place(api, folder, kubeconfig, double)
        finally:
            await api._wire.ask("DELETE", f"/api/v1/namespaces/{name}", doing="remove the namespace")


def _template(name: str, image: str, more: Json) -> Json:
    container = {"name": "app", "image": image, "command": SLEEPS, **more}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def _built(title: str, mirror: Mirror) -> Workload | None:
    found = mirror.objects(0)
    return build(title, found[0], mirror.objects(1), mirror.objects(2)) if found else None


def _counted(workload: Workload) -> bool:
    """Whether the pods that were watched beside the workload tell the same as its status."""
    stay = not any(pod.leaving for pod in workload.pods)
    return stay and len(workload.pods) == workload.total > 0 and workload.current() is not None
