"""The statements of the fenced journal, each one a transaction of its own.

`clock_timestamp()` judges leases, because a statement may have waited for a row's lock since it began; PostgreSQL
evaluates the condition again on the newest row after such a wait, so of two writers only one finds its number.
"""

from __future__ import annotations

from sqlalchemy import text

from storage.tables import ENDED

CREATE = text("""
WITH made AS (
    INSERT INTO rollback (
        change, service, zone, state, seq, state_seq, plan, plan_digest, inventory, targets_digest, requester
    ) VALUES (
        :change, :service, :zone, CAST(:state AS rollback_state), 1, 1, CAST(:plan AS json), :plan_digest,
        CAST(:inventory AS json), :targets_digest, :requester
    ) RETURNING id
), locked AS (
    -- In one order for everybody: two requests for the same targets wait for each other instead of deadlocking.
    INSERT INTO rollback_lock (rollback_id, target)
    SELECT made.id, wanted.target
    FROM made, unnest(CAST(:locks AS text[])) WITH ORDINALITY AS wanted (target, n)
    ORDER BY wanted.n
), written AS (
    INSERT INTO journal (rollback_id, seq, body) SELECT id, 1, CAST(:body AS json) FROM made
)
SELECT id FROM made
""")

HOLDERS = text("""
SELECT rollback_id, target FROM rollback_lock
WHERE live AND target = ANY(CAST(:locks AS text[])) ORDER BY rollback_id, target
""")

_MOVE = """
WITH moved AS (
    UPDATE rollback SET
        seq = seq + 1,
        state = CAST(:state AS rollback_state),
        state_seq = :state_seq,
        wake_at = CASE WHEN :wake THEN clock_timestamp() ELSE wake_at END
    WHERE id = :id AND seq = :seen {fenced}
    RETURNING id, seq
)
INSERT INTO journal (rollback_id, seq, fence, body)
SELECT id, seq, CAST(:fence AS bigint), CAST(:body AS json) FROM moved
RETURNING seq
"""
APPEND_FENCED = text(_MOVE.format(fenced="AND fence = :fence AND lease_until > clock_timestamp()"))
APPEND = text(_MOVE.format(fenced=""))

STANDING = text("""
SELECT seq, fence = :fence AND coalesce(lease_until > clock_timestamp(), false) AS leased
FROM rollback WHERE id = :id
""")

_SELECT = """
SELECT r.id, r.fence, r.plan::text AS plan, r.inventory::text AS inventory, r.plan_digest, r.targets_digest,
    ARRAY(SELECT j.body::text FROM journal j WHERE j.rollback_id = r.id ORDER BY j.seq) AS bodies
FROM rollback r
"""
LOAD = text(f"{_SELECT} WHERE r.id = :id")
ACTIVE = text(f"{_SELECT} WHERE r.state NOT IN ({ENDED}) ORDER BY r.number DESC")
RECENT = text(f"{_SELECT} ORDER BY r.number DESC LIMIT :limit")
LATEST_OF = text(f"{_SELECT} WHERE r.change = :change ORDER BY r.number DESC LIMIT 1")

# The hold on deployments is part of the journal: it begins with the execution and ends with a person's word.
_BLOCKS = """
EXISTS (
    SELECT FROM journal j
    WHERE j.rollback_id = r.id AND j.kind = 'execution_began' AND (j.body ->> 'blocks')::boolean
) AND NOT EXISTS (SELECT FROM journal j WHERE j.rollback_id = r.id AND j.kind = 'deployments_released')
"""
BLOCKING = text(f"{_SELECT} WHERE r.service = :service AND {_BLOCKS} ORDER BY r.number DESC")
BLOCKED = text(f"{_SELECT} WHERE {_BLOCKS} ORDER BY r.number DESC")

# Taking the lease grants the wish to be woken. Should the worker die, its lapsed lease calls for the next one.
ACQUIRE = text(f"""
UPDATE rollback SET
    fence = fence + 1,
    lease_owner = :owner,
    lease_until = clock_timestamp() + CAST(:lease AS interval),
    wake_at = NULL
WHERE id = :id AND state NOT IN ({ENDED}) AND (lease_until IS NULL OR lease_until <= clock_timestamp())
RETURNING fence
""")  # noqa: S608 - the states are our own constants

RENEW = text("""
UPDATE rollback SET lease_until = clock_timestamp() + CAST(:lease AS interval)
WHERE id = :id AND fence = :fence AND lease_until > clock_timestamp()
RETURNING seq
""")

# A lapsed lease that nobody took may still be given back: its holder knows best when to look again.
_RELEASE = """
UPDATE rollback SET lease_owner = NULL, lease_until = NULL, wake_at = CAST(:wake_at AS timestamptz) {zone}
WHERE id = :id AND fence = :fence AND seq <= :seen AND lease_owner IS NOT NULL
RETURNING seq
"""
RELEASE = text(_RELEASE.format(zone=""))
RELEASE_TO = text(_RELEASE.format(zone=", zone = :zone"))

# Who is dead speaks no more either.
END_LEASES = text("""
WITH silenced AS (
    UPDATE speaker SET until = clock_timestamp()
    WHERE owner = ANY(CAST(:owners AS text[])) AND until > clock_timestamp()
)
UPDATE rollback SET lease_until = clock_timestamp()
WHERE lease_owner = ANY(CAST(:owners AS text[])) AND lease_until > clock_timestamp()
""")

# A person's turn (awaiting_authority, held) is no worker's before its time comes; all other states always are,
# unless their worker said when to look again. A lease that lapsed with an owner was a death: whatever the state,
# somebody looks.
DUE = text(f"""
SELECT id, zone FROM rollback
WHERE state NOT IN ({ENDED})
    AND (lease_until IS NULL OR lease_until <= clock_timestamp())
    AND (
        lease_owner IS NOT NULL
        OR wake_at <= clock_timestamp()
        OR (wake_at IS NULL AND state NOT IN ('awaiting_authority', 'held'))
    )
ORDER BY number
""")  # noqa: S608 - the states are our own constants

OWNERS = text(f"""
SELECT lease_owner FROM rollback WHERE state NOT IN ({ENDED}) AND lease_until > clock_timestamp()
UNION SELECT owner FROM speaker WHERE until > clock_timestamp()
ORDER BY lease_owner
""")  # noqa: S608 - the states are our own constants
