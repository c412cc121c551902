"""Managed databases: an RDS instance on a strict moto with IAM enforced, and this run's copy where needed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from actuators.rds import RdsEvents, RdsPoints, RdsRestore, RdsSnapshot, RdsSwap, RdsSwapBack, RdsVerify
from actuators.rds.restore import RestoreActuator
from actuators.rds.swap import SwapActuator
from bot.domain.plan import Step
from tests.actuators.rds import site as sites
from tests.support.contract import Case, Cases, Ground
from tests.support.pgserver import free_port

TARGET = "payments-rds"
RESTORE = RdsRestore(id="restore", target=TARGET, at="2024-01-15 14:30")
SWAP = RdsSwap(id="swap", target=TARGET)
PLAIN: tuple[Step, ...] = (
    RdsSnapshot(id="safety", target=TARGET),
    RESTORE,
    RdsPoints(id="points", target=TARGET),
    RdsEvents(id="events", target=TARGET),
)


@contextmanager
def server() -> Iterator[int]:
    """Give the port of a strict moto."""
    with tempfile.TemporaryDirectory() as folder, sites.strict_moto(Path(folder) / "log") as port:
        yield port


@asynccontextmanager
async def account(ground: Ground, *, step: Step | None, restored: bool = False, swapped: bool = False) -> Cases:
    """An instance in use; the copy beside it, or swapped in, where that is asked for.

    Args:
        ground: What it is built on.
        step: The step; None: the way back, which knows the failed instance by the id that it has got here.
        restored: Whether the copy is there.
        swapped: Whether it is in service.
    """
    async with sites.site(ground.shared("strict-moto", server), ground.monkeypatch) as site:
        site.clock = ground.clock
        site.snapshot("before", "2024-01-15T14:00:00+00:00")
        failed = site.names()["payments"]
        if restored:
            await RestoreActuator().apply(RESTORE, site.context(RESTORE, SWAP))
        if swapped:
            await SwapActuator().apply(SWAP, site.context(RESTORE, SWAP))
        step = step or RdsSwapBack(id="back", target=TARGET, resource=failed)
        near = site.context(step)
        away = site.context(step, endpoint_url=f"http://127.0.0.1:{free_port()}")
        yield Case(step, near, away, lambda: (site.state(), site.snapshots()))


WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    **{step.kind: partial(account, step=step) for step in PLAIN},
    "rds.swap": partial(account, step=SWAP, restored=True),
    "rds.swap_back": partial(account, step=None, restored=True, swapped=True),
    "rds.verify": partial(account, step=RdsVerify(id="verify", target=TARGET), restored=True, swapped=True),
}
