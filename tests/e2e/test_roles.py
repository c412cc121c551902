"""Two bots and two workers, each a process of its own, on one PostgreSQL: who does what, and who takes over."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from bot.main.clock import SystemClock
from handlers.console import ConsoleError
from handlers.slack import ids
from tests.support.asking import begun
from tests.support.fleet import Fleet, Member, fleet, lives
from tests.support.pgserver import PgServer
from tests.support.pgserver import pg_server as server
from tests.support.production import passable_folder
from tests.support.serving import CHANNEL, eventually, words_of
from tests.support.shops import Shop

__all__ = ["server"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("roles"),
]

CLOCK = SystemClock()
GRACE_SECONDS = 4
AT_ONCE = 2.0
"""Seconds within which what happens at once has happened, on a machine that has more to do."""
MOST_CONNECTIONS = 20
SHOPS = ("spread", "finished", "parked", "hurried", "killed", "restarted", "frozen")
ZONES = {**dict.fromkeys(SHOPS, "default"), "beyond": "dmz"}
ALONE = "worker-dmz"
"""The only worker of the other zone; it is started by the test that needs it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(server: PgServer) -> AsyncIterator[Fleet]:
    """The fleet, with the lease and the renewal that it has by default."""
    server.execute("CREATE DATABASE fleet")
    url = f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/fleet"
    bot, worker = ("--role", "bot"), ("--role", "worker")
    everyday: dict[str, Sequence[str]] = {"bot-a": bot, "bot-b": bot, "worker-a": worker, "worker-b": worker}
    members = {**everyday, ALONE: (*worker, "--zone", "dmz")}
    with passable_folder() as folder:
        async with fleet(
            folder,
            store_url=url,
            shops=ZONES,
            members=members,
            ROLLBACK_GRACE=f"{GRACE_SECONDS}s",
        ) as made:
            yield made


@pytest_asyncio.fixture(loop_scope="module")
async def all_of(running: Fleet) -> Fleet:
    """The fleet with everybody of the default zone on board."""
    await running.complete(without=ALONE)
    running.hears("bot-a")
    return running


async def approved(people: Fleet, shop: Shop) -> str:
    """Ask for a rollback and approve it; return its id."""
    rollback_id = begun(await people.operator.types(f"/rollback {people.change(shop)} it burns"))
    card = await people.manager.card(rollback_id, says="waiting for authority")
    await people.manager.console.click(CHANNEL, card, ids.APPROVE)
    return rollback_id


async def hanging(people: Fleet, shop: Shop) -> tuple[str, Member, int]:
    """Return a rollback whose start hangs: its id, the worker that carries it out, and the hanging child."""
    shop.hang()
    rollback_id = await approved(people, shop)
    child = await shop.begun()
    return rollback_id, await people.actor(rollback_id, "start"), child


def other_worker(people: Fleet, worker: Member) -> Member:
    """Return the other worker."""
    return next(people.members[name] for name in ("worker-a", "worker-b") if people.members[name] is not worker)


async def taken_over(people: Fleet, rollback_id: str, *, by: Member, seconds: float) -> None:
    """Return when a worker has begun the second attempt of the start, which must be in that time."""
    query = (
        "SELECT body ->> 'who' FROM journal WHERE rollback_id = %s AND kind = 'step_started' "
        "AND body ->> 'step' = 'start' AND (body ->> 'attempt')::int = 2"
    )

    async def look() -> str | None:
        found = await people.store.rows(query, rollback_id)
        return found[0][0] if found else None

    who = await eventually(look, seconds=seconds, what=f"the takeover of {rollback_id}")
    assert int(who.split(":")[2]) == by.process.pid


async def gone(pid: int, *, seconds: float) -> None:
    """Return when a process has ended."""

    async def look() -> bool:
        return not lives(pid)

    await eventually(look, seconds=seconds, what=f"the end of process {pid}")


async def ended_well(people: Fleet, rollback_id: str, shop: Shop) -> None:
    """Return when a rollback has succeeded, each step once."""

    async def look() -> bool:
        return "verification_began" in await people.store.journal(rollback_id)

    await eventually(look, what=f"the end of the steps of {rollback_id}")
    rows = await people.store.rows(
        "SELECT body ->> 'step' FROM journal WHERE rollback_id = %s AND kind = 'step_succeeded' ORDER BY seq",
        rollback_id,
    )
    assert [step for (step,) in rows][:2] == ["stop", "start"]
    assert shop.runs


async def test_any_bot_hears_and_the_workers_act(all_of: Fleet) -> None:
    """A command that one bot hears and a click that the other one hears make one rollback; workers carry it out."""
    shop = all_of.shops["spread"]
    rollback_id = begun(await all_of.operator.types(f"/rollback {all_of.change(shop)} it burns"))
    card = await all_of.manager.card(rollback_id, says="waiting for authority")
    all_of.hears("bot-b")
    await all_of.manager.console.click(CHANNEL, card, ids.APPROVE)
    await all_of.manager.card(rollback_id, says="complete", seconds=40)
    workers = {str(all_of.members[name].process.pid) for name in ("worker-a", "worker-b")}
    rows = await all_of.store.rows(
        "SELECT DISTINCT split_part(body ->> 'who', ':', 3) FROM journal "
        "WHERE rollback_id = %s AND kind IN ('checked', 'step_started', 'step_succeeded', 'completed')",
        rollback_id,
    )
    assert {pid for (pid,) in rows} <= workers

    async def announced() -> list[str] | None:
        messages = [words_of(message) for message in await all_of.operator.console.messages(CHANNEL)]
        about_it = [words for words in messages if all_of.change(shop) in words]
        return about_it if any("ROLLBACK COMPLETE" in words for words in about_it) else None

    said = await eventually(announced, what="ROLLBACK COMPLETE")
    titles = ("ROLLBACK IN PROGRESS", "ROLLBACK COMPLETE")
    assert [sum(title in words for words in said) for title in titles] == [1, 1]


async def test_each_process_shows_its_state_and_few_connections(all_of: Fleet) -> None:
    """Every role answers both probes, and each process is named in the store's sessions and opens at most 20."""
    everybody = [(name, member) for name, member in all_of.members.items() if name != ALONE]
    for name, member in everybody:
        role = name.partition("-")[0]
        assert await member.probe("/live") == (200, {"live": True, "role": role, "zone": "default"})
        assert (await member.probe("/ready"))[0] == 200
    rows = await all_of.store.rows(
        "SELECT application_name, count(*) FROM pg_stat_activity "
        "WHERE application_name LIKE 'rollback-bot/%%' AND datname = current_database() GROUP BY 1"
    )
    found: dict[str, int] = dict(rows)
    assert max(found.values()) <= MOST_CONNECTIONS
    for name, member in everybody:
        role = "bot" if name.startswith("bot") else "worker/default"
        assert any(re.fullmatch(rf"rollback-bot/{role}@[^/]+/{member.process.pid}", each) for each in found), found


async def test_stopped_bot_leaves_the_people_to_the_other_one(all_of: Fleet) -> None:
    """A bot that is told to stop takes nothing more and ends with exit code 0; the other one answers."""
    bot = all_of.members["bot-a"]
    assert "What you can type" in await all_of.operator.types("/rollback help")
    bot.send(signal.SIGTERM)
    assert await bot.ended(8) == 0
    with pytest.raises(ConsoleError, match="dispatch_failed"):
        await all_of.operator.console.command(CHANNEL, "/rollback help")
    all_of.hears("bot-b")
    assert "What you can type" in await all_of.operator.types("/rollback help")


async def test_each_zone_has_its_own_workers(all_of: Fleet) -> None:
    """A rollback waits for a worker of its target's zone, which then does these steps and no others."""
    shop, alone = all_of.shops["beyond"], all_of.members[ALONE]
    rollback_id = begun(await all_of.operator.types(f"/rollback {all_of.change(shop)} it burns"))

    async def looked_at() -> bool:
        return "partly_checked" in await all_of.store.journal(rollback_id)

    await eventually(looked_at, what="the checks of the default zone")
    assert "checked" not in await all_of.store.journal(rollback_id)
    await alone.start()
    try:
        card = await all_of.manager.card(rollback_id, says="waiting for authority", seconds=90)
        await all_of.manager.console.click(CHANNEL, card, ids.APPROVE)
        await ended_well(all_of, rollback_id, shop)
        await all_of.manager.card(rollback_id, says="complete", seconds=40)
        rows = await all_of.store.rows(
            "SELECT body ->> 'step', split_part(body ->> 'who', ':', 3) FROM journal "
            "WHERE rollback_id = %s AND kind = 'step_started'",
            rollback_id,
        )
        by_alone = {step for step, pid in rows if int(pid) == alone.pid}
        assert by_alone == {"stop", "start"}
        assert {step for step, _ in rows} == {"stop", "start", "health", "metrics"}
    finally:
        alone.send(signal.SIGTERM)
        assert await alone.ended(GRACE_SECONDS + 8) == 0


async def test_stopped_worker_finishes_its_step(all_of: Fleet) -> None:
    """A worker that is told to stop ends the step that it runs, if that takes no longer than the grace."""
    shop = all_of.shops["finished"]
    shop.pause(1)
    rollback_id = await approved(all_of, shop)
    await shop.begun()
    worker = await all_of.actor(rollback_id, "start")
    worker.send(signal.SIGTERM)
    assert await worker.ended(GRACE_SECONDS + 8) == 0
    await ended_well(all_of, rollback_id, shop)
    assert (await all_of.actor(rollback_id, "start")) is worker


async def test_stopped_worker_parks_its_step(all_of: Fleet) -> None:
    """A step that outlasts the grace is stopped, and its lease given back: the other worker goes on at once."""
    shop = all_of.shops["parked"]
    rollback_id, worker, child = await hanging(all_of, shop)
    worker.send(signal.SIGTERM)

    async def unready() -> bool:
        status, said = await worker.probe("/ready")
        return status == 503 and said["reasons"] == {"process": "it is being stopped and takes nothing new"}

    await eventually(unready, seconds=AT_ONCE, what="the probe's word of the stop")
    assert (await worker.probe("/live"))[0] == 200
    assert lives(child)
    assert await worker.ended(GRACE_SECONDS + 8) == 0
    assert not lives(child)
    await taken_over(all_of, rollback_id, by=other_worker(all_of, worker), seconds=2 + AT_ONCE)
    await ended_well(all_of, rollback_id, shop)


async def test_second_signal_ends_at_once(all_of: Fleet) -> None:
    """A second signal ends the worker and its children at once; its step is taken over like that of a dead one."""
    shop = all_of.shops["hurried"]
    rollback_id, worker, child = await hanging(all_of, shop)
    worker.send(signal.SIGTERM)

    async def noticed() -> bool:
        return (await worker.probe("/ready"))[0] == 503

    await eventually(noticed, seconds=AT_ONCE, what="the first signal's effect")
    worker.send(signal.SIGTERM)
    assert await worker.ended(AT_ONCE) == 128 + signal.SIGTERM
    await gone(child, seconds=AT_ONCE)
    await taken_over(all_of, rollback_id, by=other_worker(all_of, worker), seconds=15)
    await ended_well(all_of, rollback_id, shop)


async def test_killed_worker_is_replaced_by_a_live_one(all_of: Fleet) -> None:
    """After kill -9 the child is gone, and another live worker goes on within 15 seconds."""
    shop = all_of.shops["killed"]
    rollback_id, worker, child = await hanging(all_of, shop)
    worker.send(signal.SIGKILL)
    assert await worker.ended(AT_ONCE) == -signal.SIGKILL
    await gone(child, seconds=AT_ONCE)
    await taken_over(all_of, rollback_id, by=other_worker(all_of, worker), seconds=15)
    await ended_well(all_of, rollback_id, shop)


async def test_restarted_worker_goes_on_within_three_seconds(all_of: Fleet) -> None:
    """When no worker is left, one that is started goes on within three seconds of being ready."""
    shop = all_of.shops["restarted"]
    rollback_id, worker, _ = await hanging(all_of, shop)
    both = (worker, other_worker(all_of, worker))
    for each in both:
        each.send(signal.SIGKILL)
    await asyncio.gather(*(each.ended(AT_ONCE) for each in both))
    await worker.start()
    ready_at = await worker.ready()
    await taken_over(all_of, rollback_id, by=worker, seconds=ready_at + 3 - CLOCK.monotonic())
    await ended_well(all_of, rollback_id, shop)


async def test_frozen_worker_writes_nothing_when_it_wakes(all_of: Fleet) -> None:
    """A worker that was frozen past its lease is replaced; thawed, it stops its child and writes nothing more."""
    shop = all_of.shops["frozen"]
    rollback_id, worker, child = await hanging(all_of, shop)
    worker.send(signal.SIGSTOP)
    await taken_over(all_of, rollback_id, by=other_worker(all_of, worker), seconds=15)
    await ended_well(all_of, rollback_id, shop)
    assert lives(child)
    newest = (await all_of.store.rows("SELECT max(seq) FROM journal WHERE rollback_id = %s", rollback_id))[0][0]
    worker.send(signal.SIGCONT)
    await gone(child, seconds=5)
    await worker.ready()
    rows = await all_of.store.rows(
        "SELECT kind FROM journal WHERE rollback_id = %s AND seq > %s AND body ->> 'who' LIKE %s",
        *(rollback_id, newest, f"%:{worker.process.pid}:%"),
    )
    assert rows == []
    assert f"{rollback_id}: the lease is lost, everything was stopped" in worker.log.read_text()
