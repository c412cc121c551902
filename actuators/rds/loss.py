"""What the swap takes away: all writes since the moment that comes back. How many rows, RDS does not tell."""

from __future__ import annotations

from datetime import datetime, timedelta

from actuators.rds.estate import Estate, opened
from actuators.rds.steps import RdsRestore, RdsSwap
from bot.domain.actuation import Context, Loss
from bot.domain.times import in_words, utc_minute


async def loss_by(step: RdsSwap, context: Context) -> Loss | None:
    """Tell what came in after the moment that the swap brings back.

    Args:
        step: The swap.
        context: The run.

    Returns:
        The loss; None if the swap is done already.

    Raises:
        ActuatorError: If AWS cannot be asked, or nobody tells which moment comes back.
    """
    async with opened(step, context) as estate:
        copy = await estate.copy()
        if copy is not None and copy.name == estate.instance:
            return None
        # What lies ready is what comes back, whatever the plan named.
        since = copy.mark.data if copy is not None and copy.mark is not None else await _planned(step, estate)
    age = in_words(max(context.clock.now() - since, timedelta(0)))
    words = f"All writes since {utc_minute(since)} ({age}); how many rows is not known"
    return Loss(
        words=f"{words}. They stay in the failed instance, and do not come along",
        since=since,
        beyond=_beyond(step, context),
    )


async def _planned(step: RdsSwap, estate: Estate) -> datetime:
    """Return the moment that the plan's restore brings back; the deployment's time if it names none."""
    plan = estate.context.plan
    restore = next(
        (other for other in plan.steps() if isinstance(other, RdsRestore) and other.target == step.target), None
    )
    if restore is not None and restore.at is not None:
        return restore.at
    found = (
        await estate.snapshot(restore.snapshot) if restore is not None and restore.snapshot is not None else None
    )
    if found is not None and found.taken is not None:
        return found.taken
    await estate.live()  # else a target that cannot be reached would have lost nothing
    return plan.deployed_at


def _beyond(step: RdsSwap, context: Context) -> str:
    """Name the limits of the plan that are this swap's to measure: it counts no rows, so they count as passed."""
    point, plan = context.plan.point_of_no_return, context.plan
    swaps = [other for other in plan.steps() if other.destroys]
    found = []
    for words, limit in (("rows", point.rows), ("query", point.query)):
        if limit is None:
            continue
        own = [other for other in swaps if other.target == limit.target]
        if (own or swaps or [step])[0].id == step.id:
            found.append(
                f"the plan's limit `{words}` on {limit.target} is measured by no step, which counts as passed"
            )
    return "; ".join(found)
