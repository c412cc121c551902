from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bot.domain import events
from bot.domain.errors import LeaseLostError
from bot.domain.lifecycle import State
from bot.domain.plan import plan_model
from bot.domain.ports import ConflictError, Lease, TargetBusyError
from bot.domain.run import Run
from storage.database import Database
from storage.runs import RunUnreadableError, SqlRuns
from tests.storage.sql import samples
from tests.storage.sql.conftest import Backstage


async def taken(runs: SqlRuns, run: Run, owner: str = "worker-1") -> tuple[Lease, Run]:
    """Take the lease, which must be free."""
    found = await runs.acquire(run.id, owner)
    assert found is not None
    return found


async def waiting(runs: SqlRuns, run: Run) -> Run:
    """Bring a rollback to where it waits for authority."""
    run = await runs.append(run, samples.happened(events.CheckingBegan), lease=None)
    return await runs.append(run, samples.asked(), lease=None)


async def executing(runs: SqlRuns, run: Run) -> Run:
    """Bring a rollback to where it executes."""
    run = await waiting(runs, run)
    run = await runs.append(run, samples.authorised(), lease=None)
    return await runs.append(run, samples.happened(events.ExecutionBegan), lease=None)


async def test_snapshots_come_back_exactly(runs: SqlRuns, run: Run) -> None:
    """A rollback is read back with the very plan, digests and order of fields that it was requested with."""
    loaded = await runs.load(run.id)
    assert loaded == run
    assert loaded.id == "rb-0001"
    assert loaded.plan.digest() == samples.plan().digest()
    assert list(loaded.plan.baseline.row_counts) == ["zebra", "users", "apple"]
    assert loaded.inventory.digest() == samples.inventory().digest()
    assert (loaded.state, loaded.seq, loaded.state_seq, loaded.requester) == (State.REQUESTED, 1, 1, "U0ONCALL")


async def test_append_returns_what_others_read(runs: SqlRuns, run: Run) -> None:
    """The run that an append returns is the one that any other reader finds."""
    run = await executing(runs, run)
    run = await runs.append(run, samples.happened(events.StepStarted, step="restore", attempt=1), lease=None)
    assert run == await runs.load(run.id)
    assert (run.state, run.seq, run.state_seq) == (State.EXECUTING, 6, 5)


async def test_unknown_rollback(runs: SqlRuns, run: Run) -> None:
    """A rollback that does not exist is a KeyError, to whoever reads, writes or takes it."""
    stranger = Run(id="rb-9999", plan=run.plan, inventory=run.inventory, seq=1)
    with pytest.raises(KeyError):
        await runs.load("rb-9999")
    with pytest.raises(KeyError):
        await runs.append(stranger, samples.happened(events.CheckingBegan), lease=None)
    assert await runs.acquire("rb-9999", "worker-1") is None


async def test_second_writer_conflicts(runs: SqlRuns, run: Run) -> None:
    """Of two writers that read the same journal, exactly one writes, and the other learns that it came too late."""
    event = samples.happened(events.CheckingBegan)
    results = await asyncio.gather(*(runs.append(run, event, lease=None) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, Run) for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 7
    assert (await runs.load(run.id)).seq == 2


async def test_stale_fence_writes_nothing(runs: SqlRuns, run: Run, backstage: Backstage) -> None:
    """A worker whose lease was taken over can neither write, nor renew, nor give the lease back."""
    old, seen_by_old = await taken(runs, run, "worker-1")
    await backstage.lapse(old)
    new, seen_by_new = await taken(runs, run, "worker-2")
    assert new.fence == old.fence + 1
    event = samples.happened(events.CheckingBegan)
    with pytest.raises(LeaseLostError):
        await runs.append(seen_by_old, event, lease=old)
    with pytest.raises(LeaseLostError):
        await runs.renew(old)
    with pytest.raises(LeaseLostError):
        await runs.release(old, seen=run.seq, wake_at=None)
    after = await runs.append(seen_by_new, event, lease=new)
    assert after.seq == 2
    assert await backstage("SELECT fence FROM journal WHERE seq = 2") == [(new.fence,)]


async def test_lapsed_lease_writes_nothing(runs: SqlRuns, run: Run, backstage: Backstage) -> None:
    """A lease that lapsed is void even before anybody else takes it."""
    lease, run = await taken(runs, run)
    await backstage.lapse(lease)
    with pytest.raises(LeaseLostError):
        await runs.append(run, samples.happened(events.CheckingBegan), lease=lease)
    with pytest.raises(LeaseLostError):
        await runs.renew(lease)
    assert (await runs.load(run.id)).seq == 1


async def test_lease_is_exclusive(runs: SqlRuns, run: Run) -> None:
    """Of many workers that want a rollback at once, exactly one gets it."""
    found = await asyncio.gather(*(runs.acquire(run.id, f"worker-{n}") for n in range(10)))
    leases = [result[0] for result in found if result is not None]
    assert len(leases) == 1
    assert await runs.acquire(run.id, "worker-99") is None
    assert await runs.renew(leases[0]) == 1


async def test_a_person_writes_beside_the_worker(runs: SqlRuns, run: Run) -> None:
    """A person's decision needs no lease, and the worker that has one notices it before giving the lease back."""
    run = await waiting(runs, run)
    lease, seen = await taken(runs, run)
    await runs.append(seen, samples.authorised(), lease=None, wake=True)
    assert not await runs.release(lease, seen=seen.seq, wake_at=None)
    assert await runs.renew(lease) == seen.seq + 1
    with pytest.raises(ConflictError):
        await runs.append(seen, samples.happened(events.Expired), lease=lease)
    assert await runs.release(lease, seen=seen.seq + 1, wake_at=None)
    assert await runs.owners() == ()


async def test_release_of_a_lapsed_lease(runs: SqlRuns, run: Run, backstage: Backstage) -> None:
    """A lapsed lease that nobody took may still be given back, with the time to look again."""
    run = await waiting(runs, run)
    lease, run = await taken(runs, run)
    await backstage.lapse(lease)
    assert await runs.release(lease, seen=run.seq, wake_at=samples.NOW)
    assert await runs.due() == ((run.id, "default"),)


async def test_ended_rollback_cannot_be_taken(runs: SqlRuns, run: Run) -> None:
    """Nobody gets a lease on a rollback that has ended, and nothing follows its last event."""
    run = await runs.append(run, samples.happened(events.Rejected, name="Ada"), lease=None)
    assert run.state is State.STOOD_DOWN
    assert await runs.acquire(run.id, "worker-1") is None
    assert await runs.due() == ()
    with pytest.raises(ValueError, match="not permitted"):
        await runs.append(run, samples.happened(events.CheckingBegan), lease=None)


async def test_due_follows_the_state(runs: SqlRuns, run: Run) -> None:
    """A rollback is due while its state wants a worker; one that waits for a person only when its time comes."""
    assert await runs.due() == ((run.id, "default"),)
    run = await waiting(runs, run)
    assert await runs.due() == ()
    lease, run = await taken(runs, run)
    assert await runs.release(lease, seen=run.seq, wake_at=samples.SystemClock().now() + timedelta(hours=1))
    assert await runs.due() == ()
    run = await runs.append(run, samples.authorised(), lease=None, wake=True)
    assert await runs.due() == ((run.id, "default"),)
    lease, run = await taken(runs, run)
    assert await runs.due() == ()
    assert await runs.release(lease, seen=run.seq, wake_at=None)
    assert await runs.due() == ((run.id, "default"),)


async def test_due_respects_a_later_time(runs: SqlRuns, run: Run) -> None:
    """A worker that says when to look again is not called before: a record system that fails is not hammered."""
    lease, run = await taken(runs, run)
    assert await runs.release(lease, seen=run.seq, wake_at=samples.SystemClock().now() + timedelta(minutes=1))
    assert await runs.due() == ()


async def test_a_death_is_due_whatever_the_state(runs: SqlRuns, run: Run, backstage: Backstage) -> None:
    """A lease that lapsed without being given back calls for a worker even where only a person could act."""
    run = await waiting(runs, run)
    lease, run = await taken(runs, run)
    assert await runs.due() == ()
    await backstage.lapse(lease)
    assert await runs.due() == ((run.id, "default"),)


async def test_leases_of_dead_owners_end(runs: SqlRuns, run: Run) -> None:
    """A lease of an owner that is known to be dead counts as lapsed at once, and its fence is void."""
    lease, run = await taken(runs, run, "host:1:dead")
    assert await runs.owners() == ("host:1:dead",)
    await runs.bury(["host:2:other"])
    assert await runs.due() == ()
    await runs.bury(["host:1:dead"])
    assert await runs.due() == ((run.id, "default"),)
    assert await runs.owners() == ()
    with pytest.raises(LeaseLostError):
        await runs.append(run, samples.happened(events.CheckingBegan), lease=lease)
    assert await runs.acquire(run.id, "host:3:new") is not None


async def test_one_live_rollback_a_target(runs: SqlRuns, backstage: Backstage) -> None:
    """Of twenty requests at once for the same targets exactly one is accepted, and the others name the holder."""
    plan, inventory = samples.plan(), samples.inventory()

    async def create(number: int) -> Run:
        locks = ["payments-db", "payments-app"] if number % 2 else ["payments-app", "payments-db"]
        return await runs.create(plan, inventory, samples.requested(), locks=locks)

    results = await asyncio.gather(*(create(number) for number in range(20)), return_exceptions=True)
    made = [result for result in results if isinstance(result, Run)]
    busy = [result for result in results if isinstance(result, TargetBusyError)]
    assert (len(made), len(busy)) == (1, 19)
    assert {error.holder for error in busy} == {made[0].id}
    assert {error.targets for error in busy} == {("payments-app", "payments-db")}
    assert made[0].id in str(busy[0])
    assert await backstage("SELECT count(*) FROM rollback") == [(1,)]
    assert await backstage("SELECT count(*) FROM journal") == [(1,)]


async def test_busy_names_only_what_both_want(runs: SqlRuns, run: Run) -> None:
    """A refusal names the targets that both rollbacks want, and no others."""
    with pytest.raises(TargetBusyError) as refused:
        await runs.create(run.plan, run.inventory, samples.requested(), locks=["payments-db", "unused"])
    assert refused.value.targets == ("payments-db",)
    assert refused.value.untouched == "Nothing was started."


async def test_lock_ends_with_the_rollback(runs: SqlRuns, run: Run) -> None:
    """The targets are free as soon as the rollback has ended, and they are kept while it waits for a person."""
    run = await waiting(runs, run)
    with pytest.raises(TargetBusyError):
        await runs.create(run.plan, run.inventory, samples.requested(), locks=run.plan.targets())
    await runs.append(run, samples.happened(events.Expired), lease=None)
    second = await runs.create(run.plan, run.inventory, samples.requested(), locks=run.plan.targets())
    assert second.state is State.REQUESTED


async def test_lists_are_newest_first(runs: SqlRuns, backstage: Backstage) -> None:
    """Lists show the newest first by number, past four digits too, and only live ones count as active."""
    await backstage("SELECT setval('rollback_number', 9998)")
    made = []
    for change, lock in (("CHG0001", "a"), ("CHG0002", "b"), ("CHG0001", "c")):
        plan = samples.plan(change=change)
        made.append(await runs.create(plan, samples.inventory(), samples.requested(), locks=[lock]))
    assert [run.id for run in made] == ["rb-9999", "rb-10000", "rb-10001"]
    await runs.append(made[1], samples.happened(events.Rejected, name="Ada"), lease=None)
    assert [run.id for run in await runs.recent(2)] == ["rb-10001", "rb-10000"]
    assert [run.id for run in await runs.active()] == ["rb-10001", "rb-9999"]
    latest = await runs.latest_of("CHG0001")
    assert latest is not None
    assert latest.id == "rb-10001"
    assert await runs.latest_of("CHG0009") is None


@pytest.mark.parametrize(
    ("db_zone", "metrics_zone", "zone"),
    [("dmz", "dmz", "dmz"), ("dmz", "default", "default"), ("default", "default", "default")],
)
def test_zone_is_what_all_targets_share(db_zone: str, metrics_zone: str, zone: str) -> None:
    """A rollback goes to a zone of its own only if every target lies there."""
    assert samples.inventory(db_zone=db_zone, metrics_zone=metrics_zone).zone() == zone


async def test_zone_is_told_with_what_is_due(runs: SqlRuns) -> None:
    """Whoever asks what is due learns which zone's workers can do it."""
    inventory = samples.inventory(db_zone="dmz", metrics_zone="dmz")
    run = await runs.create(samples.plan(), inventory, samples.requested(), locks=())
    assert await runs.due() == ((run.id, "dmz"),)


async def test_unreadable_rollback_hides_no_other(
    database: Database, runs: SqlRuns, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """A rollback whose actuator is gone is an error that says so, and is left out of the lists of the others."""
    fewer: Any = plan_model({"test.look": samples.Look})
    strangers = SqlRuns(database, plan_model=fewer, clock=samples.SystemClock())
    with pytest.raises(RunUnreadableError, match="rb-0001 cannot be read"):
        await strangers.load(run.id)
    assert await strangers.recent(5) == ()
    assert "rb-0001 cannot be read" in caplog.text
    assert len(await runs.recent(5)) == 1


async def test_unreadable_rollback_is_left_to_others(database: Database, runs: SqlRuns, run: Run) -> None:
    """A program that cannot read a rollback gives its lease back at once, so that one that can goes on."""
    fewer: Any = plan_model({"test.look": samples.Look})
    strangers = SqlRuns(database, plan_model=fewer, clock=samples.SystemClock())
    with pytest.raises(RunUnreadableError, match="rb-0001 cannot be read"):
        await strangers.acquire(run.id, "older")
    assert await runs.due() == ()
    taken = await runs.acquire(run.id, "newer")
    assert taken is not None


async def test_output_with_nul_is_kept(runs: SqlRuns, run: Run) -> None:
    """Output of a tool may hold NUL characters; the journal takes it, and reads it as the writer was told."""
    run = await executing(runs, run)
    started = samples.happened(events.StepStarted, step="restore", attempt=1)
    run = await runs.append(run, started, lease=None)
    failed = samples.happened(
        events.StepFailed, step="restore", attempt=1, brief="a\x00b", output="\\u0000 \x00 ende"
    )
    run = await runs.append(run, failed, lease=None)
    assert run == await runs.load(run.id)
    assert run.status("restore").failure is not None
    assert run.status("restore").words == "a\N{REPLACEMENT CHARACTER}b"
    assert run.last(events.StepFailed).output == "\\u0000 \N{REPLACEMENT CHARACTER} ende"
