"""What every process of the product is built on, whatever its role."""

from __future__ import annotations

from dataclasses import dataclass

import procrastinate

import actuators.metrics
from bot.domain.actuation import Registry
from bot.domain.authority import Policy
from bot.domain.inventory import Inventory
from bot.domain.ports import Clock
from bot.engine.settings import EngineSettings
from bot.main.settings import Settings
from storage.carrier import ProcrastinateCarrier
from storage.database import Database
from storage.plans import PlanFolder
from storage.progress import SqlProgressBoard
from storage.register import SqlRegister
from storage.runs import SqlRuns


@dataclass(frozen=True)
class Core:
    """The parts that bots and workers share.

    Attributes:
        settings: The settings.
        inventory: All targets.
        policy: Who may do what.
        clock: The time.
        engine: The engine's intervals, and the name of this process.
        database: The store.
        jobs: The opened app of the carrier.
        carrier: Brings a worker.
        registry: The actuators.
        source: What the services' metrics say.
        plans: The folder of plans.
        runs: The rollbacks.
        board: How far running steps have come.
        register: Incidents, problems and changes.
    """

    settings: Settings
    inventory: Inventory
    policy: Policy
    clock: Clock
    engine: EngineSettings
    database: Database
    jobs: procrastinate.App
    carrier: ProcrastinateCarrier
    registry: Registry
    source: actuators.metrics.MetricsSource
    plans: PlanFolder
    runs: SqlRuns
    board: SqlProgressBoard
    register: SqlRegister
