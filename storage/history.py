"""How long steps took in earlier rollbacks."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import RowMapping, text

from bot.domain.pace import Pace
from bot.domain.plan import Plan
from storage.database import Database

ROLLBACKS = 50
"""The newest rollbacks of the service that count: a step's speed changes with its data and machines."""

# Only what ran can have measured anything: a rollback that was refused takes no one's place. A step that was found
# done was measured by nobody. The times are those of the events: what was written late because the store was away
# still says when it happened. LATERAL with an aggregate reads each rollback's journal by its key, whatever the
# planner thinks of the size of the whole.
PACES = text("""
WITH wanted AS (
    SELECT * FROM unnest(CAST(:steps AS text[]), CAST(:kinds AS text[]), CAST(:targets AS text[]))
        AS w (step, kind, target)
), earlier AS MATERIALIZED (
    SELECT id, plan FROM rollback
    WHERE service = :service
        AND state IN ('executing', 'held', 'verifying', 'complete', 'closed', 'aborted')
    ORDER BY number DESC LIMIT :rollbacks
), same AS MATERIALIZED (
    SELECT e.id AS rollback_id, w.step
    FROM earlier e
    CROSS JOIN LATERAL (
        SELECT phase -> 'steps' AS steps FROM json_array_elements(e.plan -> 'phases') AS p (phase)
        UNION ALL SELECT e.plan -> 'verification' -> 'steps'
    ) AS g
    CROSS JOIN LATERAL json_array_elements(g.steps) AS s (step)
    JOIN wanted w
        ON w.step = s.step ->> 'id' AND w.kind = s.step ->> 'kind' AND w.target = s.step ->> 'target'
), took AS (
    SELECT e.id AS rollback_id, t.step, t.seconds
    FROM earlier e
    CROSS JOIN LATERAL (
        SELECT j.step, extract(epoch FROM max(j.succeeded) - min(j.started)) AS seconds
        FROM (
            SELECT body ->> 'step' AS step, body ->> 'attempt' AS attempt,
                CASE kind WHEN 'step_started' THEN CAST(body ->> 'at' AS timestamptz) END AS started,
                CASE WHEN kind = 'step_succeeded' AND NOT coalesce(CAST(body ->> 'found' AS boolean), false)
                    THEN CAST(body ->> 'at' AS timestamptz) END AS succeeded
            FROM journal WHERE rollback_id = e.id AND kind IN ('step_started', 'step_succeeded')
        ) AS j
        GROUP BY j.step, j.attempt
    ) AS t
    WHERE t.seconds >= 0
)
SELECT s.step, count(*) AS runs,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY t.seconds) AS median,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY t.seconds) AS p90
FROM same s JOIN took t USING (rollback_id, step)
GROUP BY s.step
""")


class SqlHistory:
    """Implements `bot.domain.ports.History`.

    Args:
        database: The store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def paces(self, plan: Plan) -> dict[str, Pace]:
        """Return what earlier rollbacks of the plan's service say of its steps, by id.

        Raises:
            StoreUnavailableError: If the store cannot be reached.
        """
        return {row["step"]: _pace(row) for row in await self._database.rows(PACES, **values(plan))}


def values(plan: Plan) -> dict[str, object]:
    """Return what `PACES` asks about a plan."""
    steps = tuple(plan.steps())
    return {
        "service": plan.service,
        "steps": [step.id for step in steps],
        "kinds": [step.kind for step in steps],
        "targets": [step.target for step in steps],
        "rollbacks": ROLLBACKS,
    }


def _pace(row: RowMapping) -> Pace:
    return Pace(
        runs=row["runs"],
        median=timedelta(seconds=float(row["median"])),
        p90=timedelta(seconds=float(row["p90"])),
    )
