"""What the demo shows at its end: the timeline, what was measured, where the evidence lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bot.demo.estate import NEW_VERSION, OLD_VERSION, Estate, Measured
from bot.domain.criteria import milliseconds, percent
from bot.domain.errors import RollbackError

if TYPE_CHECKING:
    from bot.demo.performance import Story

_WELL = 0.01
_LABELS = {
    "command": "command typed",
    "approval": "Approve clicked",
    "authorised": "authorisation recorded",
    "started": "ROLLBACK IN PROGRESS",
    "complete": "ROLLBACK COMPLETE",
    "records": "incident, problem and change linked",
}


def show(out: Console, story: Story, estate: Estate, *, folder: Path) -> None:
    """Print the summary."""
    out.rule("[bold]Summary", align="left")
    begin = min(story.moments.values())
    timeline = Table("time (UTC)", "", "seconds since the command", title="Timeline", title_justify="left")
    for name, at in sorted(story.moments.items(), key=lambda item: item[1]):
        timeline.add_row(f"{at:%H:%M:%S}", _LABELS[name], f"{(at - begin).total_seconds():.1f}")
    out.print(timeline)
    measured = Table("", "error rate", "p95", "requests", title="Measured by the customers", title_justify="left")
    measured.add_row(f"{NEW_VERSION}, before the rollback", *_row(story.before))
    measured.add_row(f"{OLD_VERSION}, after the rollback", *_row(story.after))
    rate = "unknown" if story.baseline.error_rate is None else percent(story.baseline.error_rate)
    speed = "unknown" if story.baseline.p95 is None else milliseconds(story.baseline.p95)
    measured.add_row("baseline (the service's own metrics)", rate, speed, "")
    out.print(measured)
    evidence = Table("evidence", "where", title_justify="left")
    evidence.add_row("journal, audit, records, chat", str(folder / "bot" / "postgres"))
    evidence.add_row("rollback plan, inventory, policy", str(folder / "site"))
    evidence.add_row("safety backup of the failed state", str(estate.layout.emergency))
    evidence.add_row("failed database, kept under a dated name", "payments_failed_…")
    evidence.add_row("every request of the customers", str(estate.layout.traffic))
    evidence.add_row("the bot's log", str(folder / "bot" / "bot.log"))
    out.print(evidence)
    if story.memory is not None:
        out.print(f"Resident memory of the bot: {story.memory / 1e6:.0f} MB. It died {story.deaths} times.")


def require_recovery(story: Story) -> None:
    """Make sure that the customers are served again.

    Raises:
        RollbackError: If they are not.
    """
    after = story.after
    if after is None or after.error_rate is None:
        raise RollbackError("Nobody measured the service after the rollback.")
    if after.error_rate > _WELL:
        raise RollbackError(f"After the rollback {percent(after.error_rate)} of the transactions still fail.")


def _row(measured: Measured | None) -> tuple[str, str, str]:
    if measured is None or measured.error_rate is None or measured.p95_seconds is None:
        return ("unknown", "unknown", "0")
    return (percent(measured.error_rate), f"{measured.p95_seconds * 1000:.0f}ms", str(measured.count))
