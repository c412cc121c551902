"""GitOps owners: what would deploy the failed version again, and how it is told to wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from actuators.kubernetes import objects
from actuators.kubernetes.api import Api, ApiError, Json, Resource
from actuators.kubernetes.connection import cluster_of
from actuators.kubernetes.steps import GitopsStep
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError

ARGO = "argoproj.io"
_KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
_HELM = "helm.toolkit.fluxcd.io"
_TRACKING = "argocd.argoproj.io/tracking-id"
_INSTANCES = ("argocd.argoproj.io/instance", "app.kubernetes.io/instance")
_KINDS = {
    "application": (ARGO, "applications", "Application", "v1alpha1"),
    "kustomization": (_KUSTOMIZE, "kustomizations", "Kustomization", "v1"),
    "helmrelease": (_HELM, "helmreleases", "HelmRelease", "v2"),
}
DEFAULT_ARGO_NAMESPACE = "argocd"
_DEFAULT_FLUX_NAMESPACE = "flux-system"


@dataclass(frozen=True)
class Owner:
    """An object that deploys other objects from a repository.

    Attributes:
        kind: ``application``, ``kustomization`` or ``helmrelease``.
        name: Its name.
        namespace: Where it is.
        certain: Whether the mark that led to it is made by nothing else; the label that Argo CD tracks by default
            is also what Helm writes.
    """

    kind: str
    name: str
    namespace: str
    certain: bool = True

    @property
    def title(self) -> str:
        """``application/payments``, as a plan names it."""
        return f"{self.kind}/{self.name}"

    def words(self) -> str:
        """Return it for people."""
        product = "Argo CD" if self.kind == "application" else "Flux"
        return f"{product} {_KINDS[self.kind][2]} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Standing:
    """What an owner does at the moment.

    Attributes:
        owner: Which.
        obj: The object.
        automatic: Whether it deploys by itself.
        heals: Whether it also sets back what somebody else changed, without a new commit.
    """

    owner: Owner
    obj: Json
    automatic: bool
    heals: bool

    def words(self) -> str:
        """Say what it does."""
        if not self.automatic:
            return "does not deploy by itself"
        return "sets back every change by itself" if self.heals else "deploys by itself at the next commit"


def owners_of(obj: Json, *, argo_namespace: str) -> tuple[Owner, ...]:
    """Return the owners that an object's labels and annotations name.

    Args:
        obj: The object, with its kind and namespace.
        argo_namespace: Where Argo CD runs.
    """
    return tuple(dict.fromkeys(_named(obj, argo_namespace)))


def _named(obj: Json, argo_namespace: str) -> Iterator[Owner]:
    labels = objects.labels(obj)
    tracking = objects.notes(obj).get(_TRACKING, "")
    application, _, tracked = tracking.partition(":")
    if application and _is(obj, tracked):
        # Applications outside Argo CD's own namespace are tracked as NAMESPACE_NAME.
        namespace, _, name = application.rpartition("_")
        yield Owner("application", name, namespace or argo_namespace)
    else:
        label = next((each for each in _INSTANCES if labels.get(each)), None)
        if label is not None:
            yield Owner("application", labels[label], argo_namespace, certain=label == _INSTANCES[0])
    for kind, group in (("kustomization", _KUSTOMIZE), ("helmrelease", _HELM)):
        if labels.get(f"{group}/name") and labels.get(f"{group}/namespace"):
            yield Owner(kind, labels[f"{group}/name"], labels[f"{group}/namespace"])


def _is(obj: Json, tracked: str) -> bool:
    """Whether a tracking id is this object's own: copies of it are left alone by Argo CD, and by us."""
    kind, _, name = tracked.partition(":")
    return kind.rpartition("/")[2] == obj.get("kind") and name.rpartition("/")[2] == objects.name(obj)


async def resource_of(api: Api, kind: str) -> Resource | None:
    """Return the kind of an owner as this cluster serves it; None if it is not installed."""
    group, plural, name, preferred = _KINDS[kind]
    versions = await api.served(group)
    if not versions:
        return None
    return Resource(group, preferred if preferred in versions else versions[0], plural, name)


async def standing(api: Api, owner: Owner) -> Standing | None:
    """Return what an owner does at the moment; None if there is no such owner.

    Raises:
        ApiError: If it cannot be read.
    """
    resource = await resource_of(api, owner.kind)
    if resource is None:
        return None
    try:
        obj = await api.find(resource, owner.name, namespace=owner.namespace)
    except ApiError as error:
        if error.status == HTTPStatus.FORBIDDEN and not owner.certain:
            return None
        raise
    return None if obj is None else judge(owner, obj)


def judge(owner: Owner, obj: Json) -> Standing:
    """Say what an owner does by its specification."""
    spec = obj.get("spec") or {}
    if owner.kind == "application":
        automated: Json | None = (spec.get("syncPolicy") or {}).get("automated")
        if automated is None or automated.get("enabled") is False:
            return Standing(owner, obj, automatic=False, heals=False)
        return Standing(owner, obj, automatic=True, heals=bool(automated.get("selfHeal")))
    automatic = not spec.get("suspend")
    detects = (spec.get("driftDetection") or {}).get("mode") == "enabled"
    return Standing(owner, obj, automatic, heals=automatic and (owner.kind == "kustomization" or detects))


def owner_of(step: GitopsStep, context: Context) -> Owner:
    """Return the owner that a step names."""
    target = cluster_of(step, context)
    kind, _, name = step.owner.partition("/")
    default = {
        "application": target.argocd or DEFAULT_ARGO_NAMESPACE,
        "kustomization": _DEFAULT_FLUX_NAMESPACE,
        "helmrelease": target.namespace,
    }
    return Owner(kind, name, step.namespace or default[kind])


async def installed(api: Api, owner: Owner) -> Resource:
    """Return the kind of an owner as this cluster serves it.

    Raises:
        ActuatorError: If it is not installed.
    """
    resource = await resource_of(api, owner.kind)
    if resource is not None:
        return resource
    raise ActuatorError(
        f"The cluster at {api.server} serves no {_KINDS[owner.kind][2]} ({_KINDS[owner.kind][0]}).",
        untouched="Nothing was changed.",
        resolution="Correct `owner` in the plan, or the cluster in the inventory.",
    )
