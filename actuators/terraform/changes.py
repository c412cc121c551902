"""What a plan would do, as digests: what an approval binds to, and whether another plan is the rest of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_UNKNOWN = {"\x00": "known after apply"}
"""Stands for a value that only the apply tells; no provider has such an object."""
_SALT = b"rollback terraform plan"
_REPLACING = {"create", "delete"}
_HARMLESS = {"no-op", "read"}


@dataclass(frozen=True)
class Proposed:
    """One change of a plan, with its values; they may be secret.

    Attributes:
        key: Its name in the plan: an address, ``ADDRESS deposed KEY``, ``output NAME`` or ``action ...``.
        address: The resource, or the key of what is none.
        actions: What is done, in Terraform's words and order.
        before: The value before.
        after: The value afterwards, as far as it is known.
        unknown: The same shape, True where only the apply tells.
        before_sensitive: The same shape, True where the value before is secret.
        after_sensitive: The same shape, True where the value afterwards is secret.
        importing: The identity that is taken into the state, as JSON; empty: none.
        moved: The address that it had before; empty: the same.
        deposed: The key of an object that a replacement has left to be destroyed.
        reason: Why, in Terraform's words.
        forced: The attributes that force a replacement.
    """

    key: str
    address: str
    actions: tuple[str, ...]
    before: Any = None
    after: Any = None
    unknown: Any = None
    before_sensitive: Any = None
    after_sensitive: Any = None
    importing: str = ""
    moved: str = ""
    deposed: str = ""
    reason: str = ""
    forced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One change of a plan, by digests.

    Attributes:
        actions: What is done.
        before: The digest of the value before.
        after: That of the value afterwards, with what is not known marked as such.
        unknown: Where it is not known; None: all of it is.
        importing: The identity that is taken into the state.
        moved: The address that it had before.
    """

    actions: tuple[str, ...]
    before: str
    after: str
    unknown: Any = None
    importing: str = ""
    moved: str = ""


@dataclass(frozen=True)
class Manifest:
    """All that a plan would do, the same for every plan that would do the same.

    Attributes:
        target: The stack.
        commit: The code.
        changes: The changes by their keys.
    """

    target: str
    commit: str
    changes: Mapping[str, Change]

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        changes = {key: asdict(change) for key, change in self.changes.items()}
        return {"target": self.target, "commit": self.commit, "changes": changes}

    def seal(self) -> str:
        """Return the digest that an approval binds to.

        It takes a twentieth of a second and 16 MB on purpose: it covers secret values as well, and whoever reads it
        must not be able to try out guesses by the million.
        """
        data = _canonical(self.document()).encode()
        return hashlib.scrypt(hashlib.sha256(data).digest(), salt=_SALT, n=2**14, r=8, p=1, dklen=32).hex()


def read_manifest(document: Mapping[str, Any]) -> Manifest:
    """Return the manifest that `Manifest.document` wrote.

    Raises:
        KeyError, TypeError, AttributeError: If it is none.
    """
    changes = {
        key: Change(**{**fields, "actions": tuple(fields["actions"])})
        for key, fields in document["changes"].items()
    }
    return Manifest(document["target"], document["commit"], changes)


def manifest_of(document: Mapping[str, Any], *, target: str, commit: str) -> Manifest:
    """Return what a plan would do, by what ``show -json PLAN`` said."""
    changes = {
        entry.key: Change(
            entry.actions,
            _digest(entry.before),
            _digest(_known(entry.after, entry.unknown)),
            _pruned(entry.unknown),
            entry.importing,
            entry.moved,
        )
        for entry in proposed(document)
    }
    return Manifest(target, commit, changes)


def strange(document: Mapping[str, Any], approved: Manifest) -> tuple[Proposed, ...]:
    """Return the changes of a plan that are not among those that were approved.

    A plan for the rest of what was approved has none: what is done already is missing in it, values that were not
    known then may be known, and of a replacement only one half may be left.
    """
    return tuple(entry for entry in proposed(document) if not _was_approved(entry, approved))


def _was_approved(entry: Proposed, approved: Manifest) -> bool:
    old = approved.changes.get(entry.key)
    if old is None:
        # A replacement that creates first leaves the earlier object to be destroyed, under a key of its own.
        left = approved.changes.get(entry.address) if entry.deposed else None
        replaced = left is not None and set(left.actions) == _REPLACING
        return (
            left is not None and replaced and entry.actions == ("delete",) and _digest(entry.before) == left.before
        )
    if entry.importing not in {"", old.importing} or entry.moved not in {"", old.moved}:
        return False
    after = _digest(_known(entry.after, entry.unknown, old.unknown)) == old.after
    if entry.key.startswith("output "):
        # An output touches nothing, and a half-done apply may have written another value in between.
        return after and ("delete" in entry.actions) == ("delete" in old.actions)
    if set(old.actions) == _REPLACING and entry.actions == ("create",):
        return after
    return after and entry.actions == old.actions and _digest(entry.before) == old.before


def proposed(document: Mapping[str, Any]) -> Iterator[Proposed]:
    """Yield the changes of a plan; what is only read, or stays as it is, is none."""
    for entry in _objects(document.get("resource_changes")):
        found = _resource(entry)
        if not set(found.actions) <= _HARMLESS or found.importing or found.moved:
            yield found
    seen: dict[str, int] = {}
    for entry in _objects(document.get("action_invocations")):
        name = f"action {entry.get('address')}"
        seen[name] = number = seen.get(name, 0) + 1
        key = name if number == 1 else f"{name} {number}"
        yield Proposed(
            key, key, ("invoke",), after=entry, unknown={"config_values": entry.get("config_unknown")},
            after_sensitive={"config_values": entry.get("config_sensitive")},
        )  # fmt: skip
    for name, change in sorted((document.get("output_changes") or {}).items()):
        actions = tuple(change.get("actions") or ())
        if not set(actions) <= _HARMLESS:
            key = f"output {name}"
            yield Proposed(key, key, actions, *_values(change))


def _resource(entry: Mapping[str, Any]) -> Proposed:
    change, address = entry.get("change") or {}, str(entry.get("address"))
    deposed, importing = str(entry.get("deposed") or ""), change.get("importing")
    return Proposed(
        f"{address} deposed {deposed}" if deposed else address,
        address,
        tuple(change.get("actions") or ()),
        *_values(change),
        importing=_canonical(importing) if importing else "",
        moved=str(entry.get("previous_address") or ""),
        deposed=deposed,
        reason=str(entry.get("action_reason") or ""),
        forced=tuple(".".join(map(str, path)) for path in change.get("replace_paths") or ()),
    )


def _values(change: Mapping[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
    ask = change.get
    return ask("before"), ask("after"), ask("after_unknown"), ask("before_sensitive"), ask("after_sensitive")


def _known(value: Any, *unknown: Any) -> Any:
    """Return a value with a mark wherever one of these shapes says that it is not known."""
    if any(shape is True for shape in unknown):
        return _UNKNOWN
    shapes = [shape for shape in map(_pruned, unknown) if shape]
    dicts = [shape for shape in shapes if isinstance(shape, dict)]
    if isinstance(value, dict):
        names = {*value, *(name for shape in dicts for name in shape)}
        return {name: _known(value.get(name), *(shape.get(name) for shape in dicts)) for name in names}
    lists = [shape for shape in shapes if isinstance(shape, list)]
    if isinstance(value, list) and lists:
        longest = max(len(value), *(len(shape) for shape in lists))
        return [_known(_at(value, n), *(_at(shape, n) for shape in lists)) for n in range(longest)]
    return value


def _pruned(unknown: Any) -> Any:
    """Return the shape of what is not known, without all that is; None: nothing is left."""
    if isinstance(unknown, dict):
        return {name: kept for name, inner in unknown.items() if (kept := _pruned(inner))} or None
    if isinstance(unknown, list):
        inner = [_pruned(item) for item in unknown]
        return inner if any(inner) else None
    return True if unknown is True else None


def _at(items: list[Any], number: int) -> Any:
    return items[number] if number < len(items) else None


def _objects(found: Any) -> list[dict[str, Any]]:
    return [entry for entry in found or () if isinstance(entry, dict)]


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
