"""The specification's payments example as values: plan, inventory, policy and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ClassVar, Literal

import yaml
from hypothesis import settings

from bot.domain.authority import Person, Policy, Role
from bot.domain.criteria import Reading
from bot.domain.inventory import Inventory, Name
from bot.domain.manual import ManualStep
from bot.domain.plan import Plan, Step, plan_model

MODERATE = settings(max_examples=60, deadline=None)
"""For properties: enough examples to find what is wrong, few enough to stay quick on a busy machine."""


class _Probe(Step):
    reads_only: ClassVar[bool] = True


class Drain(Step):
    """No connection is left."""

    kind: Literal["postgres.drain"] = "postgres.drain"


class SafetyBackup(Step):
    """The failed state is kept."""

    kind: Literal["postgres.safety_backup"] = "postgres.safety_backup"


class Restore(Step):
    """The backup is restored beside the live database."""

    kind: Literal["postgres.restore"] = "postgres.restore"
    backup: Name


class Swap(Step):
    """The restored database takes the live one's name."""

    destroys: ClassVar[bool] = True
    kind: Literal["postgres.swap"] = "postgres.swap"


class Verify(_Probe):
    """Schema version and row counts are those of the baseline."""

    kind: Literal["postgres.verify"] = "postgres.verify"


class StopServers(Step):
    """The service is stopped."""

    kind: Literal["servers.stop"] = "servers.stop"


class StartServers(Step):
    """The service is started."""

    kind: Literal["servers.start"] = "servers.start"


class LinkRelease(Step):
    """The link points to a release."""

    kind: Literal["servers.link"] = "servers.link"
    release: str
    backup: Name | None = None


class RestoreConfiguration(Step):
    """The configuration files are put back."""

    kind: Literal["config.restore"] = "config.restore"
    backup: Name


class Health(_Probe):
    """The service says that it is well."""

    kind: Literal["http.health"] = "http.health"


class Version(_Probe):
    """The service says which version it is."""

    kind: Literal["http.version"] = "http.version"
    version: str


class Synthetic(_Probe):
    """A transaction goes through."""

    kind: Literal["http.synthetic"] = "http.synthetic"


class BackAtBaseline(_Probe):
    """The metrics are back at the baseline."""

    kind: Literal["metrics.baseline"] = "metrics.baseline"


CATALOGUE: dict[str, type[Step]] = {
    model.model_fields["kind"].default: model
    for model in (
        *(Drain, SafetyBackup, Restore, Swap, Verify),
        *(StopServers, StartServers, LinkRelease, RestoreConfiguration),
        *(Health, Version, Synthetic, BackAtBaseline),
        ManualStep,
    )
}
"""Every step of the example by kind."""

MODEL = plan_model(CATALOGUE)
"""The model that checks plans with these steps."""

CHANGE = "CHG0012345"
MANAGER, OWNER, ON_CALL, OTHER_OWNER, COMMANDER, STRANGER = (
    *("U0SMITH", "U0OWNER", "U0ONCALL"),
    *("U0BILLING", "U0COMMANDER", "U0STRANGER"),
)
"""Slack user ids. The stranger holds no role."""
DAY = datetime(2024, 1, 15, tzinfo=UTC)
"""The Monday of the example."""


def at(clock: str) -> datetime:
    """Return that time of the example's day, e.g. ``15:47``, ``15:47:30`` or, for the days after, ``+2 10:00``."""
    days, _, rest = clock.rpartition(" ")
    hours, minutes, seconds = (*map(int, rest.split(":")), 0)[:3]
    return DAY + timedelta(days=int(days or 0), hours=hours, minutes=minutes, seconds=seconds)


_DOCUMENT = """
api: rollback/v1
change: CHG0012345
title: Payment service v2.4.0 deployment
service: payments
criticality: critical
versions: {deployed: v2.4.0, restored: v2.3.1}
deployed_at: 2024-01-15 15:45 UTC
window: 30m
point_of_no_return: {after: 30m, reason: new transactions depend on the new schema}
bridge:
  url: https://meet.example.org/incident-bridge
  dial: +44 20 7946 0958
  conference_id: 234567#
metrics: payments-metrics
baseline:
  error_rate: 0.002
  p95: 175ms
  schema_version: "20240110120000"
  row_counts: {users: 1200, transactions: 48210}
backups:
  - id: db-before
    kind: database
    target: payments-db
    location: /backups/pre-deploy/myapp-db-20240115-1430.dump
    taken_at: 2024-01-15 14:30 UTC
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  - id: release-before
    kind: artifact
    target: payments-servers
    location: /artifacts/releases/myapp-v2.3.1.tar.gz
    taken_at: 2024-01-10 12:34 UTC
  - id: config-before
    kind: configuration
    target: payments-servers
    location: /backups/configs/myapp/20240115-1430
    taken_at: 2024-01-15 14:30 UTC
phases:
  - name: Database
    expected: 15m
    steps:
      - {id: stop, kind: servers.stop, target: payments-servers}
      - {id: drain, kind: postgres.drain, target: payments-db, needs: [stop]}
      - {id: safety, kind: postgres.safety_backup, target: payments-db, needs: [drain]}
      - id: restore
        kind: postgres.restore
        target: payments-db
        needs: [drain]
        backup: db-before
        expected: 10m
        timeout: 20m
        attempts: 2
        title: Restore the payments database
      - {id: swap, kind: postgres.swap, target: payments-db, needs: [safety, restore]}
  - name: Application
    expected: 5m
    steps:
      - {id: link, kind: servers.link, target: payments-servers, release: v2.3.1, backup: release-before}
      - {id: config, kind: config.restore, target: payments-servers, backup: config-before}
      - {id: start, kind: servers.start, target: payments-servers, needs: [link, config]}
verification:
  expected: 5m
  steps:
    - {id: health, kind: http.health, target: payments-api}
    - {id: version, kind: http.version, target: payments-api, version: v2.3.1}
    - {id: schema, kind: postgres.verify, target: payments-db}
    - {id: synthetic, kind: http.synthetic, target: payments-api, needs: [health]}
    - {id: metrics, kind: metrics.baseline, target: payments-metrics, needs: [synthetic]}
communication:
  channel: C0OPS
  escalation:
    - {role: service owner, user: U0OWNER}
    - {role: change manager, user: U0SMITH}
review_after_days: 2
"""
_INVENTORY = """
server_groups:
  payments-servers:
    service: payments
    hosts: [{name: app01}, {name: app02}, {name: app03}]
    manager: {kind: systemd, unit: myapp.service}
    releases: /opt/myapp/releases
    current: /opt/myapp/current
    config: /etc/myapp
databases:
  payments-db:
    service: payments
    host: 127.0.0.1
    dbname: myapp
    user: rollback
    password: {env: PAYMENTS_DB_PASSWORD}
    backups: /backups/emergency
    count_tables: [users, transactions]
endpoints:
  payments-api: {service: payments, url: "http://127.0.0.1:8080"}
metrics:
  payments-metrics: {kind: metrics_page, service: payments, url: "http://127.0.0.1:8080/metrics"}
"""


@cache
def _read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def document(**changes: Any) -> dict[str, Any]:
    """Return the plan as it is written in YAML, a copy of its own, with top-level keys changed."""
    return {**deepcopy(_read(_DOCUMENT)), **changes}


def plan(**changes: Any) -> Plan:
    """Return the example's plan, complete and valid, with top-level keys changed."""
    return MODEL.model_validate(document(**changes))


def plan_of(phases: Iterable[Iterable[dict[str, Any]]], *, verification: Iterable[dict[str, Any]]) -> Plan:
    """Return a plan with steps of one's own: a list for each phase, and the probes."""
    return plan(
        phases=[
            {"name": f"Phase {number}", "expected": "5m", "steps": list(steps)}
            for number, steps in enumerate(phases, start=1)
        ],
        verification={"expected": "5m", "steps": list(verification)},
    )


def act(name: str, *, needs: Iterable[str] = (), attempts: int = 3) -> dict[str, Any]:
    """Return a step that acts."""
    return {**_step(name, needs, attempts), "kind": "servers.start", "target": "payments-servers"}


def drain(name: str, *, needs: Iterable[str] = ()) -> dict[str, Any]:
    """Return a step whose actuator knows remedies."""
    return {**_step(name, needs, 3), "kind": "postgres.drain", "target": "payments-db"}


def swap(name: str, *, needs: Iterable[str] = (), **more: str) -> dict[str, Any]:
    """Return a step that destroys what came in after the backup."""
    return {**_step(name, needs, 3), **more, "kind": "postgres.swap", "target": "payments-db"}


def by_hand(name: str, *, needs: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """Return a step that a person does."""
    said = {"title": f"Do {name}", "instructions": "Turn the key.\nThe lamp goes out."}
    return {**_step(name, needs, 3), **said, **more, "kind": "manual.do", "target": "payments-servers"}


def probe(name: str, *, needs: Iterable[str] = (), attempts: int = 3) -> dict[str, Any]:
    """Return a step that only looks."""
    return {**_step(name, needs, attempts), "kind": "metrics.baseline", "target": "payments-metrics"}


def _step(name: str, needs: Iterable[str], attempts: int) -> dict[str, Any]:
    return {"id": name, "needs": list(needs), "attempts": attempts}


def inventory(**touch: tuple[str, ...]) -> Inventory:
    """Return the example's targets; targets (``payments_db=...``) may be reserved for roles."""
    found = deepcopy(_read(_INVENTORY))
    for name, roles in touch.items():
        target = next(
            section[key] for section in found.values() for key in section if key.replace("-", "_") == name
        )
        target["touch"] = roles
    return Inventory.model_validate(found)


def policy(**changes: Any) -> Policy:
    """Return the example's policy: five people, at work on weekdays from 9:00 to 17:30 UTC."""
    people = (
        Person(id=MANAGER, name="J. Smith", roles=(Role.CHANGE_MANAGER,)),
        Person(id=OWNER, name="A. Okafor", roles=(Role.SERVICE_OWNER,), services=("payments",)),
        Person(id=ON_CALL, name="oncall-engineer", roles=(Role.ON_CALL_ENGINEER,)),
        Person(id=OTHER_OWNER, name="B. Illing", roles=(Role.SERVICE_OWNER,), services=("billing",)),
        Person(id=COMMANDER, name="C. Mander", roles=(Role.INCIDENT_COMMANDER,)),
    )
    return Policy(**{"people": people, **changes})


READING = Reading(
    error_rate=0.123,
    p95=timedelta(milliseconds=240),
    availability=0.998,
    window=timedelta(minutes=5),
    source="payments-metrics",
)
"""What the metrics say before the rollback: 12.3 % of the transactions fail."""
