"""Which announcements have been posted, where, and what they show."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import RowMapping, text

from bot.domain.announcements import CARD
from bot.domain.errors import LeaseLostError
from bot.domain.lifecycle import State
from bot.domain.speech import Claim, Entry, MessageRef, Miss, Turn
from storage.database import Database
from storage.tables import CHANGED_CHANNEL, ENDED

RECENT: Final = timedelta(days=7)
"""What nobody said of an ended rollback within this time after its request is history, and is not said any more."""

_SPEAKS = "SELECT FROM speaker WHERE fence = :fence AND until > clock_timestamp()"

_CLAIM = text(f"""
WITH floor AS ({_SPEAKS}), claimed AS (
    INSERT INTO message AS m (rollback_id, key) SELECT :rollback_id, :key FROM floor
    ON CONFLICT (rollback_id, key) DO UPDATE SET doubtful = true, claimed_at = clock_timestamp()
    WHERE m.ts IS NULL AND NOT m.doubtful
    RETURNING key
)
SELECT EXISTS (SELECT FROM floor) AS speaks, EXISTS (SELECT FROM claimed) AS first, m.channel, m.ts,
    coalesce(clock_timestamp() - m.claimed_at, interval '0') AS age
FROM (VALUES (1)) AS one LEFT JOIN message m ON m.rollback_id = :rollback_id AND m.key = :key
""")  # noqa: S608 - put together from our own words

# Of two messages that were posted under one key the first that was noted counts, whoever else comes later.
_POSTED = text("""
INSERT INTO message AS m (rollback_id, key, channel, ts, shown)
VALUES (:rollback_id, :key, :channel, :ts, nullif(:shown, ''))
ON CONFLICT (rollback_id, key) DO UPDATE SET
    channel = coalesce(m.channel, excluded.channel),
    ts = coalesce(m.ts, excluded.ts),
    shown = CASE WHEN m.ts IS NULL THEN excluded.shown ELSE m.shown END,
    given_up_at = NULL
RETURNING channel, ts
""")

_MISSED = text(f"""
UPDATE message SET
    claimed_at = clock_timestamp(),
    doubtful = doubtful AND NOT :absent,
    tries = tries + CAST(:counts AS integer),
    given_up_at = CASE WHEN tries + CAST(:counts AS integer) >= :most THEN clock_timestamp() END
WHERE rollback_id = :rollback_id AND key = :key AND ts IS NULL AND EXISTS ({_SPEAKS})
RETURNING given_up_at IS NOT NULL AS given_up
""")  # noqa: S608 - put together from our own words

_EDITED = text(f"""
UPDATE message SET shown = :shown, edited_at = clock_timestamp()
WHERE rollback_id = :rollback_id AND key = :key AND refreshed = :refreshed AND EXISTS ({_SPEAKS})
RETURNING key
""")  # noqa: S608 - put together from our own words

# Both the count and the notification: whoever speaks hears at once, and finds it by looking if it did not hear.
_REFRESH = text(f"""
WITH wanted AS (
    UPDATE message SET
        shown = CASE WHEN key <> :key THEN shown END,
        refreshed = refreshed + CAST(key = :key AS integer),
        said = NULL
    WHERE rollback_id = :rollback_id AND key IN (:key, :card) AND ts IS NOT NULL
    RETURNING rollback_id
)
SELECT pg_notify('{CHANGED_CHANNEL}', rollback_id) FROM wanted
""")  # noqa: S608 - put together from our own words

_SAID = text("""
UPDATE message SET said = :seq, audience = :audience
WHERE rollback_id = :rollback_id AND key = :card AND shown IS NOT NULL
    AND (said, audience) IS DISTINCT FROM (CAST(:seq AS bigint), CAST(:audience AS text))
""")

_ENDING = f"{ENDED}, '{State.COMPLETE.value}', '{State.ABORTED.value}'"

# One that waits for a person is left alone while its people are the same; one that runs is looked at in any case.
_QUIET = f"{ENDED}, '{State.AWAITING_AUTHORITY.value}'"
_UNSAID = text(f"""
SELECT r.id FROM rollback r LEFT JOIN message m ON m.rollback_id = r.id AND m.key = :card
WHERE r.state NOT IN ({_QUIET})
    OR (m.said IS DISTINCT FROM r.seq AND (
        r.state NOT IN ({ENDED}) OR r.created_at > clock_timestamp() - CAST(:recent AS interval)
    ))
    OR (r.state = '{State.AWAITING_AUTHORITY.value}' AND m.audience IS DISTINCT FROM :audience)
ORDER BY r.number DESC
""")  # noqa: S608 - put together from our own words

_OUTDATED = text(f"""
SELECT r.id FROM rollback r JOIN message m ON m.rollback_id = r.id AND m.key = :key
WHERE r.state NOT IN ({_ENDING}) AND m.ts IS NOT NULL
    AND coalesce(m.edited_at, m.claimed_at) <= clock_timestamp() - CAST(:age AS interval)
ORDER BY coalesce(m.edited_at, m.claimed_at) LIMIT :limit
""")  # noqa: S608 - put together from our own words

_ALL = text("""
SELECT key, channel, ts, tries, given_up_at IS NOT NULL AS given_up, coalesce(shown, '') AS shown, refreshed
FROM message WHERE rollback_id = :rollback_id ORDER BY claimed_at, key
""")


class SqlLedger:
    """Implements `bot.domain.speech.Ledger`. Every method may raise StoreUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, rollback_id: str, key: str, *, turn: Turn) -> Claim:
        """Note the intention to post.

        Raises:
            LeaseLostError: If another process may speak by now; nothing was noted.
        """
        rows = await self._database.rows(_CLAIM, rollback_id=rollback_id, key=key, fence=turn.fence)
        if not rows[0]["speaks"]:
            raise LeaseLostError(f"turn {turn.fence} to speak in the chat is over")
        return Claim(first=rows[0]["first"], ref=_ref(rows[0]), age=rows[0]["age"])

    async def posted(self, rollback_id: str, key: str, ref: MessageRef, *, shown: str = "") -> MessageRef:
        """Note where the message is, and return where the one is that counts: the first that was noted."""
        place = {"channel": ref.channel, "ts": ref.ts}
        rows = await self._database.rows(_POSTED, rollback_id=rollback_id, key=key, shown=shown, **place)
        return MessageRef(channel=rows[0]["channel"], ts=rows[0]["ts"])

    async def missed(self, rollback_id: str, key: str, miss: Miss, *, turn: Turn, most: int | None = None) -> bool:
        """Note that an attempt came to nothing; return whether the message is given up by now."""
        row = await self._database.row(
            _MISSED,
            rollback_id=rollback_id,
            key=key,
            absent=miss in (Miss.BUSY, Miss.REFUSED),
            counts=int(miss in (Miss.REFUSED, Miss.UNREACHABLE)),
            most=most,
            fence=turn.fence,
        )
        return row is not None and bool(row["given_up"])

    async def edited(self, rollback_id: str, key: str, shown: str, *, refreshed: int, turn: Turn) -> bool:
        """Note what a message shows; False if it is to be shown again all the same, or another process speaks."""
        what = {"rollback_id": rollback_id, "key": key, "shown": shown, "refreshed": refreshed}
        return await self._database.row(_EDITED, **what, fence=turn.fence) is not None

    async def refresh(self, rollback_id: str, key: str) -> None:
        """Have a posted message shown again by whoever speaks, on whatever machine."""
        await self._database.rows(_REFRESH, rollback_id=rollback_id, key=key, card=CARD.key)

    async def said(self, rollback_id: str, *, seq: int, audience: str) -> None:
        """Note that all is said up to that event of the journal, unless the card is to be shown again."""
        await self._database.rows(_SAID, rollback_id=rollback_id, seq=seq, audience=audience, card=CARD.key)

    async def unsaid(self, *, audience: str) -> tuple[str, ...]:
        """Return the rollbacks about which something may have to be said, the newest first."""
        rows = await self._database.rows(_UNSAID, audience=audience, card=CARD.key, recent=RECENT)
        return tuple(row["id"] for row in rows)

    async def outdated(self, key: str, *, age: timedelta, limit: int) -> tuple[str, ...]:
        """Return rollbacks that have not ended and whose message shows what was true then, oldest first."""
        rows = await self._database.rows(_OUTDATED, key=key, age=age, limit=limit)
        return tuple(row["id"] for row in rows)

    async def all(self, rollback_id: str) -> dict[str, Entry]:
        """Return every claimed announcement in the order of the claims."""
        rows = await self._database.rows(_ALL, rollback_id=rollback_id)
        return {
            row["key"]: Entry(
                ref=_ref(row),
                tries=row["tries"],
                given_up=row["given_up"],
                shown=row["shown"],
                refreshed=row["refreshed"],
            )
            for row in rows
        }


def _ref(row: RowMapping) -> MessageRef | None:
    return None if row["ts"] is None else MessageRef(channel=row["channel"], ts=row["ts"])
