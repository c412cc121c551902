"""The double's objects: versions, conflicts, generations, field managers, deletion and the events of watches."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from tests.support.kubeapi.kinds import Kind, named

Json = dict[str, Any]
T = TypeVar("T")
Key = tuple[str, str, str]
"""Plural with group, namespace, name."""

_MOST_EVENTS = 5000
"""So many changes are kept for watches; older ones are forgotten, as the real server compacts its history."""

_WITHOUT_GENERATION = frozenset({"metadata", "status", "apiVersion", "kind"})


class RefusedError(Exception):
    """The server refuses, as a Status says it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Event:
    """A change as watches tell it.

    Attributes:
        version: The resource version that it led to.
        kind: Plural and group.
        before: The object before; None if it was added.
        after: The object afterwards; None if it was deleted.
    """

    version: int
    kind: str
    before: Json | None
    after: Json | None


def clone(value: T) -> T:
    """Return a copy of a JSON value."""
    copied: Any = value
    if isinstance(value, dict):
        copied = {key: clone(inner) for key, inner in value.items()}
    elif isinstance(value, list):
        copied = [clone(inner) for inner in value]
    found: T = copied
    return found


def slot(kind: Kind) -> str:
    """Return where a kind's objects are kept."""
    return f"{kind.plural}.{kind.group}"


@dataclass
class Store:
    """All objects.

    Attributes:
        objects: By key.
        version: The newest resource version.
        events: What watches can still be told.
        oldest: The oldest version that a watch can go on from.
        ahead: How far the clock of the double has been put forward.
    """

    objects: dict[Key, Json] = field(default_factory=dict)
    version: int = 1000
    events: list[Event] = field(default_factory=list)
    oldest: int = 0
    ahead: timedelta = timedelta(0)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> str:
        """Return the time of day as objects hold it."""
        moment = datetime.now(UTC) + self.ahead  # noqa: TID251 - the double is a server with a clock of its own
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Return a copy of an object."""
        found = self.objects.get((slot(kind), namespace, name))
        if found is None:
            group = f".{kind.group}" if kind.group else ""
            raise RefusedError(404, "NotFound", f'{kind.plural}{group} "{name}" not found')
        return clone(found)

    def all(self, kind: Kind, namespace: str = "", *, keep: Callable[[Json], bool] | None = None) -> list[Json]:
        """Return copies of the objects of a kind, of one namespace or all, as far as they are to be kept."""
        where = slot(kind)
        keys = sorted(key for key in self.objects if key[0] == where and namespace in ("", key[1]))
        found = [self.objects[key] for key in keys]
        return [clone(obj) for obj in found if keep is None or keep(obj)]

    def create(self, kind: Kind, namespace: str, obj: Json, *, manager: str, dry: bool = False) -> Json:
        """Add an object."""
        obj = clone(obj)
        metadata = obj.setdefault("metadata", {})
        if "generateName" in metadata and not metadata.get("name"):
            metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        name = metadata["name"]
        if (slot(kind), namespace, name) in self.objects:
            raise RefusedError(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        obj.update(apiVersion=kind.api_version, kind=kind.kind)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=self.now())
        if kind.namespaced:
            metadata["namespace"] = namespace
        if kind.status or kind.custom:
            metadata["generation"] = 1
        return self._put(kind, None, obj, manager=manager, subresource="", dry=dry)

    def update(
        self, kind: Kind, before: Json, after: Json, *, manager: str, subresource: str = "", dry: bool = False
    ) -> Json:
        """Replace an object by its changed copy, if it has not been changed since.

        Args:
            kind: Its kind.
            before: As it was read just now.
            after: As it shall be; its resource version, if it has one, is the precondition.
            manager: Who writes.
            subresource: ``status``, or empty.
            dry: Whether nothing is kept.
        """
        metadata, old = after["metadata"], before["metadata"]
        current = self.get(kind, old.get("namespace", ""), old["name"])["metadata"]["resourceVersion"]
        if not current == old["resourceVersion"] == metadata.get("resourceVersion", current):
            raise RefusedError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {kind.plural}.{kind.group} "{old["name"]}": the object has been '
                "modified; please apply your changes to the latest version and try again",
            )
        after = clone(after)
        for fixed in ("uid", "creationTimestamp", "name", "namespace", "generation", "deletionTimestamp"):
            if fixed in old:
                after["metadata"][fixed] = old[fixed]
        if subresource == "status":
            after = {
                **clone(before),
                "status": after.get("status", {}),
                "metadata": {**clone(old), "annotations": after["metadata"].get("annotations", {})},
            }
        elif kind.status and "status" in before:
            after["status"] = clone(before["status"])
        if _substance(after) != _substance(before) and "generation" in old:
            after["metadata"]["generation"] = old["generation"] + 1
        after["metadata"]["resourceVersion"] = old["resourceVersion"]
        if after == before:
            return clone(before)
        return self._put(kind, before, after, manager=manager, subresource=subresource, dry=dry)

    def delete(self, kind: Kind, namespace: str, name: str) -> Json:
        """Take an object away, and with it everything that it owns."""
        obj = self.get(kind, namespace, name)
        del self.objects[(slot(kind), namespace, name)]
        self._tell(kind, obj, None)
        own = obj["metadata"]["uid"]
        for (where, inner, child), owned in list(self.objects.items()):
            if any(ref["uid"] == own for ref in owned["metadata"].get("ownerReferences") or []):
                self.delete(named(owned["kind"]), inner, child)
            elif kind.kind == "Namespace" and inner == name:
                self.objects.pop((where, inner, child), None)
                self._tell(named(owned["kind"]), owned, None)
        return obj

    def forget_events(self) -> None:
        """Compact the history, so that older watches are told that they are too old."""
        self.events.clear()
        self.oldest = self.version
        self.poke()

    def poke(self) -> None:
        """Wake whoever waits for news."""
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, seconds: float) -> None:
        """Return at the next change, or after that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    def _put(
        self, kind: Kind, before: Json | None, after: Json, *, manager: str, subresource: str, dry: bool
    ) -> Json:
        metadata = after["metadata"]
        _manage(before, after, manager=manager, subresource=subresource, now=self.now())
        if dry:
            metadata.setdefault("resourceVersion", "")
            return after
        key = (slot(kind), metadata.get("namespace", ""), metadata["name"])
        self.objects[key] = after
        self._tell(kind, before, after)
        return clone(after)

    def _tell(self, kind: Kind, before: Json | None, after: Json | None) -> None:
        self.version += 1
        if after is not None:
            after["metadata"]["resourceVersion"] = str(self.version)
        gone = clone(before) if after is None and before is not None else before
        if gone is not None and after is None:
            gone["metadata"]["resourceVersion"] = str(self.version)
        self.events.append(Event(self.version, slot(kind), gone, clone(after)))
        if len(self.events) > _MOST_EVENTS:
            half = len(self.events) // 2
            self.oldest = self.events[half - 1].version
            del self.events[:half]
        self.poke()


def _substance(obj: Json) -> Json:
    return {key: value for key, value in obj.items() if key not in _WITHOUT_GENERATION}


def _manage(before: Json | None, after: Json, *, manager: str, subresource: str, now: str) -> None:
    """Note who wrote which parts of an object, and when."""
    changed = {key for key in after if (before or {}).get(key) != after[key]} - {"apiVersion", "kind"}
    old, new = (before or {}).get("metadata", {}), after["metadata"]
    named_fields: Json = {f"f:{key}": {} for key in changed if key != "metadata"}
    if old.get("annotations") != new.get("annotations") or old.get("labels") != new.get("labels"):
        named_fields["f:metadata"] = {}
    entries = [clone(entry) for entry in new.get("managedFields") or old.get("managedFields") or []]
    mine = [e for e in entries if (e["manager"], e.get("subresource", "")) == (manager, subresource)]
    if named_fields:
        entry: Json = mine[0] if mine else {"manager": manager, "operation": "Update", "fieldsType": "FieldsV1"}
        if not mine:
            entries.append(entry)
        if subresource:
            entry["subresource"] = subresource
        entry["time"] = now
        entry["fieldsV1"] = {**entry.get("fieldsV1", {}), **named_fields}
    new["managedFields"] = entries
