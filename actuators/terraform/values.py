"""What Terraform and OpenTofu say: plans, states, locks and conflicts, read from their own formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"^[╷│╵] ?", re.MULTILINE)
_LOCK = re.compile(r"^\s*(ID|Path|Operation|Who|Created|Info):[ \t]*(.*)$", re.MULTILINE)
_LOCKED = re.compile(
    r"error acquiring the state lock|state already locked|workspace is already locked", re.IGNORECASE
)
_WITH = re.compile(r"^\s*with ((?:module\.|data\.)?[A-Za-z_][^\s,]*),?$", re.MULTILINE)
_EXISTS = re.compile(
    r"already\s*exist|ConflictException|already\s*own|AlreadyInUse|EntityAlreadyExists|\b409\b", re.IGNORECASE
)
_GONE = re.compile(
    r"not ?found|does not exist|NoSuch\w+|no longer exists|ResourceNotFoundException|\b404\b", re.IGNORECASE
)
_NO_CONFIG = re.compile(r"in the configuration|state lock|backend|provider (?:registry|plugin)", re.IGNORECASE)
_IDENTITIES = (
    re.compile(r"with\s+the\s+ID\s+\"([^\"\n]+)\"\s+already\s+exists", re.IGNORECASE),
    re.compile(r"\bcreating\s[^(\n]{1,80}\(([^()\n]+)\)", re.IGNORECASE),
    re.compile(r"['\"]([^'\"\n]{1,300})['\"]\s+already\s+exists", re.IGNORECASE),
)


class UnreadableError(ValueError):
    """The tool said something that is not in its documented form."""


def plain(text: str) -> str:
    """Return what the tool said without colours and frames."""
    return _FRAME.sub("", _COLOUR.sub("", text))


@dataclass(frozen=True)
class Summary:
    """What a saved plan would do.

    Attributes:
        add: Addresses of resources that would be created.
        change: Those that would be changed in place.
        destroy: Those that would be destroyed or no longer managed.
        other: Further words: outputs that change, imports, moves.
    """

    add: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    destroy: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    def words(self) -> str:
        """Return the counts, as Terraform writes them."""
        told = f"{len(self.add)} to add, {len(self.change)} to change, {len(self.destroy)} to destroy"
        return f"{told}; {', '.join(self.other)}" if self.other else told

    def lines(self) -> list[str]:
        """Return one line for each resource, what destroys first."""
        return [
            *(f"- {address}" for address in self.destroy),
            *(f"~ {address}" for address in self.change),
            *(f"+ {address}" for address in self.add),
        ]

    def counts(self) -> dict[str, int]:
        """Return the counts as facts."""
        return {"add": len(self.add), "change": len(self.change), "destroy": len(self.destroy)}


def read_plan(text: str) -> dict[str, Any]:
    """Read what ``show -json PLAN`` said.

    Raises:
        UnreadableError: If it is no plan, or one that ended with errors.
    """
    document = _object(text, "plan")
    if document.get("errored"):
        raise UnreadableError("the plan is incomplete, because making it failed")
    return document


def summarised(document: Mapping[str, Any]) -> Summary:
    """Return what a plan that `read_plan` has read would do."""
    found: dict[str, list[str]] = {"add": [], "change": [], "destroy": []}
    other = []
    for entry in _entries(document, "resource_changes"):
        change = entry.get("change") or {}
        address, actions = str(entry.get("address")), set(change.get("actions") or ())
        for action, section in _SECTION.items():
            if action in actions:
                found[section].append(address)
        if change.get("importing"):
            other.append(f"imports {address}")
        if entry.get("previous_address"):
            other.append(f"moves {entry['previous_address']} to {address}")
    changed = [
        name
        for name, output in (document.get("output_changes") or {}).items()
        if set(output.get("actions") or ()) - {"no-op"}
    ]
    if changed:
        other.append(f"outputs: {', '.join(changed)}")
    return Summary(tuple(found["add"]), tuple(found["change"]), tuple(found["destroy"]), tuple(other))


_SECTION = {"create": "add", "update": "change", "delete": "destroy", "forget": "destroy"}
"""``read`` and ``no-op`` touch nothing; a replacement holds ``create`` and ``delete``."""


def read_drift(text: str) -> list[str]:
    """Return a line for each resource that differs from the state, by ``show -json`` of a refresh-only plan."""
    lines = []
    for entry in _entries(_object(text, "plan"), "resource_drift"):
        change = entry.get("change") or {}
        actions = set(change.get("actions") or ())
        if "delete" in actions:
            lines.append(f"- {entry.get('address')}: gone")
        elif actions - {"no-op"}:
            before, after = change.get("before") or {}, change.get("after") or {}
            # Names only: values may be secret.
            names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
            lines.append(f"~ {entry.get('address')}: {', '.join(names) or 'changed'}")
    return lines


@dataclass(frozen=True)
class State:
    """A state, as ``state pull`` tells it.

    Attributes:
        serial: Counts the writes.
        lineage: The same for all states of one stack since its first.
        resources: The identity of each managed resource by its address; empty, where it has none.
        document: The whole, to be pushed.
    """

    serial: int
    lineage: str
    resources: Mapping[str, str]
    document: Mapping[str, Any] = field(repr=False)

    def words(self) -> str:
        """Return the state in words."""
        return f"serial {self.serial}, lineage {self.lineage}, {len(self.resources)} resources"

    def holding(self, address: str) -> tuple[str, ...]:
        """Return the addresses that an address stands for: a resource, its instances, or all of a module."""
        return tuple(a for a in self.resources if a == address or a.startswith((f"{address}[", f"{address}.")))

    def same_record(self, other: State) -> bool:
        """Return whether both hold the same, whoever wrote it and however often."""
        return all(self.document.get(key) == other.document.get(key) for key in ("resources", "outputs"))


def read_state(text: str) -> State | None:
    """Read what ``state pull`` said; None: there is no state.

    Raises:
        UnreadableError: If it is no state of version 4.
    """
    if not text.strip():
        return None
    document = _object(text, "state")
    serial, lineage = document.get("serial"), document.get("lineage")
    if document.get("version") != 4 or not isinstance(serial, int) or not isinstance(lineage, str):  # noqa: PLR2004 - the only version since Terraform 0.12
        raise UnreadableError("it is no state of version 4")
    if not lineage:
        return None  # what the tool tells where nothing was ever written
    return State(serial, lineage, dict(_resources(document)), document)


def _resources(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for resource in _entries(document, "resources"):
        if resource.get("mode") != "managed":
            continue
        module = f"{resource['module']}." if resource.get("module") else ""
        base = f"{module}{resource.get('type')}.{resource.get('name')}"
        for instance in _entries(resource, "instances"):
            key = instance.get("index_key")
            attributes = instance.get("attributes") or {}
            yield base if key is None else f"{base}[{json.dumps(key)}]", str(attributes.get("id") or "")


@dataclass(frozen=True)
class Lock:
    """A lock on a state.

    Attributes:
        id: Its id; empty, if the backend does not tell.
        who: User and machine.
        operation: What they do, e.g. ``OperationTypeApply``.
        created: Since when.
    """

    id: str
    who: str = ""
    operation: str = ""
    created: str = ""

    def words(self) -> str:
        """Return who holds it, what for and since when."""
        verb = self.operation.removeprefix("OperationType").lower()
        since = re.sub(r"\.\d+", "", self.created).removesuffix(" UTC").replace("+0000", "UTC")
        told = [self.who or "somebody", f"({verb})" if verb else "", f"since {since}" if since else ""]
        return " ".join(filter(None, told))


def read_lock(text: str) -> Lock | None:
    """Return the lock that a refusal tells; None: it was not about a lock."""
    said = plain(text)
    if not _LOCKED.search(said):
        return None
    found = {name: value.strip() for name, value in _LOCK.findall(said)}
    return Lock(found.get("ID", ""), found.get("Who", ""), found.get("Operation", ""), found.get("Created", ""))


@dataclass(frozen=True)
class Complaint:
    """One error about a resource.

    Attributes:
        address: The resource.
        exists: Whether the resource is there already, outside the state.
        gone: Whether it is in the state and no longer there.
        identity: What the provider calls it, as far as the error tells; may be empty.
    """

    address: str
    exists: bool
    gone: bool
    identity: str = ""


def read_complaints(text: str) -> tuple[Complaint, ...]:
    """Return the errors that are about one resource each, in the order in which they were told."""
    found: dict[str, Complaint] = {}
    for block in re.split(r"^Error: ", plain(text), flags=re.MULTILINE)[1:]:
        where = _WITH.search(block)
        if where is None:
            continue
        # Messages are wrapped at 78 columns.
        flat = " ".join(block.split())
        exists = _EXISTS.search(flat) is not None
        gone = not exists and _GONE.search(flat) is not None and _NO_CONFIG.search(flat) is None
        matches = (pattern.search(flat) for pattern in _IDENTITIES)
        identity = next((match[1] for match in matches if match), "") if exists else ""
        found.setdefault(where[1], Complaint(where[1], exists, gone, identity))
    return tuple(found.values())


def _object(text: str, what: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UnreadableError(f"it is no {what} in JSON")
    return document


def _entries(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    return [entry for entry in document.get(key) or () if isinstance(entry, dict)]
