"""The files of the demo's site: inventory, policy and the rollback plan of CHG0012345, written for the estate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from bot.demo.estate import NEW_VERSION, OLD_SCHEMA, OLD_VERSION, Backup, Estate
from bot.domain.criteria import Reading
from bot.domain.times import format_duration

CHANGE = "CHG0012345"
OPERATOR = "U0OLIVIA"
MANAGER = "U0JSMITH"
OWNER = "U0PRIYA"
REASON = "error rate far above baseline since v2.4.0"
METRICS = "payments-metrics"
SETTLE = timedelta(seconds=5)
"""How long the metrics must be good after the rollback; short, so that the demo is."""


@dataclass(frozen=True)
class SiteFiles:
    """Where the bot finds its site.

    Attributes:
        inventory: The targets.
        policy: The people.
        plans: The folder of plans.
    """

    inventory: Path
    policy: Path
    plans: Path


def site_files(folder: Path) -> SiteFiles:
    """Return where the site's files lie."""
    return SiteFiles(folder / "inventory.yaml", folder / "policy.yaml", folder / "plans")


def write_inventory(estate: Estate, files: SiteFiles) -> None:
    """Write the inventory of the estate."""
    _write(files.inventory, inventory(estate))


def write_policy(files: SiteFiles) -> None:
    """Write the people: an engineer on call, a change manager, a service owner."""
    people = [
        {"id": OPERATOR, "name": "O. Larsen", "roles": ["on_call_engineer"]},
        {"id": MANAGER, "name": "J. Smith", "roles": ["change_manager"]},
        {"id": OWNER, "name": "P. Rao", "roles": ["service_owner"], "services": ["payments"]},
    ]
    _write(files.policy, {"people": people, "approval_valid": "30m"})


def write_plan(estate: Estate, files: SiteFiles, *, baseline: Reading) -> Path:
    """Write the rollback plan, as it would have been written before the deployment."""
    files.plans.mkdir(parents=True, exist_ok=True)
    file = files.plans / f"{CHANGE}.yaml"
    _write(file, plan(estate, baseline=baseline))
    return file


def inventory(estate: Estate) -> dict[str, Any]:
    """Return the targets: the servers, the database, the HTTP face and the metrics of payments."""
    facts, layout = estate.facts, estate.layout
    ctl = [str(part) for part in estate.ctl_argv]
    return {
        "server_groups": {
            "payments-servers": {
                "service": "payments",
                "hosts": [{"name": "app01"}],
                "manager": {
                    "kind": "commands",
                    "start": [*ctl, "start"],
                    "stop": [*ctl, "stop"],
                    "status": [*ctl, "status"],
                },
                "releases": str(layout.releases),
                "current": str(layout.link),
                "config": str(layout.config.parent),
                # The release that comes back must accept the configuration that comes back.
                "validate_config": [
                    str(layout.releases / OLD_VERSION / "bin" / "payments"),
                    "--validate-config",
                    "{file}",
                ],
            }
        },
        "databases": {
            "payments-db": {
                "service": "payments",
                "host": facts.db_host,
                "port": facts.db_port,
                "dbname": facts.db_name,
                "user": facts.operator_role,
                "password": {"file": str(layout.operator_password)},
                "backups": str(layout.emergency),
                "bin_dir": str(facts.bin_dir),
                "count_tables": ["users", "transactions"],
            }
        },
        "endpoints": {
            "payments-http": {
                "service": "payments",
                "url": facts.base_url,
                "synthetic": {
                    "path": "/api/v1/test-transaction",
                    "body": {"test": True, "amount": 1.00},
                },
            }
        },
        "metrics": {METRICS: {"kind": "metrics_page", "service": "payments", "url": f"{facts.base_url}/metrics"}},
    }


def plan(estate: Estate, *, baseline: Reading) -> dict[str, Any]:
    """Return the rollback plan of the change.

    Raises:
        ValueError: If the estate has not been backed up and deployed, or the baseline is unknown.
    """
    facts = estate.facts
    if facts.backup is None or facts.deployed_at is None or baseline.error_rate is None or baseline.p95 is None:
        raise ValueError("the plan needs a backup, a deployment and a known baseline")
    return {
        "api": "rollback/v1",
        "change": CHANGE,
        "title": f"Payment service {NEW_VERSION} deployment",
        "service": "payments",
        "criticality": "critical",
        "versions": {"deployed": NEW_VERSION, "restored": OLD_VERSION},
        "deployed_at": facts.deployed_at.isoformat(),
        "window": "10m",
        "point_of_no_return": {
            "after": "30m",
            "reason": "transactions written in the new schema cannot be carried back",
        },
        "bridge": {
            "url": "https://meet.example.org/incident-bridge",
            "dial": "+44 20 7946 0958",
            "conference_id": "234567#",
        },
        "metrics": METRICS,
        "baseline": {
            "error_rate": round(baseline.error_rate, 4),
            "p95": format_duration(baseline.p95),
            "schema_version": OLD_SCHEMA,
            "row_counts": facts.backup.row_counts,
        },
        "backups": _backups(facts.backup),
        "phases": _phases(),
        "verification": _verification(),
        "communication": {
            "escalation": [{"role": "Change Manager", "user": MANAGER}, {"role": "Service Owner", "user": OWNER}]
        },
    }


def _backups(backup: Backup) -> list[dict[str, Any]]:
    taken = backup.taken_at.isoformat()
    return [
        {
            "id": "db-before",
            "kind": "database",
            "target": "payments-db",
            "location": str(backup.database.path),
            "taken_at": taken,
            "sha256": backup.database.sha256,
        },
        {
            "id": "release-before",
            "kind": "artifact",
            "target": "payments-servers",
            "location": str(backup.artifact.path),
            "taken_at": taken,
            "sha256": backup.artifact.sha256,
        },
        {
            "id": "config-before",
            "kind": "configuration",
            "target": "payments-servers",
            "location": str(backup.config.path.parent),
            "taken_at": taken,
        },
    ]


def _phases() -> list[dict[str, Any]]:
    servers, db = "payments-servers", "payments-db"
    link = {"kind": "servers.link", "release": OLD_VERSION, "backup": "release-before"}
    return [
        {
            "name": "Stop",
            "expected": "10s",
            "steps": [
                {"id": "stop", "kind": "servers.stop", "target": servers, "expected": "5s"},
                {"id": "drain", "kind": "postgres.drain", "target": db, "needs": ["stop"], "expected": "5s"},
            ],
        },
        {
            "name": "Restore",
            "expected": "30s",
            "steps": [
                {"id": "safety", "kind": "postgres.safety_backup", "target": db, "expected": "10s"},
                {
                    "id": "restore",
                    "kind": "postgres.restore",
                    "target": db,
                    "backup": "db-before",
                    "expected": "15s",
                },
                {
                    "id": "swap",
                    "kind": "postgres.swap",
                    "target": db,
                    "needs": ["safety", "restore"],
                    "expected": "5s",
                },
                {"id": "compare", "kind": "postgres.verify", "target": db, "needs": ["swap"], "expected": "5s"},
                {"id": "link", "target": servers, "expected": "5s", **link},
                {
                    "id": "config",
                    "kind": "config.restore",
                    "target": servers,
                    "backup": "config-before",
                    "expected": "5s",
                },
            ],
        },
        {
            "name": "Start",
            "expected": "10s",
            "steps": [{"id": "start", "kind": "servers.start", "target": servers, "expected": "5s"}],
        },
    ]


def _verification() -> dict[str, Any]:
    http = "payments-http"
    return {
        "expected": "20s",
        "steps": [
            {"id": "health", "kind": "http.health", "target": http, "expected": "5s"},
            {"id": "version", "kind": "http.version", "target": http, "version": OLD_VERSION, "expected": "5s"},
            {
                "id": "synthetic",
                "kind": "http.synthetic",
                "target": http,
                "needs": ["health"],
                "expected": "5s",
            },
            {
                "id": "metrics",
                "kind": "metrics.baseline",
                "target": METRICS,
                "needs": ["health"],
                "settle": format_duration(SETTLE),
                # Answers take a few milliseconds here, so the noise of a busy machine alone can double them.
                "p95_tolerance": 4.0,
                "expected": "15s",
            },
        ],
    }


def _write(file: Path, document: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    file.write_text(text, encoding="utf-8")
