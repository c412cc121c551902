"""A small catalogue of steps, an inventory and a sound plan."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import pytest

from bot.domain.inventory import Inventory, Name
from bot.domain.plan import Step, StepCatalogue
from storage.plans import read_inventory


class StopStep(Step):
    """Stop the service on every host of a group.

    Attributes:
        grace: Seconds until it is stopped hard.
    """

    kind: Literal["servers.stop"]
    grace: int = 10
    hard: bool = False


class RestoreStep(Step):
    """Restore a backup beside the database."""

    kind: Literal["postgres.restore"]
    backup: Name


class HealthStep(Step):
    """Ask an endpoint for its health."""

    reads_only: ClassVar[bool] = True
    kind: Literal["http.health"]


class BaselineStep(Step):
    """Compare the metrics with the baseline."""

    reads_only: ClassVar[bool] = True
    kind: Literal["metrics.baseline"]


INVENTORY = """\
server_groups:
  payments-app:
    service: payments
    hosts: [{name: app1}, {name: app2}]
    manager: {kind: systemd, unit: payments}
    releases: /srv/payments/releases
    current: /srv/payments/current
databases:
  payments-db:
    service: payments
    host: 127.0.0.1
    dbname: payments
    user: dba
    password: {env: PAYMENTS_DBA}
    backups: /var/backups
endpoints:
  payments-http: {service: payments, url: "http://127.0.0.1:8080"}
metrics:
  payments-metrics: {kind: metrics_page, service: payments, url: "http://127.0.0.1:8080/metrics"}
"""

PLAN = """\
api: rollback/v1
change: CHG0012345
title: Payment service v2.4.0 deployment
service: payments
criticality: high
versions: {deployed: v2.4.0, restored: v2.3.1}
deployed_at: 2024-01-15 15:20 UTC
window: 30m
point_of_no_return: {after: 4h, reason: New transactions use the new schema}
bridge: {url: "https://meet.example.org/incident-bridge"}
metrics: payments-metrics
baseline: {error_rate: 0.002, p95: 180ms}
backups:
  - id: db
    kind: database
    target: payments-db
    location: /var/backups/pre-deploy.dump
    taken_at: 2024-01-15 14:30 UTC
phases:
  - name: Stop
    expected: 5m
    steps:
      - id: stop-app
        kind: servers.stop
        target: payments-app
  - name: Restore
    expected: 10m
    steps:
      - id: restore-db
        kind: postgres.restore
        target: payments-db
        backup: db
verification:
  expected: 5m
  steps:
    - {id: healthy, kind: http.health, target: payments-http}
    - {id: back-to-normal, kind: metrics.baseline, target: payments-metrics, needs: [healthy]}
communication:
  escalation:
    - {role: Change Manager, user: U024BE7LH}
"""


@pytest.fixture(scope="session")
def catalogue() -> StepCatalogue:
    """Four steps."""
    return {
        "servers.stop": StopStep,
        "postgres.restore": RestoreStep,
        "http.health": HealthStep,
        "metrics.baseline": BaselineStep,
    }


@pytest.fixture(scope="session")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """The payments service."""
    path = tmp_path_factory.mktemp("inventory") / "inventory.yaml"
    path.write_text(INVENTORY)
    return read_inventory(path)


@pytest.fixture(scope="session")
def sound() -> str:
    """A plan without a fault."""
    return PLAN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the sound plan."""
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "CHG0012345.yaml").write_text(PLAN)
    return tmp_path / "plans"
