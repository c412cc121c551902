"""The verdict on a chaos run: every rule with what broke it, and the figures of the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from bot.domain import events
from tests.bench.statistics import percentile
from tests.chaos.evidence import Evidence, Life
from tests.chaos.judge import Court, Finding, Rule, locks_apart, on_targets, pid_of
from tests.chaos.judge_journals import on_journals

_STEP = 0.25
"""Seconds between two moments that are looked at."""
_SHOWN = 5
"""Violations of one rule that are printed; all of them are in the evidence."""


@dataclass(frozen=True)
class Verdict:
    """How a chaos run came out.

    Attributes:
        findings: What broke a rule.
        excused: What the known hole let through, by what it was.
        figures: What happened, by name.
    """

    findings: tuple[Finding, ...]
    excused: Mapping[str, int]
    figures: Mapping[str, str]

    @property
    def sound(self) -> bool:
        """Whether no rule was broken."""
        return not self.findings

    def document(self) -> dict[str, Any]:
        """Return the verdict as JSON."""
        return {
            "sound": self.sound,
            "findings": [{"rule": finding.rule.value, "words": finding.words} for finding in self.findings],
            "excused": dict(self.excused),
            "figures": dict(self.figures),
        }

    def text(self) -> str:
        """Return the verdict as indented JSON."""
        return json.dumps(self.document(), indent=2) + "\n"

    def table(self) -> RenderableType:
        """Return the tables for people."""
        rules = Table("rule", "broken", "", title="Verdict", title_justify="left")
        for rule in Rule:
            broken = [finding.words for finding in self.findings if finding.rule is rule]
            shown = [*broken[:_SHOWN], *([f"and {len(broken) - _SHOWN} more"] if len(broken) > _SHOWN else [])]
            mark = "[bold red]✗[/]" if broken else "[bold green]✓[/]"
            rules.add_row(
                "\n".join([rule.value, *(f"[red]{escape(words)}[/]" for words in shown)]), str(len(broken)), mark
            )
        figures = Table("what happened", "", title="The run", title_justify="left")
        for name, value in self.figures.items():
            figures.add_row(escape(name), escape(value))
        for name, count in sorted(self.excused.items()):
            figures.add_row(f"[dim]excused:[/] {escape(name)}", str(count))
        return Group(rules, figures)


def judge(evidence: Evidence) -> Verdict:
    """Judge a chaos run."""
    court = Court(evidence)
    findings = (*on_targets(court), *locks_apart(court), *on_journals(court))
    return Verdict(findings, court.excused, _figures(court))


def _figures(court: Court) -> dict[str, str]:
    evidence = court.evidence
    states = Counter(evidence.states.values())
    kinds: Counter[str] = Counter(entry.event.kind for journal in evidence.journals.values() for entry in journal)
    codes = Counter(
        "SIGKILL" if life.killed else "SIGTERM" if life.told else "by itself" for life in evidence.lives
    )
    takeovers = _takeovers(court)
    naps = [nap.until - nap.since for nap in evidence.naps if nap.woke]
    return {
        "rollbacks": f"{len(evidence.runs)}: {_listed(states)}",
        "events in the journals": str(sum(kinds.values())),
        "steps": ", ".join(f"{kinds[f'step_{how}']} {how}" for how in ("started", "succeeded", "failed")),
        "steps begun again after their worker was lost": str(_interrupted(evidence)),
        "acts and looks that the targets saw": str(len(evidence.acts)),
        "workers ended": _listed(codes),
        "freezes of workers that woke again": _spread(naps),
        "outages of the store": _outages(evidence),
        "takeover after a kill, by the clock": _spread([clock for clock, _ in takeovers]),
        "takeover after a kill, with a worker and the store there": _spread([served for _, served in takeovers]),
        "last breaths of woken workers": _breaths(court),
        "people": _listed(Counter(evidence.counts)),
    }


def _outages(evidence: Evidence) -> str:
    how = Counter(outage.what for outage in evidence.outages)
    lasted = _spread([outage.until - outage.since for outage in evidence.outages])
    return f"{lasted} ({_listed(how)})" if how else "none"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


def _breaths(court: Court) -> str:
    latest = max(court.breaths, default=0.0) * 1000
    return f"{len(court.breaths)}, the latest {latest:.0f} ms after waking" if court.breaths else "none"


def _interrupted(evidence: Evidence) -> int:
    found = 0
    for journal in evidence.journals.values():
        running: set[str] = set()
        for entry in journal:
            if isinstance(entry.event, events.StepStarted):
                found += entry.event.step in running
                running.add(entry.event.step)
            elif isinstance(entry.event, events.StepSucceeded | events.StepFailed):
                running.discard(entry.event.step)
    return found


def _takeovers(court: Court) -> list[tuple[float, float]]:
    """Return for each rollback of a killed worker how long it took until another had it, in seconds.

    Twice: by the clock, and counting only the time in which the store answered and a worker of that zone was ready
    and awake. That is what the engine itself took.
    """
    found = []
    served: dict[tuple[str, int], bool] = {}
    for life in court.evidence.lives:
        if life.killed is None:
            continue
        for until in _taken_over(court, life, life.killed):
            steps = range(round(life.killed / _STEP), round(until / _STEP))
            for step in steps:
                if (life.zone, step) not in served:
                    served[life.zone, step] = _served(court, life.zone, step * _STEP)
            found.append((until - life.killed, _STEP * sum(served[life.zone, step] for step in steps)))
    return found


def _taken_over(court: Court, life: Life, at: float) -> list[float]:
    """Return when each of the rollbacks that a worker had when it was killed was taken by another."""
    found = []
    for run in court.evidence.runs:
        owner = court.owner(run, at)
        if owner and pid_of(owner) == life.pid:
            others = (one for one in court.leases_of(run) if one.at > at and one.owner not in (None, owner))
            found += [one.at for one in others][:1]
    return found


def _served(court: Court, zone: str, at: float) -> bool:
    """Return whether rollbacks of a zone could be carried out at that time."""
    if any(outage.since <= at <= outage.until for outage in court.evidence.outages):
        return False
    return any(
        life.zone == zone
        and life.ready is not None
        and life.ready <= at < min(life.killed or at + 1, life.told or at + 1, life.until or at + 1)
        and not any(nap.since <= at <= nap.until for nap in court.naps_of(life.pid))
        for life in court.evidence.lives
    )


def _spread(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    p50, p95, most = (percentile(seconds, share) for share in (0.5, 0.95, 1.0))
    return f"{len(seconds)}: p50 {p50:.1f}, p95 {p95:.1f}, max {most:.1f} s"
