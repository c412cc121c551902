"""A small plan with its inventory, and events, for the store's tests."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import Field

from bot.domain import events
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, Step, plan_model

NOW = datetime(2024, 1, 15, 15, 47, 3, 120_001, tzinfo=UTC)
CHANGE = "CHG0012345"


class Act(Step):
    """A step that acts."""

    kind: Literal["test.act"] = "test.act"
    wanted: str = ""
    counts: dict[str, float] = Field(default_factory=dict)


class Look(Step):
    """A step that looks."""

    reads_only = True
    kind: Literal["test.look"] = "test.look"


MODEL = plan_model({"test.act": Act, "test.look": Look})


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(tz=UTC)  # noqa: TID251 - this is the clock

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the clock


def plan(*, change: str = CHANGE) -> Plan:
    """Return a valid plan whose dictionaries and numbers do not survive careless storing."""
    return MODEL.model_validate(
        {
            "api": "rollback/v1",
            "change": change,
            "title": "Payment Gateway v2.4.0 «naïve» ✓",
            "service": "payments",
            "criticality": "critical",
            "versions": {"deployed": "v2.4.0", "restored": "v2.3.1"},
            "deployed_at": "2024-01-15T14:00:00Z",
            "window": "2h",
            "point_of_no_return": {"after": "4h", "reason": "Settlement runs"},
            "bridge": {"url": "https://meet.example.net/1"},
            "metrics": "payments-metrics",
            "baseline": {"error_rate": 0.002, "p95": "180ms", "row_counts": {"zebra": 5, "users": 3, "apple": 1}},
            "backups": [
                {
                    "id": "db-before",
                    "kind": "database",
                    "target": "payments-db",
                    "location": "/backup/db",
                    "taken_at": "2024-01-15T13:55:00Z",
                }
            ],
            "phases": [
                {
                    "name": "Restore",
                    "expected": "10m",
                    "steps": [
                        {
                            "id": "restore",
                            "kind": "test.act",
                            "target": "payments-db",
                            "wanted": "before",
                            "counts": {"z": 1e23, "a": 0.1, "m": 1e-7},
                        },
                    ],
                }
            ],
            "verification": {
                "expected": "2m",
                "steps": [{"id": "look", "kind": "test.look", "target": "payments-metrics"}],
            },
            "communication": {"escalation": [{"role": "Change Manager", "user": "U0MANAGER"}]},
        }
    )


def inventory(*, db_zone: str = "default", metrics_zone: str = "default") -> Inventory:
    """Return the plan's targets."""
    return Inventory.model_validate(
        {
            "databases": {
                "payments-db": {
                    "service": "payments",
                    "zone": db_zone,
                    "host": "127.0.0.1",
                    "dbname": "payments",
                    "user": "bot",
                    "backups": "/backup",
                }
            },
            "metrics": {
                "payments-metrics": {
                    "kind": "metrics_page",
                    "service": "payments",
                    "zone": metrics_zone,
                    "url": "http://127.0.0.1/metrics",
                }
            },
        }
    )


def requested(why: str = "Errors after the release") -> events.Requested:
    """Return the event that every rollback begins with."""
    return events.Requested(at=NOW, who="U0ONCALL", why=why)


def happened(kind: type[events.Event], **fields: object) -> events.AnyEvent:
    """Return an event of that class with the given fields."""
    event: events.AnyEvent = events.EVENT.validate_python(
        {"kind": kind.model_fields["kind"].default, "at": NOW, "who": "worker-1", "why": "as planned", **fields}
    )
    return event


def asked(*, expires: timedelta = timedelta(hours=1)) -> events.AnyEvent:
    """Return the question for authority."""
    return happened(
        events.AuthorityAsked,
        expires_at=NOW + expires,
        plan_digest="a" * 64,
        targets_digest="b" * 64,
        who_may="Change Manager",
    )


def authorised() -> events.AnyEvent:
    """Return the answer of a person."""
    return happened(
        events.Authorised,
        name="Ada",
        role="Change Manager",
        grounds="service owner",
        plan_digest="a" * 64,
        targets_digest="b" * 64,
    )
