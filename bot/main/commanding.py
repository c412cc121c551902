"""The use cases for the command line: the same service on the same store, with the same rules as in the chat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import actuators.metrics
from bot.domain.errors import RollbackError
from bot.domain.plan import plan_model
from bot.domain.ports import Clock
from bot.engine.service import Service
from bot.main import identity, store
from bot.main.compose import build_registry, read_site
from bot.main.settings import Settings
from storage import plans
from storage.audit import SqlAudit
from storage.carrier import ProcrastinateCarrier, make_app
from storage.database import Database
from storage.runs import SqlRuns

_NAME = "cli"


@dataclass(frozen=True)
class Commanding:
    """What a command works with.

    Attributes:
        service: The use cases.
        database: The store that they work on.
    """

    service: Service
    database: Database


@asynccontextmanager
async def opened_store(settings: Settings, clock: Clock) -> AsyncIterator[Database]:
    """Yield the store of a bot that has been set up; the embedded one only if its bot runs.

    Raises:
        RollbackError: If there is none.
    """
    url = await store.running_url(settings, clock, name=identity.application_name(_NAME))
    async with _database(url) as database:
        yield database


@asynccontextmanager
async def opened(settings: Settings, clock: Clock) -> AsyncIterator[Commanding]:
    """Yield the use cases on the bot's store.

    Raises:
        RollbackError: If there is no store, or inventory or policy cannot be used.
        StoreUnavailableError: If the store cannot be reached.
    """
    site = read_site(settings)
    registry = build_registry(actuators.metrics.MetricsSource({}, clock=clock))
    url = await store.running_url(settings, clock, name=identity.application_name(_NAME))
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(_database(url))
        runs = SqlRuns(database, plan_model=plan_model(registry.catalogue()), clock=clock, lease=settings.lease)
        await runs.owners()  # a store that is away is told at once; the carrier's pool would wait for it
        service = Service(
            runs=runs,
            plans=plans.PlanFolder(settings.plans, catalogue=registry.catalogue(), inventory=site.inventory),
            inventory=site.inventory,
            policy=site.policy,
            carrier=_Carrier(url, stack, clock=clock),
            audit=SqlAudit(database),
            chat=_NoChat(),
            clock=clock,
        )
        yield Commanding(service, database)


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


class _Carrier:
    """Opens the way to the workers when there is something to carry: most commands only look."""

    def __init__(self, url: str, stack: AsyncExitStack, *, clock: Clock) -> None:
        self._url = url
        self._stack = stack
        self._clock = clock
        self._carrier: ProcrastinateCarrier | None = None

    async def defer(self, rollback_id: str, zone: str) -> None:
        if self._carrier is None:
            jobs = make_app(self._url, clock=self._clock)
            await self._stack.enter_async_context(jobs.open_async())
            self._carrier = ProcrastinateCarrier(jobs)
        await self._carrier.defer(rollback_id, zone)


class _NoChat:
    """The command line reaches nobody by chat; the bots announce from the journal what was decided here."""

    async def tell(self, users: Sequence[str], text: str) -> None:
        raise RollbackError(
            f"The command line does not reach the chat; {', '.join(users)} were not told: {text}",
            resolution="Tell them by another way.",
        )
