from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from bot.domain import events, ports
from bot.domain.events import AnyEvent
from bot.domain.lifecycle import State
from bot.domain.pace import Pace
from bot.domain.plan import Plan
from storage.database import Database
from storage.history import PACES, ROLLBACKS, SqlHistory, values
from storage.runs import SqlRuns
from tests.storage.sql import samples
from tests.storage.sql.conftest import Backstage
from tests.support.pgserver import PgServer


@pytest.fixture
def history(database: Database) -> ports.History:
    """What the store knows of earlier rollbacks."""
    return SqlHistory(database)


def later(minutes: float) -> datetime:
    """Return the time so many minutes after the beginning."""
    return samples.NOW + timedelta(minutes=minutes)


def started(minutes: float, *, step: str = "restore", attempt: int = 1) -> AnyEvent:
    """A step begins."""
    return samples.happened(events.StepStarted, at=later(minutes), step=step, attempt=attempt)


def succeeded(minutes: float, *, step: str = "restore", attempt: int = 1, found: bool = False) -> AnyEvent:
    """A step ends well."""
    return samples.happened(
        events.StepSucceeded, at=later(minutes), step=step, attempt=attempt, words="done", found=found
    )


def failed(minutes: float, *, attempt: int = 1) -> AnyEvent:
    """A step ends badly."""
    return samples.happened(
        events.StepFailed, at=later(minutes), step="restore", attempt=attempt, brief="no", transient=True
    )


async def rolled_back(runs: SqlRuns, *history: AnyEvent, plan: Plan | None = None) -> None:
    """Write a rollback that was aborted after these events, so that its targets are free again."""
    plan = plan or samples.plan()
    run = await runs.create(plan, samples.inventory(), samples.requested(), locks=())
    before = (
        samples.happened(events.CheckingBegan),
        samples.asked(),
        samples.authorised(),
        samples.happened(events.ExecutionBegan),
    )
    for event in (*before, *history, samples.happened(events.Aborted)):
        run = await runs.append(run, event, lease=None)


def changed(**fields: Any) -> Plan:
    """Return the plan with other fields of its step `restore`."""
    document = samples.plan().model_dump(mode="json")
    document["phases"][0]["steps"][0].update(fields)
    return samples.MODEL.model_validate(document)


async def test_a_store_without_rollbacks(history: ports.History) -> None:
    """Nothing is known of a service that was never rolled back."""
    assert await history.paces(samples.plan()) == {}


async def test_median_and_p90(runs: SqlRuns, history: ports.History) -> None:
    """A step's pace is the median and the 90th percentile of what it took, probes included."""
    for minutes in (10, 2, 4, 3, 11):
        await rolled_back(
            runs, started(0), succeeded(minutes), started(20, step="look"), succeeded(20.5, step="look")
        )
    assert await history.paces(samples.plan()) == {
        "restore": Pace(runs=5, median=timedelta(minutes=4), p90=timedelta(minutes=10.6)),
        "look": Pace(runs=5, median=timedelta(seconds=30), p90=timedelta(seconds=30)),
    }


async def test_only_the_attempt_that_ended_well_counts(runs: SqlRuns, history: ports.History) -> None:
    """Attempts that failed or were lost with their worker, and the pauses between them, say nothing of the pace."""
    await rolled_back(
        runs,
        *(started(0), failed(5), started(30, attempt=2), failed(31, attempt=2)),
        *(started(40, attempt=3), succeeded(42, attempt=3)),
    )
    await rolled_back(runs, started(0), started(50, attempt=2), succeeded(54, attempt=2))
    found = await history.paces(samples.plan())
    assert found["restore"].runs == 2
    assert found["restore"].median == timedelta(minutes=3)


@pytest.mark.parametrize(
    "ended",
    [
        (started(0), succeeded(9, found=True)),
        (started(0), failed(9)),
        (started(0),),
        (started(5), succeeded(4)),
        (),
    ],
    ids=["found done", "failed", "never ended", "a clock that was set back", "never begun"],
)
async def test_what_measures_nothing(runs: SqlRuns, history: ports.History, ended: tuple[AnyEvent, ...]) -> None:
    """A step that was not seen from its beginning to its good end has no pace."""
    await rolled_back(runs, *ended)
    assert await history.paces(samples.plan()) == {}


@pytest.mark.parametrize("fields", [{"target": "other-db"}, {"kind": "test.look"}, {"id": "restore-users"}])
async def test_another_step_is_no_precedent(runs: SqlRuns, history: ports.History, fields: dict[str, str]) -> None:
    """What another kind of step, or the same on another target, took says nothing of this one."""
    await rolled_back(runs, started(0), succeeded(4))
    document = samples.plan().model_dump(mode="json")
    step = {
        key: value for key, value in document["phases"][0]["steps"][0].items() if key in ("id", "kind", "target")
    }
    document["phases"][0]["steps"] = [{**step, **fields}]
    assert await history.paces(samples.MODEL.model_validate(document)) == {}


async def test_the_same_step_of_another_change_counts(runs: SqlRuns, history: ports.History) -> None:
    """Changes differ from rollback to rollback; a step with other settings of the same service is a precedent."""
    await rolled_back(runs, started(0), succeeded(4), plan=samples.plan(change="CHG0012399"))
    assert set(await history.paces(changed(wanted="another dump", expected="3m"))) == {"restore"}


async def test_another_service_is_no_precedent(runs: SqlRuns, history: ports.History) -> None:
    """The same names may mean other machines in another service."""
    await rolled_back(runs, started(0), succeeded(4))
    billing = samples.plan().model_copy(update={"service": "billing"})
    assert await history.paces(billing) == {}


async def test_the_newest_rollbacks_count(runs: SqlRuns, history: ports.History) -> None:
    """Only the newest fifty that ran are read; those that were refused take nobody's place."""
    for minutes in (90, 90, *[4] * ROLLBACKS):
        await rolled_back(runs, started(0), succeeded(minutes))
    for _ in range(3):
        run = await runs.create(samples.plan(), samples.inventory(), samples.requested(), locks=())
        run = await runs.append(run, samples.happened(events.CheckingBegan), lease=None)
        run = await runs.append(run, samples.happened(events.Refused), lease=None)
        assert run.state is State.REFUSED
    assert await history.paces(samples.plan()) == {
        "restore": Pace(runs=ROLLBACKS, median=timedelta(minutes=4), p90=timedelta(minutes=4))
    }


async def test_only_the_journals_of_those_rollbacks_are_read(
    runs: SqlRuns, history: ports.History, backstage: Backstage, pg_server: PgServer, migrated: str
) -> None:
    """However many rollbacks there were, no more of the journal is read than what those of the service wrote."""
    await rolled_back(runs, started(0), succeeded(4))
    pg_server.execute(
        "SET session_replication_role = replica",  # else the guards rightly refuse what has no beginning
        "INSERT INTO rollback (service, change, zone, state, seq, state_seq, plan, plan_digest, inventory, "
        "targets_digest, requester) SELECT 'other', change, zone, state, seq, state_seq, plan, plan_digest, "
        "inventory, targets_digest, requester FROM rollback, generate_series(1, 1000)",
        "INSERT INTO journal (rollback_id, seq, body) SELECT r.id, n, json_build_object('kind', 'step_started', "
        "'at', '2024-01-15T15:47:00Z', 'who', 'w', 'why', 'y', 'step', 's' || n, 'attempt', 1) "
        "FROM rollback r, generate_series(1, 30) AS n WHERE r.service = 'other'",
        "ANALYZE",
        dbname=migrated,
    )
    plan = samples.plan()
    assert (await history.paces(plan))["restore"].runs == 1
    ((found,),) = await backstage(f"EXPLAIN (ANALYZE, FORMAT JSON) {PACES.text}", **values(plan))
    assert isinstance(found, list)
    nodes = list(below(found[0]["Plan"]))
    read = {
        node["Relation Name"]: node["Actual Rows"] * node["Actual Loops"]
        for node in nodes
        if "Relation Name" in node
    }
    assert read == {"rollback": 1, "journal": 2}
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}


def below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of the executed statement and all below it."""
    yield node
    for child in node.get("Plans", []):
        yield from below(child)
