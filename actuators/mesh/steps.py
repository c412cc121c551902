"""The steps on a service mesh and on Gateway API routes, as plans write them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from actuators.kubernetes.steps import ObjectName
from bot.domain.inventory import Model
from bot.domain.plan import Step

RuleName = Annotated[str, Field(min_length=1, max_length=253)]
"""The name of one of a route's rules."""

_WHOLE = 100
_MOST = 1_000_000


class Destination(Model):
    """Where a part of the traffic goes, in Istio's words.

    Attributes:
        host: The service, by its short or full name.
        subset: A subset of it that a DestinationRule defines.
        port: The port's number, where the route names one.
        weight: Per cent of the requests.
    """

    host: str = Field(min_length=1, max_length=253)
    subset: ObjectName | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    weight: int = Field(ge=0, le=_WHOLE)


class Backend(Model):
    """Where a part of the traffic goes, in the Gateway API's words.

    Attributes:
        name: The Service.
        namespace: Its namespace, if it is not the route's.
        port: The port's number, where the route names one.
        weight: Its share is this by the sum of all weights.
    """

    name: ObjectName
    namespace: ObjectName | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    weight: int = Field(ge=0, le=_MOST)


class MeshWeights(Step):
    """A VirtualService splits its traffic like this; destinations that are not named get none.

    Attributes:
        virtual_service: Its name.
        routes: The names of its HTTP routes that are changed; empty: the only one that it has.
        destinations: All that shall get traffic, and those that shall get none as far as they are to be named.
    """

    kind: Literal["mesh.weights"] = "mesh.weights"
    virtual_service: ObjectName
    routes: tuple[RuleName, ...] = ()
    destinations: tuple[Destination, ...] = Field(min_length=1)

    @field_validator("destinations")
    @classmethod
    def _whole(cls, value: tuple[Destination, ...]) -> tuple[Destination, ...]:
        total = sum(destination.weight for destination in value)
        if total != _WHOLE:
            raise ValueError(f"the weights must be {_WHOLE} together, not {total}")
        if len({(d.host, d.subset, d.port) for d in value}) < len(value):
            raise ValueError("a destination stands twice")
        return value

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Split the traffic of {self.virtual_service}: {_split(self.destinations)}"


class MeshSubset(Step):
    """A subset of a DestinationRule selects the pods with these labels.

    Attributes:
        destination_rule: Its name.
        subset: The subset; it is made if it is not there.
        labels: What its pods are labelled with.
    """

    kind: Literal["mesh.subset"] = "mesh.subset"
    destination_rule: ObjectName
    subset: ObjectName
    labels: dict[str, str] = Field(min_length=1)

    def words(self) -> str:
        """Return the step in words, for people."""
        labels = ", ".join(f"{key}={value}" for key, value in sorted(self.labels.items()))
        return self.title or f"Point subset {self.subset} of {self.destination_rule} at {labels}"


class GatewayWeights(Step):
    """An HTTPRoute splits its traffic like this; backends that are not named get none.

    Attributes:
        route: Its name.
        rules: The names of its rules that are changed; empty: the only one that it has.
        backends: All that shall get traffic, and those that shall get none as far as they are to be named.
    """

    kind: Literal["gateway.weights"] = "gateway.weights"
    route: ObjectName
    rules: tuple[RuleName, ...] = ()
    backends: tuple[Backend, ...] = Field(min_length=1)

    @field_validator("backends")
    @classmethod
    def _some(cls, value: tuple[Backend, ...]) -> tuple[Backend, ...]:
        if not any(backend.weight for backend in value):
            raise ValueError("at least one backend must get traffic")
        if len({(b.name, b.namespace, b.port) for b in value}) < len(value):
            raise ValueError("a backend stands twice")
        return value

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Split the traffic of {self.route}: {_split(self.backends)}"


def _split(parts: tuple[Destination, ...] | tuple[Backend, ...]) -> str:
    total = sum(part.weight for part in parts)
    return ", ".join(
        f"{part.subset or part.host if isinstance(part, Destination) else part.name} {part.weight / total:.0%}"
        for part in parts
    )
