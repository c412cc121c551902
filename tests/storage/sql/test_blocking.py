"""Which rollbacks block the deployments of a service."""

from typing import Any

import pytest

from bot.domain import events
from bot.domain.plan import plan_model
from bot.domain.run import Run
from storage.database import Database
from storage.runs import RunUnreadableError, SqlRuns
from tests.storage.sql import samples


async def test_a_rollback_that_cannot_be_read_is_not_left_out(database: Database, runs: SqlRuns, run: Run) -> None:
    """A program that cannot read what blocks a service says so: an empty answer would let the deployment pass."""
    run = await runs.append(run, samples.happened(events.CheckingBegan), lease=None)
    run = await runs.append(run, samples.asked(), lease=None)
    run = await runs.append(run, samples.authorised(), lease=None)
    assert await runs.blocking(run.plan.service) == ()
    await runs.append(run, samples.happened(events.ExecutionBegan, blocks=True), lease=None)
    assert [each.id for each in await runs.blocking(run.plan.service)] == [run.id]
    fewer: Any = plan_model({"test.look": samples.Look})
    strangers = SqlRuns(database, plan_model=fewer, clock=samples.SystemClock())
    with pytest.raises(RunUnreadableError, match="rb-0001 cannot be read"):
        await strangers.blocking(run.plan.service)
