"""A workload with its revisions and pods, as they were read at one moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from actuators.kubernetes import objects
from actuators.kubernetes.api import Api, Json, Query, Resource
from actuators.kubernetes.images import label
from actuators.kubernetes.pods import Pod, read
from actuators.kubernetes.resources import CONTROLLER_REVISION, POD, REPLICA_SET, WORKLOADS

POD_TEMPLATE_HASH = "pod-template-hash"
CHANGE_CAUSE = "kubernetes.io/change-cause"
REVISION = "deployment.kubernetes.io/revision"
EARLIER = "deployment.kubernetes.io/revision-history"
PINNED = "rollback-bot/revisions"
"""Annotation of a StatefulSet or DaemonSet: which ControllerRevision had the number that a plan names. The cluster
gives a revision that comes back a new number, and keeps the old one for Deployments only."""

_HASH = "controller-revision-hash"
_DEFAULT_LIMIT = 10


@dataclass(frozen=True)
class Revision:
    """An earlier or the present form of a workload's pods.

    Attributes:
        number: Its number now.
        earlier: Numbers that it had before it came back.
        name: The ReplicaSet or ControllerRevision that holds it.
        hash: What its pods are labelled with.
        created: When it first came into being.
        cause: Its change cause, as the deployer noted it.
        template: The pods' template, without the hash.
        annotations: What else the ReplicaSet says of it.
    """

    number: int
    earlier: tuple[int, ...]
    name: str
    hash: str
    created: datetime
    cause: str
    template: Json
    annotations: dict[str, str]

    def contents(self) -> str:
        """Return its images and its cause for people."""
        cause = f" ({self.cause})" if self.cause else ""
        return f"{', '.join(images_of(self.template).values())}{cause}"

    def words(self) -> str:
        """Return it for people, with its number."""
        return f"revision {self.number}: {self.contents()}"


@dataclass(frozen=True)
class Workload:
    """A Deployment, StatefulSet or DaemonSet.

    Attributes:
        title: ``deployment/payments``, as the plan names it.
        obj: The object.
        revisions: What its history holds, the oldest first.
        pods: Its pods.
    """

    title: str
    obj: Json
    revisions: tuple[Revision, ...]
    pods: tuple[Pod, ...]

    @property
    def kind(self) -> str:
        """``deployment``, ``statefulset`` or ``daemonset``."""
        return self.title.partition("/")[0]

    @property
    def name(self) -> str:
        """Its name."""
        return self.title.partition("/")[2]

    @property
    def resource(self) -> Resource:
        """Its kind at the API server."""
        return WORKLOADS[self.kind]

    @property
    def spec(self) -> Json:
        """What it shall be."""
        found: Json = self.obj.get("spec") or {}
        return found

    @property
    def status(self) -> Json:
        """What it is, by its controller."""
        found: Json = self.obj.get("status") or {}
        return found

    @property
    def template(self) -> Json:
        """The pods' template."""
        return plain(self.spec["template"])

    @property
    def observed(self) -> bool:
        """Whether its controller has seen its newest form."""
        return bool(self.status.get("observedGeneration", 0) >= objects.meta(self.obj).get("generation", 0))

    @property
    def total(self) -> int:
        """How many pods there shall be."""
        if self.kind == "daemonset":
            return int(self.status.get("desiredNumberScheduled", 0))
        return int(self.spec.get("replicas", 1))

    @property
    def limit(self) -> int:
        """How many earlier revisions the cluster keeps."""
        return int(self.spec.get("revisionHistoryLimit", _DEFAULT_LIMIT))

    @property
    def strategy(self) -> str:
        """How pods are replaced; ``OnDelete`` means that nobody replaces them."""
        found = self.spec.get("strategy" if self.kind == "deployment" else "updateStrategy") or {}
        return str(found.get("type", "RollingUpdate"))

    @property
    def version(self) -> str:
        """What people call the version that its template names: the tag of the first container."""
        return label(next(iter(images_of(self.template).values()), ""))

    def find(self, number: int) -> Revision | None:
        """Return the revision that has, or had, a number; None if the cluster has forgotten it."""
        return next((r for r in self.revisions if number == r.number or number in r.earlier), None)

    def is_at(self, revision: Revision) -> bool:
        """Whether its template is that of a revision: by its text, or by the word of its controller."""
        return self.template == revision.template or (self.observed and self._controllers_choice() == revision.name)

    def _controllers_choice(self) -> str:
        """Return the name of the revision that the controller takes for the present one; empty: it does not tell.

        It matters where the server has added defaults since that revision was kept.
        """
        if self.kind == "deployment":
            number = objects.notes(self.obj).get(REVISION)
            return next((r.name for r in self.revisions if str(r.number) == number), "")
        if self.kind == "statefulset":
            return str(self.status.get("updateRevision", ""))
        return self.revisions[-1].name if self.revisions else ""

    def current(self) -> Revision | None:
        """Return the revision that it is at; None if its controller has not yet made one of it."""
        return next((r for r in reversed(self.revisions) if self.is_at(r)), None)

    def queries(self) -> tuple[Query, Query, Query]:
        """Return what to list and watch to follow it: itself, its revisions, its pods."""
        labels = objects.selector(self.spec.get("selector") or {})
        revisions = REPLICA_SET if self.kind == "deployment" else CONTROLLER_REVISION
        itself = Query(self.resource, fields=f"metadata.name={self.name}")
        return itself, Query(revisions, labels=labels), Query(POD, labels=labels)


def build(title: str, obj: Json, revisions: list[Json], pods: list[Json]) -> Workload:
    """Put a workload together from what its selector yields; what it does not control is left out."""
    own = objects.uid(obj)
    kept = [revision for revision in revisions if objects.controller(revision).get("uid") == own]
    deployed = title.startswith("deployment/")
    owners = {objects.uid(revision) for revision in kept} if deployed else {own}
    mine = [pod for pod in pods if objects.controller(pod).get("uid") in owners]
    history = [_replica_set(each) if deployed else _controller_revision(each, title, obj) for each in kept]
    return Workload(
        title=title,
        obj=obj,
        revisions=tuple(sorted(history, key=lambda revision: revision.number)),
        pods=tuple(read(pod, revision=POD_TEMPLATE_HASH if deployed else _HASH) for pod in mine),
    )


async def look(api: Api, title: str) -> Workload:
    """Read a workload with its revisions and pods.

    Raises:
        ApiError: If it cannot be read; status 404 if there is none.
    """
    kind, _, name = title.partition("/")
    obj = await api.get(WORKLOADS[kind], name)
    _, revisions, pods = Workload(title, obj, (), ()).queries()
    return build(title, obj, (await api.select(revisions))[0], (await api.select(pods))[0])


def plain(template: Json) -> Json:
    """Return a pods' template without what a controller or a patch has added to it."""
    found: Json = objects.without_none({key: value for key, value in template.items() if key != "$patch"})
    metadata = dict(found.get("metadata") or {})
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != POD_TEMPLATE_HASH}
    return {**found, "metadata": {**metadata, "labels": labels}}


def images_of(template: Json) -> dict[str, str]:
    """Return the images of a pods' template by container, init containers last."""
    spec = template.get("spec") or {}
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return {container["name"]: container.get("image", "") for container in containers}


def pinned(obj: Json) -> dict[str, str]:
    """Return which ControllerRevision had which number, as earlier rollbacks noted it."""
    try:
        found = json.loads(objects.notes(obj).get(PINNED, "{}"))
    except ValueError:
        return {}
    return {str(number): str(name) for number, name in found.items()} if isinstance(found, dict) else {}


def _replica_set(obj: Json) -> Revision:
    noted = objects.notes(obj)
    earlier = [int(number) for number in noted.get(EARLIER, "").split(",") if number.strip().isdigit()]
    return Revision(
        number=int(noted.get(REVISION, 0)),
        earlier=tuple(earlier),
        name=objects.name(obj),
        hash=objects.labels(obj).get(POD_TEMPLATE_HASH, ""),
        created=objects.created(obj),
        cause=noted.get(CHANGE_CAUSE, ""),
        template=plain(obj["spec"]["template"]),
        annotations=noted,
    )


def _controller_revision(obj: Json, title: str, workload: Json) -> Revision:
    name = objects.name(obj)
    statefulset = title.startswith("statefulset/")
    noted = objects.notes(obj)
    return Revision(
        number=int(obj.get("revision", 0)),
        earlier=tuple(int(number) for number, known in pinned(workload).items() if known == name),
        name=name,
        hash=name if statefulset else objects.labels(obj).get(_HASH, ""),
        created=objects.created(obj),
        cause=noted.get(CHANGE_CAUSE, ""),
        template=plain(obj["data"]["spec"]["template"]),
        annotations=noted,
    )
