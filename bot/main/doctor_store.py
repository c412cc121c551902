"""What `rollback doctor` finds out about the store and about who works on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import LiteralString

import psycopg

from bot.domain.errors import RollbackError
from bot.domain.inventory import Inventory
from bot.main.findings import Finding, State
from bot.main.settings import Role, Settings
from storage.database import connection_string, shown
from storage.embedded.binaries import find_binaries
from storage.migrations import MINIMUM_SERVER

_ANSWER_SECONDS = 10
# Of sessions of other users only the process id can be seen, so the standbys are counted, not asked how they are.
_LOOK: LiteralString = """
SELECT current_setting('server_version_num')::int / 10000,
    pg_is_in_recovery(),
    current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on',
    current_setting('synchronous_standby_names') <> '',
    (SELECT count(*) FROM pg_stat_replication),
    ARRAY(SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name LIKE 'rollback-bot/%')
"""


@dataclass(frozen=True)
class _Server:
    major: int
    standby: bool
    durable: bool
    waits_for_standbys: bool
    standbys: int
    processes: list[str]


async def store(settings: Settings, inventory: Inventory) -> AsyncIterator[Finding]:
    """Yield what is found; nothing is changed.

    Args:
        settings: The settings.
        inventory: The targets, whose zones need workers; an empty one if it cannot be read.
    """
    if settings.database_url is None:
        yield _embedded(settings)
        for finding in _workers({settings.zone: 1}, inventory):
            if finding.state is not State.GOOD:
                yield finding
        return
    url = settings.database_url.get_secret_value()
    try:
        server = await _look(url)
    except (TimeoutError, psycopg.Error, RollbackError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        where = "ROLLBACK_DATABASE_URL" if isinstance(error, RollbackError) else shown(url)
        yield Finding("store", State.BROKEN, f"{where}: {first}", "Correct ROLLBACK_DATABASE_URL or start it.")
        return
    yield _judged(server, shown(url))
    for finding in _lasting(server):
        yield finding
    for finding in _workers(_served(server), inventory):
        yield finding


def _embedded(settings: Settings) -> Finding:
    try:
        binaries = find_binaries()
    except RollbackError as error:
        return Finding("store", State.BROKEN, error.brief, error.resolution)
    words = f"embedded PostgreSQL ({binaries}), data in {settings.data_dir / 'postgres'}"
    return Finding("store", State.DEFAULT, words, "Set ROLLBACK_DATABASE_URL for a PostgreSQL of your own.")


async def _look(url: str) -> _Server:
    async with asyncio.timeout(_ANSWER_SECONDS):
        async with await psycopg.AsyncConnection.connect(connection_string(url)) as connection:
            row = await (await connection.execute(_LOOK)).fetchone()
    if row is None:
        raise RollbackError("It gives no answer.")
    return _Server(*row)


def _judged(server: _Server, where: str) -> Finding:
    words = f"PostgreSQL {server.major} at {where}"
    if server.major < MINIMUM_SERVER:
        return Finding("store", State.BROKEN, words, f"At least PostgreSQL {MINIMUM_SERVER} is needed.")
    if server.standby:
        return Finding("store", State.BROKEN, f"{words} is a standby and only reads", "Name the primary.")
    return Finding("store", State.GOOD, words)


def _lasting(server: _Server) -> Iterable[Finding]:
    """Whether what was acknowledged survives: a lost STARTED is a step that may be run twice."""
    if not server.durable:
        words = "fsync or full_page_writes is off: a crash of the machine can lose or damage the journal"
        yield Finding("store: durability", State.BROKEN, words, "Turn both on.")
    elif server.standbys and not server.waits_for_standbys:
        words = (
            f"{server.standbys} standby server(s), and no commit waits for any of them: a failover can lose the "
            "newest events, and with them the knowledge that a step may have acted"
        )
        yield Finding("store: failover", State.MISSING, words, "Set synchronous_standby_names on the primary.")


def _served(server: _Server) -> dict[str, int]:
    """Return how many workers of each zone are connected, by the names of their sessions."""
    served: dict[str, int] = {}
    for name in server.processes:
        role, _, zone = name.rpartition("@")[0].removeprefix("rollback-bot/").partition("/")
        if role in {Role.WORKER, Role.ALL}:
            served[zone] = served.get(zone, 0) + 1
    return served


def _workers(served: dict[str, int], inventory: Inventory) -> Iterable[Finding]:
    """Say whether each zone of the inventory has a worker; without one its rollbacks wait."""
    for zone in sorted({target.zone for _, target in inventory.items()}):
        part = f"workers of {zone}"
        if zone in served:
            yield Finding(part, State.GOOD, f"{served[zone]} connected to the store")
        else:
            words = "none is connected to the store: rollbacks of this zone would wait"
            yield Finding(part, State.MISSING, words, f"Run `rollback serve --role worker --zone {zone}`.")
