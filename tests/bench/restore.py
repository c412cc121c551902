"""The restore of a large backup beside a live database, against pg_restore alone on the same server.

Both begin with the same dump, the same number of jobs and no database, in turn, after a checkpoint. By hand that is
CREATE DATABASE and pg_restore. The step does more: it reads the dump's contents, compares its digest, marks the
copy, follows its size, compares the rows of the two critical tables of the specification with the plan's baseline,
and reads back what it did. All of that counts as its own time. Statistics are work that either side can do or
leave: without them the step is compared with pg_restore alone, with them (the default) with pg_restore and then
``vacuumdb --analyze-only`` by as many jobs. Each round's two times are compared with each other, since a machine's
load changes from round to round; the median of these ratios counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql
from rich.progress import track

from actuators.postgres import archive
from actuators.postgres.restore import RestoreActuator
from actuators.postgres.steps import Restore
from bot.domain.actuation import Context, Presence
from bot.domain.inventory import Inventory
from bot.domain.plan import Baseline
from tests.bench import machine
from tests.bench.figures import Figure
from tests.bench.stage import Workshop
from tests.bench.statistics import median
from tests.support.actuation import make_plan

MEGABYTES = 1000
ROUNDS = 5
JOBS = 2
GOAL = 1.05
_TABLES = {"ledger": 0.4, "transactions": 0.3, "audit": 0.2, "users": 0.1}
_CRITICAL = ("users", "transactions")
_ROWS_OF_A_MEGABYTE = 3_450
_LIVE, _PLAIN = "bench_live", "bench_plain"

_CREATE = """
CREATE TABLE {} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int NOT NULL,
  amount numeric(12, 2) NOT NULL, note text NOT NULL, at timestamptz NOT NULL DEFAULT now())
"""
_FILL = """
INSERT INTO {} (account, amount, note)
SELECT (n * 7919::bigint) % 100000, n % 9973, repeat(md5(n::text), 6) FROM generate_series(1, {}) AS n
"""


@dataclass(frozen=True)
class _Took:
    """Seconds of each round."""

    plain: list[float] = field(default_factory=list)
    gathering: list[float] = field(default_factory=list)
    without: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Subject:
    """The live database and its dump."""

    shop: Workshop
    dump: Path
    digest: str
    rows: dict[str, int]

    def context(self, step: Restore, rollback: str) -> Context:
        """Return a run of its own, so that each restores anew."""
        server = self.shop.server
        secret = self.shop.folder / "restore-secret"
        target = {
            "service": "bench",
            "host": server.host,
            "port": server.port,
            "dbname": _LIVE,
            "user": server.user,
            "password": {"file": str(secret)},
            "backups": str(self.shop.folder),
            "bin_dir": str(server.bin_dir),
            "jobs": JOBS,
            "sslmode": "disable",
        }
        backup = {
            "id": "before",
            "kind": "database",
            "target": "db",
            "location": str(self.dump),
            "taken_at": "2024-01-15 14:30",
            "sha256": self.digest,
        }
        baseline = Baseline(error_rate=0, p95="1s", row_counts={table: self.rows[table] for table in _CRITICAL})
        plan = make_plan(step, backups=[backup], baseline=baseline)
        inventory = Inventory.model_validate({"databases": {"db": target}})
        return Context(rollback, plan, inventory, self.shop.clock, lambda _progress: None)


async def measure(shop: Workshop, *, megabytes: int = MEGABYTES) -> list[Figure]:
    """Return both ratios, each with the seconds of either side.

    Args:
        shop: What the benchmarks share.
        megabytes: Size of the database.
    """
    took = _Took()
    try:
        subject = await _prepare(shop, megabytes)
        for number in track(range(ROUNDS), description="  restores", console=shop.out, transient=True):
            await _round(subject, number, took)
        size = await _size(shop)
    finally:
        await _remove(shop)
    load = machine.load()
    words = f"{size / 1e9:.2f} GB, {JOBS} jobs, {ROUNDS} rounds"
    gathered = [first + second for first, second in zip(took.plain, took.gathering, strict=True)]
    return [
        _figure("Restore / pg_restore -j alone", took.without, took.plain, words, load),
        _figure("Restore with statistics / pg_restore -j, vacuumdb", took.whole, gathered, words, load),
    ]


def _figure(name: str, ours: list[float], plain: list[float], words: str, load: float) -> Figure:
    spread = f"{min(ours):.1f}-{max(ours):.1f} s / {min(plain):.1f}-{max(plain):.1f} s"
    return Figure(
        name=name,
        measured=median([mine / theirs for mine, theirs in zip(ours, plain, strict=True)]),
        goal=GOAL,
        unit="",
        detail=f"{words}: {median(ours):.2f} s / {median(plain):.2f} s ({spread})",
        load=load,
    )


async def _round(subject: _Subject, number: int, took: _Took) -> None:
    """Restore once by each way; who begins changes from round to round."""
    ways = [
        partial(_by_hand, subject, took),
        partial(_by_step, subject, number, took.without, analyze=False),
        partial(_by_step, subject, number, took.whole, analyze=True),
    ]
    for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
        await _execute(subject.shop, "postgres", sql.SQL("CHECKPOINT"))
        await way()


async def _by_step(subject: _Subject, number: int, took: list[float], *, analyze: bool) -> None:
    step = Restore(id="restore", target="db", backup="before", analyze=analyze, expected="10m")
    context = subject.context(step, f"rb-{number}{int(analyze):04}")
    clock, actuator = subject.shop.clock, RestoreActuator()
    began = clock.monotonic()
    outcome = await actuator.apply(step, context)
    seen = await actuator.observe(step, context)
    took.append(clock.monotonic() - began)
    if seen.presence is not Presence.PRESENT:
        raise RuntimeError("the restored copy is not there")
    await _drop(subject.shop, outcome.facts["database"])


async def _by_hand(subject: _Subject, took: _Took) -> None:
    shop = subject.shop
    await _drop(shop, _PLAIN)
    await _execute(
        shop, "postgres", sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(_PLAIN))
    )
    began = shop.clock.monotonic()
    await _program(shop, "pg_restore", f"--jobs={JOBS}", "--exit-on-error", f"--dbname={_PLAIN}", str(subject.dump))
    restored = shop.clock.monotonic()
    await _program(shop, "vacuumdb", "--analyze-only", "--quiet", f"--jobs={JOBS}", f"--dbname={_PLAIN}")
    took.plain.append(restored - began)
    took.gathering.append(shop.clock.monotonic() - restored)
    await _drop(shop, _PLAIN)


async def _prepare(shop: Workshop, megabytes: int) -> _Subject:
    shop.say(f"a database of about {megabytes} MB, and its dump")
    secret = shop.folder / "restore-secret"
    secret.touch(mode=0o600)
    secret.write_text(shop.server.password.get_secret_value(), encoding="utf-8")
    await _drop(shop, _LIVE)
    await shop.database(_LIVE)
    rows = {table: int(megabytes * _ROWS_OF_A_MEGABYTE * share) for table, share in _TABLES.items()}
    for table, count in rows.items():
        name = sql.Identifier(table)
        await _execute(shop, _LIVE, sql.SQL(_CREATE).format(name))
        await _execute(shop, _LIVE, sql.SQL(_FILL).format(name, sql.Literal(count)))
        await _execute(shop, _LIVE, sql.SQL("CREATE INDEX ON {} (account)").format(name))
    dump = shop.folder / "bench.dump"
    await _program(shop, "pg_dump", "--format=custom", "--compress=1", f"--file={dump}", _LIVE)
    return _Subject(shop, dump, await archive.sha256(dump), rows)


async def _remove(shop: Workshop) -> None:
    for name in (_LIVE, _PLAIN):
        await _drop(shop, name)
    for file in ("bench.dump", "restore-secret"):
        (shop.folder / file).unlink(missing_ok=True)


async def _drop(shop: Workshop, name: str) -> None:
    await _execute(
        shop, "postgres", sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )


async def _size(shop: Workshop) -> int:
    async with await psycopg.AsyncConnection.connect(shop.server.url("postgres")) as connection:
        row = await (await connection.execute("SELECT pg_database_size(%s)", [_LIVE])).fetchone()
    return int(row[0]) if row else 0


async def _execute(shop: Workshop, dbname: str, statement: sql.SQL | sql.Composed) -> None:
    async with await psycopg.AsyncConnection.connect(shop.server.url(dbname), autocommit=True) as connection:
        await connection.execute(statement)


async def _program(shop: Workshop, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs to its end.

    Raises:
        RuntimeError: It failed.
    """
    server = shop.server
    process = await asyncio.create_subprocess_exec(
        str(server.bin_dir / name),
        *arguments,
        env={
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGPASSWORD": server.password.get_secret_value(),
            "PGSSLMODE": "disable",
        },
    )
    if await process.wait():
        raise RuntimeError(f"{name} failed")
