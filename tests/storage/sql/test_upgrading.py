"""Revision 0002 comes to a store that programs of revision 0001 are working on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import RowMapping, text
from sqlalchemy import exc as sa_exc

from storage.database import Database
from storage.migrations import upgrade
from tests.storage.sql.conftest import newest
from tests.support.fakes import until
from tests.upgrade.release import RELEASED

_ROUNDS = 25
"""How often each of the old programs' works is done before, during and after the upgrade, at least."""


@pytest.fixture
async def released(empty_url: str) -> AsyncIterator[Database]:
    """A store as revision 0001 left it."""
    await asyncio.to_thread(RELEASED.create, empty_url)
    database = Database(empty_url)
    yield database
    await database.close()


class Old:
    """A program of revision 0001 at work."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.done: Counter[str] = Counter()
        self.stopped = False

    async def _say(self, name: str, **values: object) -> list[RowMapping]:
        return await self._database.rows(text(RELEASED.statements[name]), **values)

    async def announce(self) -> None:
        """Claim a message and note that it was posted."""
        key, rollback = f"old-{self.done['announce']}", RELEASED.points["waiting"].rollback
        rows = await self._say("messages._CLAIM", rollback_id=rollback, key=key)
        assert rows[0]["first"]
        await self._say("messages._POSTED", rollback_id=rollback, key=key, channel="C0OPS", ts="1.2")

    async def write(self) -> None:
        """Write an event."""
        rollback = RELEASED.points["failed"].rollback
        run = (await self._say("statements.LOAD", id=rollback))[0]
        standing = await self._database.rows(
            text("SELECT seq, state_seq, state::text AS state FROM rollback WHERE id = :id"), id=rollback
        )
        body = {"kind": "incident_opened", "who": "w", "why": "", "at": "2024-01-15T15:47:00Z", "incident": "INC1"}
        seen = standing[0]["seq"]
        written = await self._say(
            "statements.APPEND", id=rollback, seen=seen, state=standing[0]["state"], wake=False, fence=None,
            state_seq=standing[0]["state_seq"], body=json.dumps(body),
        )  # fmt: skip
        assert (written[0]["seq"], len(run["bodies"])) == (seen + 1, seen)

    async def lease(self) -> None:
        """Take a lease and give it back."""
        rollback = RELEASED.points["authorised"].rollback
        taken = await self._say("statements.ACQUIRE", id=rollback, owner="old", lease="12 s")
        await self._say("statements.RELEASE", id=rollback, fence=taken[0]["fence"], seen=1_000_000, wake_at=None)

    async def work(self, what: Callable[[], Awaitable[None]]) -> None:
        """Do one work again and again."""
        while not self.stopped:
            await what()
            self.done[what.__name__] += 1

    async def some_rounds(self) -> None:
        """Return when each work has been done some more times."""
        before = self.done.copy()
        works = ("announce", "write", "lease")
        await until(lambda: all(self.done[work] >= before[work] + _ROUNDS for work in works))


async def test_old_programs_work_on(released: Database, empty_url: str) -> None:
    """Nothing that a program of revision 0001 does fails while the store is brought up to date, or after it."""
    old = Old(released)
    async with asyncio.TaskGroup() as group:
        for work in (old.announce, old.write, old.lease):
            group.create_task(old.work(work))
        await old.some_rounds()
        await upgrade(empty_url)
        await old.some_rounds()
        old.stopped = True
    rows = await released.rows(text("SELECT version_num FROM alembic_version"))
    assert [row["version_num"] for row in rows] == newest()


async def test_a_rollback_moves_from_zone_to_zone(released: Database, empty_url: str) -> None:
    """After the upgrade a rollback may change its zone, and nothing else of what was asked for, as before."""
    move = text("UPDATE rollback SET zone = 'dmz' WHERE number = 1 RETURNING zone")
    with pytest.raises(sa_exc.IntegrityError, match="append only"):
        await released.rows(move)
    await upgrade(empty_url)
    assert [row["zone"] for row in await released.rows(move)] == ["dmz"]
    for column in ("change", "service", "plan", "plan_digest", "inventory", "targets_digest", "requester"):
        with pytest.raises(sa_exc.IntegrityError, match="append only"):
            await released.rows(text(f"UPDATE rollback SET {column} = {column} WHERE number = 1"))  # noqa: S608


async def test_what_was_claimed_before_is_in_doubt(released: Database, empty_url: str) -> None:
    """A claim that an old program left without a message is looked for before anybody posts again."""
    claim = text("INSERT INTO message (rollback_id, key) VALUES ('rb-0001', 'old')")
    await released.rows(claim)
    await upgrade(empty_url)
    rows = await released.rows(text("SELECT doubtful, tries, given_up_at FROM message WHERE key = 'old'"))
    assert [dict(row) for row in rows] == [{"doubtful": True, "tries": 0, "given_up_at": None}]


async def test_access_tokens(released: Database, empty_url: str) -> None:
    """A token is kept once by its digest, with whose it is and who made it, both of which it must say."""
    await upgrade(empty_url)
    make = text("INSERT INTO access_token (digest, user_id, created_by) VALUES (:digest, :whose, :by) RETURNING *")
    row = (await released.rows(make, digest="d", whose="U0ADA", by="U0BOSS"))[0]
    assert (row["label"], row["revoked_at"]) == ("", None)
    assert row["created_at"] is not None
    for digest, whose, by in (("d", "U0ADA", "U0BOSS"), ("e", "", "U0BOSS"), ("e", "U0ADA", ""), ("", "x", "y")):
        with pytest.raises(sa_exc.IntegrityError):
            await released.rows(make, digest=digest, whose=whose, by=by)
