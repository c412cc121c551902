"""What the engine works with."""

from __future__ import annotations

from dataclasses import dataclass

from bot.domain import ports
from bot.domain.actuation import Registry
from bot.domain.authority import Policy
from bot.domain.inventory import Inventory
from bot.engine.books import Books
from bot.engine.settings import EngineSettings


@dataclass(frozen=True)
class World:
    """What the engine works with.

    Attributes:
        runs: The rollbacks.
        plans: Where plans come from.
        inventory: All targets as they stand now.
        registry: The actuators.
        metrics: What the services' metrics say.
        policy: Who may do what.
        books: Incident, problem, change closure.
        board: Takes the progress.
        history: How long steps took in earlier rollbacks.
        carrier: Brings a worker of another zone.
        clock: The time.
        settings: Intervals.
    """

    runs: ports.Runs
    plans: ports.PlanSource
    inventory: Inventory
    registry: Registry
    metrics: ports.Metrics
    policy: Policy
    books: Books
    board: ports.ProgressBoard
    history: ports.History
    carrier: ports.Carrier
    clock: ports.Clock
    settings: EngineSettings
