"""The use cases for the command line: the same service on the same store, with the same rules as in the chat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import actuators.metrics
from bot.domain.errors import RollbackError
from bot.domain.plan import plan_model
from bot.domain.ports import Clock
from bot.engine.service import Service
from bot.main.compose import build_registry, read_site
from bot.main.settings import Settings
from storage import plans
from storage.audit import SqlAudit
from storage.carrier import ProcrastinateCarrier, make_app
from storage.database import Database
from storage.embedded import EmbeddedPostgres
from storage.runs import SqlRuns

_DATABASE = "rollback"


@asynccontextmanager
async def opened_store(settings: Settings, clock: Clock) -> AsyncIterator[Database]:
    """Yield the store of a bot that has been set up; the embedded one only if its bot runs.

    Raises:
        RollbackError: If there is none.
    """
    database = Database(await _address(settings, clock))
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_service(settings: Settings, clock: Clock) -> AsyncIterator[Service]:
    """Yield the use cases on the bot's store.

    Raises:
        RollbackError: If there is no store, or inventory or policy cannot be used.
        StoreUnavailableError: If the store cannot be reached.
    """
    site = read_site(settings)
    registry = build_registry(actuators.metrics.MetricsSource({}, clock=clock))
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened_store(settings, clock))
        runs = SqlRuns(database, plan_model=plan_model(registry.catalogue()), clock=clock, lease=settings.lease)
        await runs.owners()  # a store that is away is told at once; the carrier's pool would wait for it
        jobs = make_app(await _address(settings, clock), clock=clock)
        await stack.enter_async_context(jobs.open_async())
        yield Service(
            runs=runs,
            plans=plans.PlanFolder(settings.plans, catalogue=registry.catalogue(), inventory=site.inventory),
            inventory=site.inventory,
            policy=site.policy,
            carrier=ProcrastinateCarrier(jobs),
            audit=SqlAudit(database),
            chat=_NoChat(),
            clock=clock,
        )


async def _address(settings: Settings, clock: Clock) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    server = await EmbeddedPostgres(settings.data_dir / "postgres", clock=clock).running()
    if server is None:
        raise RollbackError(
            "No store is configured, and no bot with a store of its own runs on this machine.",
            untouched="Nothing was changed.",
            resolution="Set ROLLBACK_DATABASE_URL, or ROLLBACK_DATA_DIR to the folder of the bot that runs.",
        )
    return server.url(_DATABASE)


class _NoChat:
    """The command line reaches nobody by chat; the bots announce from the journal what was decided here."""

    async def tell(self, users: Sequence[str], text: str) -> None:
        raise RollbackError(
            f"The command line does not reach the chat; {', '.join(users)} were not told: {text}",
            resolution="Tell them by another way.",
        )
