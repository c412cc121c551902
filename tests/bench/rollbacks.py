"""What the benchmarks of whole rollbacks share: asking for them, and clicking Approve."""

from __future__ import annotations

import json
from typing import Any

from bot.demo import performance, scenario
from bot.domain.ports import Clock
from handlers.slack import ids
from tests.bench.site import change_number
from tests.bench.stage import BenchBot

_POLL = 0.25
_PATIENCE = 60.0


async def ask_for(bot: BenchBot, count: int, clock: Clock) -> dict[str, dict[str, Any]]:
    """Ask for so many rollbacks, and wait until all of them can be approved.

    Returns:
        The card with the Approve button by rollback id, in the order of the changes.

    Raises:
        TimeoutError: They were not ready in time.
    """
    operator, manager = bot.people[scenario.OPERATOR], bot.people[scenario.MANAGER]
    for index in range(count):
        await operator.command(performance.CHANNEL, f"/rollback {change_number(index)} benchmark")
    deadline = clock.monotonic() + _PATIENCE
    while clock.monotonic() < deadline:
        cards = _approvable(await manager.messages(performance.CHANNEL))
        if len(cards) == count:
            return cards
        await clock.sleep(_POLL)
    raise TimeoutError(f"{len(cards)} of {count} rollbacks could be approved after {_PATIENCE:g} s")


async def approve(bot: BenchBot, card: dict[str, Any]) -> None:
    """Click Approve as the change manager, through the console."""
    await bot.people[scenario.MANAGER].click(performance.CHANNEL, card, ids.APPROVE)


def _approvable(messages: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for message in messages:
        for block in message.get("blocks", []):
            for element in block.get("elements", []):
                if element.get("action_id") == ids.APPROVE:
                    found[str(json.loads(element["value"])["id"])] = message
    return found
