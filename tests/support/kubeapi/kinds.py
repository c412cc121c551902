"""The kinds of objects that the double serves."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        group: API group, empty for the core.
        versions: Served versions, the preferred one first.
        plural: Name in paths.
        kind: Name in objects.
        namespaced: Whether it is in namespaces.
        custom: Whether it is a custom resource: no strategic merge, no defaults.
        status: Whether its status is a subresource.
        fields: What a field selector may name beyond name and namespace.
    """

    group: str
    versions: tuple[str, ...]
    plural: str
    kind: str
    namespaced: bool = True
    custom: bool = False
    status: bool = True
    fields: frozenset[str] = field(default_factory=frozenset)

    @property
    def api_version(self) -> str:
        """The version in objects."""
        return f"{self.group}/{self.versions[0]}" if self.group else self.versions[0]

    @property
    def selectable(self) -> frozenset[str]:
        """What a field selector may name."""
        return self.fields | {"metadata.name", "metadata.namespace"}


def _core(plural: str, kind: str, **more: bool | frozenset[str]) -> Kind:
    return Kind("", ("v1",), plural, kind, **more)  # type: ignore[arg-type] # keywords of one table below


def _custom(group: str, plural: str, kind: str, *versions: str) -> Kind:
    return Kind(group, versions, plural, kind, custom=True)


KINDS: tuple[Kind, ...] = (
    _core("namespaces", "Namespace", namespaced=False),
    _core("pods", "Pod", fields=frozenset({"spec.nodeName", "status.phase"})),
    _core("services", "Service"),
    _core("configmaps", "ConfigMap", status=False),
    _core("secrets", "Secret", status=False, fields=frozenset({"type"})),
    _core("serviceaccounts", "ServiceAccount", status=False),
    _core("events", "Event", status=False, fields=frozenset({"involvedObject.uid", "involvedObject.name", "type"})),
    Kind("apps", ("v1",), "deployments", "Deployment"),
    Kind("apps", ("v1",), "replicasets", "ReplicaSet"),
    Kind("apps", ("v1",), "statefulsets", "StatefulSet"),
    Kind("apps", ("v1",), "daemonsets", "DaemonSet"),
    Kind("apps", ("v1",), "controllerrevisions", "ControllerRevision", status=False),
    Kind("rbac.authorization.k8s.io", ("v1",), "roles", "Role", status=False),
    Kind("rbac.authorization.k8s.io", ("v1",), "rolebindings", "RoleBinding", status=False),
    _custom("argoproj.io", "applications", "Application", "v1alpha1"),
    _custom("kustomize.toolkit.fluxcd.io", "kustomizations", "Kustomization", "v1"),
    _custom("helm.toolkit.fluxcd.io", "helmreleases", "HelmRelease", "v2", "v2beta2"),
    _custom("networking.istio.io", "virtualservices", "VirtualService", "v1", "v1beta1"),
    _custom("networking.istio.io", "destinationrules", "DestinationRule", "v1", "v1beta1"),
    _custom("gateway.networking.k8s.io", "httproutes", "HTTPRoute", "v1"),
)


def find(group: str, version: str, plural: str) -> Kind | None:
    """Return the kind of a path, None if it is not served."""
    return next((k for k in KINDS if (k.group, k.plural) == (group, plural) and version in k.versions), None)


def named(kind: str) -> Kind:
    """Return the kind of that name."""
    return next(each for each in KINDS if each.kind == kind)
