from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bot.demo.estate import Estate, EstateError, PgServer
from tests.demo.conftest import WallClock

OURS = ("payments", "payments_app", "rollback_operator")


@contextmanager
def admin(server: PgServer, dbname: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
    """Connect as the superuser."""
    connection = psycopg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        dbname=dbname,
        autocommit=True,
    )
    with connection:
        yield connection


def left_on(server: PgServer) -> list[str]:
    """Return the databases and roles of the server that are not its own."""
    with admin(server) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
            " UNION SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> current_user ORDER BY 1"
        ).fetchall()
    return [name for (name,) in rows]


def files_below(folder: Path) -> set[Path]:
    """Return all files of a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}


def leaks(files: set[Path], *, secrets: tuple[str, ...]) -> list[Path]:
    """Return the files that hold one of the secrets."""
    return [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


@asynccontextmanager
async def small_estate(root: Path, server: PgServer, clock: WallClock, **options: Any) -> AsyncIterator[Estate]:
    """Build an estate with few rows that is not started, and remove it from the server afterwards."""
    estate = await Estate.create(root, server, clock=clock, users=100, transactions=200, **options)
    try:
        yield estate
    finally:
        await estate.demolish(server)


def connect_as_operator(estate: Estate, dbname: str) -> psycopg.Connection[Any]:
    """Connect with the role that rolls back."""
    return psycopg.connect(
        host=estate.facts.db_host,
        port=estate.facts.db_port,
        user=estate.facts.operator_role,
        password=estate.layout.operator_password.read_text(),
        dbname=dbname,
        autocommit=True,
    )


async def test_secrets_lie_in_private_files_only(tmp_path: Path, server: PgServer, clock: WallClock) -> None:
    """Passwords are random, in files of mode 0600, nowhere else, and the superuser's is not kept at all."""
    async with small_estate(tmp_path, server, clock) as estate:
        secret_files = [estate.layout.app_password, estate.layout.operator_password]
        passwords = [path.read_text() for path in secret_files]
        assert [path.stat().st_mode & 0o777 for path in secret_files] == [0o600, 0o600]
        assert len(set(passwords)) == 2
        others = files_below(tmp_path) - set(secret_files)
        assert estate.layout.config in others
        assert leaks(others, secrets=(*passwords, server.password)) == []
        assert server.password not in repr(server)


async def test_demolish_takes_everything_from_the_server(
    tmp_path: Path, server: PgServer, clock: WallClock
) -> None:
    """Databases that a rollback renamed go too, and the server's own remain."""
    async with small_estate(tmp_path, server, clock):
        assert left_on(server) == list(OURS)
        with admin(server) as connection:
            connection.execute("CREATE DATABASE payments_failed_20240115 OWNER payments_app")
    assert left_on(server) == []


async def test_folder_of_somebody_else_is_refused(tmp_path: Path, server: PgServer, clock: WallClock) -> None:
    """A folder that holds anything but an estate is left untouched, and so is the server."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(EstateError, match="is not empty and holds no estate"):
        await Estate.create(tmp_path, server, clock=clock, replace=True)
    assert files_below(tmp_path) == {tmp_path / "thesis.txt"}
    assert left_on(server) == []


async def test_database_of_somebody_else_is_refused(tmp_path: Path, server: PgServer, clock: WallClock) -> None:
    """A `payments` database that the estate did not make is never dropped, not even with `replace`."""
    with admin(server) as connection:
        connection.execute("CREATE DATABASE payments")
    try:
        with pytest.raises(EstateError, match="has database payments already, and the estate did not make"):
            await Estate.create(tmp_path, server, clock=clock, replace=True)
        assert left_on(server) == ["payments"]
    finally:
        with admin(server) as connection:
            connection.execute("DROP DATABASE payments")


async def test_earlier_estate_is_replaced_only_on_demand(
    tmp_path: Path, server: PgServer, clock: WallClock
) -> None:
    """A second create is refused by the folder and by the server; `replace` drops the first one."""
    async with small_estate(tmp_path / "one", server, clock) as first:
        with pytest.raises(EstateError, match="holds an earlier estate"):
            await Estate.create(tmp_path / "one", server, clock=clock)
        with pytest.raises(EstateError, match="carries an earlier estate"):
            await Estate.create(tmp_path / "two", server, clock=clock)
        old_secret = first.layout.app_password.read_text()
        await first.start_old()
        async with small_estate(tmp_path / "one", server, clock, replace=True) as second:
            with pytest.raises(EstateError, match="payments is stopped"):
                await second.ctl("status")
            assert second.layout.app_password.read_text() != old_secret
            assert await second.row_counts() == {"users": 100, "transactions": 200}


async def test_attach_without_an_estate_says_so(tmp_path: Path, clock: WallClock) -> None:
    """Attaching to a folder without an estate changes nothing and names the file that is missing."""
    with pytest.raises(EstateError, match=r"no usable estate at .*estate\.json cannot be read"):
        Estate.attach(tmp_path, clock=clock)


async def test_unreachable_server_is_an_error_without_the_password(tmp_path: Path, clock: WallClock) -> None:
    """A server that does not answer is reported with its address and without its password."""
    nobody = PgServer(host="127.0.0.1", port=1, user="admin", password="hunter2", bin_dir=tmp_path)
    with pytest.raises(EstateError, match=r"PostgreSQL at 127\.0\.0\.1:1 cannot be used") as refused:
        await Estate.create(tmp_path / "estate", nobody, clock=clock)
    assert "hunter2" not in str(refused.value)


async def test_baseline_without_answers_is_refused(tmp_path: Path, server: PgServer, clock: WallClock) -> None:
    """When no request is answered there is no baseline, rather than one of zero errors."""
    async with small_estate(tmp_path, server, clock) as estate:
        with pytest.raises(EstateError, match=r"No request was answered in 0\.3 s"):
            await estate.measure_baseline(0.3)
        assert estate.facts.baseline is None


@pytest.mark.parametrize(
    ("taken", "statement", "refusal"),
    [
        ("ALTER ROLE rollback_operator NOCREATEDB", "CREATE DATABASE beside", "permission denied to create"),
        (
            "ALTER ROLE rollback_operator NOCREATEDB",
            "ALTER DATABASE payments RENAME TO aside",
            "permission denied to rename database",
        ),
        (
            "REVOKE payments_app FROM rollback_operator",
            "CREATE DATABASE beside OWNER payments_app",
            'must be able to SET ROLE "payments_app"',
        ),
        (
            "REVOKE payments_app FROM rollback_operator",
            "ALTER DATABASE payments RENAME TO aside",
            "must be owner of database payments",
        ),
    ],
)
async def test_operator_needs_each_of_its_rights(
    tmp_path: Path, server: PgServer, clock: WallClock, *, taken: str, statement: str, refusal: str
) -> None:
    """Without CREATEDB, or without membership of the owner, restoring beside and swapping is refused."""
    async with small_estate(tmp_path, server, clock) as estate:
        with admin(server) as connection:
            connection.execute(taken.encode())
        with connect_as_operator(estate, "postgres") as connection:
            assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (
                False,
            )
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=refusal):
                connection.execute(statement.encode())


async def test_operator_ends_sessions_of_strangers(tmp_path: Path, server: PgServer, clock: WallClock) -> None:
    """Any role's session in the database is seen with its state and can be ended; without the groups neither."""
    seen = "SELECT state FROM pg_stat_activity WHERE usename = 'auditor' AND datname = 'payments'"
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'auditor'"
    async with small_estate(tmp_path, server, clock) as estate:
        with admin(server) as connection:
            connection.execute("CREATE ROLE auditor LOGIN PASSWORD 'ledger'")
        try:
            stranger = psycopg.connect(
                host=server.host, port=server.port, user="auditor", password="ledger", dbname="payments"
            )
            with closing(stranger), connect_as_operator(estate, "postgres") as operator, admin(server) as superuser:
                stranger.execute("SELECT 1")
                superuser.execute("REVOKE pg_read_all_stats, pg_signal_backend FROM rollback_operator")
                assert operator.execute(seen).fetchall() == [(None,)]
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    operator.execute(end)
                superuser.execute("GRANT pg_read_all_stats, pg_signal_backend TO rollback_operator")
                assert operator.execute(seen).fetchall() == [("idle in transaction",)]
                assert operator.execute(end).fetchall() == [(True,)]
                assert operator.execute(seen).fetchall() == []
        finally:
            with admin(server) as connection:
                connection.execute("DROP ROLE auditor")
