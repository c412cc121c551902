"""The site of a chaos run: targets that several changes compete for, people, and a plan for each change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import yaml

from bot.demo import scenario
from bot.domain.inventory import DEFAULT_ZONE
from tests.chaos.steps import Fate

_FIRST_CHANGE = 2_000_001
Json = dict[str, Any]

HOPELESS = "hopeless"
"""The step that nobody decides about."""
_LOOKS, _NO_RETURN, _TOO_SHORT = 0.15, 0.1, 0.25
"""Shares of the steps that only look, of the points of no return, and of the windows that are too short."""
_METRICS = "chaos-metrics"
_SERVERS = "chaos-servers"
_FATES = {
    Fate.PLAIN: 70, Fate.FLAKY: 9, Fate.LIAR: 8, Fate.BROKEN: 5, Fate.SILENT: 4, Fate.UNREADABLE: 4,
}  # fmt: skip
"""How many of a hundred steps have which fate."""


@dataclass(frozen=True)
class Size:
    """How much there is to do.

    Attributes:
        rollbacks: Changes that are rolled back.
        targets: Targets that they share; a rollback has one or two of them to itself.
        left_held: Rollbacks with a broken step that nobody decides about, on targets of their own.
        longest: The longest work of a step.
        zones: The network zones of the targets, in turn.
    """

    rollbacks: int
    targets: int
    left_held: int
    longest: timedelta
    zones: tuple[str, ...] = (DEFAULT_ZONE,)


def change_number(index: int) -> str:
    """Return the change of that index, from 0."""
    return f"CHG{_FIRST_CHANGE + index}"


def write_site(folder: Path, size: Size, *, random: Random, metrics_url: str, now: datetime) -> scenario.SiteFiles:
    """Write inventory, policy and plans.

    Args:
        folder: Where.
        size: How much.
        random: Decides about everything else.
        metrics_url: A page of metrics that can be read.
        now: The time; every change was deployed just before.
    """
    files = scenario.site_files(folder)
    files.plans.mkdir(parents=True, exist_ok=True)
    scenario.write_policy(files)
    _write(files.inventory, _inventory(size, metrics_url))
    for index in range(size.rollbacks):
        own = index < size.left_held
        shared = random.sample(range(size.targets), k=random.choice((1, 1, 2)))
        targets = [f"own-{index:03d}"] if own else [f"shared-{number:03d}" for number in shared]
        plan = _plan(index, _phases(targets, size, random, hopeless=own), now) | _window(random)
        _write(files.plans / f"{change_number(index)}.yaml", plan)
    return files


def _inventory(size: Size, metrics_url: str) -> Json:
    names = [f"shared-{number:03d}" for number in range(size.targets)]
    names += [f"own-{number:03d}" for number in range(size.left_held)]
    group = {
        "service": "chaos",
        "hosts": [{"name": "chaos01"}],
        "manager": {"kind": "systemd", "unit": "chaos.service"},
        "releases": "/nonexistent/releases",
        "current": "/nonexistent/current",
    }
    return {
        "endpoints": {
            name: {"service": "chaos", "url": "http://127.0.0.1:9", "zone": size.zones[number % len(size.zones)]}
            for number, name in enumerate(names)
        },
        "server_groups": {_SERVERS: group},
        "metrics": {_METRICS: {"kind": "metrics_page", "service": "chaos", "url": metrics_url}},
    }


def _phases(targets: list[str], size: Size, random: Random, *, hopeless: bool) -> list[Json]:
    """Return two or three phases; every target that is locked is acted on in the first one."""
    phases = []
    for number in range(random.choice((2, 2, 3))):
        steps: list[Json] = []
        for _ in range(random.randint(1, 4)):
            steps.append(_step(f"p{number}s{len(steps)}", steps, targets, size, random))
        phases.append({"name": f"Phase {number + 1}", "expected": "1s", "steps": steps})
    if hopeless:
        last = {"id": HOPELESS, "kind": "chaos.act", "target": targets[0], "fate": Fate.BROKEN.value}
        phases[-1]["steps"] = [last]
    phases[0]["steps"] = [
        *phases[0]["steps"],
        *({"id": f"first-{name}", "kind": "chaos.act", "target": name, "work": "100ms"} for name in targets),
    ]
    return phases


def _step(name: str, earlier: list[Json], targets: list[str], size: Size, random: Random) -> Json:
    """Return a step that may need any of those before it."""
    looks = random.random() < _LOOKS
    fates = (Fate.PLAIN, Fate.FLAKY) if looks else tuple(Fate)
    fate = random.choices(fates, weights=[_FATES[one] for one in fates])[0]
    work = random.uniform(0.1, 1.0) ** 2 * size.longest.total_seconds()
    final = random.random() < _NO_RETURN and not looks
    return {
        "id": name,
        "kind": "chaos.look" if looks else "chaos.act",
        "target": random.choice(targets),
        "needs": [step["id"] for step in random.sample(earlier, k=random.randint(0, min(2, len(earlier))))],
        "fate": fate.value,
        "work": f"{work:.3f}s",
        "expected": "5s",
        **({"point_of_no_return": "the old thing is gone"} if final else {}),
    }


def _window(random: Random) -> Json:
    """Return a window; one in four is too short, so that it is exceeded and extended."""
    return {"window": "4s" if random.random() < _TOO_SHORT else "30m"}


def _plan(index: int, phases: list[Json], now: datetime) -> Json:
    return {
        "api": "rollback/v1",
        "change": change_number(index),
        "title": f"Deployment {index} of the chaos run",
        "service": "chaos",
        "criticality": "high",
        "versions": {"deployed": "v2", "restored": "v1"},
        "deployed_at": (now - timedelta(minutes=5)).isoformat(),
        "point_of_no_return": {"after": "12h", "reason": "the run ends long before"},
        "bridge": {"url": "https://meet.example.org/chaos"},
        "metrics": _METRICS,
        "baseline": {"error_rate": 0.002, "p95": "100ms"},
        "backups": [
            {
                "id": "release-before",
                "kind": "artifact",
                "target": _SERVERS,
                "location": "/nonexistent/release.tar.gz",
                "taken_at": (now - timedelta(minutes=6)).isoformat(),
            }
        ],
        "phases": phases,
        "verification": {
            "expected": "1s",
            "steps": [
                {"id": "content", "kind": "metrics.chaos", "target": _METRICS, "expected": "2s"},
                {
                    "id": "again",
                    "kind": "metrics.chaos",
                    "target": _METRICS,
                    "needs": ["content"],
                    "expected": "2s",
                },
            ],
        },
        "communication": {"escalation": [{"role": "Change Manager", "user": scenario.MANAGER}]},
    }


def _write(file: Path, document: Json) -> None:
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
