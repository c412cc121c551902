"""Whether the gateways have taken up an HTTPRoute: by the conditions that each of them writes."""

from __future__ import annotations

from dataclasses import dataclass

from actuators.kubernetes import objects
from actuators.kubernetes.api import Json

_CONDITIONS = ("Accepted", "ResolvedRefs")


@dataclass(frozen=True)
class Acceptance:
    """How far it is.

    Attributes:
        complete: Whether every gateway has taken up the route as it is now.
        words: The finding for people.
        refused: Whether one of them refuses it as it is now.
        done: How many have taken it up.
        total: How many there are.
    """

    complete: bool
    words: str
    refused: bool = False
    done: int = 0
    total: int = 0


def acceptance(obj: Json) -> Acceptance:
    """Judge a route; one that no gateway speaks of is not in force."""
    parents = (obj.get("status") or {}).get("parents") or []
    if not parents:
        return Acceptance(complete=False, words="no gateway has taken it up")
    generation = int(objects.meta(obj).get("generation", 0))
    waiting, refusals = [], []
    for parent in parents:
        name = str((parent.get("parentRef") or {}).get("name", "?"))
        for kind in _CONDITIONS:
            found = objects.condition({"status": parent}, kind)
            if int(found.get("observedGeneration", -1)) < generation:
                waiting.append(name)
            elif found.get("status") != "True":
                refusals.append(f"gateway {name}: {found.get('reason', kind)} ({found.get('message', '')})")
    if refusals:
        return Acceptance(complete=False, words="; ".join(refusals), refused=True, total=len(parents))
    late = sorted(set(waiting))
    if late:
        words = f"gateway {', '.join(late)} has not yet taken it up"
        return Acceptance(complete=False, words=words, done=len(parents) - len(late), total=len(parents))
    names = ", ".join(str((parent.get("parentRef") or {}).get("name", "?")) for parent in parents)
    return Acceptance(complete=True, words=f"in force at {names}", done=len(parents), total=len(parents))
