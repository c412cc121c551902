"""What the swap takes away: rows and minutes since the backup, and whether the plan calls that too much."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg
from psycopg import sql

from actuators.postgres import catalog
from actuators.postgres.connection import Connection, connected, database_of
from actuators.postgres.marker import Marker, beside_name
from actuators.postgres.steps import Pitr, Restore, Swap
from actuators.redact import redact
from actuators.together import tasks
from bot.domain.actuation import Context, Loss
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import BackupKind, LossQuery, Plan, RowsWritten
from bot.domain.times import in_words

STATEMENT = 6.0
"""Seconds that a single count or query may take."""
_COUNTING = 12.0
"""Seconds that counting one database may take in all; databases are counted side by side."""

Counts = Mapping[str, int | str]
"""By table, its rows, or why they could not be counted."""


async def loss_by(step: Swap, context: Context) -> Loss | None:
    """Measure what came in after the backup that the swap puts in the place of the live database.

    Args:
        step: The swap.
        context: The run.

    Returns:
        The loss; None if the swap is done already.

    Raises:
        ActuatorError: If the server cannot be asked.
    """
    target, plan = database_of(step, context), context.plan
    async with connected(target, context, looking=True) as connection:
        live = await catalog.find_database(connection, target.dbname)
        mark = live.marker if live else None
        if mark is not None and (mark.rollback, mark.state) == (context.rollback_id, "live"):
            return None
        copy = await catalog.find_database(connection, beside_name(target.dbname, context.rollback_id))
    ready = copy.marker if copy is not None else None
    if ready is not None and (ready.rollback, ready.state) != (context.rollback_id, "restored"):
        ready = None
    tables = _tables(step, target, plan)
    async with tasks() as group:
        counting = group.create_task(_written(target, context, tables, copied=ready is not None))
        elsewhere = group.create_task(_beyond_rows_elsewhere(step, context))
        asking = group.create_task(_beyond_query(step, context))
    written, since = counting.result(), _taken_at(step, plan, ready=ready)
    beyond = (_beyond_rows(step, context, written), elsewhere.result(), asking.result())
    counted = [rows for rows in written.values() if isinstance(rows, int)]
    age = in_words(max(context.clock.now() - since, timedelta(0)))
    return Loss(
        words=f"{_told(written)}; all writes of {age}. They stay in the failed database, and do not come along",
        since=since,
        rows=sum(counted) if counted else None,
        beyond="; ".join(reason for reason in beyond if reason),
    )


def _tables(step: Swap, target: Database, plan: Plan) -> tuple[str, ...]:
    """Return every table that the plan or the inventory counts in the step's database."""
    rows = plan.point_of_no_return.rows
    limited = rows.tables if rows is not None and rows.target == step.target else ()
    return tuple(dict.fromkeys((*plan.baseline.row_counts, *target.count_tables, *limited)))


async def _written(target: Database, context: Context, tables: Sequence[str], *, copied: bool) -> Counts:
    """Return the rows that came in, by table.

    They are counted against the copy once there is one, since that is what comes back, and against the plan's
    baseline before.

    Args:
        target: The database target.
        context: The run.
        tables: Which tables.
        copied: Whether there is a copy.
    """
    async with tasks() as group:
        live = group.create_task(_counts(target, context, target.dbname, tables))
        copy = beside_name(target.dbname, context.rollback_id)
        other = group.create_task(_counts(target, context, copy, tables if copied else ()))
    before = {**context.plan.baseline.row_counts, **_known(other.result())}
    return {table: _more(rows, before.get(table)) for table, rows in live.result().items()}


def _known(counts: Counts) -> dict[str, int]:
    return {table: rows for table, rows in counts.items() if isinstance(rows, int)}


def _taken_at(step: Swap, plan: Plan, *, ready: Marker | None) -> datetime:
    """Return the moment that comes back; the deployment's time if the plan names no backup."""
    if ready is not None and ready.taken_at is not None:
        return ready.taken_at
    moments = [
        other.target_time for other in plan.steps() if isinstance(other, Pitr) and other.target == step.target
    ]
    if moments:
        return min(moments)
    named = [other.backup for other in plan.steps() if isinstance(other, Restore) and other.target == step.target]
    taken = [
        backup.taken_at
        for backup in plan.backups
        if backup.target == step.target and backup.kind is BackupKind.DATABASE and (backup.id in named or not named)
    ]
    return min(taken, default=plan.deployed_at)


async def _counts(target: Database, context: Context, dbname: str, tables: Sequence[str]) -> Counts:
    """Count rows; what cannot be counted in the time is told and is not zero."""
    found: dict[str, int | str] = dict.fromkeys(tables, f"not counted within {_COUNTING:g} s")
    if not tables:
        return found
    try:
        async with (
            asyncio.timeout(_COUNTING),
            connected(target, context, dbname=dbname, looking=True) as connection,
        ):
            await _limit(connection)
            for table in tables:
                found[table] = await _count(connection, table)
    except TimeoutError:
        return found
    except ActuatorError as error:
        return {table: error.brief.rstrip(".") if isinstance(rows, str) else rows for table, rows in found.items()}
    return found


async def _count(connection: Connection, table: str) -> int | str:
    statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*table.split(".")))
    try:
        row = await (await connection.execute(statement)).fetchone()
    except psycopg.errors.QueryCanceled:
        return f"not counted within {STATEMENT:g} s"
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        return str(error.diag.message_primary)
    return int(row[0]) if row else 0


async def _limit(connection: Connection) -> None:
    await connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(int(STATEMENT * 1000))))


def _more(now: int | str, before: int | None) -> int | str:
    """Return the rows that came in. Fewer rows than before are no loss: those that were deleted come back."""
    if isinstance(now, str):
        return now
    return "the baseline does not say how many rows it had" if before is None else max(0, now - before)


def _told(written: Counts) -> str:
    """Return the rows in words: ``412 rows of transactions, 3 of users``."""
    more = {table: rows for table, rows in _known(written).items() if rows}
    parts = [f"{rows:,} of {table}" for table, rows in more.items()]
    if more:
        first = next(iter(more.values()))
        parts[0] = parts[0].replace(" of ", " row of " if first == 1 else " rows of ", 1)
    elif _known(written):
        parts = [f"no further rows in {', '.join(_known(written))}"]
    parts += [f"rows of {table} not known ({why})" for table, why in written.items() if isinstance(why, str)]
    return ", ".join(parts) or "rows not known: neither the plan nor the inventory names a table to count"


def _is_judged_by(limit: RowsWritten | LossQuery, step: Swap, plan: Plan) -> bool:
    """Return whether the limit is this swap's to measure: each is measured by one, on whichever database it is."""
    swaps = [other for other in plan.steps() if other.destroys]
    own = [other for other in swaps if other.target == limit.target]
    return (own or swaps or [step])[0].id == step.id


def _beyond_rows(step: Swap, context: Context, written: Counts) -> str:
    """Compare what was written to the swap's own database with the plan's limit for it."""
    limit = context.plan.point_of_no_return.rows
    target = context.inventory.find(step.target)
    if limit is None or limit.target != step.target or not isinstance(target, Database):
        return ""
    return _over(limit, _limited(limit, target, context.plan), written)


async def _beyond_rows_elsewhere(step: Swap, context: Context) -> str:
    """Do the same for a limit on another database, which no swap of the plan replaces."""
    limit, plan = context.plan.point_of_no_return.rows, context.plan
    if limit is None or limit.target == step.target or not _is_judged_by(limit, step, plan):
        return ""
    target = context.inventory.find(limit.target)
    if not isinstance(target, Database):
        return f"how many rows were written cannot be told: {limit.target} is no database of the inventory"
    tables = _limited(limit, target, plan)
    return _over(limit, tables, await _written(target, context, tables, copied=False))


def _limited(limit: RowsWritten, target: Database, plan: Plan) -> tuple[str, ...]:
    return limit.tables or target.count_tables or tuple(plan.baseline.row_counts)


def _over(limit: RowsWritten, tables: Sequence[str], written: Counts) -> str:
    unknown = [f"{table} ({written[table]})" for table in tables if isinstance(written[table], str)]
    if unknown or not tables:
        which = ", ".join(unknown) or "no table is named"
        return f"how many rows were written cannot be told, which counts as too many: {which}"
    total = sum(rows for table, rows in _known(written).items() if table in tables)
    if total <= limit.above:
        return ""
    return f"{total:,} rows were written since the backup ({', '.join(tables)}; limit: {limit.above:,})"


async def _beyond_query(step: Swap, context: Context) -> str:
    limit = context.plan.point_of_no_return.query
    if limit is None or not _is_judged_by(limit, step, context.plan):
        return ""
    failed = "the plan's query on {} cannot be answered, which counts as passed: {}"
    target = context.inventory.find(limit.target)
    if not isinstance(target, Database):
        return failed.format(limit.target, "it is no database of the inventory")
    try:
        async with asyncio.timeout(_COUNTING):
            value = await _ask(limit.sql, target, context)
    except TimeoutError:
        return failed.format(limit.target, f"no answer within {_COUNTING:g} s")
    except ActuatorError as error:
        return failed.format(limit.target, error.brief.rstrip("."))
    if isinstance(value, str):
        return failed.format(limit.target, value)
    return (
        f"the plan's query on {limit.target} yields {value:g} (limit: {limit.above:g})"
        if value > limit.above
        else ""
    )


async def _ask(query: str, target: Database, context: Context) -> float | str:
    """Return the one number that a query yields, or why there is none.

    The query is the plan's own. It runs in a read-only transaction as a prepared statement, which takes a single
    statement only: none can end the transaction and go on outside it.
    """
    async with connected(target, context, dbname=target.dbname, looking=True) as connection:
        await _limit(connection)
        try:
            async with connection.transaction():
                await connection.execute("SET TRANSACTION READ ONLY")
                # After the first snapshot no statement can make the transaction a writing one.
                await connection.execute("SELECT 1")
                cursor = await connection.execute(query.encode(), prepare=True)
                rows = await cursor.fetchmany(2) if cursor.description else []
        except psycopg.errors.QueryCanceled:
            return f"no answer within {STATEMENT:g} s"
        except psycopg.DatabaseError as error:
            if error.sqlstate is None:
                raise  # the connection was lost
            return redact(str(error.diag.message_primary))
    if len(rows) != 1 or len(rows[0]) != 1:
        return f"it must yield one number, and yields {len(rows) or 'no'} row{'s' if len(rows) != 1 else ''}"
    value = rows[0][0]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or math.isnan(value):
        return "it must yield one number, and yields something else"
    return float(value)
