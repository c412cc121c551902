"""The API server of a cluster: reads, pinned writes and watches of plain JSON objects.

Objects stay JSON: a model would drop fields that are newer than it, and a patch made from it would take them away.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from actuators.kubernetes.wire import WATCH_SECONDS, ApiError, Json, Wire
from actuators.redact import redact
from bot.domain.clock import Clock

__all__ = ["FIELD_MANAGER", "Api", "ApiError", "Json", "Patch", "Query", "Resource"]

FIELD_MANAGER = "rollback-bot"
"""The name under which the API server notes what the bot changed."""

_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=1"


class Patch(StrEnum):
    """How a patch is laid over an object: lists by their merge keys, or replaced whole (custom resources)."""

    STRATEGIC = "application/strategic-merge-patch+json"
    MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Resource:
    """A kind of objects, as the API server serves it.

    Attributes:
        group: The API group; empty for the core.
        version: The version.
        plural: The name in paths and rules.
        kind: The name in objects.
    """

    group: str
    version: str
    plural: str
    kind: str

    def path(self, namespace: str, name: str = "", *, subresource: str = "") -> str:
        """Return the path of one object, or of all in the namespace."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return "/".join(filter(None, (base, f"namespaces/{namespace}", self.plural, name, subresource)))


@dataclass(frozen=True)
class Query:
    """Which objects are listed and watched.

    Attributes:
        resource: Their kind.
        labels: A label selector; empty: whatever their labels.
        fields: A field selector, e.g. ``metadata.name=payments``.
    """

    resource: Resource
    labels: str = ""
    fields: str = ""

    def params(self) -> list[tuple[str, str]]:
        """Return the query of the request."""
        return [(k, v) for k, v in (("labelSelector", self.labels), ("fieldSelector", self.fields)) if v]


class Api:
    """The API server, as seen from one namespace.

    Args:
        client: A `kubernetes.aio` client with credentials.
        server: The server's address, for messages.
        namespace: The namespace of the target.
        clock: The time.
    """

    def __init__(self, client: Any, *, server: str, namespace: str, clock: Clock) -> None:
        self._wire = Wire(client, server=server)
        self.server = server
        self.namespace = namespace
        self.clock = clock

    async def get(self, resource: Resource, name: str, *, namespace: str = "", metadata_only: bool = False) -> Json:
        """Return an object.

        Args:
            resource: Its kind.
            name: Its name.
            namespace: Its namespace, if it is not the target's.
            metadata_only: Whether the data stays at the server: for Secrets.

        Raises:
            ApiError: If it cannot be read; status 404 if there is none.
        """
        headers = {"Accept": _METADATA_ONLY if metadata_only else "application/json"}
        path = resource.path(namespace or self.namespace, name)
        return await self._wire.ask("GET", path, doing=f"read {resource.kind} {name}", headers=headers)

    async def find(
        self, resource: Resource, name: str, *, namespace: str = "", metadata_only: bool = False
    ) -> Json | None:
        """Return an object, or None if there is none."""
        try:
            return await self.get(resource, name, namespace=namespace, metadata_only=metadata_only)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def select(self, query: Query) -> tuple[list[Json], str]:
        """Return the objects, and the version of the collection from which a watch goes on."""
        path = query.resource.path(self.namespace)
        found = await self._wire.ask("GET", path, doing=f"list {query.resource.plural}", params=query.params())
        return found.get("items") or [], found.get("metadata", {}).get("resourceVersion", "")

    async def patch(
        self, resource: Resource, name: str, body: Json, *, how: Patch, namespace: str = "", dry_run: bool = False
    ) -> Json:
        """Change an object.

        Args:
            resource: Its kind.
            name: Its name.
            body: The patch. With `metadata.resourceVersion` it is refused (409) if the object has changed since.
            how: How the patch is laid over the object.
            namespace: Its namespace, if it is not the target's.
            dry_run: Whether everything is verified and nothing is kept.

        Returns:
            The object as it is afterwards.
        """
        params = [("fieldManager", FIELD_MANAGER), *([("dryRun", "All")] if dry_run else [])]
        return await self._wire.ask(
            "PATCH",
            resource.path(namespace or self.namespace, name),
            doing=f"change {resource.kind} {name}",
            params=params,
            headers={"Content-Type": how.value},
            body=body,
        )

    async def delete(self, resource: Resource, name: str, *, uid: str) -> None:
        """Delete exactly that object; one that is gone, or another one of the same name, is left as it is."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._wire.ask(
                "DELETE", resource.path(self.namespace, name), doing=f"delete {resource.kind} {name}", body=body
            )
        except ApiError as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise

    async def create(self, path: str, body: Json, *, doing: str) -> Json:
        """Post a document, e.g. a review, and return the answer."""
        return await self._wire.ask("POST", path, doing=doing, body=body)

    async def version(self) -> str:
        """Return the version of the API server, a question mark where it is not told to everybody."""
        try:
            found = await self._wire.ask("GET", "/version", doing="tell its version")
        except ApiError as error:
            if error.status == HTTPStatus.FORBIDDEN:
                return "?"
            raise
        return str(found.get("gitVersion", "?"))

    async def served(self, group: str) -> tuple[str, ...]:
        """Return the served versions of an API group, the preferred one first; none: there is no such group."""
        try:
            found = await self._wire.ask("GET", f"/apis/{group}", doing=f"say which versions of {group} it serves")
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return ()
            raise
        versions = [entry["version"] for entry in found.get("versions") or []]
        preferred = found.get("preferredVersion", {}).get("version")
        return tuple(sorted(versions, key=lambda version: version != preferred))

    async def log(self, pod: str, container: str, *, previous: bool, lines: int) -> str:
        """Return the last lines that a container wrote, redacted."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        params = [("container", container), ("tailLines", str(lines)), ("limitBytes", "65536")]
        if previous:
            params.append(("previous", "true"))
        data = await self._wire.read("GET", path, doing=f"read the log of pod {pod}", params=params)
        return redact(data.decode(errors="replace"))

    async def watch(self, query: Query, *, since: str) -> AsyncGenerator[tuple[str, Json], None]:
        """Yield (type, object) of what changes, bookmarks included, until the server ends the watch.

        Raises:
            ApiError: If it cannot go on; status 410 if `since` is too old and the objects must be listed again.
        """
        params = [
            *query.params(),
            ("watch", "true"),
            ("resourceVersion", since),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(WATCH_SECONDS)),
        ]
        path = query.resource.path(self.namespace)
        async with aclosing(
            self._wire.stream(path, doing=f"watch {query.resource.plural}", params=params)
        ) as events:
            async for event in events:
                yield event
