from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bot.domain import events
from bot.domain.actuation import Check, Outcome, Verdict
from bot.domain.criteria import Reading
from bot.domain.errors import PlanInvalidError, PlanUnavailableError, RollbackError
from bot.domain.inventory import Inventory
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run
from bot.engine import outside
from bot.engine.drift import difference
from tests.support import plans
from tests.support.engine import Lab
from tests.support.fakes import Act, Shelf, works


def finding(run: Run, subject: str) -> events.CheckFinding:
    """Return what the checks found about a subject."""
    checked: events.Checked = run.last(events.Checked)
    return next(found for found in checked.findings if found.subject == subject)


def answers(answer: Any) -> Any:
    """Return a check that answers this, raises it, or hangs for None."""

    async def check() -> Any:
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return check


@pytest.mark.parametrize(
    ("answer", "words", "resolution"),
    [
        (None, "no answer within 0 seconds. Nothing was changed.", "See whether the target is reachable."),
        (
            RollbackError("No host key.", untouched="Nothing ran.", resolution="Add it."),
            "No host key. Nothing ran.",
            "Add it.",
        ),
        (KeyError("secret"), "the check itself failed (KeyError). Nothing was changed.", "See the bot's log."),
        (
            asyncio.CancelledError(),
            "the check itself failed (StrayCancellationError). Nothing was changed.",
            "See the bot's log.",
        ),
        ("nonsense", "the check itself failed (AttributeError). Nothing was changed.", "See the bot's log."),
    ],
)
async def test_a_check_that_fails_blocks(lab: Lab, answer: Any, words: str, resolution: str) -> None:
    """A check that cannot be made, for whatever reason, blocks the rollback and says what to do."""
    lab.estate.checks["stop"] = answers(answer)
    run = await lab.requested()
    run = await lab.after(run, lab.worker(check_timeout=timedelta(milliseconds=100)))
    assert run.state is State.REFUSED
    found = finding(run, "servers.stop on payments-servers")
    assert (found.verdict, found.words, found.resolution) == (Verdict.FAIL, words, resolution)
    assert lab.estate.effects == {}


async def test_findings_are_ordered(lab: Lab) -> None:
    """What blocks comes first, then what must be known, then the rest; the same finding stands once."""
    same = Check("Disk", Verdict.OK, " enough \x00")
    lab.estate.checks["stop"] = answers((same, Check("Sudo", Verdict.FAIL, "missing")))
    lab.estate.checks["drain"] = answers((same, Check("Sessions", Verdict.WARN, "12 open")))
    run = await lab.after(await lab.requested())
    checked: events.Checked = run.last(events.Checked)
    order = [found.verdict for found in checked.findings]
    assert order == sorted(order, key=(Verdict.FAIL, Verdict.WARN, Verdict.OK).index)
    assert [found.words for found in checked.findings if found.subject == "Disk"] == [
        "enough \N{REPLACEMENT CHARACTER}"
    ]
    assert checked.findings[0].subject == "Sudo"


async def test_what_a_step_would_do_is_sealed(lab: Lab) -> None:
    """The approval binds to what a step showed that it would do; its actuator is told so, and only then."""
    seals: list[dict[str, str]] = []
    shown = Check("Plan", Verdict.OK, "1 to change", detail="~ a = 1\n", seal="3f2a")
    lab.estate.checks["stop"] = answers((shown,))
    lab.estate.checks["drain"] = answers((Check("Plan", Verdict.OK, "1 to change", detail="~ a = 1"),))

    async def works_knowingly(act: Act) -> Outcome:
        seals.append(dict(act.context.approved))
        return await works(act)

    lab.estate.script("stop", works_knowingly)
    run = await lab.asked()
    assert run.approved == {}
    found = [(f.step, f.seal, f.detail) for f in run.last(events.Checked).findings if f.subject == "Plan"]
    assert sorted(found) == [("", "", "~ a = 1"), ("stop", "3f2a", "~ a = 1")]
    run = await lab.after(await lab.approve(run))
    assert seals == [{"stop": "3f2a"}]


async def test_a_long_detail_is_cut_between_lines(lab: Lab) -> None:
    """Of a detail that no journal should hold whole lines are kept, and the number of the others is told."""
    lab.estate.checks["stop"] = answers((Check("Plan", Verdict.OK, "many", detail="0123456789\n" * 5_000),))
    detail = finding(await lab.asked(), "Plan").detail
    assert len(detail) < outside.LONGEST_DETAIL + 40
    assert set(detail.splitlines()[:-1]) == {"0123456789"}
    assert detail.splitlines()[-1] == f"… {5_000 - len(detail.splitlines()) + 1} more lines"


async def test_checks_run_side_by_side(lab: Lab) -> None:
    """Checks are made at the same time, as many as the settings permit."""
    both = asyncio.Barrier(2)

    async def meets() -> tuple[Check, ...]:
        await both.wait()
        return ()

    lab.estate.checks.update(stop=meets, link=meets)
    assert (await lab.asked()).state is State.AWAITING_AUTHORITY


async def test_checks_are_limited(lab: Lab) -> None:
    """No more checks than permitted are under way at once."""
    under_way: list[int] = []
    now = [0]

    async def counts() -> tuple[Check, ...]:
        now[0] += 1
        under_way.append(now[0])
        await lab.sql("SELECT 1")
        now[0] -= 1
        return ()

    run = await lab.requested()
    lab.estate.checks.update({step.id: counts for step in run.plan.steps()})
    await lab.after(run, lab.worker(parallel_checks=2))
    assert max(under_way) == 2


@pytest.mark.parametrize(
    ("reading", "verdict", "words"),
    [
        (plans.READING, Verdict.OK, "immediate rollback: Error rate 12.3% (threshold: 10%)"),
        (Reading(source="payments-metrics"), Verdict.WARN, "unknown; no data is neither good nor bad"),
        (OSError("refused"), Verdict.WARN, "unknown; no data is neither good nor bad"),
    ],
)
async def test_metrics_do_not_block(lab: Lab, reading: Any, verdict: Verdict, words: str) -> None:
    """The metrics tell the approver how bad it is; no data is an answer of its own and blocks nothing."""
    lab.gauge.reading = reading
    run = await lab.asked()
    found = finding(run, "Metrics")
    assert (found.verdict, found.words) == (verdict, words)
    assert ("payments-metrics" in found.resolution) == (verdict is Verdict.WARN)


@pytest.mark.parametrize(("ago", "window"), [(600.0, 60.0), (60.0, 60.0), (20.0, 20.0), (1.0, 5.0), (-3.0, 5.0)])
async def test_metrics_speak_of_the_deployed_release_alone(lab: Lab, ago: float, window: float) -> None:
    """The metrics are read since the deployment, a minute at most; some seconds tell nothing of availability."""
    deployed = lab.clock.now() - timedelta(seconds=ago)
    plan = plans.plan().model_copy(update={"deployed_at": deployed})
    lab.gauge.reading = plans.READING.model_copy(update={"availability": 0.8})
    run = await lab.after(await lab.requested(plan))
    assert lab.gauge.windows == [timedelta(seconds=window)]
    checked = run.last(events.Checked)
    assert checked.reading.availability == (0.8 if window >= 30 else None)


@pytest.mark.parametrize(
    ("later", "verdict", "words"),
    [
        (27 * 60 + 59, Verdict.OK, "1 second left (new transactions depend on the new schema)"),
        (28 * 60, Verdict.WARN, "passed 0 seconds ago: new transactions depend on the new schema."),
        (38 * 60, Verdict.WARN, "passed 10 minutes ago: new transactions depend on the new schema."),
    ],
)
async def test_the_point_of_no_return(lab: Lab, later: int, verdict: Verdict, words: str) -> None:
    """The point of no return is told to the second, and from that second on it is a warning."""
    await lab.clock.advance(later)
    found = finding(await lab.asked(), "Point of no return")
    assert (found.verdict, found.words) == (verdict, words)


async def test_a_plan_that_changes_during_the_checks(lab: Lab) -> None:
    """A plan that changed between the request and the end of the checks blocks, with the difference."""
    run = await lab.requested()
    lab.shelf.plans[run.plan.change] = plans.plan(title="Another")
    run = await lab.after(run)
    found = finding(run, "Rollback plan")
    assert found.verdict is Verdict.FAIL
    assert "plan.title: Payment service v2.4.0 deployment → Another. Nothing was run." in found.words


async def test_a_check_cut_short_is_made_again(lab: Lab) -> None:
    """A worker that dies between the checks and its question leaves the next one to check again."""
    run = await lab.requested()
    worker = lab.worker()

    async def taken(passing: Any) -> None:
        if passing.label == "append authority_asked":
            await lab.lapse(run)

    worker.wire.trouble = taken
    await worker.advance(run)
    run = await lab.after(run, lab.worker("worker-2"))
    assert [event.kind for event in run.history].count("checked") == 2
    assert run.state is State.AWAITING_AUTHORITY


def rollback(plan: Plan, inventory: Inventory | None = None) -> Run:
    """Return a run of the plan."""
    return Run(id="rb-0001", plan=plan, inventory=(inventory or plans.inventory()).only(plan.all_targets()))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (PlanUnavailableError("gone"), "the plan is gone"),
        (
            PlanInvalidError("bad", problems=("line 3: no such field",)),
            "the plan is unusable now: line 3: no such field",
        ),
        (PlanInvalidError("it is empty", problems=()), "the plan is unusable now: it is empty"),
        (PermissionError("/plans"), "the plan cannot be read now (PermissionError)"),
    ],
)
async def test_a_plan_that_cannot_be_read_has_changed(now: Exception, words: str) -> None:
    """A plan that is gone, unusable or unreadable is not the plan that was approved."""
    run = rollback(plans.plan())
    assert await difference(run, plans=Shelf({plans.CHANGE: now}), inventory=plans.inventory()) == (words,)


async def changed(**change: Any) -> tuple[str, ...]:
    """Return what is different after these keys of the plan changed."""
    shelf = Shelf({plans.CHANGE: plans.plan(**change)})
    return await difference(rollback(plans.plan()), plans=shelf, inventory=plans.inventory())


async def test_differences_are_named() -> None:
    """Each difference is one line with its path, both values shortened."""
    assert await changed() == ()
    baseline = plans.document()["baseline"]
    counts = {"users": 1201, "transactions": 48210}
    found = await changed(baseline={**baseline, "row_counts": counts})
    assert found == ("plan.baseline.row_counts.users: 1200 → 1201",)
    backups = plans.document()["backups"]
    assert await changed(backups=[{**backups[0], "location": "/b"}, *backups[1:]]) == (
        "plan.backups[0].location: /backups/pre-deploy/myapp-db-20240115... → /b",
    )
    (line,) = await changed(backups=backups[:1])
    assert line.startswith("plan.backups: [{")
    assert len(line) < 120


async def test_many_differences_are_counted() -> None:
    """After six differences only the number of the others is told."""
    found = await changed(
        review_after_days=3,
        window="31m",
        title="x",
        service="other",
        criticality="low",
        metrics="payments-db",
        bridge={"url": "https://a.example", "dial": "1", "conference_id": "234567#"},
    )
    assert len(found) == 7
    assert found[-1] == "and 2 more"


async def test_a_difference_that_python_does_not_see() -> None:
    """To Python 1 and True are equal, to a target they are not: the digests decide."""

    def targets(amount: object) -> Inventory:
        document = plans.inventory().model_dump(mode="json")
        synthetic = {"path": "/api/v1/test-transaction", "body": {"amount": amount}}
        document["endpoints"]["payments-api"]["synthetic"] = synthetic
        return Inventory.model_validate(document)

    run = rollback(plans.plan(), targets(1))
    shelf = Shelf({plans.CHANGE: plans.plan()})
    assert await difference(run, plans=shelf, inventory=targets(1)) == ()
    (line,) = await difference(run, plans=shelf, inventory=targets(amount=True))
    assert line.startswith("inventory: digest ")
    (line,) = await difference(run, plans=shelf, inventory=targets(2))
    assert line == "inventory.endpoints.payments-api.synthetic.body.amount: 1 → 2"
