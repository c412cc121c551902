"""The site of the benchmarks' bot: as many changes as wanted, each with a plan and a target of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from bot.demo import scenario

_FIRST_CHANGE = 1_000_001


def change_number(index: int) -> str:
    """Return the change of that index, from 0."""
    return f"CHG{_FIRST_CHANGE + index}"


def missing_change(index: int) -> str:
    """Return a change that has no plan."""
    return f"CHG9{index:06d}"


def write_site(folder: Path, *, changes: int, steps: int, metrics_url: str, now: datetime) -> scenario.SiteFiles:
    """Write inventory, policy and plans.

    Args:
        folder: Where.
        changes: How many plans, each on a target of its own, so that no rollback waits for another's lock.
        steps: Steps of each plan; each needs the one before.
        metrics_url: A page of metrics that can be read.
        now: The time; every change was deployed just before.
    """
    files = scenario.site_files(folder)
    files.plans.mkdir(parents=True, exist_ok=True)
    scenario.write_policy(files)
    _write(files.inventory, _inventory(changes, metrics_url))
    for index in range(changes):
        _write(files.plans / f"{change_number(index)}.yaml", _plan(index, steps, now))
    return files


def _target(index: int) -> str:
    return f"bench-{index:04d}"


def _inventory(changes: int, metrics_url: str) -> dict[str, Any]:
    endpoints = {
        _target(index): {"service": "bench", "url": "http://127.0.0.1:9"}  # nobody asks it anything
        for index in range(changes)
    }
    group = {
        "service": "bench",
        "hosts": [{"name": "bench01"}],
        "manager": {"kind": "systemd", "unit": "bench.service"},
        "releases": "/nonexistent/releases",
        "current": "/nonexistent/current",
    }
    return {
        "endpoints": endpoints,
        "server_groups": {"bench-servers": group},
        "metrics": {"bench-metrics": {"kind": "metrics_page", "service": "bench", "url": metrics_url}},
    }


def _plan(index: int, steps: int, now: datetime) -> dict[str, Any]:
    target = _target(index)
    chain = [
        {
            "id": step_id(number),
            "kind": "bench.noop",
            "target": target,
            "expected": "1s",
            "needs": [step_id(number - 1)] if number else [],
        }
        for number in range(steps)
    ]
    return {
        "api": "rollback/v1",
        "change": change_number(index),
        "title": f"Deployment {index} of the benchmark",
        "service": "bench",
        "criticality": "low",
        "versions": {"deployed": "v2", "restored": "v1"},
        "deployed_at": (now - timedelta(minutes=5)).isoformat(),
        "window": "30m",
        "point_of_no_return": {"after": "12h", "reason": "the benchmark ends long before"},
        "bridge": {"url": "https://meet.example.org/bench"},
        "metrics": "bench-metrics",
        "baseline": {"error_rate": 0.002, "p95": "100ms"},
        "backups": [
            {
                "id": "release-before",
                "kind": "artifact",
                "target": "bench-servers",
                "location": "/nonexistent/release.tar.gz",
                "taken_at": (now - timedelta(minutes=6)).isoformat(),
            }
        ],
        "phases": [{"name": "Nothing", "expected": "1m", "steps": chain}],
        "verification": {
            "expected": "5s",
            "steps": [{"id": "content", "kind": "metrics.bench", "target": "bench-metrics", "expected": "1s"}],
        },
        "communication": {"escalation": [{"role": "Change Manager", "user": scenario.MANAGER}]},
    }


def step_id(number: int) -> str:
    """Return the id of a plan's step of that number, from 0."""
    return f"step-{number:02d}"


def _write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
