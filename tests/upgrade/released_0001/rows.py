"""Writes down the rows of a store as SQL.

It is imported by ``runs.py``, within the tree of the release.
"""

from __future__ import annotations

import re
from datetime import datetime

from tests.support import plans
from tests.support.pgserver import PgServer

_TIME = re.compile(r"(?<=\t)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?\+00(?=[\t\n])")


def dump(server: PgServer, dbname: str) -> str:
    """Return every row of ours and the carrier's jobs as SQL; PostgreSQL computes generated columns by itself."""
    parts: list[str] = []
    with server.connect(dbname) as connection:
        tables = connection.execute(
            "SELECT c.oid::regclass::text, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) "
            "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "AND a.attgenerated = '' "
            "WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace "
            "AND c.relname NOT IN ('alembic_version', 'carrier_schema') "
            "AND (c.relname NOT LIKE 'procrastinate%' OR c.relname IN ('procrastinate_jobs', "
            "'procrastinate_events')) GROUP BY c.oid ORDER BY 1"
        ).fetchall()
        for table, columns in tables:
            statement = f"COPY (SELECT {columns} FROM {table} ORDER BY 1, 2) TO STDOUT"  # noqa: S608 - catalogue
            with connection.cursor().copy(statement.encode()) as copied:
                rows = b"".join(bytes(block) for block in copied).decode()
            if rows:
                parts.append(f"COPY {table} ({columns}) FROM stdin;\n{rows}\\.\n")
        sequences = connection.execute(
            "SELECT quote_ident(sequencename), last_value FROM pg_sequences "
            "WHERE schemaname = 'public' AND last_value IS NOT NULL ORDER BY 1"
        ).fetchall()
    parts.append("".join(f"SELECT setval('{name}', {value});\n" for name, value in sequences))
    return on_the_day("\n".join(parts))


def on_the_day(rows: str) -> str:
    """Return the rows with the database's times on the example's day, where the engine's stand already.

    So a lease that a killed worker held has lapsed, whatever the clock says where the rows are loaded.
    """
    began = min(filter(_is_the_databases, map(_moment, _TIME.findall(rows))))

    def moved(found: re.Match[str]) -> str:
        moment = _moment(found[0])
        if _is_the_databases(moment):
            moment = plans.at("15:47") + (moment - began)
        return moment.isoformat(sep=" ")

    return _TIME.sub(moved, rows)


def _moment(words: str) -> datetime:
    return datetime.fromisoformat(words)


def _is_the_databases(moment: datetime) -> bool:
    return moment.year != plans.DAY.year
