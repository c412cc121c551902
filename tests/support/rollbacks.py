"""Rollbacks in every state, small and as large as plans may be, for what shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from bot.domain import events
from bot.domain.actuation import Presence, Verdict
from bot.domain.authority import Person, Policy, Role
from bot.domain.criteria import Reading, Thresholds, decide
from bot.domain.events import AnyEvent, Choice
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, Step, plan_model
from bot.domain.run import Run, fold

START = datetime(2024, 1, 15, 15, 45, tzinfo=UTC)
ONCALL = "U0ONCALL"
MANAGER = "U0MANAGER"
OWNER = "U0OWNER"
STRANGER = "U0STRANGER"
OPS = "C0OPS"


class Act(Step):
    """A step that acts."""

    kind: Literal["test.act"] = "test.act"
    wanted: str = ""


class Look(Step):
    """A step that looks."""

    reads_only = True
    kind: Literal["test.look"] = "test.look"


MODEL = plan_model({"test.act": Act, "test.look": Look})

POLICY = Policy(
    people=(
        Person(id=ONCALL, name="A. Okafor", roles=(Role.ON_CALL_ENGINEER,)),
        Person(id=MANAGER, name="J. Smith", roles=(Role.CHANGE_MANAGER,)),
        Person(id=OWNER, name="R. Silva", roles=(Role.SERVICE_OWNER,), services=("payments",)),
    )
)


def plan(
    *,
    change: str = "CHG0012345",
    phases: Sequence[Sequence[str]] = (("stop", "save", "restore"), ("switch", "start")),
    words: str = "",
    **more: Any,
) -> Plan:
    """Return a plan with these phases of steps, each after the one before it.

    Args:
        change: Its number.
        phases: Ids of the steps by phase.
        words: Stands in every free text, as long as each allows.
        more: Fields to replace.
    """
    document: dict[str, Any] = {
        "api": "rollback/v1",
        "change": change,
        "title": words[:120] or "Payment service v2.4.0 deployment",
        "service": words[:80] or "payments",
        "criticality": "critical",
        "versions": {"deployed": words or "v2.4.0", "restored": words or "v2.3.1"},
        "deployed_at": START - timedelta(minutes=22),
        "window": "30m",
        "point_of_no_return": {"after": "30m", "reason": words or "new transactions depend on the new schema"},
        "bridge": {"url": "https://meet.example.org/incident-bridge"},
        "metrics": "payments-metrics",
        "baseline": {"error_rate": 0.002, "p95": "175ms", "schema_version": "20240110120000"},
        "backups": [
            {
                "id": "db-before",
                "kind": "database",
                "target": "payments-db",
                "location": words or "/backups/pre-deploy/payments.dump",
                "taken_at": START - timedelta(hours=1),
            }
        ],
        "phases": [
            {"name": words[:80] or f"Phase {number}", "expected": "8m", "steps": list(_steps(step_ids, words))}
            for number, step_ids in enumerate(phases, start=1)
        ],
        "verification": {
            "expected": "9m",
            "steps": [{"id": "look", "kind": "test.look", "target": "payments-metrics", "title": words[:120]}],
        },
        "communication": {"escalation": [{"role": "Change Manager", "user": MANAGER}]},
    }
    return MODEL.model_validate({**document, **more})


def _steps(step_ids: Sequence[str], words: str) -> Iterator[dict[str, Any]]:
    for number, step_id in enumerate(step_ids):
        needs = [step_ids[number - 1]] if number else []
        step = {"id": step_id, "kind": "test.act", "target": "payments-db", "needs": needs, "expected": "40s"}
        yield {**step, "title": words[:120] or f"{step_id.capitalize()} the service", "wanted": words or "v2.3.1"}


INVENTORY = Inventory.model_validate(
    {
        "databases": {
            "payments-db": {
                "service": "payments",
                "host": "127.0.0.1",
                "dbname": "payments",
                "user": "bot",
                "backups": "/backups",
            }
        },
        "metrics": {
            "payments-metrics": {"kind": "metrics_page", "service": "payments", "url": "http://127.0.0.1:1/metrics"}
        },
    }
)


def at(minutes: float) -> datetime:
    """Return the time so many minutes after the request."""
    return START + timedelta(minutes=minutes)


def checked(of: Plan, *, words: str = "", count: int = 3, failing: int = 0) -> events.Checked:
    """Return what the checks found: an error rate of 12.3 %, and `count` findings of which `failing` block."""
    reading = Reading(error_rate=0.123, p95=timedelta(milliseconds=640), window=timedelta(minutes=3), source="page")
    verdicts = [Verdict.FAIL] * failing + [Verdict.WARN] + [Verdict.OK] * (count - failing - 1)
    return events.Checked(
        at=at(0.2),
        who="worker-1",
        why="checks",
        reading=reading,
        decision=decide(reading, of.baseline, Thresholds()),
        findings=tuple(
            events.CheckFinding(
                subject=words or f"Backup {number}",
                verdict=verdict,
                words=words or "was found and can be read",
                resolution=words if verdict is not Verdict.OK else "",
            )
            for number, verdict in enumerate(verdicts)
        ),
    )


def histories(of: Plan, *, words: str = "", findings: int = 3) -> dict[str, tuple[AnyEvent, ...]]:
    """Return a journal for each point of a rollback's life, by name.

    Args:
        of: The plan.
        words: Stands in every free text of the journal.
        findings: How many checks there were.
    """
    why = words or "error rate after the deployment"
    policy = {"who": "policy", "why": why}
    by_worker = {"who": "worker-1", "why": why}
    by_manager = {"who": MANAGER, "why": why}
    first = of.phases[0].steps[0].id
    requested: AnyEvent = events.Requested(at=at(0), who=ONCALL, why=why)
    checking: AnyEvent = events.CheckingBegan(at=at(0.1), **by_worker)
    seen: AnyEvent = checked(of, words=words, count=findings)
    digests = {"plan_digest": of.digest(), "targets_digest": INVENTORY.digest()}
    asked: AnyEvent = events.AuthorityAsked(
        at=at(0.3), expires_at=at(60.3), who_may="change manager or service owner", **digests, **policy
    )
    authorised: AnyEvent = events.Authorised(
        at=at(2), name="J. Smith", role="Change Manager", grounds="business hours", **digests, **by_manager
    )
    began: AnyEvent = events.ExecutionBegan(at=at(2.1), **by_worker)
    start: AnyEvent = events.StepStarted(at=at(2.2), step=first, attempt=1, **by_worker)
    failed: AnyEvent = events.StepFailed(
        at=at(3),
        step=first,
        attempt=1,
        brief=words or "the service did not stop",
        untouched=words or "the database was not touched",
        resolution=words or "look at the host",
        output=(words or "systemctl: timed out") + "\n" * 3,
        presence=Presence.UNKNOWN,
        seen=words or "the host does not answer",
        **by_worker,
    )
    held: AnyEvent = events.Held(at=at(3.1), steps=(first,), **by_worker)
    skipped: AnyEvent = events.Decided(
        at=at(4), who=MANAGER, why=why, choice=Choice.SKIP, step=first, name="J. Smith"
    )
    given_up: AnyEvent = events.Decided(
        at=at(4), who=MANAGER, why=why, choice=Choice.ABORT, step=first, name="J. Smith"
    )
    aborted: AnyEvent = events.Aborted(at=at(4.1), **by_manager)
    resumed: AnyEvent = events.Resumed(at=at(4.2), **by_worker)
    done = tuple(_done(of, words))
    verifying: AnyEvent = events.VerificationBegan(at=at(20), **by_worker)
    measured: AnyEvent = events.StepSucceeded(
        at=at(26), step="look", attempt=1, words=words or "green", facts={"error_rate": 0.003, "p95_seconds": 0.18},
        **by_worker,
    )  # fmt: skip
    completed: AnyEvent = events.Completed(at=at(27.1), **by_worker)
    opened: AnyEvent = events.IncidentOpened(at=at(2.15), incident="INC0056789", **by_worker)
    review: AnyEvent = events.ReviewScheduled(at=at(27.2), review_at=at(2 * 24 * 60), **by_worker)
    closed: AnyEvent = events.Closed(at=at(28), incident="INC0056789", problem="PRB0003456", **by_worker)

    waiting = (requested, checking, seen, asked)
    executing = (*waiting, authorised, began, opened, start)
    stuck = (*executing, failed, held)
    over = (*waiting, authorised, began, opened, *done, verifying, measured, completed)
    return {
        "requested": (requested,),
        "checking": (requested, checking),
        "refused": (requested, checking, checked(of, words=words, count=findings, failing=1),
                    events.Refused(at=at(0.4), **policy)),
        "awaiting_authority": waiting,
        "stood_down": (*waiting, events.Rejected(at=at(1), name="J. Smith", **by_manager)),
        "expired": (*waiting, events.Expired(at=at(61), **policy)),
        "authorised": (*waiting, authorised),
        "executing": executing,
        "failed_attempt": (*executing, failed),
        "held": stuck,
        "abort_decided": (*stuck, given_up),
        "aborted": (*stuck, given_up, aborted),
        "aborted_closed": (*stuck, given_up, aborted, closed),
        "resumed": (*stuck, skipped, resumed),
        "verifying": (*waiting, authorised, began, opened, *done, verifying),
        "complete": (*over, review),
        "closed": (*over, review, closed),
    }  # fmt: skip


def _done(of: Plan, words: str) -> Iterator[AnyEvent]:
    by = {"who": "worker-1", "why": words or "next"}
    for number, step in enumerate(step for phase in of.phases for step in phase.steps):
        begin = 3 + number * 0.25
        yield events.StepStarted(at=at(begin), step=step.id, attempt=1, **by)
        yield events.StepSucceeded(at=at(begin + 0.2), step=step.id, attempt=1, words=words or "done", **by)


def run(of: Plan, history: tuple[AnyEvent, ...], *, rollback_id: str = "rb-0001") -> Run:
    """Return the rollback that a journal tells."""
    return fold(Run(id=rollback_id, plan=of, inventory=INVENTORY.only(of.all_targets())), history)


def every_run(of: Plan, *, words: str = "", findings: int = 3) -> Mapping[str, Run]:
    """Return a rollback at each point of its life, by name."""
    found = histories(of, words=words, findings=findings)
    return {name: run(of, history) for name, history in found.items()}
