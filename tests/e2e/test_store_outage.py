"""The bot's own database goes away in the middle of a rollback, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from bot.main.clock import SystemClock
from handlers.console.client import ConsoleError
from handlers.slack import ids
from tests.support.asking import begun, click_of, everything_in
from tests.support.pgserver import PgServer, running_server
from tests.support.production import MANAGER, OPERATOR, Production, deployed, passable_folder
from tests.support.serving import Served, eventually, served, words_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CLOCK = SystemClock()
OUTAGE_SECONDS = 10.0
Json = dict[str, Any]


def start_slowly(inventory: Json) -> None:
    """Let the service take longer to start than the outage lasts."""
    manager = inventory["server_groups"]["payments-servers"]["manager"]
    manager["start"] = ["sh", "-c", 'sleep "$1"; shift; exec "$@"', "sh", str(OUTAGE_SECONDS), *manager["start"]]


def the_plan(production: Production) -> Json:
    """Return a plan with a start that may take that long."""
    plan = production.quick_plan()
    plan["phases"][-1]["steps"][0] |= {"expected": "20s"}
    return plan


def stopped(store: PgServer) -> Callable[[], None]:
    """Stop the server; connections are refused. Returns what starts it again."""
    store.stop()
    return store.start


def frozen(store: PgServer) -> Callable[[], None]:
    """Freeze the server and each of its backends; connections hang. Returns what thaws it."""
    assert store.process is not None
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(store.process.pid)], capture_output=True, check=True)
    processes = [store.process.pid, *map(int, listed.stdout.split())]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)

    def thaw() -> None:
        for pid in reversed(processes):
            os.kill(pid, signal.SIGCONT)

    return thaw


async def started(site: Served, rollback_id: str, step: str) -> None:
    """Return when the journal says that a step has been started."""
    query = "SELECT 1 FROM journal WHERE rollback_id = %s AND kind = 'step_started' AND body ->> 'step' = %s"

    async def look() -> bool:
        return bool(await site.store.rows(query, rollback_id, step))

    await eventually(look, seconds=60, what=f"the start of {step}")


@pytest.mark.parametrize("take_away", [stopped, frozen])
async def test_rollback_goes_on_when_the_store_comes_back(
    take_away: Callable[[PgServer], Callable[[], None]],
) -> None:
    """Ten seconds without the store, in the middle of a step: the step runs on, its end is written later, once.

    The click that authorises is delivered twice besides: one authorisation, and each step is started once.
    """
    with passable_folder() as folder, running_server() as store:
        url = f"postgresql://{store.user}:{store.password}@127.0.0.1:{store.port}/postgres"
        async with deployed(folder, CLOCK) as production:
            await production.estate.start_traffic()
            production.write_inventory(start_slowly)
            production.write_plan("CHG0012345", the_plan(production))
            async with served(production, clock=CLOCK, database_url=url) as site:
                rollback_id = await _authorised_by_a_repeated_click(site)
                await started(site, rollback_id, "start")
                back = await asyncio.to_thread(take_away, store)
                try:
                    until = CLOCK.monotonic() + OUTAGE_SECONDS
                    if take_away is stopped:
                        await _a_person_is_told(site)
                    await CLOCK.sleep(until - CLOCK.monotonic())
                finally:
                    await asyncio.to_thread(back)
                card = await site.people[MANAGER].card(rollback_id, says="complete", seconds=60)
                everything_in(words_of(card), "Restored: v2.3.1")
                await _each_thing_happened_once(site, rollback_id)
            after = await production.fingerprint()
    assert (after.served, after.link) == ("v2.3.1", "v2.3.1")
    assert after.schema == "20240110120000"


async def _a_person_is_told(site: Served) -> None:
    with pytest.raises(ConsoleError, match="store_unavailable") as refused:
        await site.people[OPERATOR].console.command("ops", "/rollback CHG0012345 again")
    everything_in(str(refused.value), "Nothing was sent and nothing was changed.", "Try again in a moment")


async def _authorised_by_a_repeated_click(site: Served) -> str:
    rollback_id = begun(await site.people[OPERATOR].types("/rollback CHG0012345 it burns"))
    card = await site.people[MANAGER].card(rollback_id, says="waiting for authority")
    click = click_of(site, MANAGER, card, ids.APPROVE)
    acks = await asyncio.gather(*(site.slack.interaction(click) for _ in range(3)))
    assert {ack.status.value for ack in acks} == {"ok"}
    return rollback_id


async def _each_thing_happened_once(site: Served, rollback_id: str) -> None:
    journal = await site.store.journal(rollback_id)
    for kind in ("authorised", "execution_began", "verification_began", "completed"):
        assert journal.count(kind) == 1, journal
    assert not {"held", "step_failed", "aborted"} & set(journal)
    query = "SELECT body ->> 'step' FROM journal WHERE rollback_id = %s AND kind = %s ORDER BY 1"
    begun_steps = await site.store.rows(query, rollback_id, "step_started")
    assert begun_steps == sorted(set(begun_steps))
    assert begun_steps == await site.store.rows(query, rollback_id, "step_succeeded")
    messages = [words_of(message) for message in await site.people[OPERATOR].console.messages("ops")]
    assert sum("ROLLBACK IN PROGRESS" in words for words in messages) == 1
    assert sum("ROLLBACK COMPLETE" in words for words in messages) == 1
    everything_in("\n".join(messages), "Service status: Restored to v2.3.1")
