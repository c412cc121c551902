"""What tests of actuators share: clocks, a plan, and the context of a step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.domain.actuation import Check, Context, Progress, Verdict
from bot.domain.inventory import Inventory
from bot.domain.plan import Baseline, Plan, Step

START = datetime(2024, 1, 15, 15, 47, tzinfo=UTC)


class RealClock:
    """The machine's clock, for tests whose other side is a real program."""

    def now(self) -> datetime:
        """Return a fixed day with the machine's time of the process, so that names can be foretold."""
        return START

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the clock


@dataclass
class FakeClock:
    """A clock that stands still until somebody sleeps on it.

    Attributes:
        seconds: Seconds since the start.
        on_sleep: Called after each sleep, to change the world as time goes by.
    """

    seconds: float = 0.0
    on_sleep: Callable[[float], None] | None = None

    def now(self) -> datetime:
        """Return the start plus what has been slept."""
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Return what has been slept."""
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.seconds += seconds
        if self.on_sleep is not None:
            self.on_sleep(self.seconds)
        await asyncio.sleep(0)  # noqa: TID251 - gives the other tasks their turn


@dataclass
class Reports:
    """Collects progress.

    Attributes:
        seen: Every report.
        on_report: Called with each.
    """

    seen: list[Progress] = field(default_factory=list)
    on_report: Callable[[Progress], None] | None = None

    def __call__(self, progress: Progress) -> None:
        """Take a report."""
        self.seen.append(progress)
        if self.on_report is not None:
            self.on_report(progress)


def make_plan(
    *steps: Step, backups: Iterable[dict[str, Any]] = (), baseline: Baseline | None = None, metrics: str = "metrics"
) -> Plan:
    """Return a plan around some steps."""
    nothing = {
        "id": "none",
        "kind": "artifact",
        "target": "none",
        "location": "/nowhere",
        "taken_at": "2024-01-15 14:30",
    }
    document: dict[str, Any] = {
        "api": "rollback/v1",
        "change": "CHG0012345",
        "title": "Payment service v2.4.0 deployment",
        "service": "payments",
        "criticality": "critical",
        "versions": {"deployed": "v2.4.0", "restored": "v2.3.1"},
        "deployed_at": "2024-01-15 15:20",
        "window": "30m",
        "point_of_no_return": {"after": "30m", "reason": "new rows need the new schema"},
        "bridge": {"url": "https://meet.example.org/incident-bridge"},
        "metrics": metrics,
        "baseline": baseline or Baseline(error_rate=0.002, p95=timedelta(milliseconds=175)),
        "backups": list(backups) or [nothing],
        "phases": [{"name": "Rollback", "expected": "5m", "steps": steps}],
        "verification": {"expected": "1m", "steps": steps[-1:]},
        "communication": {"escalation": [{"role": "change manager", "user": "U0001"}]},
    }
    return Plan.model_validate(document)


def make_context(
    plan: Plan,
    inventory: dict[str, Any],
    *,
    rollback_id: str = "rb-0004",
    clock: RealClock | FakeClock | None = None,
    reports: Reports | None = None,
) -> Context:
    """Return the context of a run."""
    return Context(
        rollback_id=rollback_id,
        plan=plan,
        inventory=Inventory.model_validate(inventory),
        clock=clock or RealClock(),
        report=reports or Reports(),
        why="Error rate 12.3% (threshold: 10%)",
    )


def fails(checks: Iterable[Check]) -> str:
    """Return the words and resolutions of the failed checks, one a line."""
    return "\n".join(f"{check.words} {check.resolution}" for check in checks if check.verdict is Verdict.FAIL)
