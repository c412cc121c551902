"""The ledger: what has been posted, where, and what it shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from bot.domain import events
from bot.domain.announcements import CARD
from bot.domain.errors import LeaseLostError
from bot.domain.run import Run
from bot.domain.speech import Entry, MessageRef, Miss, Turn
from storage.database import Database
from storage.messages import SqlLedger
from storage.runs import SqlRuns
from storage.speaker import SqlFloor
from tests.storage.sql import samples
from tests.storage.sql.conftest import Backstage
from tests.support.pgserver import PgServer

REF = MessageRef(channel="C0OPS", ts="1705333623.000100")
OTHER = MessageRef(channel="C0OPS", ts="1705333624.000100")
NOTE = "0002-checked"
KEY = CARD.key


@pytest.fixture
def ledger(database: Database) -> SqlLedger:
    """The ledger."""
    return SqlLedger(database)


@pytest.fixture
async def turn(database: Database) -> Turn:
    """The right to speak."""
    taken = await SqlFloor(database, lease=timedelta(hours=1)).take("bot-1")
    assert taken is not None
    return taken


@pytest.fixture
async def overtaken(turn: Turn, database: Database, backstage: Backstage) -> Turn:
    """The right to speak of another process, which has taken the floor from `turn`."""
    await backstage("UPDATE speaker SET until = clock_timestamp()")
    taken = await SqlFloor(database, lease=timedelta(hours=1)).take("bot-2")
    assert taken is not None
    assert taken.fence == turn.fence + 1
    return taken


@pytest.fixture
async def heard(runs: SqlRuns) -> AsyncIterator[AsyncIterator[str]]:
    """The stream of changes, listening."""
    stream = runs.changed()
    async with asyncio.timeout(10):
        assert await anext(stream) == "*"
    yield stream
    await stream.aclose()  # type: ignore[attr-defined] # it is a generator, which the port does not promise


async def test_an_announcement_is_claimed_once(ledger: SqlLedger, run: Run, turn: Turn) -> None:
    """Of many that would post the same announcement, exactly one may do so without looking."""
    claims = await asyncio.gather(*(ledger.claim(run.id, KEY, turn=turn) for _ in range(12)))
    assert sorted(claim.first for claim in claims) == [False] * 11 + [True]
    assert {claim.ref for claim in claims} == {None}
    assert all(timedelta(0) <= claim.age < timedelta(seconds=5) for claim in claims)


async def test_nobody_claims_without_the_floor(
    ledger: SqlLedger, run: Run, turn: Turn, backstage: Backstage, overtaken: Turn
) -> None:
    """Who lost the floor, or let it lapse, claims nothing, and what it wanted to post is another's to claim."""
    with pytest.raises(LeaseLostError):
        await ledger.claim(run.id, KEY, turn=turn)
    assert await ledger.all(run.id) == {}
    await backstage("UPDATE speaker SET until = clock_timestamp()")
    with pytest.raises(LeaseLostError):
        await ledger.claim(run.id, KEY, turn=overtaken)
    assert await ledger.all(run.id) == {}


async def test_a_posted_message_is_found(ledger: SqlLedger, run: Run, turn: Turn) -> None:
    """Who claims what has been posted learns where it is; what is claimed but not known to be posted is told."""
    assert (await ledger.claim(run.id, KEY, turn=turn)).first
    assert (await ledger.claim(run.id, NOTE, turn=turn)).first
    assert await ledger.posted(run.id, KEY, REF, shown="7") == REF
    again = await ledger.claim(run.id, KEY, turn=turn)
    assert (again.first, again.ref) == (False, REF)
    assert await ledger.all(run.id) == {KEY: Entry(ref=REF, shown="7"), NOTE: Entry()}
    assert await ledger.all("rb-9999") == {}


async def test_the_first_message_counts(ledger: SqlLedger, run: Run) -> None:
    """Of two messages under one key the first that was noted counts, and the second one is told so."""
    assert await ledger.posted(run.id, KEY, REF) == REF
    assert await ledger.posted(run.id, KEY, OTHER, shown="9") == REF
    assert await ledger.all(run.id) == {KEY: Entry(ref=REF)}


@pytest.mark.parametrize(
    ("miss", "first", "tries"),
    [(Miss.UNSURE, False, 0), (Miss.BUSY, True, 0), (Miss.REFUSED, True, 1), (Miss.UNREACHABLE, False, 1)],
)
async def test_what_a_miss_leaves_behind(
    ledger: SqlLedger, run: Run, turn: Turn, backstage: Backstage, miss: Miss, *, first: bool, tries: int
) -> None:
    """What surely was not posted is posted without looking the next time; refusals are counted, outages are not."""
    await ledger.claim(run.id, NOTE, turn=turn)
    await backstage("UPDATE message SET claimed_at = claimed_at - interval '1 min'")
    assert not await ledger.missed(run.id, NOTE, miss, turn=turn, most=6)
    assert (await ledger.all(run.id))[NOTE].tries == tries
    claim = await ledger.claim(run.id, NOTE, turn=turn)
    assert claim.first is first
    assert claim.age < timedelta(seconds=30)
    assert not (await ledger.claim(run.id, NOTE, turn=turn)).first


async def test_a_message_is_given_up(ledger: SqlLedger, run: Run, turn: Turn) -> None:
    """After so many refusals a message is given up; without a limit never; and a posted one never is."""
    for key, most, given_up in ((NOTE, 3, True), (KEY, None, False)):
        await ledger.claim(run.id, key, turn=turn)
        answers = [await ledger.missed(run.id, key, Miss.REFUSED, turn=turn, most=most) for _ in range(3)]
        assert answers == [False, False, given_up]
        assert (await ledger.all(run.id))[key] == Entry(tries=3, given_up=given_up)
    await ledger.posted(run.id, NOTE, REF)
    assert (await ledger.all(run.id))[NOTE] == Entry(ref=REF, tries=3)
    assert not await ledger.missed(run.id, NOTE, Miss.REFUSED, turn=turn, most=1)


async def test_who_lost_the_floor_counts_nothing(
    ledger: SqlLedger, run: Run, turn: Turn, database: Database
) -> None:
    """A refusal that comes back late, to a process that lost the floor, does not free what another is posting."""
    await ledger.claim(run.id, NOTE, turn=turn)
    await database.rows(text("UPDATE speaker SET fence = fence + 1"))
    assert not await ledger.missed(run.id, NOTE, Miss.REFUSED, turn=turn, most=1)
    assert (await ledger.all(run.id))[NOTE] == Entry()


async def test_what_a_message_shows(ledger: SqlLedger, run: Run, turn: Turn) -> None:
    """What an edit showed is known to every process, unless the message was to be shown again meanwhile."""
    await ledger.posted(run.id, KEY, REF, shown="1")
    assert await ledger.edited(run.id, KEY, "2", refreshed=0, turn=turn)
    assert (await ledger.all(run.id))[KEY].shown == "2"
    await ledger.refresh(run.id, KEY)
    assert not await ledger.edited(run.id, KEY, "3", refreshed=0, turn=turn)
    assert (await ledger.all(run.id))[KEY] == Entry(ref=REF, refreshed=1)
    assert await ledger.edited(run.id, KEY, "3", refreshed=1, turn=turn)


async def test_an_edit_without_the_floor(ledger: SqlLedger, run: Run, turn: Turn, overtaken: Turn) -> None:
    """The edit of a process that lost the floor is not believed: it may have shown the past."""
    await ledger.posted(run.id, KEY, REF, shown="2")
    assert not await ledger.edited(run.id, KEY, "1", refreshed=0, turn=turn)
    assert await ledger.edited(run.id, KEY, "3", refreshed=0, turn=overtaken)


async def test_a_refresh_is_heard(ledger: SqlLedger, run: Run, heard: AsyncIterator[str]) -> None:
    """Whoever speaks hears that a message is to be shown again, on whatever machine that was wanted."""
    await ledger.refresh(run.id, KEY)  # not posted yet: there is nothing to be shown again
    await ledger.posted(run.id, KEY, REF, shown="1")
    await ledger.refresh(run.id, KEY)
    async with asyncio.timeout(10):
        assert await anext(heard) == run.id
    assert (await ledger.all(run.id))[KEY].refreshed == 1


async def asked(runs: SqlRuns, run: Run) -> Run:
    """Return the rollback waiting for authority."""
    for event in (samples.happened(events.CheckingBegan), samples.asked()):
        run = await runs.append(run, event, lease=None)
    return run


async def test_who_waits_for_a_person_is_left_alone(ledger: SqlLedger, runs: SqlRuns, run: Run) -> None:
    """What was said to the present people of a waiting rollback is not looked at again, until something changes."""
    assert await ledger.unsaid(audience="a") == (run.id,)
    run = await asked(runs, run)
    await ledger.posted(run.id, KEY, REF, shown="3")
    assert await ledger.unsaid(audience="a") == (run.id,)
    await ledger.said(run.id, seq=run.seq, audience="a")
    assert await ledger.unsaid(audience="a") == ()
    assert await ledger.unsaid(audience="b") == (run.id,), "other people must be asked"
    await ledger.refresh(run.id, KEY)
    assert await ledger.unsaid(audience="a") == (run.id,), "the notification may be lost"
    await ledger.said(run.id, seq=run.seq, audience="a")
    assert await ledger.unsaid(audience="a") == (run.id,), "the card is still to be shown"
    await ledger.posted(run.id, "countdown", OTHER)
    await runs.append(run, samples.happened(events.Rejected, name="Ada"), lease=None)
    assert await ledger.unsaid(audience="a") == (run.id,)


async def test_what_runs_is_always_looked_at(ledger: SqlLedger, runs: SqlRuns, run: Run) -> None:
    """A rollback under way is looked at by whoever takes the floor, whatever has been said of it."""
    run = await runs.append(await asked(runs, run), samples.authorised(), lease=None)
    await ledger.posted(run.id, KEY, REF, shown="4")
    await ledger.said(run.id, seq=run.seq, audience="a")
    assert await ledger.unsaid(audience="a") == (run.id,)


async def test_what_ended_is_looked_at_once(
    ledger: SqlLedger, runs: SqlRuns, run: Run, pg_server: PgServer, migrated: str
) -> None:
    """An ended rollback is spoken about until all is said, by whomever; one of long ago is history."""
    run = await runs.append(run, samples.happened(events.Rejected, name="Ada"), lease=None)
    assert await ledger.unsaid(audience="a") == (run.id,)
    await ledger.posted(run.id, KEY, REF, shown="2")
    await ledger.said(run.id, seq=run.seq, audience="a")
    assert await ledger.unsaid(audience="a") == ()
    assert await ledger.unsaid(audience="b") == (), "nobody is told of the past because the policy changed"
    old = await runs.create(run.plan, run.inventory, samples.requested(), locks=())
    await runs.append(old, samples.happened(events.Rejected, name="Ada"), lease=None)
    assert await ledger.unsaid(audience="a") == (old.id,)
    pg_server.execute(
        "SET session_replication_role = replica",  # else the triggers rightly refuse
        "UPDATE rollback SET created_at = now() - interval '8 days' WHERE number = 2",
        dbname=migrated,
    )
    assert await ledger.unsaid(audience="a") == ()


async def test_the_oldest_are_brought_up_to_date_first(
    ledger: SqlLedger, runs: SqlRuns, run: Run, turn: Turn, backstage: Backstage
) -> None:
    """Of messages that show an old truth the oldest come first; none just edited, none of ended rollbacks."""
    made = [run, *[await runs.create(run.plan, run.inventory, samples.requested(), locks=()) for _ in range(3)]]
    for age, each in zip((100, 300, 200, 400), made, strict=True):
        await ledger.posted(each.id, "countdown", REF)
        await backstage(
            "UPDATE message SET claimed_at = claimed_at - make_interval(secs => :age) WHERE rollback_id = :id",
            age=age,
            id=each.id,
        )
    await runs.append(made[3], samples.happened(events.Rejected, name="Ada"), lease=None)
    minute = timedelta(minutes=1)
    assert await ledger.outdated("countdown", age=minute, limit=2) == (made[1].id, made[2].id)
    await ledger.edited(made[1].id, "countdown", "x", refreshed=0, turn=turn)
    assert await ledger.outdated("countdown", age=minute, limit=9) == (made[2].id, made[0].id)
