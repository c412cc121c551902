"""VirtualServices and HTTPRoutes in the terms of `actuators.mesh.routes`."""

from __future__ import annotations

from dataclasses import dataclass

from actuators.kubernetes.api import Api, Json, Resource
from actuators.mesh.routes import Form
from actuators.mesh.steps import Backend, Destination, GatewayWeights, MeshWeights
from bot.domain.errors import ActuatorError

ISTIO = "networking.istio.io"
GATEWAY = "gateway.networking.k8s.io"


@dataclass(frozen=True)
class Host:
    """A service by the name that a route uses.

    Attributes:
        name: The service.
        namespace: Its namespace; empty: it is no service of the cluster.
    """

    name: str
    namespace: str


def host_of(text: str, namespace: str) -> Host:
    """Read a host: ``payments``, ``payments.shop`` or ``payments.shop.svc.cluster.local``."""
    name, *rest = text.split(".")
    if not rest:
        return Host(name, namespace)
    if len(rest) == 1 or rest[1] == "svc":
        return Host(name, rest[0])
    return Host(text, "")


@dataclass(frozen=True)
class IstioPart:
    """A destination of a VirtualService.

    Attributes:
        wanted: As the step names it.
        namespace: The route's namespace.
    """

    wanted: Destination
    namespace: str

    @property
    def weight(self) -> int:
        """Its weight."""
        return self.wanted.weight

    def label(self) -> str:
        """Return its name for people."""
        return self.wanted.subset or host_of(self.wanted.host, self.namespace).name

    def fits(self, entry: Json) -> bool:
        """Whether an entry of a route is this destination: short and full names are the same."""
        found = entry.get("destination") or {}
        port = (found.get("port") or {}).get("number")
        return (
            host_of(str(found.get("host", "")), self.namespace) == host_of(self.wanted.host, self.namespace)
            and found.get("subset") == self.wanted.subset
            and self.wanted.port in (None, port)
        )

    def entry(self) -> Json:
        """Return a new entry."""
        destination: Json = {"host": self.wanted.host}
        if self.wanted.subset:
            destination["subset"] = self.wanted.subset
        if self.wanted.port:
            destination["port"] = {"number": self.wanted.port}
        return {"destination": destination, "weight": self.wanted.weight}


@dataclass(frozen=True)
class GatewayPart:
    """A backend of an HTTPRoute.

    Attributes:
        wanted: As the step names it.
        namespace: The route's namespace.
    """

    wanted: Backend
    namespace: str

    @property
    def weight(self) -> int:
        """Its weight."""
        return self.wanted.weight

    def label(self) -> str:
        """Return its name for people."""
        return self.wanted.name

    def fits(self, entry: Json) -> bool:
        """Whether an entry of a rule is this backend."""
        return (
            entry.get("kind", "Service") == "Service"
            and entry.get("name") == self.wanted.name
            and entry.get("namespace", self.namespace) == (self.wanted.namespace or self.namespace)
            and self.wanted.port in (None, entry.get("port"))
        )

    def entry(self) -> Json:
        """Return a new entry."""
        if self.wanted.port is None:
            raise ActuatorError(
                f"The route has no backend {self.wanted.name}, and without a port it cannot be added.",
                untouched="Nothing was changed.",
                resolution="Name the backend's port in the plan.",
            )
        entry: Json = {"name": self.wanted.name, "port": self.wanted.port, "weight": self.wanted.weight}
        return {**entry, "namespace": self.wanted.namespace} if self.wanted.namespace else entry


def form_of(step: MeshWeights | GatewayWeights, namespace: str) -> Form:
    """Return how the step's route is written and what it shall be."""
    if isinstance(step, MeshWeights):
        return Form(
            title=f"VirtualService {step.virtual_service}",
            section="http",
            targets="route",
            wanted=[IstioPart(destination, namespace) for destination in step.destinations],
            names=step.routes,
            default=0,
            alone=100,
            named=_destination,
        )
    return Form(
        title=f"HTTPRoute {step.route}",
        section="rules",
        targets="backendRefs",
        wanted=[GatewayPart(backend, namespace) for backend in step.backends],
        names=step.rules,
        default=1,
        alone=1,
        named=_backend,
    )


def _destination(entry: Json) -> Json | None:
    """Return an entry of a VirtualService as `Destination` has it, without its weight."""
    found = entry.get("destination") or {}
    port = (found.get("port") or {}).get("number")
    return {"host": found.get("host"), "subset": found.get("subset"), "port": port}


def _backend(entry: Json) -> Json | None:
    """Return an entry of an HTTPRoute as `Backend` has it, without its weight; None if it is no Service."""
    if entry.get("kind", "Service") != "Service":
        return None
    return {key: entry.get(key) for key in ("name", "namespace", "port")}


def name_of(step: MeshWeights | GatewayWeights) -> str:
    """Return the name of the step's route."""
    return step.virtual_service if isinstance(step, MeshWeights) else step.route


async def kind_of(api: Api, group: str, plural: str, kind: str) -> Resource:
    """Return a kind as this cluster serves it, in its preferred version.

    Raises:
        ActuatorError: If it is not installed.
    """
    versions = await api.served(group)
    if versions:
        return Resource(group, versions[0], plural, kind)
    raise ActuatorError(
        f"The cluster at {api.server} serves no {kind} ({group}).",
        untouched="Nothing was changed.",
        resolution="Correct the target in the plan, or the cluster in the inventory.",
    )


async def resource_of(api: Api, step: MeshWeights | GatewayWeights) -> Resource:
    """Return the kind of the step's route."""
    if isinstance(step, MeshWeights):
        return await kind_of(api, ISTIO, "virtualservices", "VirtualService")
    return await kind_of(api, GATEWAY, "httproutes", "HTTPRoute")
