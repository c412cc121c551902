"""postgres.verify: the live database holds what the plan's baseline says."""

from __future__ import annotations

from actuators.postgres import catalog
from actuators.postgres.baseline import differences, measure
from actuators.postgres.checks import Look, examine
from actuators.postgres.connection import connected, database_of
from actuators.postgres.marker import Marker
from actuators.postgres.steps import Verify
from actuators.probes import LeavesNothing
from bot.domain.actuation import Check, Context, Outcome, Verdict
from bot.domain.errors import ActuatorError


class VerifyActuator(LeavesNothing):
    """A probe: reads the schema version, counts rows, compares."""

    async def check(self, step: Verify, context: Context) -> tuple[Check, ...]:
        """Look whether there is something to compare with, and whether the role may read."""
        return await examine(step, context, _baseline, _readable)

    async def apply(self, step: Verify, context: Context) -> Outcome:
        """Compare once: neither a schema version nor a count heals by waiting."""
        target = database_of(step, context)
        baseline = context.plan.baseline
        async with connected(target, context, dbname=target.dbname, looking=True) as connection:
            measured = await measure(connection, target, baseline)
            live = await catalog.find_database(connection, target.dbname)
        wrong = differences(measured, baseline, tolerance=step.tolerance)
        if wrong:
            raise ActuatorError(
                f"Database {target.dbname} is not what the baseline says: {'; '.join(wrong)}.",
                untouched="The database was only read.",
                resolution=_advice(live.marker if live else None, context),
            )
        return Outcome(f"{target.dbname}: {measured.words()}, as in the baseline", measured.facts())


def _advice(mark: Marker | None, context: Context) -> str:
    """Say what to do next; another backup than the plan's cannot have the baseline's row counts."""
    if mark is not None and mark.rollback == context.rollback_id and mark.location is not None:
        return (
            f"It was restored from {mark.source()}: its rows are those of that time. Mark it done with that reason."
        )
    return "Compare with the restored backup; a service that writes again needs a `tolerance`."


async def _baseline(look: Look) -> tuple[Check, ...]:
    baseline = look.context.plan.baseline
    if baseline.schema_version is None and not baseline.row_counts:
        words = "The plan's baseline names neither a schema version nor row counts: nothing could be verified."
        return (Check(look.subject, Verdict.FAIL, words, "Add schema_version and row_counts to the baseline."),)
    return ()


async def _readable(look: Look) -> tuple[Check, ...]:
    """Compare now, when the failed version is still live: a difference is expected, a refusal is not."""
    async with connected(look.target, look.context, dbname=look.live.name, looking=True) as connection:
        try:
            measured = await measure(connection, look.target, look.context.plan.baseline)
        except ActuatorError as error:
            return (Check(look.subject, Verdict.WARN, error.brief, error.resolution),)
        size = catalog.bytes_in_words(await catalog.size(connection, look.live.name))
    return (Check(look.subject, Verdict.OK, f"readable, {size}; now {measured.words()}"),)
