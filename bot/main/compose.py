"""The composition root: builds every part and runs them together until the bot is to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import psycopg
from aiohttp import web
from psycopg import sql
from slack_bolt.async_app import AsyncApp

import actuators.config
import actuators.http
import actuators.metrics
import actuators.postgres
import actuators.servers
from bot.domain.actuation import Registry
from bot.domain.authority import Policy
from bot.domain.inventory import Inventory
from bot.domain.plan import plan_model
from bot.domain.ports import Clock
from bot.engine.announcer import Announcer
from bot.engine.books import Books
from bot.engine.executor import Executor, World
from bot.engine.recovery import Sweep
from bot.engine.service import Service
from bot.engine.settings import EngineSettings
from bot.main import chat, identity, people
from bot.main.settings import Settings
from handlers import slack
from handlers.slack import http as slack_http
from handlers.slack import socket as slack_socket
from storage import plans
from storage.audit import SqlAudit
from storage.carrier import ProcrastinateCarrier, make_app, run_worker
from storage.database import Database
from storage.documents import SqlDocumentStore
from storage.embedded.launcher import EmbeddedPostgres
from storage.messages import SqlLedger
from storage.migrations import upgrade
from storage.progress import SqlProgressBoard
from storage.register import SqlRegister
from storage.runs import SqlRuns

_log = logging.getLogger(__name__)
_DATABASE = "rollback"
_FINISH_SECONDS = 5


@dataclass(frozen=True)
class Site:
    """What the bot works on: read once at the start.

    Attributes:
        inventory: All targets.
        policy: Who may do what.
        local: Whether the policy is the built-in one of a console without configuration.
    """

    inventory: Inventory
    policy: Policy
    local: bool


@dataclass(frozen=True)
class Bot:
    """A bot that is ready, as its caller may need it.

    Attributes:
        service: The use cases.
        seat: The console, where it takes Slack's place.
        site: Inventory and policy.
        register: Incidents, problems and changes.
        runs: The rollbacks.
        metrics: What the services' metrics say.
    """

    service: Service
    seat: chat.ConsoleSeat | None
    site: Site
    register: SqlRegister
    runs: SqlRuns
    metrics: actuators.metrics.MetricsSource


def read_site(settings: Settings) -> Site:
    """Read inventory and policy; a missing file is an empty one, unless it is named explicitly.

    Raises:
        RollbackError: If a file cannot be used; every error at once.
    """
    explicit = settings.model_fields_set
    inventory = Inventory()
    if settings.inventory.exists() or "inventory" in explicit:
        inventory = plans.read_inventory(settings.inventory)
    if settings.policy.exists() or "policy" in explicit:
        return Site(inventory, plans.read_policy(settings.policy), local=False)
    if settings.speaks_slack:
        return Site(inventory, Policy(), local=False)
    return Site(inventory, people.LOCAL_POLICY, local=True)


def build_registry(source: actuators.metrics.MetricsSource) -> Registry:
    """Register the actuators that come with the bot."""
    return Registry(
        *actuators.servers.register(),
        *actuators.config.register(),
        *actuators.postgres.register(),
        *actuators.http.register(),
        *actuators.metrics.register(source),
    )


@dataclass(frozen=True)
class Store:
    """The bot's store.

    Attributes:
        url: Its address, password included: not for logs.
        embedded: The server, if it is the bot's own.
    """

    url: str = field(repr=False)
    embedded: EmbeddedPostgres | None


@asynccontextmanager
async def open_store(settings: Settings, clock: Clock) -> AsyncIterator[Store]:
    """Yield the store, starting the embedded server if none is configured."""
    if settings.database_url is not None:
        yield Store(settings.database_url.get_secret_value(), None)
        return
    embedded = EmbeddedPostgres(settings.data_dir / "postgres", clock=clock)
    async with embedded as server:
        async with await psycopg.AsyncConnection.connect(server.url("postgres"), autocommit=True) as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE])
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))
        yield Store(server.url(_DATABASE), embedded)


async def serve(
    settings: Settings,
    *,
    clock: Clock,
    stop: asyncio.Event,
    ready: Callable[[Bot], None],
    amend: Callable[[Registry], Registry] = lambda registry: registry,
) -> None:
    """Run the bot until `stop` is set.

    Args:
        settings: The settings.
        clock: The time.
        stop: Ends the bot: no new work, running steps may end, then everything is closed.
        ready: Called once when the bot can be used.
        amend: Adds or wraps actuators.

    Raises:
        RollbackError: If it cannot start; says why and what to do.
    """
    site = read_site(settings)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings, clock))
        await upgrade(store.url)
        database = Database(store.url)
        stack.push_async_callback(database.close)
        source = actuators.metrics.MetricsSource(site.inventory.metrics, clock=clock)
        registry = amend(build_registry(source))
        await _run(
            settings,
            site,
            stack,
            store=store,
            database=database,
            source=source,
            registry=registry,
            clock=clock,
            stop=stop,
            ready=ready,
        )


async def _run(
    settings: Settings,
    site: Site,
    stack: AsyncExitStack,
    *,
    store: Store,
    database: Database,
    source: actuators.metrics.MetricsSource,
    registry: Registry,
    clock: Clock,
    stop: asyncio.Event,
    ready: Callable[[Bot], None],
) -> None:
    engine = EngineSettings(owner=identity.own_name(), lease=settings.lease, renew=settings.renew)
    runs = SqlRuns(database, plan_model=plan_model(registry.catalogue()), clock=clock, lease=settings.lease)
    board, ledger, register = SqlProgressBoard(database), SqlLedger(database), SqlRegister(database)
    folder = plans.PlanFolder(settings.plans, catalogue=registry.catalogue(), inventory=site.inventory)
    seat = None
    if not settings.speaks_slack:
        seat = chat.build_console(settings, site.policy, store=SqlDocumentStore(database), clock=clock)
    how = seat.settings if seat else chat.slack_settings(settings)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    client = chat.web_client(how, seat=seat, session=session)
    speaker = slack.SlackChat(client, ops_channel=settings.ops_channel, policy=site.policy, clock=clock)
    jobs = make_app(store.url, clock=clock)
    await stack.enter_async_context(jobs.open_async())
    carrier = ProcrastinateCarrier(jobs)
    service = Service(
        runs=runs, plans=folder, inventory=site.inventory, policy=site.policy, carrier=carrier,
        audit=SqlAudit(database), chat=speaker, clock=clock,
    )  # fmt: skip
    announcer = Announcer(
        runs=runs, chat=speaker, ledger=ledger, board=board, policy=site.policy, clock=clock, settings=engine
    )
    executor = Executor(
        World(
            runs=runs, plans=folder, inventory=site.inventory, registry=registry, metrics=source,
            policy=site.policy, books=Books(register), board=board, clock=clock, settings=engine,
        )
    )  # fmt: skip
    sweep = Sweep(runs=runs, carrier=carrier, dead=identity.known_dead, clock=clock, settings=engine)
    underway = slack.Underway()
    bolt = slack.build(
        service=service,
        settings=how,
        client=client,
        board=board,
        clock=clock,
        refresh=announcer.refresh,
        underway=underway,
    )
    stack.push_async_callback(_finish, underway)
    await _listen(settings, seat, bolt, how, stack)
    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(source.run()),
            group.create_task(announcer.run()),
            group.create_task(sweep.run()),
        ]
        if store.embedded is not None:
            background.append(group.create_task(store.embedded.keep()))
        ready(Bot(service=service, seat=seat, site=site, register=register, runs=runs, metrics=source))
        await run_worker(
            jobs, zone=settings.zone, concurrency=settings.workers, handler=executor.advance, stop=stop, clock=clock
        )
        for task in background:
            task.cancel()


async def _listen(
    settings: Settings,
    seat: chat.ConsoleSeat | None,
    bolt: AsyncApp,
    how: slack.SlackSettings,
    stack: AsyncExitStack,
) -> None:
    if seat is not None:
        await seat.console.start()
        stack.push_async_callback(seat.console.close)
        app = seat.console.app()
        app.add_routes(slack_http.routes(bolt, how))
        host, _, port = seat.url.removeprefix("http://").rpartition(":")
        await stack.enter_async_context(chat.listening(app, host, int(port)))
    elif settings.slack_app_token:
        await stack.enter_async_context(slack_socket.connected(bolt, how))
    else:
        app = web.Application()
        app.add_routes(slack_http.routes(bolt, how))
        await stack.enter_async_context(chat.listening(app, settings.http_host, settings.http_port))


async def _finish(underway: slack.Underway) -> None:
    """Let what was acknowledged come to its end, for a while: the chat counts it as delivered."""
    try:
        async with asyncio.timeout(_FINISH_SECONDS):
            await underway.idle()
    except TimeoutError:
        _log.warning("some requests were still being worked on at the stop")
