"""The composition root: builds every part and runs them together until the bot is to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

import actuators.balancer
import actuators.cache
import actuators.command
import actuators.config
import actuators.downstream
import actuators.http
import actuators.kubernetes
import actuators.manual
import actuators.mesh
import actuators.metrics
import actuators.network
import actuators.postgres
import actuators.rds
import actuators.servers
import actuators.terraform
from bot.domain.actuation import Registry
from bot.domain.authority import Policy
from bot.domain.inventory import Inventory, MetricsTarget
from bot.domain.plan import plan_model
from bot.domain.ports import Clock
from bot.domain.times import in_words
from bot.engine.books import Books
from bot.engine.executor import Executor, World
from bot.engine.recovery import Sweep
from bot.engine.service import Service
from bot.engine.settings import EngineSettings
from bot.main import identity, people
from bot.main.core import Core
from bot.main.health import Health, StorePulse
from bot.main.listening import listening
from bot.main.settings import Settings
from bot.main.store import Store, open_store
from handlers import hooks
from storage import plans
from storage.carrier import ProcrastinateCarrier, make_app, run_worker
from storage.database import Database
from storage.history import SqlHistory
from storage.migrations import upgrade
from storage.progress import SqlProgressBoard
from storage.register import SqlRegister
from storage.runs import SqlRuns

if TYPE_CHECKING:
    from bot.main import chat, talking

_log = logging.getLogger(__name__)


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
    """A bot or worker that is ready, as its caller may need it.

    Attributes:
        service: The use cases; None for a worker, which nobody asks.
        seat: The console, where it takes Slack's place.
        site: Inventory and policy.
        register: Incidents, problems and changes.
        runs: The rollbacks.
        metrics: What the services' metrics say.
    """

    service: Service | None
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
        *actuators.command.register(),
        *actuators.config.register(),
        *actuators.postgres.register(),
        *actuators.rds.register(),
        *actuators.http.register(),
        *actuators.cache.register(),
        *actuators.metrics.register(source),
        *actuators.balancer.register(source),
        *actuators.downstream.register(),
        *actuators.kubernetes.register(),
        *actuators.mesh.register(),
        *actuators.terraform.register(),
        *actuators.network.register(),
        *actuators.manual.register(),
    )


async def serve(
    settings: Settings,
    *,
    clock: Clock,
    stop: asyncio.Event,
    ready: Callable[[Bot], None],
    amend: Callable[[Registry], Registry] = lambda registry: registry,
) -> None:
    """Run the part of the work that the settings name until `stop` is set.

    Args:
        settings: The settings.
        clock: The time.
        stop: Ends the process: nothing new is taken, running steps may end, then everything is closed.
        ready: Called once when it can be used.
        amend: Adds or wraps actuators.

    Raises:
        RollbackError: If it cannot start; says why and what to do.
    """
    site = read_site(settings)
    health = Health(stop=stop, about={"role": settings.role.value, "zone": settings.zone})
    async with AsyncExitStack() as stack:
        if settings.health_port is not None:
            probes = listening(health.app(), settings.health_host, settings.health_port)
            await stack.enter_async_context(probes)
        store = await stack.enter_async_context(open_store(settings, clock))
        await upgrade(store.url)
        core = await stack.enter_async_context(_core(settings, site, store, clock=clock, amend=amend))
        talk = await stack.enter_async_context(_talk(core, stop=stop)) if settings.role.talks else None
        if talk is not None and settings.hooks_port is not None and settings.hooks_token is not None:
            asked = web.Application()
            asked.add_routes(hooks.routes(talk.service, token=settings.hooks_token.get_secret_value()))
            await stack.enter_async_context(listening(asked, settings.hooks_host, settings.hooks_port))
        await _run(core, site, store, talk, health=health, stop=stop, ready=ready)


@asynccontextmanager
async def _core(
    settings: Settings, site: Site, store: Store, *, clock: Clock, amend: Callable[[Registry], Registry]
) -> AsyncIterator[Core]:
    database = Database(store.url)
    try:
        source = actuators.metrics.MetricsSource(_watched(site.inventory, settings.zone), clock=clock)
        registry = amend(build_registry(source))
        jobs = make_app(store.url, clock=clock)
        async with jobs.open_async():
            yield Core(
                settings=settings,
                inventory=site.inventory,
                policy=site.policy,
                clock=clock,
                engine=_engine(settings),
                database=database,
                jobs=jobs,
                carrier=ProcrastinateCarrier(jobs),
                registry=registry,
                source=source,
                plans=plans.PlanFolder(settings.plans, catalogue=registry.catalogue(), inventory=site.inventory),
                runs=SqlRuns(
                    database, plan_model=plan_model(registry.catalogue()), clock=clock, lease=settings.lease
                ),
                board=SqlProgressBoard(database),
                register=SqlRegister(database),
            )
    finally:
        await database.close()


@asynccontextmanager
async def _talk(core: Core, *, stop: asyncio.Event) -> AsyncIterator[talking.Talk]:
    from bot.main import talking  # noqa: PLC0415 - a worker loads none of the chat's libraries

    async with talking.opened(core, stop=stop) as talk:
        yield talk


def _engine(settings: Settings) -> EngineSettings:
    owner = identity.own_name(settings.instance)
    return EngineSettings(owner=owner, zone=settings.zone, lease=settings.lease, renew=settings.renew)


def _watched(inventory: Inventory, zone: str) -> dict[str, MetricsTarget]:
    """Return the metrics that a process of this zone reads: it need not reach the pages of another one."""
    return {name: target for name, target in inventory.metrics.items() if target.zone == zone}


async def _run(
    core: Core,
    site: Site,
    store: Store,
    talk: talking.Talk | None,
    *,
    health: Health,
    stop: asyncio.Event,
    ready: Callable[[Bot], None],
) -> None:
    dead = partial(identity.known_dead, own=core.engine.owner)
    sweep = Sweep(runs=core.runs, carrier=core.carrier, dead=dead, clock=core.clock, settings=core.engine)
    pulse = StorePulse(core.database, clock=core.clock)
    health.watch("store", pulse.look)
    async with AsyncExitStack() as taking:
        if talk is not None:
            health.watch("chat", await taking.enter_async_context(talk.intake(core.settings)))
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(sweep.run()), group.create_task(pulse.run())]
            if store.embedded is not None:
                background.append(group.create_task(store.embedded.keep()))
            if talk is not None:
                background.append(group.create_task(talk.announcer.run()))
            worker = None
            if core.settings.role.acts:
                background.append(group.create_task(core.source.run()))
                worker = group.create_task(_work(core, stop=stop))
                health.watch("worker", partial(_look, worker))
            await pulse.once()
            health.started()
            ready(_bot(core, site, talk))
            await stop.wait()
            _log.info("stopping: nothing new is taken, what runs may take %s", in_words(core.settings.grace))
            await taking.aclose()
            if talk is not None:
                await talk.finish()
            if worker is not None:
                await worker
            for task in background:
                task.cancel()


def _bot(core: Core, site: Site, talk: talking.Talk | None) -> Bot:
    return Bot(
        service=talk.service if talk else None,
        seat=talk.seat if talk else None,
        site=site,
        register=core.register,
        runs=core.runs,
        metrics=core.source,
    )


async def _work(core: Core, *, stop: asyncio.Event) -> None:
    executor = Executor(
        World(
            runs=core.runs, plans=core.plans, inventory=core.inventory, registry=core.registry,
            metrics=core.source, history=SqlHistory(core.database), policy=core.policy,
            books=Books(core.register), board=core.board, carrier=core.carrier, clock=core.clock,
            settings=core.engine,
        ),
        stop=stop,
    )  # fmt: skip
    await run_worker(
        core.jobs,
        zone=core.settings.zone,
        concurrency=core.settings.workers,
        handler=executor.advance,
        stop=stop,
        clock=core.clock,
        grace=core.settings.grace,
    )


async def _look(worker: asyncio.Task[None]) -> str:
    return "it has ended" if worker.done() else ""
