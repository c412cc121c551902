"""A step that a person does, on a target that only the person reaches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bot.domain.manual import ManualStep
from tests.support.contract import Case, Cases, Ground
from tests.support.hosts import local_estate


@asynccontextmanager
async def by_hand(ground: Ground) -> Cases:
    """Nothing that the bot could reach or change."""
    estate = local_estate(ground.folder / "host")
    step = ManualStep(id="key", target="payments-app", title="Turn the key", instructions="Left, until it clicks.")
    context = estate.context(step)
    yield Case(step, context, context, state=estate.only.files, refuses=False)


WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {"manual.do": by_hand}
