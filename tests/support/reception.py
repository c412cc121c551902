"""The use cases on a store, as the chat reaches them, for people who are scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.demo.scenario import SiteFiles
from bot.domain.actuation import Registry
from bot.domain.plan import plan_model
from bot.domain.ports import Clock
from bot.engine.service import Service
from storage import plans
from storage.audit import SqlAudit
from storage.carrier import ProcrastinateCarrier, make_app
from storage.database import Database
from storage.runs import SqlRuns
from tests.support.fakes import Channel


@asynccontextmanager
async def reception(url: str, files: SiteFiles, *, registry: Registry, clock: Clock) -> AsyncIterator[Service]:
    """Yield the use cases.

    Args:
        url: The address of a store that is up to date.
        files: The site.
        registry: Knows the steps of the site's plans.
        clock: The time.
    """
    inventory, policy = plans.read_inventory(files.inventory), plans.read_policy(files.policy)
    catalogue = registry.catalogue()
    database, app = Database(url), make_app(url, clock=clock)
    try:
        async with app.open_async():
            yield Service(
                runs=SqlRuns(database, plan_model=plan_model(catalogue), clock=clock),
                plans=plans.PlanFolder(files.plans, catalogue=catalogue, inventory=inventory),
                inventory=inventory,
                policy=policy,
                carrier=ProcrastinateCarrier(app),
                audit=SqlAudit(database),
                chat=Channel(),
                clock=clock,
            )
    finally:
        await database.close()
