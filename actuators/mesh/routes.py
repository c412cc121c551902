"""The rules of a route and their weights, for VirtualServices and HTTPRoutes alike. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from actuators.kubernetes.api import Json
from bot.domain.errors import ActuatorError

Share = tuple[str, int]
"""What gets traffic, and its weight."""


class Part(Protocol):
    """A destination that a step names."""

    @property
    def weight(self) -> int:
        """Its weight."""
        ...

    def label(self) -> str:
        """Return its name for people."""
        ...

    def fits(self, entry: Json) -> bool:
        """Whether an entry of a rule is this destination."""
        ...

    def entry(self) -> Json:
        """Return the entry that a rule gets which has none for it.

        Raises:
            ActuatorError: If it cannot be made of what the step says.
        """
        ...


@dataclass(frozen=True)
class Form:
    """How a kind of routes is written.

    Attributes:
        title: The route for people, e.g. ``VirtualService payments``.
        section: The list of rules in its specification.
        targets: The list of destinations in a rule.
        wanted: What the step wants.
        names: The rules that it wants it for; empty: the only one.
        default: The weight of an entry that names none, among several.
        alone: The weight of an entry that names none and is the only one.
        named: Returns an entry as a step would name it, without its weight; None if steps cannot.
    """

    title: str
    section: str
    targets: str
    wanted: Sequence[Part]
    names: Sequence[str]
    default: int
    alone: int
    named: Callable[[Json], Json | None]

    def rules(self, obj: Json) -> list[Json]:
        """Return the rules that are meant.

        Raises:
            ActuatorError: If they are not there, or it is not clear which are meant.
        """
        having = [rule for rule in (obj.get("spec") or {}).get(self.section) or [] if rule.get(self.targets)]
        named = [str(rule.get("name", "")) for rule in having]
        known = ", ".join(name or "(without a name)" for name in named) or "none"
        if not self.names:
            if len(having) == 1:
                return having
            raise _unclear(f"{self.title} has {len(having)} rules that send traffic ({known}), not just one")
        missing = [name for name in self.names if name not in named]
        if missing:
            raise _unclear(f"{self.title} has no rule {', '.join(missing)}; it has: {known}")
        return [rule for rule in having if rule.get("name") in self.names]

    def holds(self, obj: Json) -> bool:
        """Whether each of the rules has exactly the wanted weights."""
        return all(self._as_wanted(rule) for rule in self.rules(obj))

    def change(self, obj: Json) -> Json | None:
        """Return the merge patch that sets the weights and keeps all else; None if they are set."""
        chosen = self.rules(obj)
        if all(self._as_wanted(rule) for rule in chosen):
            return None
        meant = {id(rule) for rule in chosen}
        rules = [self._changed(rule) if id(rule) in meant else rule for rule in obj["spec"][self.section]]
        return {"spec": {self.section: rules}}

    def words(self, obj: Json) -> str:
        """Say how the traffic is split now."""
        return "; ".join(dict.fromkeys(_shares(list(self._shares(rule))) for rule in self.rules(obj)))

    def parts(self, obj: Json) -> list[Json] | None:
        """Return the present split as a step would name it; None if steps cannot, or the rules differ."""
        splits = [list(self._parts(rule)) for rule in self.rules(obj)]
        parts = [part for part in splits[0] if part is not None]
        return parts if all(split == parts for split in splits) else None

    def _parts(self, rule: Json) -> Iterator[Json | None]:
        for entry in rule[self.targets]:
            named = self.named(entry)
            yield named and {**named, "weight": self._weight(rule, entry)}

    def _as_wanted(self, rule: Json) -> bool:
        entries = rule[self.targets]
        if any(sum(part.fits(entry) for entry in entries) != 1 for part in self.wanted if part.weight):
            return False
        return all(self._weight(rule, entry) == _of(self.wanted, entry) for entry in entries)

    def _changed(self, rule: Json) -> Json:
        entries = [{**entry, "weight": _of(self.wanted, entry)} for entry in rule[self.targets]]
        absent = [p for p in self.wanted if p.weight and not any(p.fits(entry) for entry in entries)]
        twice = [p for p in self.wanted if sum(p.fits(entry) for entry in entries) > 1]
        if twice:
            names = ", ".join(part.label() for part in twice)
            raise _unclear(f"{self.title} has several entries for {names}: name the port")
        return {**rule, self.targets: [*entries, *(part.entry() for part in absent)]}

    def _weight(self, rule: Json, entry: Json) -> int:
        missing = self.alone if len(rule[self.targets]) == 1 else self.default
        return int(entry.get("weight", missing))

    def _shares(self, rule: Json) -> Iterator[Share]:
        for entry in rule[self.targets]:
            part = next((part for part in self.wanted if part.fits(entry)), None)
            yield part.label() if part else _name(entry), self._weight(rule, entry)


def _of(wanted: Sequence[Part], entry: Json) -> int:
    """Return the weight that an entry shall have: none, if the step does not name it."""
    return next((part.weight for part in wanted if part.fits(entry)), 0)


def _name(entry: Json) -> str:
    destination = entry.get("destination") or entry
    return str(destination.get("subset") or destination.get("host") or destination.get("name") or "?")


def _shares(found: list[Share]) -> str:
    total = sum(weight for _, weight in found)
    return ", ".join(f"{name} {weight / total:.0%}" if total else f"{name} 0%" for name, weight in found)


def _unclear(what: str) -> ActuatorError:
    return ActuatorError(
        f"{what}.",
        untouched="Nothing was changed.",
        resolution="Name the rules in the plan as the route names them; give those that have none a name.",
    )
