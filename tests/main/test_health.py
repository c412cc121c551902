from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from bot.main.health import Health, StorePulse
from storage.database import Database
from tests.support.console import ManualClock, serve
from tests.support.pgserver import PgServer, running_server

ABOUT = {"role": "worker", "zone": "dmz"}


@pytest.fixture(scope="module")
def own_server() -> Iterator[PgServer]:
    """A server that these tests may stop."""
    with running_server() as server:
        yield server


@pytest.fixture
async def database(own_server: PgServer) -> AsyncIterator[Database]:
    """The store, reached by one connection."""
    if own_server.process is None:
        own_server.start()
    url = f"postgresql://{own_server.user}:{own_server.password}@127.0.0.1:{own_server.port}/postgres"
    database = Database(url, pool_size=1)
    yield database
    await database.close()


async def probe(health: Health, path: str) -> tuple[int, dict[str, object]]:
    """Return what a probe answers."""
    async with serve(health.app()) as url, aiohttp.ClientSession() as session, session.get(url + path) as answer:
        return answer.status, await answer.json()


async def good() -> str:
    """A part that is well."""
    return ""


async def bad() -> str:
    """A part that is not."""
    return "it is away"


async def test_a_process_that_starts_lives_and_is_not_ready() -> None:
    """Before everything is up the process lives, and says that it is starting."""
    health = Health(stop=asyncio.Event(), about=ABOUT)
    assert await probe(health, "/live") == (200, {"live": True, **ABOUT})
    said = {"ready": False, "reasons": {"process": "it is starting"}, **ABOUT}
    assert await probe(health, "/ready") == (503, said)


async def test_ready_names_every_part_that_is_not() -> None:
    """Every part that cannot be used is named with its reason; without any the process is ready."""
    health = Health(stop=asyncio.Event(), about=ABOUT)
    health.started()
    health.watch("store", good)
    assert await probe(health, "/ready") == (200, {"ready": True, "reasons": {}, **ABOUT})
    health.watch("chat", bad)
    assert await probe(health, "/ready") == (503, {"ready": False, "reasons": {"chat": "it is away"}, **ABOUT})
    assert (await probe(health, "/live"))[0] == 200


async def test_a_stop_is_told_at_once() -> None:
    """From the moment a stop is asked for the process is not ready, and lives on."""
    stop = asyncio.Event()
    health = Health(stop=stop, about=ABOUT)
    health.started()
    stop.set()
    assert await health.reasons() == {"process": "it is being stopped and takes nothing new"}
    assert (await probe(health, "/live"))[0] == 200


async def test_the_probes_only_read() -> None:
    """Nothing can be sent to the probes, and there is nothing else beside them."""
    health = Health(stop=asyncio.Event(), about=ABOUT)
    async with serve(health.app()) as url, aiohttp.ClientSession() as session:
        for path, status in (("/live", 405), ("/ready", 405), ("/", 404)):
            async with session.post(url + path) as answer:
                assert answer.status == status


async def test_the_store_is_missed_after_a_while(own_server: PgServer, database: Database) -> None:
    """An outage as long as a running step survives leaves a process ready; a longer one does not; it recovers."""
    clock = ManualClock()
    pulse = StorePulse(database, clock=clock)
    assert await pulse.look() == "the store has not answered yet"
    await pulse.once()
    assert await pulse.look() == ""
    own_server.stop()
    clock.advance(9)
    await pulse.once()
    assert await pulse.look() == ""
    clock.advance(3)
    await pulse.once()
    assert await pulse.look() == "the store has not answered for 12 seconds"
    own_server.start()
    await pulse.once()
    assert await pulse.look() == ""


async def test_a_standby_is_no_store(own_server: PgServer, database: Database) -> None:
    """A server that only reads cannot take what the process would write."""
    pulse = StorePulse(database, clock=ManualClock())
    await pulse.once()
    own_server.stop()
    signal = own_server.folder / "data" / "standby.signal"
    signal.touch(0o644)
    try:
        own_server.start()
        await pulse.once()
        assert await pulse.look() == "the store is a standby and only reads"
    finally:
        own_server.stop()
        signal.unlink()


async def test_the_pulse_goes_on_until_it_is_cancelled(own_server: PgServer, database: Database) -> None:
    """The store is asked every two seconds, and an outage does not end that."""
    clock = ManualClock()
    pulse = StorePulse(database, clock=clock)
    own_server.stop()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        beating = group.create_task(pulse.run())
        while not clock._sleepers:
            await asyncio.wait((beating,), timeout=0.01)
        own_server.start()
        clock.advance(2)
        while await pulse.look():
            await asyncio.wait((beating,), timeout=0.01)
        beating.cancel()
