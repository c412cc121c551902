from __future__ import annotations

import asyncio

from storage import migrations
from tests.support.pgserver import PgServer


async def test_a_process_that_hangs_in_its_start_stops_nobody_elses(store_url: str, pg_server: PgServer) -> None:
    """A store that is up to date can be opened while another process, frozen maybe, holds the right to migrate."""
    with pg_server.connect(store_url.rpartition("/")[2]) as hanging:
        hanging.execute("SELECT pg_advisory_lock(%s)", [migrations._ADVISORY_LOCK])
        async with asyncio.timeout(10):
            await migrations.upgrade(store_url)
