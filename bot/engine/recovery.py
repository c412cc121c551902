"""Nothing is forgotten: every process looks, every second, for rollbacks that want a worker and have none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from bot.domain import events, ports
from bot.domain.errors import StoreUnavailableError
from bot.engine.settings import EngineSettings

_log = logging.getLogger(__name__)
_AGAIN_AFTER = 5.0
_LONGEST_WAIT = 60.0
_TOLD_AFTER = 20.0
"""Once a job waited in vain for 5, 10 and 20 s people are told: by then a busy worker has been free or has died."""


class Sweep:
    """Queues a job for each rollback that is due: its lease lapsed, its time came, or its job was lost.

    Args:
        runs: The rollbacks.
        carrier: Brings a worker.
        dead: Tells which of the given lease owners are known not to live any more: processes of this machine. Their
            leases are ended at once, so a restarted bot goes on without waiting for them to lapse.
        clock: The time.
        settings: The interval.
    """

    def __init__(
        self,
        *,
        runs: ports.Runs,
        carrier: ports.Carrier,
        dead: Callable[[Sequence[str]], Sequence[str]],
        clock: ports.Clock,
        settings: EngineSettings,
    ) -> None:
        self._runs = runs
        self._carrier = carrier
        self._dead = dead
        self._clock = clock
        self._settings = settings
        self._queued: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.once()
            except StoreUnavailableError as error:
                _log.warning("the sweep cannot reach the store: %s", error)
            except Exception:  # noqa: BLE001 - a sweep that stops is a rollback that stands still
                _log.exception("the sweep failed; it goes on")
            await self._clock.sleep(self._settings.sweep.total_seconds())

    async def once(self) -> tuple[str, ...]:
        """Queue a job for each rollback that is due, and return their ids."""
        dead = self._dead(await self._runs.owners())
        if dead:
            _log.warning("these workers died, their rollbacks go on: %s", ", ".join(dead))
            await self._runs.bury(dead)
        due = await self._runs.due()
        now = self._clock.monotonic()
        # A job that is queued already is not queued again every second while all workers are busy, and more and
        # more rarely where no worker serves the zone. What is not due any more was taken: when it is due again its
        # worker died, and nobody waits.
        self._queued = {key: self._queued[key] for key, _ in due if key in self._queued}
        return tuple([rollback_id for rollback_id, zone in due if await self._queue(rollback_id, zone, now)])

    async def _queue(self, rollback_id: str, zone: str, now: float) -> bool:
        before = self._queued.get(rollback_id)
        if before and now - before[0] < before[1]:
            return False
        if before:
            _log.warning("%s still waits for a worker of zone %s; does one run there?", rollback_id, zone)
        if before and before[1] >= _TOLD_AFTER:
            await self._tell(rollback_id, zone)
        await self._carrier.defer(rollback_id, zone)
        wait = min(2 * before[1], _LONGEST_WAIT) if before else _AGAIN_AFTER
        self._queued[rollback_id] = (now, wait)
        return True

    async def _tell(self, rollback_id: str, zone: str) -> None:
        """Write, once for each event that nobody follows up, that no worker of the zone takes the rollback."""
        run = await self._runs.load(rollback_id)
        if isinstance(run.history[-1], events.WorkerMissing):
            return
        words = f"no worker of zone {zone} has taken it: none runs there, or all of them are busy"
        missing = events.WorkerMissing(at=self._clock.now(), who=self._settings.owner, why=words, zone=zone)
        try:
            await self._runs.append(run, missing, lease=None)
        except ports.ConflictError:
            _log.info("%s: somebody took it at last", rollback_id)
